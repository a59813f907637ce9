"""POSTs take long: over real sockets, those that hang cost no other call anything, and there is a bound on them."""

from __future__ import annotations

import random
from collections import Counter
from contextlib import suppress

import attrs
import httpx
import pytest
import trio
import trio.testing
from trio.testing import MockClock

from trio_sessions import _rest_edge
from trio_sessions._errors import NodeError
from trio_sessions._rest_edge import Edge
from trio_sessions._rest_errors import Reply
from trio_sessions._transport import Progress, Transport

from .support import http
from .test_transport import CHUNKED, GONE, HEAD, HELLO, Server, fetch, hang, hang_up, say, serving, stats, transport_to

#: After so long, seconds, a POST's room is another one's.
PATIENCE = 1.0


@attrs.define
class Answering:
    """Answers all but POSTs, which hang, or are answered when they are let go."""

    go_on: trio.Event = attrs.Factory(trio.Event)
    server: Server | None = None

    async def __call__(self, stream: trio.SocketStream) -> bool:
        assert self.server is not None
        if self.server.asked[-1][0].startswith("/post"):
            await self.go_on.wait()
        return await say(HELLO)(stream)

    def posts(self) -> int:
        assert self.server is not None
        return sum(path.startswith("/post") for path in self.server.paths())


async def post(transport: Transport, number: int, scope: trio.CancelScope | None = None) -> None:
    with scope or trio.CancelScope():
        assert await fetch(transport, f"/post/{number}", "POST") == b"hello"


def all_free(transport: Transport, most: int) -> bool:
    """Nobody has a turn, waits for one, or kept a part of one."""
    found = transport.statistics()
    limit = transport._posts
    return (
        (found.in_use, found.waiting) == (0, 0)
        and transport._slots.value == most
        and not (limit._busy or limit._waiting or limit._slow)
    )


