"""Where a server of ours listens, as users write it."""

from __future__ import annotations

from ipaddress import ip_address

import attrs

from trio_sessions._errors import InvalidInputError

__all__ = ["ListenAddress", "parse_listen"]

_LOOPBACK = "127.0.0.1"
_REMEDY = "write for example 9464, 127.0.0.1:9464 or [::1]:9464"


@attrs.frozen
class ListenAddress:
    """An ip and a port; port 0 is any free one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_listen(text: str, what: str = "--metrics") -> ListenAddress:
    """``"[HOST:]PORT"``: a port alone is one of 127.0.0.1, which no other machine reaches.

    Args:
        text: as given.
        what: the name of the setting, for the error.

    Raises:
        InvalidInputError: the host is no ip, or the port is none.
    """
    host, colon, port = text.strip().rpartition(":")
    if not colon or host.lower() == "localhost":
        host = _LOOPBACK
    elif not host:
        remedy = f"write 0.0.0.0:{port} for all networks"
        raise InvalidInputError(what, text, "has no host before the colon", remedy)
    elif host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise InvalidInputError(what, text, "has more than one colon without brackets, or without a port", _REMEDY)
    try:
        ip_address(host)
    except ValueError:
        raise InvalidInputError(what, text, "has a host that is no ip", _REMEDY) from None
    if not (port.isascii() and port.isdecimal()) or len(port) > 5 or int(port) > 65535:
        raise InvalidInputError(what, text, "must have a port from 0 to 65535", _REMEDY)
    return ListenAddress(host, int(port))
