"""Finding the dialect by the routes that are there, once for all who ask, and again when the node was another one."""

from __future__ import annotations

import httpx
import pytest
import trio
import trio.testing

from trio_sessions._errors import (
    CannotPinRelayerError,
    ConnectionLostError,
    MalformedReplyError,
    NodeTimeoutError,
    NodeUnavailableError,
    NotAcceptableError,
    NotFoundError,
    RejectedError,
    ServerFailureError,
    SessionsError,
    UnauthorizedError,
)
from trio_sessions._hoprd import Hoprd
from trio_sessions._model import Dialect, Pinning

from .support import (
    API,
    BY_RELAYER,
    ROUTES,
    TOKEN,
    Canned,
    error_json,
    http,
    http_json,
    listener_json,
    raw_node,
    routed,
)


def known(hoprd: Hoprd) -> Dialect | None:
    """What the client knows, in a form that the type checker does not take for unchanging."""
    return hoprd.dialect


CONNECTED = f"{API}/network/connected"
OPENAPI = "/api-docs/openapi.json"
EXPLICIT = f"{API}/session/udp/explicit-path"


@pytest.mark.parametrize(
    ("dialect", "expected"),
    [
        ("3.x", Dialect("3.x", Pinning.INTERMEDIATE_PATH, "", connected_route=False, status_route=False)),
        ("4.1", Dialect("4.1", Pinning.EXPLICIT_PATH_ROUTE, "", connected_route=True, status_route=True)),
    ],
)
async def test_dialects(dialect: str, expected: Dialect) -> None:
    async with raw_node(routed(ROUTES[dialect])) as node, Hoprd(node.url, token=TOKEN) as hoprd:
        assert known(hoprd) is None
        assert node.asked == []  # entering asks nothing: the node may not be up yet
        assert await hoprd.probe() == expected
        assert hoprd.dialect == expected
        asked = len(node.asked)
        assert await hoprd.probe() == expected
        assert len(node.asked) == asked
        assert {each.method for each in node.asked} == {"GET"}
        assert {each.headers["accept"] for each in node.asked} == {"*/*"}


def openapi(version: object, *paths: str) -> bytes:
    return http_json({"info": {"version": version}, "paths": {path: {} for path in paths}})


EXPLICIT_TEMPLATE = f"{API}/session/{{protocol}}/explicit-path"


@pytest.mark.parametrize(
    ("document", "name", "remedy"),
    [
        (openapi("4.11.0"), "4.0", "upgrade the node to hoprd 4.0.3"),
        (openapi("4.12.1", EXPLICIT_TEMPLATE), "4.0", "switch on"),
        (openapi("4.14.0", EXPLICIT_TEMPLATE), "4.1", "switch on"),
        (openapi("5.0.0-rc.1", EXPLICIT_TEMPLATE), "4.1", "switch on"),
        (openapi("4.0.3"), "4.0", "upgrade"),
        (openapi("4.1.0"), "4.1", "upgrade"),
        (openapi("next"), "4.x", "upgrade"),
        (openapi("9" * 5000 + ".1"), "4.x", "upgrade"),
        (openapi(4), "4.x", r"switch on .*\(hoprd 4\.0\.3 or later\)"),
        (http(404), "4.x", r"switch on .*\(hoprd 4\.0\.3 or later\)"),
        (http(500), "4.x", "switch on"),
        (http(200, "<html>", "text/html"), "4.x", "switch on"),
        (error_json(200, "UNKNOWN_FAILURE"), "4.x", "switch on"),
    ],
    ids=["M40", "4.0.3", "4.1", "5", "own 4.0.3", "own 4.1", "word", "digits", "number", "404", "500", "html", "error"],
)  # fmt: skip
async def test_explicit_path_disabled(document: bytes, name: str, remedy: str) -> None:
    routes = {path: reply for path, reply in ROUTES["4.0"].items() if path != OPENAPI} | {OPENAPI: document}
    async with raw_node(routed(routes)) as node, Hoprd(node.url) as hoprd:
        dialect = await hoprd.probe()
        assert (dialect.name, dialect.pinning) == (name, Pinning.NONE)
        with pytest.raises(CannotPinRelayerError, match=remedy) as caught:
            await hoprd.open_session(BY_RELAYER)
        for way in ("api.enable_explicit_path_sessions", "--enableExplicitPathSessions", "by a number of hops"):
            assert way in caught.value.remedy