@pytest.mark.parametrize("most", [1, 2, 3, 4, 8])
async def test_posts_that_hang_never_keep_another_call_from_a_connection(mock_clock: MockClock, most: int) -> None:
    act = Answering()
    async with serving(act) as act.server, transport_to(act.server, most) as transport:
        async with trio.open_nursery() as nursery:
            for number in range(3 * most):
                nursery.start_soon(post, transport, number)
            await trio.testing.wait_all_tasks_blocked(0.005)
            went_out = act.posts()
            assert went_out == max(1, most * 3 // 4)
            # Not one moment passes by this clock.
            for method in ("GET", "DELETE", "GET"):
                assert await fetch(transport, "/other", method, pool=0.0) == b"hello"
            assert transport.statistics() == stats(went_out, 1, waiting=3 * most - went_out)
            act.go_on.set()
        assert all_free(transport, most)


async def test_posts_beyond_the_share_go_out_after_a_seconds_patience(mock_clock: MockClock) -> None:
    act = Answering()
    async with serving(act) as act.server, transport_to(act.server, most=4) as transport:
        async with trio.open_nursery() as nursery:
            for number in range(10):
                nursery.start_soon(post, transport, number)
                await trio.testing.wait_all_tasks_blocked(0.002)
            assert act.posts() == 3
            mock_clock.jump(PATIENCE - 0.01)
            await trio.testing.wait_all_tasks_blocked(0.01)
            assert act.posts() == 3
            for out in (6, 9, 10):
                mock_clock.jump(0.01 if out == 6 else PATIENCE)
                await act.server.until(lambda out=out: act.posts() == out)  # type: ignore[misc]
                await trio.testing.wait_all_tasks_blocked(0.005)
                assert act.posts() == out
                assert transport.statistics().in_use == out
                assert transport.statistics().waiting == 10 - out
                assert await fetch(transport, "/other", pool=0.0) == b"hello"
            # In turn.
            assert [path for path in act.server.paths() if path != "/other"] == [f"/post/{n}" for n in range(10)]
            act.go_on.set()
        assert all_free(transport, 4)
        assert transport.statistics().kept <= 8
        # And over all of its connections it makes the calls of before.
        assert await fetch(transport, method="POST", pool=0.0) == b"hello"
    await act.server.until(lambda: act.server is not None and act.server.open == 0)


async def test_there_is_a_bound_on_posts_that_hang(mock_clock: MockClock) -> None:
    act = Answering()
    async with serving(act) as act.server, transport_to(act.server, most=2) as transport:
        async with trio.open_nursery() as nursery:
            for number in range(40):
                nursery.start_soon(post, transport, number)
            for _ in range(36):
                await trio.testing.wait_all_tasks_blocked(0.002)
                mock_clock.jump(PATIENCE)
            # One that has its share, and 16 for each of the connections.
            assert transport.statistics() == stats(33, 0, waiting=7)
            assert act.posts() == 33
            assert await fetch(transport, "/other", "DELETE", pool=0.0) == b"hello"
            act.go_on.set()
        assert act.posts() == 40
        assert all_free(transport, 2)


@pytest.mark.parametrize("which", ["waiting", "under way", "slow"])
async def test_a_cancelled_post_gives_its_room_back(mock_clock: MockClock, which: str) -> None:
    act = Answering()
    async with serving(act) as act.server, transport_to(act.server, most=2) as transport:
        async with trio.open_nursery() as nursery:
            scopes = [trio.CancelScope() for _ in range(3)]
            for number, scope in enumerate(scopes):
                nursery.start_soon(post, transport, number, scope)
                await trio.testing.wait_all_tasks_blocked(0.002)
            if which == "slow":
                mock_clock.jump(PATIENCE)
                await act.server.until(lambda: act.posts() == 2)
            before = act.posts()
            scopes[{"waiting": 2, "under way": 0, "slow": 0}[which]].cancel()
            await trio.testing.wait_all_tasks_blocked(0.01)
            # The next one had to wait for the room of the one under way, and for nobody else.
            assert act.posts() == before + (which == "under way")
            assert transport.statistics() == stats(1, 0, waiting=1)
            act.go_on.set()
        assert all_free(transport, 2)


async def test_idle_connections_give_their_descriptors_back_but_for_one() -> None:
    act = Answering()
    async with serving(act) as act.server, transport_to(act.server, most=8) as transport:
        async with trio.open_nursery() as nursery:
            for number in range(5):
                nursery.start_soon(post, transport, number)
            await act.server.until(lambda: act.posts() == 5)
            # Those in use are nobody's to close.
            transport.close_idle()
            act.go_on.set()
        assert transport.statistics() == stats(0, 5)
        for _ in range(2):
            transport.close_idle()
            assert transport.statistics() == stats(0, 1)
        await act.server.until(lambda: act.server is not None and act.server.open == 1)
        # The last one works.
        connections = act.server.connections
        assert await fetch(transport) == b"hello"
        assert act.server.connections == connections


async def test_the_end_reaches_those_that_hang_and_those_that_wait(mock_clock: MockClock) -> None:
    async with serving(hang) as server:
        transport = transport_to(server, most=2)
        errors: Counter[str] = Counter()

        async def fail(number: int) -> None:
            try:
                await fetch(transport, f"/{number}", "POST")
            except httpx.TransportError as error:
                errors[type(error).__name__] += 1

        async with trio.open_nursery() as nursery:
            for number in range(5):
                nursery.start_soon(fail, number)
            await server.until(lambda: len(server.asked) == 1)
            mock_clock.jump(PATIENCE)
            await server.until(lambda: len(server.asked) == 2)
            await transport.aclose()
        assert errors == {"ReadError": 2, "ConnectError": 3}
        assert all_free(transport, 2)
        await server.until(lambda: server.open == 0)


@pytest.mark.parametrize("seed", range(12))
async def test_whatever_becomes_of_calls_no_room_is_lost(mock_clock: MockClock, seed: int) -> None:
    """Calls of both ways, answered late or never, cancelled at any moment, while seconds pass."""
    rng = random.Random(seed)
    most = rng.choice([1, 2, 3, 4])

    async def act(stream: trio.SocketStream) -> bool:
        for _ in range(rng.choice([0, 0, 1, 5, 50])):
            await trio.lowlevel.checkpoint()
        return await rng.choice([say(HELLO), say(HELLO), say(GONE), say(HELLO[:-2]), hang_up, hang])(stream)

    async def one(scope: trio.CancelScope, method: str, raw: bool) -> None:
        with scope, suppress(httpx.TransportError):
            if raw:
                message = b"%b / HTTP/1.1\r\nHost: x\r\n\r\n" % method.encode()
                await transport.call(
                    method, message, Progress(), pool_timeout=5.0, connect_timeout=5.0, max_body=rng.choice([2, 100])
                )
            else:
                await fetch(transport, "/", method, pool=5.0)

    async with serving(act) as server:
        async with transport_to(server, most) as transport:
            async with trio.open_nursery() as nursery:
                scopes = []
                for _ in range(40):
                    scopes.append(trio.CancelScope())
                    method = rng.choice(["POST", "POST", "GET", "DELETE"])
                    nursery.start_soon(one, scopes[-1], method, rng.random() < 0.5)
                    for _ in range(rng.choice([0, 0, 1, 5, 20])):
                        await trio.lowlevel.checkpoint()
                    if rng.random() < 0.3:
                        rng.choice(scopes).cancel()
                    if rng.random() < 0.3:
                        mock_clock.jump(rng.choice([0.1, 0.5, PATIENCE]))
                await trio.testing.wait_all_tasks_blocked(0.002)
                for scope in scopes:
                    scope.cancel()
            assert all_free(transport, most)
            server.act = say(HELLO)
            for method in ("GET", "POST"):
                assert await fetch(transport, "/", method, pool=0.0) == b"hello"
        assert transport.statistics() == stats(0, 0)
        await server.until(lambda: server.open == 0)


class ByHttpx(httpx.AsyncBaseTransport):
    """The same transport, as one that the edge does not know: with httpx's request and response."""

    def __init__(self, transport: Transport) -> None:
        self.inner = transport

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return await self.inner.handle_async_request(request)

    async def aclose(self) -> None:
        await self.inner.aclose()


LONG = 5000
REPLIES = {
    "json": http(200, '{"a": 1}', "application/json"),
    "nothing": GONE,
    "empty": http(200),
    "charset": http(200, "{}", "Application/JSON ; charset=utf-8"),
    "header case": HEAD + b"cOnTeNt-TyPe: application/json\r\ncontent-LENGTH: 2\r\n\r\n{}",
    "two types": HEAD + b"Content-Type: a/b\r\nContent-Type: c/d\r\nContent-Length: 2\r\n\r\n{}",
    "type of latin-1": HEAD + b"Content-Type: a/\xe9\r\nContent-Length: 2\r\n\r\n{}",
    "compressed": http(200, "x", "", "Content-Encoding: gzip"),
    "compressed nothing": http(200, "", "", "Content-Encoding: gzip"),
    "identity": http(200, "x", "", "Content-Encoding: Identity"),
    "chunked": CHUNKED + b"3\r\nabc\r\n0\r\n\r\n",
    "until the end": HEAD + b"\r\nhello",
    "1xx": b"HTTP/1.1 100 Continue\r\n\r\n" + HELLO,
    "status": http(500, "no", "text/plain"),
    "just fits": http(200, b"x" * LONG, "a/b"),
    "a byte too long": http(200, b"x" * (LONG + 1), "a/b"),
    "far too long": http(200, b"x" * 400_000, "a/b"),
    "chunks too long": CHUNKED + (b"fff\r\n" + b"x" * 0xFFF + b"\r\n") * 5 + b"0\r\n\r\n",
    "chunks just fit": CHUNKED + (b"3e8\r\n" + b"x" * 1000 + b"\r\n") * 5 + b"0\r\n\r\n",
    "half a body": HELLO[:-2],
    "half a chunk": CHUNKED + b"5\r\nab",
    "half a head": b"HTTP/1.1 200 OK\r\nCont",
    "garbage": b"what?\r\n\r\n",
    "bad chunk": CHUNKED + b"zz\r\n",
    "two lengths": HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nx",
}


@pytest.mark.parametrize("pieces", [False, True], ids=["at once", "in pieces"])
@pytest.mark.parametrize("name", REPLIES)
async def test_both_ways_to_call_say_the_same(name: str, pieces: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_rest_edge, "MAX_BODY", LONG)
    reply = REPLIES[name]
    size = max(7, len(reply) // 20)
    asked = []

    async def act(stream: trio.SocketStream) -> bool:
        for part in [reply[i : i + size] for i in range(0, len(reply), size)] if pieces else [reply]:
            await stream.send_all(part)
            await trio.testing.wait_all_tasks_blocked()
        return name in ("json", "nothing", "chunked")

    async with serving(act) as server:
        results: list[Reply | tuple[type, str]] = []
        for wrap in (False, True):
            own = transport_to(server)
            edge = Edge(
                server.url, token="a" * 8, timeout=5, transport=ByHttpx(own) if wrap else own, max_connections=1
            )
            await edge.open()
            try:
                results.append(await edge.call("POST", "/a", query="?b=c", body=b"{}"))
            except NodeError as error:
                results.append((type(error), str(error)))
            found = own.statistics()
            assert found.in_use == 0
            assert found.kept == 0 or not name.startswith(("half", "far"))
            asked.append(server.asked[-1][0])
            await edge.aclose()
        assert results[0] == results[1]
        assert asked == ["/a?b=c", "/a?b=c"]
        await server.until(lambda: server.open == 0)
