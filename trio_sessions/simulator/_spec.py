"""The body of a POST of a session, as the daemon reads it (contract §2.1, §2.2)."""

from __future__ import annotations

import base64
import binascii
import re
from ipaddress import ip_address
from typing import Any

import attrs

from trio_sessions.simulator._dialects import Rules
from trio_sessions.simulator._http import shape_error
from trio_sessions.simulator._topology import Route, print_address
from trio_sessions.simulator._units import parse_bandwidth, parse_byte_size

__all__ = ["SessionSpec", "read_listen_host", "read_spec"]

CAPABILITIES = frozenset({"Segmentation", "Retransmission", "RetransmissionAckOnly", "NoDelay", "NoRateControl"})
_UDP_DEFAULTS = frozenset({"Segmentation"})
_TCP_DEFAULTS = frozenset({"Segmentation", "Retransmission", "RetransmissionAckOnly"})
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}", re.ASCII)
_PLAIN = re.compile(r"(\[[0-9a-fA-F:]+\]|[^:\[\]]+):(\d{1,5})", re.ASCII)
#: Contract §2.1: a TCP session's pool is never larger.
_MAX_POOL = 5
_DEFAULT_CLIENTS = 5


@attrs.frozen(kw_only=True)
class SessionSpec:
    """What a request asks for, read and with the defaults filled in.

    Attributes:
        destination: as the daemon prints it.
        target: as the daemon prints it.
        response_buffer: bytes; ``None`` leaves it to the node.
        max_surb_upstream: bits a second; ``None`` leaves it to the node.
        pool, max_clients: of TCP sessions; ``None`` and 1 for UDP.
    """

    destination: str
    forward: Route
    back: Route
    target: str
    listen_host: str | None
    capabilities: frozenset[str]
    response_buffer: int | None
    max_surb_upstream: int | None
    pool: int | None
    max_clients: int

    @property
    def echoes(self) -> bool:
        """Whether the exit sends anything back: the echo service is the only target there is (contract §4.1)."""
        return self.target == "#0"


def read_spec(data: Any, protocol: str, rules: Rules, *, explicit: bool = False) -> SessionSpec:
    """Read the JSON of a request; with ``explicit`` that of the explicit-path route.

    Raises:
        Refusal: with the framework's 422 where the shape is wrong. Values that the handler judges pass.
    """
    if not isinstance(data, dict):
        raise shape_error("invalid type, expected struct SessionClientRequest")
    for name in ("destination", "forwardPath", "returnPath", "target"):
        if name not in data:
            raise shape_error(f"missing field `{name}`")
    read_route = _read_addresses if explicit else _read_route
    flow = data.get("flowControl")
    if rules.flow_control and not explicit and flow not in (None, "off", "clean", "robust"):
        raise shape_error(f"flowControl: unknown variant `{flow}`, expected one of `off`, `clean`, `robust`")
    pool = _read_count(data, "sessionPool")
    clients = _read_count(data, "maxClientSessions")
    is_tcp = protocol == "tcp"
    pool = min(pool, _MAX_POOL) if is_tcp and pool is not None else None
    return SessionSpec(
        destination=_read_address(data["destination"], "destination"),
        forward=read_route(data["forwardPath"], "forwardPath", rules),
        back=read_route(data["returnPath"], "returnPath", rules),
        target=_read_target(data["target"]),
        listen_host=_read_text(data, "listenHost"),
        capabilities=_read_capabilities(data.get("capabilities"), is_tcp=is_tcp),
        response_buffer=_read_quantity(data, "responseBuffer", parse_byte_size),
        max_surb_upstream=_read_quantity(data, "maxSurbUpstream", parse_bandwidth),
        pool=pool,
        max_clients=max(_DEFAULT_CLIENTS if clients is None else clients, 1, pool or 0) if is_tcp else 1,
    )