async def test_an_explicit_path_route_counts_wherever_it_is() -> None:
    routes = ROUTES["3.x"] | {EXPLICIT: http(405), f"{API}/node/status": http_json({})}
    async with raw_node(routed(routes)) as node, Hoprd(node.url) as hoprd:
        dialect = await hoprd.probe()
        assert (dialect.name, dialect.pinning, dialect.status_route) == ("3.x", Pinning.EXPLICIT_PATH_ROUTE, True)


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (error_json(401, "UNAUTHORIZED"), UnauthorizedError),
        (http(401), UnauthorizedError),
        (http(404), NotFoundError),
        (http(500), ServerFailureError),
        (error_json(500, "UNKNOWN_FAILURE"), ServerFailureError),
        (http(406), NotAcceptableError),
        (http(422, "?", "text/plain"), RejectedError),
        (http(302), MalformedReplyError),
        (http(200, "<html>", "text/html"), MalformedReplyError),
        (b"", ConnectionLostError),
    ],
    ids=["401", "401 of a proxy", "no hoprd", "500", "500 JSON", "406", "422", "302", "a web page", "dies"],
)
async def test_failing_probes(reply: bytes, error: type[SessionsError]) -> None:
    async with raw_node(lambda _: reply) as node, Hoprd(node.url) as hoprd:
        with pytest.raises(error) as caught:
            await hoprd.probe()
        assert type(caught.value) is error
        assert hoprd.dialect is None
        node.answer = routed(ROUTES["4.1"])
        assert (await hoprd.probe()).name == "4.1"


@pytest.mark.parametrize("reply", [error_json(422, "UNKNOWN_FAILURE", "chain trouble"), error_json(404, "NOT_READY")])
async def test_a_route_that_refuses_is_there(reply: bytes) -> None:
    routes = ROUTES["4.1"] | {CONNECTED: reply}
    async with raw_node(routed(routes)) as node, Hoprd(node.url) as hoprd:
        assert (await hoprd.probe()).connected_route


async def test_one_probe_for_all_who_ask() -> None:
    async with raw_node(routed(ROUTES["4.1"])) as node, Hoprd(node.url) as hoprd:
        async with trio.open_nursery() as nursery:
            for _ in range(50):
                nursery.start_soon(hoprd.probe)
        assert len(node.asked) == 4


async def test_a_failed_probe_fails_all_who_ask_but_each_with_its_own() -> None:
    errors: list[SessionsError] = []

    async def ask() -> None:
        with pytest.raises(UnauthorizedError) as caught:
            await hoprd.probe()
        errors.append(caught.value)

    async with raw_node(lambda _: error_json(401, "UNAUTHORIZED")) as node, Hoprd(node.url) as hoprd:
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(ask)
        assert len(node.asked) == 1
    assert len({id(error) for error in errors}) == 3
    assert len({str(error) for error in errors}) == 1
    assert all(vars(error) == vars(errors[0]) for error in errors)


async def test_another_one_goes_on_when_the_one_who_probes_is_cancelled() -> None:
    async with raw_node(lambda _: None) as node, Hoprd(node.url) as hoprd, trio.open_nursery() as nursery:
        scope = trio.CancelScope()

        async def first() -> None:
            with scope:
                await hoprd.probe()

        nursery.start_soon(first)
        await trio.testing.wait_all_tasks_blocked(0.01)
        nursery.start_soon(hoprd.probe)
        nursery.start_soon(hoprd.probe)
        await trio.testing.wait_all_tasks_blocked(0.01)
        while not node.asked:
            await trio.testing.wait_all_tasks_blocked(0.01)
        assert len(node.asked) == 1
        node.answer = routed(ROUTES["3.x"])
        scope.cancel()
        assert (await hoprd.probe()).name == "3.x"
        assert len(node.asked) == 5


async def test_forgotten_while_the_node_is_away() -> None:
    async with raw_node(routed(ROUTES["3.x"])) as node, Hoprd(node.url) as hoprd:
        assert await hoprd.peers() == ()
        node.answer = lambda _: b""
        with pytest.raises(ConnectionLostError):
            await hoprd.version()
        assert known(hoprd) is None
        node.answer = routed(ROUTES["4.1"])
        assert await hoprd.peers() == ()
        assert (await hoprd.probe()).name == "4.1"


