"""The routes below /session: open, list, close, configure (contract §2.1 to §2.5)."""

from __future__ import annotations

import contextlib
import re
from ipaddress import ip_address
from typing import Any

from trio_sessions._errors import InvalidInputError
from trio_sessions.simulator._call import Call
from trio_sessions.simulator._faults import LATE_REMOVAL
from trio_sessions.simulator._history import Key
from trio_sessions.simulator._http import (
    Refusal,
    Response,
    Work,
    empty_reply,
    error_reply,
    json_reply,
    read_json,
    shape_error,
    text_reply,
)
from trio_sessions.simulator._opening import open_listener, refusal
from trio_sessions.simulator._sessions import Balancer, Session, balancer_of
from trio_sessions.simulator._spec import read_spec
from trio_sessions.simulator._topology import Route
from trio_sessions.simulator._units import format_bandwidth, format_byte_size, parse_bandwidth, parse_byte_size
from trio_sessions.simulator._world import World

__all__ = [
    "close_session",
    "configure",
    "list_sessions",
    "open_explicit",
    "open_session",
    "read_config",
    "session_relayers",
    "websocket",
]

_SESSION_ID = re.compile(r"0x[0-9a-fA-F]+", re.ASCII)
_TAGGED_ID = re.compile(r"0x[0-9a-fA-F]+:\d+", re.ASCII)
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}", re.ASCII)
_U16 = re.compile(r"\+?\d+", re.ASCII)


def open_session(call: Call) -> Work:
    """POST /session/{protocol} (contract §2.1)."""
    protocol = _read_protocol(call.parameters["protocol"])
    spec = read_spec(read_json(call.request), protocol, call.world.rules)
    if call.world.rules.intermediate_path != "taken" and None in (spec.forward.hops, spec.back.hops):
        raise refusal("explicit path routing is only supported on /session/{protocol}/explicit-path")
    session = yield from open_listener(call, protocol, spec, explicit=False)
    return _opened(call, session)


def open_explicit(call: Call) -> Work:
    """POST /session/{protocol}/explicit-path (contract §2.2)."""
    protocol = _read_protocol(call.parameters["protocol"])
    spec = read_spec(read_json(call.request), protocol, call.world.rules, explicit=True)
    for hop in (*spec.forward.via, *spec.back.via):
        if _ADDRESS.fullmatch(hop) is None or hop.lower() not in call.world.topology.peers:
            raise refusal(f"invalid/unknown intermediate path node address '{hop}'")
    session = yield from open_listener(call, protocol, spec, explicit=True)
    return _opened(call, session)


def _opened(call: Call, session: Session) -> Response:
    shown = _show(call.world, session, listed=False)
    if call.fired.has("port0"):
        shown["port"] = 0
    return json_reply(shown)


def list_sessions(call: Call) -> Response:
    """GET /session/{protocol}: the finished opens alone (contract §2.3)."""
    protocol = _read_protocol(call.parameters["protocol"])
    stale = call.fired.get("stale")
    sessions = call.world.sessions
    shown = sessions.table.values() if stale is None else sessions.listed_at(call.now - stale.seconds)
    return json_reply([_show(call.world, session, listed=True) for session in shown if session.key[0] == protocol])


def close_session(call: Call) -> Response:
    """DELETE /session/{protocol}/{ip}/{port}; port 0 is every port (contract §2.4)."""
    world = call.world
    protocol = _read_protocol(call.parameters["protocol"].lower())
    port = call.parameters["port"]
    if _U16.fullmatch(port) is None or int(port) > 65535:
        raise Refusal(text_reply(400, f"Invalid URL: Cannot parse `port` with value `{port}` to a `u16`"))
    try:
        ip = str(ip_address(call.parameters["ip"]))
    except ValueError:
        return error_reply(400, "INVALID_INPUT")
    table = world.sessions.table
    one = table.get((protocol, ip, int(port)))
    found = [] if one is None else [one]
    if int(port) == 0:
        found = [session for key, session in table.items() if key[:2] == (protocol, ip)]
    if not found:
        world.history.counters.closes_missed += 1
        return error_reply(404, "INVALID_INPUT")
    world.history.counters.closes += 1
    for session in found:
        world.sessions.close(session, call.now)
        _plan_aftermath(call, session.key)
    return empty_reply(204)


def _plan_aftermath(call: Call, key: Key) -> None:
    """What faults make of a port after a DELETE; a restart forgets it."""
    world = call.world
    if call.fired.has("reuse"):
        world.agenda.at(call.now + world.config.release_latency, _reuse, (world, key, world.boots))
    late = call.fired.get("late-removal")
    if late is not None:
        world.agenda.at(call.now + (late.seconds or LATE_REMOVAL), _remove_late, (world, key, world.boots))


def _remove_late(work: tuple[World, Key, int], now: float) -> None:
    """The ended listener's own clean-up comes at last (contract §3.2)."""
    world, key, boots = work
    if world.boots == boots:
        world.sessions.delist(key, now)


def _reuse(work: tuple[World, Key, int], now: float) -> None:
    """Another client of the node is given the port that has just become free."""
    world, (protocol, ip, port), boots = work
    if world.boots != boots:
        return
    # Somebody else on a real system may have been faster; then the port is reused all the same.
    with contextlib.suppress(InvalidInputError):
        world.add_stranger(now, ip=ip, port=port, protocol=protocol)


