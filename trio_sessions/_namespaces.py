"""Which of the node's listeners are provably ours: three answers, strongest first. Pure.

The API has no owner label and ports are used again (contract §2.3), so what is ours shows in where it listens.
"""

from __future__ import annotations

import os
from ipaddress import IPv4Address, ip_address
from pathlib import Path
from urllib.parse import urlsplit

import attrs

from trio_sessions._errors import InvalidInputError

__all__ = [
    "DEDICATED_PORTS",
    "DedicatedAddress",
    "Namespace",
    "PortRange",
    "Shared",
    "check_instance",
    "check_own_address",
    "derive_address",
    "node_key",
    "parse_namespace",
]

#: The ports that we choose from on an address of our own: below Linux's default range of ephemeral ports, so that
#: nobody who is bound to all addresses has one of them by chance.
DEDICATED_PORTS = (10_000, 32_767)
#: The node listens here when nobody asks for another address (contract §2.1): it is everybody's.
_EVERYBODYS = "127.0.0.1"
#: Where Linux says which ports need a right.
_FIRST_FREE_PORT = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")


@attrs.frozen
class Shared:
    """The node's own choice of address and port, beside everybody else's listeners.

    After a lost reply a listener is taken for ours only when everything that the list shows of it matches what we
    asked for, it was not there before, and nobody else of ours could mean it. On a 4.x node, whose list hides pinned
    relayers (contract §2.2), such a listener is therefore left to its idle end and named.
    """

    def __str__(self) -> str:
        return "shared"


def _check_dedicated(_: object, __: object, value: str | None) -> None:
    if value is not None:
        check_own_address(value)


@attrs.frozen
class DedicatedAddress:
    """A loopback address that nobody else uses, on a machine (or in a network namespace) that we share with the node.

    Every listener on it is ours. So those of an earlier run are closed at the start, without a journal, and a stop
    closes all with one call. Linux only: elsewhere there is no more of 127.0.0.0/8 than 127.0.0.1.

    Attributes:
        ip: the address; ``None`` derives one from the node's URL and the instance's name, always the same.

    Raises:
        InvalidInputError: it is not in 127.0.0.0/8, or is 127.0.0.1, where everybody's listeners are.
    """

    ip: str | None = attrs.field(default=None, validator=_check_dedicated)

    def __str__(self) -> str:
        return self.ip or "dedicated"


@attrs.frozen
class PortRange:
    """Ports that nobody else at the node uses: we choose one of them for each session.

    A port is not used again for 210 s after its listener's end, which is the longest that a forgotten one can live
    (contract §3.5). A range should have at least twice as many ports as there are sessions.

    Attributes:
        first, last: both included.
        ip: where the node shall listen; ``None``: its default address.

    Raises:
        InvalidInputError: reversed, not ports, or ports below 1024 that this process has no right to.
    """

    first: int
    last: int
    ip: str | None = None

    def __attrs_post_init__(self) -> None:
        shown = f"{self.first}-{self.last}"
        ports: tuple[object, object] = (self.first, self.last)
        for port in ports:
            if isinstance(port, bool) or not isinstance(port, int) or not 1 <= port <= 65535:
                raise InvalidInputError("port range", shown, "ports are whole numbers from 1 to 65535")
        if self.first > self.last:
            raise InvalidInputError("port range", shown, "is reversed", f"write {self.last}-{self.first}")
        lowest = _lowest_port()
        if self.first < lowest:
            rule = f"ports below {lowest} need a right that this process doesn't have"
            raise InvalidInputError("port range", shown, rule, f"begin at {lowest} or above")
        if self.ip is not None:
            _check_ip(self.ip, "listen address")

    def __len__(self) -> int:
        return self.last - self.first + 1

    def __str__(self) -> str:
        ports = f"{self.first}-{self.last}"
        return ports if self.ip is None else f"{self.ip}:{ports}"


Namespace = Shared | DedicatedAddress | PortRange


def parse_namespace(text: str) -> Namespace:
    """``shared``, ``dedicated``, ``127.a.b.c``, ``FIRST-LAST`` or ``IP:FIRST-LAST`` as a namespace.

    Raises:
        InvalidInputError: none of these, or a value that breaks the namespace's rules.
    """
    if text == "shared":
        return Shared()
    if text == "dedicated":
        return DedicatedAddress()
    ip, _, ports = text.rpartition(":")
    first, dash, last = ports.partition("-")
    if dash and all(port.isascii() and port.isdigit() and len(port) <= 9 for port in (first, last)):
        return PortRange(int(first), int(last), ip.strip("[]") or None)
    try:
        ip_address(text)
    except ValueError:
        rule = "is neither shared, dedicated, an address 127.a.b.c nor a range of ports"
        raise InvalidInputError("namespace", text, rule, "write for example dedicated, or 40000-40999") from None
    return DedicatedAddress(text)


def check_own_address(ip: str) -> None:
    """Refuse an address that cannot be ours alone.

    Raises:
        InvalidInputError: outside of 127.0.0.0/8, or 127.0.0.1, or one of the network's two ends.
    """
    remedy = "choose one like 127.64.0.1, or leave it out to have one derived"
    try:
        address = ip_address(ip)
    except ValueError:
        raise InvalidInputError("dedicated address", ip, "is no ip address", remedy) from None
    if not isinstance(address, IPv4Address) or not address.is_loopback:
        raise InvalidInputError("dedicated address", ip, "is outside of 127.0.0.0/8", remedy)
    if str(address) in (_EVERYBODYS, "127.0.0.0", "127.255.255.255"):
        raise InvalidInputError("dedicated address", ip, "can belong to nobody alone", remedy)


def derive_address(node: str, instance: str) -> str:
    """The dedicated address of an instance at a node: one of some 16 million, none of them in 127.0.0.0/16."""
    # Here, since its import takes longer than most of ours, and few need it.
    from hashlib import sha256  # noqa: PLC0415

    a, b, c = sha256(f"{node}\n{instance}".encode()).digest()[:3]
    return f"127.{1 + a % 254}.{b}.{1 + c % 254}"


def node_key(url: str) -> str:
    """The node of a URL as ``host:port``: what stays the same however the URL is spelled."""
    parts = urlsplit(url)
    host = str(parts.hostname).lower()
    host = _EVERYBODYS if host in ("localhost", "::1") else host
    port = parts.port or (443 if parts.scheme.lower() == "https" else 80)
    return f"{host}:{port}{parts.path.rstrip('/')}"


def check_instance(value: object) -> str:
    """``value`` itself, when it can be an instance's name, in a file's name too.

    Raises:
        InvalidInputError: it is not 1 to 64 letters, digits, dots, dashes and underscores, or begins with a dot.
    """
    good = isinstance(value, str) and 0 < len(value) <= 64 and value.isascii() and not value.startswith(".")
    if not good or not all(letter.isalnum() or letter in "._-" for letter in str(value)):
        rule = "must be 1 to 64 letters, digits, dots, dashes and underscores, and begin with no dot"
        raise InvalidInputError("instance", value, rule)
    return str(value)


def _check_ip(value: str, what: str) -> None:
    try:
        ip_address(value)
    except ValueError:
        raise InvalidInputError(what, value, "is no ip address", "write an ip, not a name") from None


def _lowest_port() -> int:
    """The lowest port that this process, and so most likely the node, may listen on."""
    if os.geteuid() == 0:
        return 1
    try:
        return int(_FIRST_FREE_PORT.read_text())
    except (OSError, ValueError):
        return 1024
