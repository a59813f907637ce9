"""Which handler answers a request, and the checks before it, in the daemon's order (contract §1.3, §1.5)."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Generator, Mapping
from typing import Any, Final
from urllib.parse import unquote

import attrs

from trio_sessions.simulator import _control, _node_routes as node, _session_routes as session
from trio_sessions.simulator._call import Call
from trio_sessions.simulator._dialects import Rules
from trio_sessions.simulator._faults import Fired
from trio_sessions.simulator._http import (
    JSON_TYPES,
    TEXT_TYPES,
    ConnectionDies,
    Refusal,
    Request,
    Response,
    Steps,
    Work,
    accepts,
    authorized,
    empty_reply,
    error_reply,
    json_reply,
    text_reply,
)
from trio_sessions.simulator._world import World

__all__ = ["BASE", "Router"]

#: The base path of the API, in every dialect (contract §1.1).
BASE: Final = "/api/v4"

_CONTROL: Final = "/simulator/"

Handler = Callable[[Call], Response | Work]


@attrs.frozen
class _Guard:
    """What a part of the API demands before anything else."""

    types: frozenset[str] | None = None
    token: bool = False


_OPEN = _Guard()
_API = _Guard(JSON_TYPES, token=True)
_METRICS = _Guard(TEXT_TYPES, token=True)
_CONTROLS = _Guard(token=True)


@attrs.frozen
class _Route:
    """A path with ``{names}``, and its handlers by method, each with the kind of the call."""

    pattern: tuple[str, ...]
    guard: _Guard
    methods: Mapping[str, tuple[str, Handler]]

    @property
    def allowed(self) -> str:
        """The value of the Allow header."""
        return ",".join("GET,HEAD" if method == "GET" else method for method in self.methods)

    def match(self, parts: tuple[str, ...]) -> dict[str, str] | None:
        """The named parts of a path, if this is its route."""
        if len(parts) != len(self.pattern):
            return None
        named: dict[str, str] = {}
        for part, wanted in zip(parts, self.pattern, strict=True):
            if wanted.startswith("{"):
                if not part:
                    return None
                named[wanted[1:-1]] = unquote(part)
            elif part != wanted:
                return None
        return named


def _route(path: str, guard: _Guard, **methods: tuple[str, Handler]) -> _Route:
    return _Route(tuple(path.split("/")[1:]), guard, methods)


def _api(path: str, **methods: tuple[str, Handler]) -> _Route:
    return _route(BASE + path, _API, **methods)


def _session_routes(rules: Rules, *, explicit_path: bool) -> list[_Route]:
    """Those below /session; literal parts come before named ones, as the framework prefers them."""
    routes = [_api("/session/config/{id}", GET=("config", session.read_config), POST=("config", session.configure))]
    if rules.api_before_node:
        routes.append(_api("/session/websocket", GET=("other", session.websocket)))
    if rules.explicit_route and explicit_path:
        routes.append(_api("/session/{protocol}/explicit-path", POST=("open", session.open_explicit)))
    return [
        *routes,
        _api("/session/{protocol}", GET=("list", session.list_sessions), POST=("open", session.open_session)),
        _api("/session/{protocol}/{ip}/{port}", DELETE=("close", session.close_session)),
    ]


def _node_routes(rules: Rules) -> list[_Route]:
    if rules.connected_route:
        peers = _api("/network/connected", GET=("peers", node.connected_peers))
    else:
        peers = _api("/node/peers", GET=("peers", node.known_peers))
    status = [_api("/node/status", GET=("status", node.node_status))] if rules.status_route else []
    return [
        peers,
        *status,
        _api("/account/addresses", GET=("account", node.account_addresses)),
        _api("/account/balances", GET=("account", node.account_balances)),
        _api("/channels", GET=("channels", node.channels)),
        _api("/peers/{address}", GET=("other", node.peer_info)),
        _api("/peers/{address}/ping", POST=("ping", node.ping)),
        _api("/node/version", GET=("version", node.node_version)),
        _api("/node/info", GET=("info", node.node_info)),
        _api("/node/configuration", GET=("configuration", node.node_configuration)),
    ]


def _root_routes() -> list[_Route]:
    """What lies outside of the API."""
    return [
        _route("/startedz", _OPEN, GET=("health", node.started)),
        _route("/readyz", _OPEN, GET=("health", node.ready)),
        _route("/healthyz", _OPEN, GET=("health", node.ready)),
        _route("/eligiblez", _OPEN, GET=("health", node.eligible)),
        _route("/metrics", _METRICS, GET=("metrics", node.metrics)),
        _route("/simulator/state", _CONTROLS, GET=("control", _control.state)),
        _route("/simulator/peers", _CONTROLS, POST=("control", _control.set_peer)),
        _route("/simulator/restart", _CONTROLS, POST=("control", _control.restart)),
        _route("/simulator/faults", _CONTROLS, POST=("control", _control.add_faults)),
        _route("/simulator/strangers", _CONTROLS, POST=("control", _control.add_strangers)),
    ]


class Router:
    """The whole API of one world."""

    def __init__(self, world: World) -> None:
        rules = world.rules
        self._world = world
        api = [*_session_routes(rules, explicit_path=world.config.explicit_path), *_node_routes(rules)]
        # The document is compiled in: it names the explicit-path route whether it is switched on or not.
        documented = [*_session_routes(rules, explicit_path=True), *_node_routes(rules)]
        self._openapi = json_reply(_openapi(rules, documented))
        document = _route("/api-docs/openapi.json", _OPEN, GET=("openapi", lambda _: self._openapi))
        self._routes = (*api, *_root_routes(), document)

    def handle(self, request: Request, now: float) -> Steps:
        """Answer ``request``, which came in at ``now``."""
        parts = tuple(request.path.split("/")[1:])
        route, named = next(
            ((route, named) for route in self._routes if (named := route.match(parts)) is not None), (None, {})
        )
        method = "GET" if request.method == "HEAD" else request.method
        kind, handler = (None if route is None else route.methods.get(method)) or ("other", None)
        world = self._world
        world.history.counters.calls[kind] += 1
        fired = Fired() if request.path.startswith(_CONTROL) else self._fire(kind, request, named, now)
        try:
            now = yield from _before(world, kind, fired, now)
            answer = self._admit(request, route, handler)(Call(world, request, named, now, fired))
            reply = answer if isinstance(answer, Response) else (yield from answer)
        except Refusal as early:
            reply = early.response
        except _Dead:
            return ConnectionDies()
        if fired.has("reply-lost"):
            return ConnectionDies()
        if fired.has("reply-hangs"):
            yield math.inf
        return _spoil(reply, kind, fired)

    def _fire(self, kind: str, request: Request, named: dict[str, str], now: float) -> Fired:
        """The faults that happen to this call."""
        world = self._world
        relayers: frozenset[int] = frozenset()
        if world.faults.by_relayer:
            relayers = session.session_relayers(world, kind, _peek(request.body), named)
        fired = world.faults.fire(kind, relayers, now)
        world.history.counters.faults.update(fault.kind for fault in fired.faults)
        return fired

    def _admit(self, request: Request, route: _Route | None, handler: Handler | None) -> Handler:
        """The checks before the handler: Accept, then the token, then the route and its method.

        Raises:
            Refusal: one of them fails.
        """
        world = self._world
        if request.method == "OPTIONS" and request.path.startswith(BASE):
            raise Refusal(empty_reply(200, ("access-control-allow-origin", "*")))
        # Every unknown path falls through to the guards of the metrics (contract §1.5).
        guard = _METRICS if route is None else route.guard
        if guard.types is not None and not accepts(request, guard.types):
            world.history.counters.not_acceptable += 1
            raise Refusal(empty_reply(406))
        if guard.token and not authorized(request, world.config.token, world.rules):
            world.history.counters.unauthorized += 1
            raise Refusal(error_reply(401, "UNAUTHORIZED"))
        if route is None:
            raise Refusal(empty_reply(404))
        if handler is None:
            raise Refusal(empty_reply(405, ("allow", route.allowed)))
        return handler


class _Dead(Exception):  # noqa: N818 - a way out, no error
    """The connection dies here."""


def _before(world: World, kind: str, fired: Fired, now: float) -> Generator[float, float, float]:
    """The faults and the latencies that come before a call's effect."""
    if kind == "control":
        return now
    wait = world.config.call_latency
    if kind == "close":
        wait += world.config.delete_latency
    if kind != "open":
        wait += fired.delay
    if wait:
        now = yield now + wait
    if fired.has("hang"):
        yield math.inf
    if fired.has("reset"):
        raise _Dead
    status = fired.get("status")
    if status is not None:
        raise Refusal(_fault_status(status.status))
    return now