def read_listen_host(text: str | None, default_ip: str) -> tuple[str, int]:
    """``ip:port``, ``ip`` or ``:port``; anything else is silently the node's default (contract §2.1)."""
    if text is None:
        return default_ip, 0
    if _is_ip(text):
        return str(ip_address(text)), 0
    host, separator, port = text.rpartition(":")
    if separator and port.isascii() and port.isdigit() and int(port) <= 65535:
        ip = host.removeprefix("[").removesuffix("]")
        if not host or (_is_ip(ip) and (":" in ip) == host.startswith("[")):
            return str(ip_address(ip)) if ip else default_ip, int(port)
    return default_ip, 0


def _is_ip(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _read_address(value: Any, name: str) -> str:
    if not isinstance(value, str) or _ADDRESS.fullmatch(value) is None:
        raise shape_error(f"{name}: invalid address")
    return print_address(value)


def _read_route(value: Any, name: str, rules: Rules) -> Route:
    if isinstance(value, dict) and len(value) == 1:
        if "Hops" in value:
            hops = value["Hops"]
            if isinstance(hops, bool) or not isinstance(hops, int) or hops < 0:
                raise shape_error(f"{name}.Hops: invalid type, expected usize")
            return Route(hops=hops)
        if "IntermediatePath" in value and rules.intermediate_path != "shape":
            via = value["IntermediatePath"]
            if not isinstance(via, list):
                raise shape_error(f"{name}.IntermediatePath: invalid type, expected a sequence")
            return Route(via=tuple(_read_address(item, name) for item in via))
    expected = "`Hops`" if rules.intermediate_path == "shape" else "`IntermediatePath` or `Hops`"
    raise shape_error(f"{name}: unknown variant, expected {expected}")


def _read_addresses(value: Any, name: str, rules: Rules) -> Route:
    """A path of the explicit-path route: any texts, in the requester's own case; the handler judges them."""
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise shape_error(f"{name}: invalid type, expected a sequence of strings ({rules.rest_version})")
    return Route(via=tuple(value))


def _read_target(value: Any) -> str:
    if isinstance(value, dict) and len(value) == 1:
        if "Plain" in value and isinstance(value["Plain"], str):
            match = _PLAIN.fullmatch(value["Plain"])
            if match is not None and int(match[2]) <= 65535:
                return str(value["Plain"])
        if "Sealed" in value and isinstance(value["Sealed"], str):
            try:
                sealed = base64.b64decode(value["Sealed"], validate=True)
            except binascii.Error:
                raise shape_error("target.Sealed: invalid base64") from None
            return "$$" + base64.urlsafe_b64encode(sealed).decode()
        if "Service" in value:
            service = value["Service"]
            if isinstance(service, int) and not isinstance(service, bool) and 0 <= service < 2**32:
                return f"#{service}"
    raise shape_error("target: expected one of `Plain`, `Sealed`, `Service`")


def _read_capabilities(value: Any, *, is_tcp: bool) -> frozenset[str]:
    if value is None:
        return _TCP_DEFAULTS if is_tcp else _UDP_DEFAULTS
    if not isinstance(value, list):
        raise shape_error("capabilities: invalid type, expected a sequence")
    for name in value:
        if not isinstance(name, str) or name not in CAPABILITIES:
            raise shape_error(f"capabilities: unknown variant `{name}`")
    return frozenset(value)


def _read_text(data: dict[str, Any], name: str) -> str | None:
    value = data.get(name)
    if value is not None and not isinstance(value, str):
        raise shape_error(f"{name}: invalid type, expected a string")
    return value


def _read_quantity(data: dict[str, Any], name: str, parse: Any) -> int | None:
    text = _read_text(data, name)
    if text is None:
        return None
    try:
        return int(parse(text))
    except ValueError as error:
        raise shape_error(f"{name}: {error}") from None


def _read_count(data: dict[str, Any], name: str) -> int | None:
    value = data.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise shape_error(f"{name}: invalid type, expected usize")
    return value