def read_config(call: Call) -> Response:
    """GET /session/config/{id} (contract §2.5); resets the idle timer."""
    session = _find(call)
    if session is None:
        if call.world.rules.verbatim_list:
            return error_reply(422, "UNKNOWN_FAILURE", "session does not exist")
        return error_reply(404, "SESSION_NOT_FOUND")
    session.last_received = call.now
    if session.balancer is None:
        return error_reply(404, "SESSION_NOT_FOUND")
    mtu = call.world.rules.hopr_mtu
    return json_reply(
        {
            "responseBuffer": format_byte_size(session.balancer.target * mtu),
            "maxSurbUpstream": format_bandwidth(session.balancer.rate * mtu * 8),
        }
    )


def configure(call: Call) -> Response:
    """POST /session/config/{id} (contract §2.5); resets the idle timer."""
    data = read_json(call.request)
    if not isinstance(data, dict):
        raise shape_error("invalid type, expected struct SessionConfig")
    try:
        size = data.get("responseBuffer")
        size = None if size is None else parse_byte_size(size)
        upstream = data.get("maxSurbUpstream")
        upstream = None if upstream is None else parse_bandwidth(upstream)
    except (TypeError, ValueError) as error:
        raise shape_error(str(error)) from None
    session = _find(call)
    if session is None:
        return error_reply(404, "SESSION_NOT_FOUND")
    session.last_received = call.now
    if session.balancer is None:
        return error_reply(406, "UNKNOWN_FAILURE", "the session has no balancer")
    balancer = balancer_of(size, upstream, call.world.rules.hopr_mtu)
    if balancer is None:
        return error_reply(400, "INVALID_INPUT")
    session.balancer = balancer
    return empty_reply(204)


def websocket(call: Call) -> Response:
    """GET /session/websocket of 3.x: there, but not for plain HTTP (contract §2.5)."""
    return text_reply(400, "Connection header did not include 'upgrade'")


def session_relayers(world: World, kind: str, data: Any, parameters: dict[str, str]) -> frozenset[int]:
    """The numbers of the relayers that a call is about, for faults that select by them; as far as one can tell."""
    if kind == "open" and isinstance(data, dict):
        paths = (data.get("forwardPath"), data.get("returnPath"))
        via = (path.get("IntermediatePath") if isinstance(path, dict) else path for path in paths)
        routes = (Route(via=tuple(map(str, hops))) for hops in via if isinstance(hops, list))
        return world.topology.numbers(tuple(routes))
    if kind == "close":
        port = parameters["port"]
        key = (parameters["protocol"].lower(), parameters["ip"], int(port) if _U16.fullmatch(port) else 0)
        session = world.sessions.table.get(key)
        return frozenset() if session is None else session.relayers
    return frozenset()


def _read_protocol(text: str) -> str:
    if text not in ("tcp", "udp"):
        raise Refusal(text_reply(400, f"Invalid URL: unknown variant `{text}`, expected `tcp` or `udp`"))
    return text


def _find(call: Call) -> Session | None:
    """The session with the id of the path.

    Raises:
        Refusal: it is no id of this dialect (contract §2.5).
    """
    session_id = call.parameters["id"]
    pattern = _TAGGED_ID if call.world.rules.tagged_ids else _SESSION_ID
    if pattern.fullmatch(session_id) is None:
        raise Refusal(error_reply(400, "INVALID_SESSION_ID"))
    return call.world.sessions.alive.get(session_id)


def _show(world: World, session: Session, *, listed: bool) -> dict[str, object]:
    """A session as a POST answers it, or as the list shows it: not the same (contract §2.1, §2.3)."""
    protocol, ip, port = session.key
    spec = session.spec
    is_udp = protocol == "udp"
    if listed and not world.rules.verbatim_list:
        upstream, buffer = _recomputed(session.balancer, world.config.surb_len)
    else:
        upstream = None if spec.max_surb_upstream is None else format_bandwidth(spec.max_surb_upstream)
        buffer = None if spec.response_buffer is None else format_byte_size(spec.response_buffer)
    by_number = listed and session.explicit
    return {
        "target": spec.target,
        "destination": spec.destination,
        "forwardPath": _by_number(world, spec.forward) if by_number else spec.forward.as_json(),
        "returnPath": _by_number(world, spec.back) if by_number else spec.back.as_json(),
        "protocol": protocol,
        "ip": ip,
        "port": port,
        "hoprMtu": world.rules.hopr_mtu,
        "surbLen": world.config.surb_len,
        "activeClients": [session.id] if is_udp else [],
        "maxClientSessions": spec.max_clients,
        "maxSurbUpstream": upstream,
        "responseBuffer": buffer,
        "sessionPool": spec.pool,
    }


def _recomputed(balancer: Balancer | None, surb_len: int) -> tuple[str | None, str | None]:
    """The balancer's settings as 4.x lists them: in reply blocks, with a factor of 8 missing (contract §2.3)."""
    if balancer is None:
        return None, None
    return format_bandwidth(balancer.rate * surb_len), format_byte_size(balancer.target * surb_len)


def _by_number(world: World, route: Route) -> dict[str, object]:
    """An explicit path as the list shows it: in internal ids (contract §2.2)."""
    return {"IntermediatePath": [f"#{world.topology.peer(address).number}" for address in route.via]}