async def test_a_time_out_is_no_sign_of_another_node() -> None:
    async with raw_node(routed(ROUTES["3.x"])) as node, Hoprd(node.url, timeout=0.1) as hoprd:
        await hoprd.probe()
        node.answer = lambda _: None
        with pytest.raises(NodeTimeoutError):
            await hoprd.version()
        assert hoprd.dialect is not None


@pytest.mark.parametrize(("before", "after"), [("3.x", "4.1"), ("4.1", "3.x"), ("4.0", "3.x")])
async def test_forgotten_when_a_route_is_gone(before: str, after: str) -> None:
    async with raw_node(routed(ROUTES[before])) as node, Hoprd(node.url) as hoprd:
        await hoprd.probe()
        node.answer = routed(ROUTES[after])
        with pytest.raises(NotAcceptableError):
            await hoprd.peers()
        assert await hoprd.peers() == ()
        assert (await hoprd.probe()).name == after


SHAPE = "Failed to deserialize the JSON body into the target type: unknown variant `IntermediatePath`, expected `Hops`"
RULE = "explicit path routing is only supported on /session/{protocol}/explicit-path"


@pytest.mark.parametrize(
    "refusal",
    [http(422, SHAPE, "text/plain; charset=utf-8"), error_json(422, "UNKNOWN_FAILURE", RULE)],
    ids=["M40", "4.0.3"],
)
async def test_forgotten_when_a_relayer_is_refused_as_such(refusal: bytes) -> None:
    plain = f"POST {API}/session/udp"
    async with raw_node(routed(ROUTES["3.x"] | {plain: refusal})) as node, Hoprd(node.url) as hoprd:
        with pytest.raises(RejectedError):
            await hoprd.open_session(BY_RELAYER)
        assert hoprd.dialect is None
        node.answer = routed(ROUTES["4.1"] | {f"POST {EXPLICIT}": http_json(listener_json())})
        assert (await hoprd.open_session(BY_RELAYER)).key.port == 4711


async def test_another_refusal_is_no_sign_of_another_node() -> None:
    refusal = error_json(422, "UNKNOWN_FAILURE", "session operation timed out")
    async with raw_node(routed(ROUTES["3.x"] | {f"POST {API}/session/udp": refusal})) as node, Hoprd(node.url) as hoprd:
        with pytest.raises(RejectedError):
            await hoprd.open_session(BY_RELAYER)
        assert hoprd.dialect is not None


async def test_a_probe_that_was_overtaken_by_a_restart_is_not_kept() -> None:
    class Slow(httpx.AsyncHTTPTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            if request.url.path == CONNECTED:
                await go_on.wait()
            return await super().handle_async_request(request)

    async def probe() -> None:
        found.append(await hoprd.probe())

    found: list[Dialect] = []
    go_on = trio.Event()
    replies = routed(ROUTES["3.x"] | {f"{API}/node/version": b""})
    async with raw_node(replies) as node, Hoprd(node.url, transport=Slow()) as hoprd:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(probe)
            await trio.testing.wait_all_tasks_blocked(0.01)
            with pytest.raises(ConnectionLostError):
                await hoprd.version()
            go_on.set()
        assert found[0].name == "3.x"
        assert known(hoprd) is None
        await hoprd.probe()
        assert hoprd.dialect == found[0]


@pytest.mark.parametrize("reply", [http(500), http(200, "?", "application/json")], ids=["500", "garbage"])
async def test_an_open_whose_probe_is_answered_badly_was_not_sent(reply: bytes) -> None:
    async with raw_node(lambda _: reply) as node, Hoprd(node.url) as hoprd:
        with pytest.raises(NodeUnavailableError, match=r"POST .* not sent: probing the node failed"):
            await hoprd.open_session(BY_RELAYER)


@pytest.mark.parametrize("raised", [httpx.ReadTimeout("slow"), httpx.ReadError("gone")], ids=repr)
async def test_an_open_whose_probe_fails_was_not_sent(raised: Exception) -> None:
    """The outcome of the probe is unknown, that of the POST is not: nobody has to look for a listener."""

    async def answer(request: httpx.Request) -> httpx.Response:
        await trio.lowlevel.checkpoint()
        raise raised

    async with Hoprd("http://node", transport=Canned(answer)) as hoprd:
        with pytest.raises(NodeUnavailableError, match="not sent: probing the node failed") as caught:
            await hoprd.open_session(BY_RELAYER)
        assert caught.value.method == "POST"