def _fault_status(status: int) -> Response:
    """An answer with the status of a fault, shaped as the daemon would shape it."""
    if status == 401:
        return error_reply(401, "UNAUTHORIZED")
    if status in (204, 304):
        return empty_reply(status)
    if status >= 500:
        return text_reply(status, "simulated fault")
    return error_reply(status, "UNKNOWN_FAILURE", "simulated fault")


#: What has no items, by kind of call and by how its body begins.
_EMPTY: Final[Mapping[str, Mapping[bytes, bytes]]] = {
    "list": {b"[": b"[]"},
    "peers": {b"[": b"[]", b"{": b'{"connected":[],"announced":[]}'},
    "channels": {b"{": b'{"incoming":[],"outgoing":[],"all":[]}'},
}


def _spoil(reply: Response, kind: str, fired: Fired) -> Response:
    """The faults of a reply's body."""
    if fired.has("garbage"):
        return attrs.evolve(json_reply(None), body=b'{"ip":"127.0.0.1","port":')
    if fired.has("empty"):
        return attrs.evolve(json_reply(None), body=_EMPTY.get(kind, {}).get(reply.body[:1], b""))
    if fired.has("null"):
        return json_reply(None)
    return reply


def _peek(body: bytes) -> Any:
    """The body as JSON, for faults that select by relayer; what is no JSON selects nothing."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _openapi(rules: Rules, routes: list[_Route]) -> dict[str, object]:
    """The public document: the version of the REST crate and the paths of the dialect (contract §1.1, §2.6)."""
    paths = {
        "/" + "/".join(route.pattern): {
            method.lower(): {"responses": {"200": {"description": kind}}} for method, (kind, _) in route.methods.items()
        }
        for route in routes
    }
    return {"openapi": "3.1.0", "info": {"title": "hoprd-api", "version": rules.rest_version}, "paths": paths}
