"""What is sent to the node: paths and bodies. Pure."""

from __future__ import annotations

import json
from functools import lru_cache
from ipaddress import ip_address
from urllib.parse import quote

from trio_sessions._errors import CannotPinRelayerError, InvalidInputError
from trio_sessions._model import (
    Capability,
    Dialect,
    ListenerKey,
    Path,
    Pinning,
    Protocol,
    SessionRequest,
    check_amount,
)
from trio_sessions._namespaces import check_own_address
from trio_sessions._units import format_bandwidth, format_size

__all__ = [
    "ADDRESSES",
    "ANY",
    "API",
    "BALANCES",
    "CHANNELS",
    "CONNECTED_PEERS",
    "HEALTH_CHECKS",
    "INFO",
    "JSON",
    "OLD_PEERS",
    "OPENAPI",
    "STATUS",
    "VERSION",
    "address_path",
    "config_body",
    "config_path",
    "explicit_path",
    "is_pinned",
    "listener_path",
    "route_of",
    "session_call",
    "sessions_path",
]

#: The Accept header of an API call.
JSON = "application/json"
#: ... and of a probe: with the other one an unknown route would answer 406 and not 404 (contract §1.5).
ANY = "*/*"

#: The base path in all dialects: the major version of the REST crate, not of hoprd (contract §1.1).
API = "/api/v4"

#: The health checks, at the root (contract §2.7).
HEALTH_CHECKS = ("startedz", "readyz", "healthyz", "eligiblez")

ADDRESSES = f"{API}/account/addresses"
BALANCES = f"{API}/account/balances"
CHANNELS = f"{API}/channels"
INFO = f"{API}/node/info"
VERSION = f"{API}/node/version"
#: 4.x only (contract §2.6).
STATUS = f"{API}/node/status"
CONNECTED_PEERS = f"{API}/network/connected"
#: 3.x only.
OLD_PEERS = f"{API}/node/peers"
#: At the root and public.
OPENAPI = "/api-docs/openapi.json"

#: Characters of the longest session id that we send: the known ones have less than 100.
_LONGEST_ID = 256


def is_pinned(request: SessionRequest) -> bool:
    """Whether the request names its relayers, which not every node can do.

    Raises:
        InvalidInputError: one direction names relayers, the other a number of hops: no dialect but 3.x can say that.
    """
    if bool(request.forward.via) != bool(request.back.via):
        shown = (request.forward, request.back)
        raise InvalidInputError("paths", shown, "one goes by hops, the other by relayers", "give both the same form")
    return bool(request.forward.via)


def session_call(request: SessionRequest, dialect: Dialect | None) -> tuple[str, bytes]:
    """The path and the JSON body of the POST that opens ``request``; ``dialect`` is needed if relayers are pinned.

    Raises:
        CannotPinRelayerError: the node has no way to take the relayers.
    """
    path = sessions_path(request.protocol)
    if dialect is None:
        write = _write_hops
    elif dialect.pinning is Pinning.INTERMEDIATE_PATH:
        write = _write_intermediate
    elif dialect.pinning is Pinning.EXPLICIT_PATH_ROUTE:
        path, write = explicit_path(request.protocol), _write_bare
    else:
        raise CannotPinRelayerError(dialect.name, dialect.pinning_remedy)
    body: dict[str, object] = {
        "destination": request.destination,
        "forwardPath": write(request.forward),
        "returnPath": write(request.back),
        "target": {"Service": request.target} if isinstance(request.target, int) else {"Plain": request.target},
        # Always named: the defaults differ by protocol and by dialect (contract §2.1).
        "capabilities": [capability.value for capability in Capability if capability in request.capabilities],
    }
    if request.listen_host is not None:
        body["listenHost"] = request.listen_host
    body |= _balancer_fields(request.response_buffer, request.max_surb_upstream)
    return path, _to_json(body)


def config_body(response_buffer: int | None, max_surb_upstream: int | None) -> bytes:
    """The JSON body that sets a session's balancer, in bytes and in bits a second (contract §2.5).

    Raises:
        InvalidInputError: an amount is negative.
    """
    check_amount(response_buffer, "response buffer")
    check_amount(max_surb_upstream, "max SURB upstream")
    return _to_json(_balancer_fields(response_buffer, max_surb_upstream))


def sessions_path(protocol: Protocol) -> str:
    """Where sessions of ``protocol`` are opened and listed (contract §2.1, §2.3)."""
    if protocol not in ("udp", "tcp"):
        raise InvalidInputError("protocol", protocol, "must be udp or tcp")
    return f"{API}/session/{protocol}"


def explicit_path(protocol: Protocol) -> str:
    """Where sessions through chosen relayers are opened, in 4.0.3 and later, if switched on (contract §2.2)."""
    return f"{sessions_path(protocol)}/explicit-path"


def listener_path(key: ListenerKey) -> str:
    """The path of one listener (contract §2.4).

    Raises:
        InvalidInputError: the port is 0, which would close every listener of the address; or no port, or no ip.
    """
    if key.port == 0:
        raise InvalidInputError("port", 0, "would close every listener of the address")
    if not 0 < key.port < 65536:
        raise InvalidInputError("port", key.port, "must be 1 to 65535")
    return f"{sessions_path(key.protocol)}/{_ip_in_path(key.ip)}/{key.port}"


@lru_cache(maxsize=256)
def _ip_in_path(ip: str) -> str:
    """An ip address, quoted; kept, as nearly all listeners are at the same."""
    try:
        ip_address(ip)
    except ValueError:
        raise InvalidInputError("ip", ip, "not an ip address") from None
    return quote(ip, safe=":")


def address_path(protocol: Protocol, ip: str) -> str:
    """The path of all listeners of an address at once: its port 0 (contract §2.4).

    Raises:
        InvalidInputError: an address that others may have listeners on.
    """
    check_own_address(ip)
    return f"{sessions_path(protocol)}/{ip}/0"


def config_path(session_id: str) -> str:
    """The path of a session's configuration; the id is opaque and quoted whole (contract §2.5).

    Raises:
        InvalidInputError: an id that the node cannot have given, and that could change the path's meaning.
    """
    printable = session_id.isascii() and session_id.isprintable() and " " not in session_id
    if not 0 < len(session_id) <= _LONGEST_ID or not printable or not session_id.strip("."):
        raise InvalidInputError("session id", session_id, "not an id of the node", "take it from Listener.clients")
    return f"{API}/session/config/{quote(session_id, safe='')}"


def route_of(path: str) -> str:
    """``path`` without what differs from session to session: ``/session/udp/{ip}/{port}``, and a few others."""
    below = path.removeprefix(API)
    parts = below.split("/")
    if parts[1] != "session" or len(parts) == 3:
        return below
    if parts[2] == "config":
        return "/session/config/{id}"
    return below if len(parts) == 4 else f"/session/{parts[2]}/{{ip}}/{{port}}"


def _to_json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _write_hops(path: Path) -> object:
    return {"Hops": path.hops}


def _write_intermediate(path: Path) -> object:
    return {"IntermediatePath": list(path.via)}


def _write_bare(path: Path) -> object:
    return list(path.via)


def _balancer_fields(response_buffer: int | None, max_surb_upstream: int | None) -> dict[str, object]:
    fields: dict[str, object] = {}
    if response_buffer is not None:
        fields["responseBuffer"] = format_size(response_buffer)
    if max_surb_upstream is not None:
        fields["maxSurbUpstream"] = format_bandwidth(max_surb_upstream)
    return fields
