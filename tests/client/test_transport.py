"""Our transport over real sockets: whose turn it is, which connection is used, and what becomes of it."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import attrs
import httpx
import pytest
import trio
import trio.testing
from hypothesis import given, settings, strategies as st

from trio_sessions import _transport
from trio_sessions._errors import ConnectionLostError, NodeUnavailableError
from trio_sessions._hoprd import Hoprd
from trio_sessions._model import ListenerKey
from trio_sessions._rest_edge import Edge
from trio_sessions._transport import STALE_AGE, Transport, TransportStatistics
from trio_sessions._transport_connection import Connection
from trio_sessions._transport_wire import MAX_HEAD, Reader

from .support import http, raw_server

GONE = http(204)
HELLO = http(200, "hello", "text/plain")
KEEP_FOR = 30.0
KEY = ListenerKey("udp", "127.0.0.1", 4711)

#: Answers one request on its connection: ``False`` ends the connection.
Act = Callable[[trio.SocketStream], Awaitable[bool]]


@attrs.define
class Server:
    """What a server under way was asked, over which connection, and how it goes on."""

    act: Act
    url: str = ""
    asked: list[tuple[str, int]] = attrs.Factory(list)
    connections: int = 0
    open: int = 0

    def paths(self) -> list[str]:
        return [path for path, _ in self.asked]

    def used(self) -> list[int]:
        """The number of the connection that each request came over."""
        return [number for _, number in self.asked]

    async def until(self, reached: Callable[[], bool]) -> None:
        with trio.fail_after(5):
            while not reached():
                await trio.testing.wait_all_tasks_blocked(0.001)


def say(*replies: bytes, end: bool = False) -> Act:
    """Answer each request with the next of ``replies``, and for ever with the last one."""
    left = list(replies)

    async def act(stream: trio.SocketStream) -> bool:
        await stream.send_all(left.pop(0) if len(left) > 1 else left[0])
        return not end

    return act


async def hang(stream: trio.SocketStream) -> bool:
    """Never answer, and see the client go."""
    await stream.receive_some()
    return False


async def hang_up(stream: trio.SocketStream) -> bool:
    """Close without an answer."""
    return False


async def reset(stream: trio.SocketStream) -> bool:
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    return False


@asynccontextmanager
async def serving(act: Act) -> AsyncIterator[Server]:
    server = Server(act)

    async def handle(stream: trio.SocketStream) -> None:
        server.connections += 1
        server.open += 1
        number = server.connections
        received = b""
        try:
            async with stream:
                with suppress(trio.BrokenResourceError):
                    while data := await stream.receive_some():
                        received += data
                        while b"\r\n\r\n" in received:
                            head, _, received = received.partition(b"\r\n\r\n")
                            server.asked.append((head.split(b" ")[1].decode(), number))
                            if not await server.act(stream):
                                return
        finally:
            server.open -= 1

    async with raw_server(handle) as server.url:
        yield server


def transport_to(server: Server, most: int = 8, kept: int = 8) -> Transport:
    return Transport(server.url, max_connections=most, max_kept=kept, keep_for=KEEP_FOR)


async def fetch(transport: Transport, path: str = "/", method: str = "GET", **timeout: float) -> bytes:
    """One call, with its body read."""
    url = httpx.URL(scheme="http", host=transport._origin[1], port=transport._origin[2], path=path)
    request = httpx.Request(method, url, extensions={"timeout": timeout})
    response = await transport.handle_async_request(request)
    try:
        return b"".join([chunk async for chunk in response.aiter_raw()])
    finally:
        await response.aclose()


async def expect(error: type[Exception], transport: Transport, path: str = "/", **timeout: float) -> None:
    with pytest.raises(error):
        await fetch(transport, path, "GET", **timeout)


def stats(in_use: int, kept: int, waiting: int = 0) -> TransportStatistics:
    return TransportStatistics(in_use, kept, waiting)


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> list[Connection]:
    """Every connection that a transport makes."""
    made: list[Connection] = []

    class Recorded(Connection):
        def __init__(self, stream: trio.SocketStream) -> None:
            super().__init__(stream)
            made.append(self)

    monkeypatch.setattr(_transport, "Connection", Recorded)
    return made


def closed(connection: Connection) -> bool:
    return connection._socket.fileno() == -1


class TestConnections:
    async def test_one_is_enough_for_one_call_after_another(self) -> None:
        async with serving(say(GONE, HELLO)) as server, transport_to(server) as transport:
            assert await fetch(transport, method="DELETE") == b""
            for _ in range(3):
                with trio.testing.assert_checkpoints():
                    assert await fetch(transport) == b"hello"
                assert transport.statistics() == stats(0, 1)
            assert server.connections == 1
        assert transport.statistics() == stats(0, 0)

    async def test_the_last_one_first(self) -> None:
        async with serving(hang) as server, transport_to(server) as transport:
            go_on = trio.Event()

            async def wait(stream: trio.SocketStream) -> bool:
                await go_on.wait()
                return await say(HELLO)(stream)

            server.act = wait
            async with trio.open_nursery() as nursery:
                for _ in range(3):
                    nursery.start_soon(fetch, transport)
                await server.until(lambda: len(server.asked) == 3)
                go_on.set()
            last = transport._kept[-1]
            for _ in range(3):
                await fetch(transport)
                assert transport._kept[-1] is last
            assert len(set(server.used()[3:])) == 1

    async def test_no_more_are_kept_than_allowed(self, connections: list[Connection]) -> None:
        barrier: list[None] = []

        async def together(stream: trio.SocketStream) -> bool:
            barrier.append(None)
            await server.until(lambda: len(barrier) >= 5)
            return await say(HELLO)(stream)

        async with serving(together) as server, transport_to(server, kept=2) as transport:
            async with trio.open_nursery() as nursery:
                for _ in range(5):
                    nursery.start_soon(fetch, transport)
            assert transport.statistics() == stats(0, 2)
            assert sum(map(closed, connections)) == 3

    async def test_none_is_kept_for_longer_than_allowed(
        self, connections: list[Connection], mock_clock: trio.testing.MockClock
    ) -> None:
        async with serving(say(HELLO)) as server, transport_to(server) as transport:
            await fetch(transport)
            mock_clock.jump(KEEP_FOR - 0.1)
            await fetch(transport)
            assert server.used() == [1, 1]
            mock_clock.jump(KEEP_FOR)
            assert not closed(connections[0])
            await fetch(transport)
            assert server.used() == [1, 1, 2]
            assert closed(connections[0])

    @pytest.mark.parametrize("method", ["GET", "DELETE", "POST"])
    async def test_one_that_the_server_closed_is_not_used(self, method: str) -> None:
        async with serving(say(HELLO, end=True)) as server, transport_to(server) as transport:
            for _ in range(3):
                await fetch(transport, method=method)
                await server.until(lambda: server.open == 0)
            assert server.used() == [1, 2, 3]

    async def test_one_with_unasked_bytes_is_not_used(self) -> None:
        async def twice(stream: trio.SocketStream) -> bool:
            await stream.send_all(HELLO)
            await trio.testing.wait_all_tasks_blocked(0.01)
            await stream.send_all(http(200, "evil", "text/plain"))
            return True

        async with serving(twice) as server, transport_to(server) as transport:
            await fetch(transport)
            await trio.testing.wait_all_tasks_blocked(0.05)
            assert await fetch(transport) == b"hello"
            assert server.used() == [1, 2]

    @pytest.mark.parametrize(
        "reply",
        [
            http(200, "hello", "text/plain", "Connection: close"),
            HELLO.replace(b"HTTP/1.1", b"HTTP/1.0"),
            HELLO + b"x",
            HELLO + HELLO,
        ],
        ids=["connection: close", "HTTP/1.0", "a byte too many", "two responses"],
    )
    async def test_one_that_cannot_go_on_is_closed(self, reply: bytes, connections: list[Connection]) -> None:
        async with serving(say(reply)) as server, transport_to(server) as transport:
            for _ in range(2):
                assert await fetch(transport) == b"hello"
                assert transport.statistics() == stats(0, 0)
            assert all(map(closed, connections))
            assert server.used() == [1, 2]


class TestQueue:
    async def test_first_come_first_served(self) -> None:
        go_on = trio.Event()

        async def wait(stream: trio.SocketStream) -> bool:
            await go_on.wait()
            return await say(HELLO)(stream)

        async with serving(wait) as server, transport_to(server, most=1) as transport:
            async with trio.open_nursery() as nursery:
                scopes = [trio.CancelScope() for _ in range(8)]
                for number, scope in enumerate(scopes):
                    nursery.start_soon(self._fetch_in, scope, transport, f"/{number}")
                    await trio.testing.wait_all_tasks_blocked(0.001)
                await server.until(lambda: len(server.asked) == 1)
                assert transport.statistics() == stats(1, 0, waiting=7)
                for left in (2, 5):
                    scopes[left].cancel()
                await trio.testing.wait_all_tasks_blocked(0.001)
                assert transport.statistics() == stats(1, 0, waiting=5)
                go_on.set()
            assert server.paths() == ["/0", "/1", "/3", "/4", "/6", "/7"]
            assert server.connections == 1
            assert transport.statistics() == stats(0, 1)

    @staticmethod
    async def _fetch_in(scope: trio.CancelScope, transport: Transport, path: str) -> None:
        with scope:
            await fetch(transport, path)

    async def test_waiting_is_limited(self) -> None:
        async with serving(hang) as server, transport_to(server, most=1) as transport, trio.open_nursery() as nursery:
            nursery.start_soon(expect, httpx.ReadError, transport)
            await server.until(lambda: len(server.asked) == 1)
            with pytest.raises(httpx.PoolTimeout, match=r"no connection was free within 0\.01 s"):
                await fetch(transport, pool=0.01)
            assert transport.statistics() == stats(1, 0)
            await transport.aclose()

    async def test_a_turn_given_to_a_cancelled_call_is_passed_on(self) -> None:
        """The turn comes first, then the cancel, and the task runs after both."""
        async with serving(hang) as server, transport_to(server, most=1) as transport:
            async with trio.open_nursery() as nursery:
                second = trio.CancelScope()
                nursery.start_soon(expect, httpx.ReadError, transport, "/1")
                await server.until(lambda: len(server.asked) == 1)
                nursery.start_soon(self._fetch_in, second, transport, "/2")
                await trio.testing.wait_all_tasks_blocked()
                nursery.start_soon(self._fetch_in, trio.CancelScope(), transport, "/3")
                await trio.testing.wait_all_tasks_blocked()
                server.act = say(HELLO)
                [turn] = transport._turns
                transport._end(turn, keep=False)
                second.cancel()
            assert server.paths() == ["/1", "/3"]
            assert transport.statistics() == stats(0, 1)


class TestRepeating:
    @pytest.fixture
    async def server(self) -> AsyncIterator[Server]:
        async with serving(say(HELLO)) as server:
            yield server

    @pytest.mark.parametrize("failure", [hang_up, reset], ids=["closed", "reset"])
    async def test_stale(
        self, server: Server, failure: Act, mock_clock: trio.testing.MockClock, connections: list[Connection]
    ) -> None:
        async with transport_to(server, most=1) as transport:
            await fetch(transport)
            mock_clock.jump(STALE_AGE)
            server.act = self._first(failure, say(HELLO))
            assert await fetch(transport) == b"hello"
            assert server.used() == [1, 1, 2]
            assert transport.statistics() == stats(0, 1)
            assert len(connections) == 2

    @staticmethod
    def _first(act: Act, then: Act) -> Act:
        acts = [act]

        async def either(stream: trio.SocketStream) -> bool:
            return await (acts.pop() if acts else then)(stream)

        return either

    @pytest.mark.parametrize("failure", [hang_up, reset], ids=["closed", "reset"])
    @pytest.mark.parametrize("method", ["POST", "DELETE"])
    async def test_never_what_changes_something(
        self, server: Server, method: str, failure: Act, mock_clock: trio.testing.MockClock
    ) -> None:
        """A second POST opens a second listener, a second DELETE may hit whoever has the port by then."""
        async with transport_to(server) as transport:
            await fetch(transport)
            mock_clock.jump(STALE_AGE)
            server.act = failure
            with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
                await fetch(transport, method=method)
            assert server.used() == [1, 1]
            assert transport.statistics() == stats(0, 0)

    async def test_once(self, server: Server, mock_clock: trio.testing.MockClock) -> None:
        async with transport_to(server) as transport:
            await fetch(transport)
            mock_clock.jump(STALE_AGE)
            server.act = hang_up
            await expect(httpx.RemoteProtocolError, transport)
            assert server.used() == [1, 1, 2]
            # A new connection is not stale.
            await expect(httpx.RemoteProtocolError, transport)
            assert server.used() == [1, 1, 2, 3]
            assert transport.statistics() == stats(0, 0)

    @pytest.mark.parametrize("early", [b"H", b"HTTP/1.1 100 Continue\r\n\r\n"], ids=["a byte", "100"])
    async def test_not_after_a_byte_of_the_response(
        self, server: Server, early: bytes, mock_clock: trio.testing.MockClock
    ) -> None:
        async with transport_to(server) as transport:
            await fetch(transport)
            mock_clock.jump(STALE_AGE)
            server.act = say(early, end=True)
            await expect(httpx.RemoteProtocolError, transport)
            assert server.used() == [1, 1]

    async def test_not_when_it_answered_a_moment_ago(self, server: Server, mock_clock: trio.testing.MockClock) -> None:
        """Such a connection was not closed for its idleness: the node may have acted on the request."""
        async with transport_to(server) as transport:
            await fetch(transport)
            mock_clock.jump(STALE_AGE - 0.1)
            server.act = hang_up
            await expect(httpx.RemoteProtocolError, transport)
            assert server.used() == [1, 1]

    async def test_not_after_a_cancel(self, server: Server, mock_clock: trio.testing.MockClock) -> None:
        async with transport_to(server) as transport:
            await fetch(transport)
            mock_clock.jump(STALE_AGE)
            server.act = hang
            async with trio.open_nursery() as nursery:
                nursery.start_soon(fetch, transport)
                await server.until(lambda: len(server.asked) == 2)
                nursery.cancel_scope.cancel()
            await trio.testing.wait_all_tasks_blocked(0.01)
            assert server.used() == [1, 1]
            assert transport.statistics() == stats(0, 0)

    async def test_not_after_the_end(self, server: Server, mock_clock: trio.testing.MockClock) -> None:
        async with transport_to(server) as transport:
            await fetch(transport)
            mock_clock.jump(STALE_AGE)
            server.act = hang
            async with trio.open_nursery() as nursery:
                nursery.start_soon(expect, httpx.ReadError, transport)
                await server.until(lambda: len(server.asked) == 2)
                await transport.aclose()
            assert server.connections == 1

    async def test_a_node_that_went_in_between_may_have_acted(
        self, server: Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The new connection is refused, but something was sent over the old one."""

        async def refused(host: str, port: int) -> trio.SocketStream:
            await trio.lowlevel.checkpoint()
            raise ConnectionRefusedError(111, "refused")

        monkeypatch.setattr(_transport, "STALE_AGE", 0.0)
        async with Hoprd(server.url) as hoprd:
            server.act = say(http(200, '{"version": "1"}', "application/json"))
            await hoprd.version()
            server.act = hang_up
            monkeypatch.setattr(trio, "open_tcp_stream", refused)
            with pytest.raises(ConnectionLostError, match="closed before the response") as caught:
                await hoprd.version()
            assert isinstance(caught.value.__cause__, httpx.RemoteProtocolError)
            assert isinstance(caught.value.__cause__.__cause__, httpx.ConnectError)
            with pytest.raises(NodeUnavailableError, match="refused"):
                await hoprd.version()


class TestConnecting:
    async def test_refused(self) -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{unused.getsockname()[1]}"
            async with Transport(url, max_connections=1, max_kept=1, keep_for=1) as transport:
                for _ in range(3):
                    await expect(httpx.ConnectError, transport)
                assert transport.statistics() == stats(0, 0)

    async def test_slow(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._never_connects(monkeypatch)
        async with Transport("http://node", max_connections=1, max_kept=1, keep_for=1) as transport:
            for _ in range(3):
                await expect(httpx.ConnectTimeout, transport, connect=0.01)
            assert transport.statistics() == stats(0, 0)

    async def test_the_end_comes_first(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._never_connects(monkeypatch)
        transport = Transport("http://node", max_connections=2, max_kept=1, keep_for=1)
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(expect, httpx.ConnectError, transport)
            await trio.testing.wait_all_tasks_blocked()
            assert transport.statistics() == stats(2, 0, waiting=3)
            await transport.aclose()
        assert transport.statistics() == stats(0, 0)

    async def test_the_end_comes_just_when_connected(self, monkeypatch: pytest.MonkeyPatch) -> None:
        connect = trio.open_tcp_stream
        made = []

        async def shielded(host: str, port: int) -> trio.SocketStream:
            with trio.CancelScope(shield=True):
                made.append(await connect(host, port))
                await transport.aclose()
            return made[-1]

        monkeypatch.setattr(trio, "open_tcp_stream", shielded)
        async with serving(say(HELLO)) as server:
            transport = transport_to(server)
            await expect(httpx.ConnectError, transport)
            assert made[0].socket.fileno() == -1
            assert transport.statistics() == stats(0, 0)

    @staticmethod
    def _never_connects(monkeypatch: pytest.MonkeyPatch) -> None:
        async def never(host: str, port: int) -> trio.SocketStream:
            await trio.sleep_forever()
            raise AssertionError

        monkeypatch.setattr(trio, "open_tcp_stream", never)

    @pytest.mark.parametrize("url", ["http://127.0.0.2", "http://127.0.0.1:1", "https://127.0.0.1"])
    async def test_another_node(self, url: str) -> None:
        async with Transport("http://127.0.0.1", max_connections=1, max_kept=1, keep_for=1) as transport:
            with trio.testing.assert_checkpoints(), pytest.raises(httpx.UnsupportedProtocol):
                await transport.handle_async_request(httpx.Request("GET", url))
            assert transport.statistics() == stats(0, 0)

    def test_secure_connections_are_left_to_httpx(self) -> None:
        with pytest.raises(httpx.UnsupportedProtocol):
            Transport("https://127.0.0.1", max_connections=1, max_kept=1, keep_for=1)
        for url, kind in (("http://n", Transport), ("HTTP://n", Transport), ("https://n", httpx.AsyncHTTPTransport)):
            edge = Edge(url, token=None, timeout=1, transport=None, max_connections=1)
            assert type(edge._own_transport()) is kind

    async def test_what_is_traced(self) -> None:
        events = []

        async def note(event: str, info: object) -> None:
            events.append(event)

        async with serving(say(GONE)) as server, transport_to(server) as transport:
            for _ in range(2):
                request = httpx.Request("GET", server.url, extensions={"trace": note})
                await (await transport.handle_async_request(request)).aclose()
        sending = "http11.send_request_headers.started"
        assert events == ["connection.connect_tcp.started", sending, sending]


class TestRequests:
    async def test_as_it_goes_over_the_wire(self) -> None:
        received: list[bytes] = []

        async def serve(stream: trio.SocketStream) -> None:
            async with stream:
                received.append(await stream.receive_some())
                await stream.send_all(GONE)

        async with raw_server(serve) as url:
            async with Transport(url, max_connections=1, max_kept=1, keep_for=1) as transport:
                request = httpx.Request(
                    "POST", f"{url}/a%20b/ü?c=d&e", headers=[(b"Host", b"n"), (b"X-Y", b"z")], content=b"{}"
                )
                response = await transport.handle_async_request(request)
                assert (response.status_code, response.reason_phrase) == (204, "No Content")
                await response.aclose()
        assert received == [b"POST /a%20b/%C3%BC?c=d&e HTTP/1.1\r\nHost: n\r\nX-Y: z\r\nContent-Length: 2\r\n\r\n{}"]

    async def test_a_body_of_unknown_length(self) -> None:
        async def parts() -> AsyncIterator[bytes]:
            yield b"abc"

        async with serving(say(GONE)) as server, transport_to(server) as transport:
            with pytest.raises(httpx.LocalProtocolError, match="unknown length"):
                await transport.handle_async_request(httpx.Request("POST", server.url, content=parts()))

    @pytest.mark.parametrize(
        ("headers", "content"),
        [({"X": "a\r\nEvil: b"}, b""), ({"X y": "z"}, b""), ({"Content-Length": "1"}, b"too long")],
        ids=["line end", "space in a name", "wrong length"],
    )
    async def test_invalid_ones_are_not_sent(self, headers: dict[str, str], content: bytes) -> None:
        async with serving(say(GONE)) as server, transport_to(server) as transport:
            with pytest.raises(httpx.LocalProtocolError):
                await transport.handle_async_request(
                    httpx.Request("POST", server.url, headers=headers, content=content)
                )
            assert transport.statistics() == stats(0, 0)
            assert server.asked == []

    async def test_sending_over_a_dead_connection(self, connections: list[Connection]) -> None:
        async with serving(say(GONE)) as server, transport_to(server) as transport:
            await fetch(transport)
            connections[0]._socket.shutdown(socket.SHUT_WR)
            with pytest.raises(httpx.WriteError):
                await fetch(transport, method="POST")
            assert transport.statistics() == stats(0, 0)


HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


class TestResponses:
    @pytest.mark.parametrize("pause", [False, True], ids=["at once", "byte by byte"])
    @pytest.mark.parametrize(
        ("reply", "method", "body", "kept"),
        [
            (HELLO, "GET", b"hello", True),
            (http(200), "GET", b"", True),
            (CHUNKED + b"3\r\nhel\r\n2;ext=1\r\nlo\r\n0\r\nTrailer: x\r\n\r\n", "GET", b"hello", True),
            (CHUNKED + b"0\r\n\r\n", "GET", b"", True),
            (HEAD + b"\r\nhello", "GET", b"hello", False),
            (HEAD + b"\r\n", "GET", b"", False),
            (b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", "DELETE", b"", True),
            (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", "GET", b"", True),
            (HEAD + b"Content-Length: 5\r\n\r\n", "HEAD", b"", True),
            (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nLink: x\r\n\r\n" + HELLO, "GET", b"hello", True),
            (b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok", "GET", b"ok", True),
        ],
        ids=[
            "length", "length 0", "chunked", "no chunks", "until the end", "end at once", "204", "304", "HEAD", "1xx",
            "no reason",
        ],
    )  # fmt: skip
    async def test_bodies(
        self, reply: bytes, method: str, body: bytes, kept: bool, pause: bool, connections: list[Connection]
    ) -> None:
        async def act(stream: trio.SocketStream) -> bool:
            for part in [reply[i : i + 1] for i in range(len(reply))] if pause else [reply]:
                await stream.send_all(part)
                await trio.testing.wait_all_tasks_blocked()
            return kept

        async with serving(act) as server, transport_to(server) as transport:
            for _ in range(2):
                assert await fetch(transport, method=method) == body
                assert transport.statistics() == stats(0, int(kept))
            assert server.connections == (1 if kept else 2)

    @pytest.mark.parametrize(
        "reply",
        [
            b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
            b"\x00" * 100,
            b"HTTP/1.1 20 OK\r\n\r\n",
            HEAD + b"no colon\r\n\r\n",
            HEAD + b"Content-Length: x\r\n\r\n",
            HEAD + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n",
            HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n",
            HEAD + b"Transfer-Encoding: gzip\r\n\r\n",
            HEAD + b"Content-Length: 10\r\n\r\nshort",
            CHUNKED + b"zz\r\n",
            CHUNKED + b"5\r\nhel",
            CHUNKED + b"3\r\nhello",
            HEAD + b"X: half",
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
            b"",
        ],
        ids=[
            "SSH", "zeros", "status", "header", "length", "long length", "two lengths", "coding", "short", "chunk size",
            "short chunk", "long chunk", "half a head", "101", "nothing",
        ],
    )  # fmt: skip
    async def test_garbage(self, reply: bytes, connections: list[Connection]) -> None:
        async with serving(say(reply, end=True)) as server, transport_to(server) as transport:
            await expect(httpx.RemoteProtocolError, transport)
            assert transport.statistics() == stats(0, 0)
            assert closed(connections[0])
            server.act = say(HELLO)
            assert await fetch(transport) == b"hello"

    @pytest.mark.parametrize("start", [b"", HEAD + b"X: ", CHUNKED + b"5;", CHUNKED + b"0\r\nX: "])
    async def test_endless_heads(self, start: bytes) -> None:
        sent = 0

        async def endless(stream: trio.SocketStream) -> bool:
            nonlocal sent
            await stream.send_all(start)
            while True:
                await stream.send_all(b"a" * 1024)
                sent += 1024

        async with serving(endless) as server, transport_to(server) as transport:
            with trio.fail_after(10):
                await expect(httpx.RemoteProtocolError, transport)
            # Besides, the kernel's buffers hold some.
            assert sent < 100 * MAX_HEAD

    async def test_a_reset_is_a_read_error(self) -> None:
        async with serving(reset) as server, transport_to(server) as transport:
            await expect(httpx.ReadError, transport)

    async def test_early_close(self, connections: list[Connection]) -> None:
        async with serving(say(HEAD + b"Content-Length: 10\r\n\r\nhello")) as server, transport_to(server) as transport:
            response = await transport.handle_async_request(httpx.Request("GET", server.url))
            chunks = response.aiter_raw()
            assert await anext(chunks) == b"hello"
            assert transport.statistics() == stats(1, 0)
            with trio.CancelScope() as scope:
                scope.cancel()
                await response.aclose()
            assert closed(connections[0])
            assert transport.statistics() == stats(0, 0)
            with pytest.raises(httpx.StreamClosed):
                await anext(chunks)

    async def test_cancel_while_the_body_comes(self, connections: list[Connection]) -> None:
        async with serving(say(HEAD + b"Content-Length: 10\r\n\r\nhello")) as server, transport_to(server) as transport:
            response = await transport.handle_async_request(httpx.Request("GET", server.url))
            with trio.move_on_after(0.01):
                async for _ in response.aiter_raw():
                    pass
            assert closed(connections[0])
            assert transport.statistics() == stats(0, 0)

    async def test_a_body_of_megabytes(self) -> None:
        body = bytes(range(256)) * 20_000
        async with serving(say(http(200, body, "a/b"))) as server:
            async with transport_to(server) as transport:
                assert await fetch(transport) == body
                assert transport.statistics() == stats(0, 1)


def read(method: str, parts: list[bytes]) -> tuple[int, bytes, bool] | None:
    """Status, body and whether the connection lasts; ``None`` if it is no response."""
    reader = Reader(method)
    head, body = None, b""
    try:
        for part in [*parts, b""]:
            reader.feed(part)
            head = head or reader.head()
            if head is not None and not reader.whole:
                body += reader.body()
            if reader.whole:
                # What came with it or before it counts, not what comes later.
                break
    except httpx.RemoteProtocolError:
        return None
    assert head is not None
    return head.status, body, reader.lasting


SCRAPS = st.sampled_from([HEAD, CHUNKED, HELLO, GONE, b"HTTP/1.1 100 Go on\r\n\r\n", b"HTTP/1.0 200 OK\r\n"]) | (
    st.sampled_from([b"Content-Length: 3\r\n", b"Connection: close\r\n", b"3\r\nabc\r\n", b"0\r\n\r\n"])
    | st.sampled_from([b"0\r\nT: x\r\n\r\n", b"\r\n", b"abc", b"\r", b"\n"])
)


@given(st.lists(SCRAPS | st.binary(max_size=8), max_size=8).map(b"".join), st.sampled_from(["GET", "HEAD"]))
@settings(max_examples=400, deadline=None)
def test_a_response_is_read_alike_however_it_comes(raw: bytes, method: str) -> None:
    whole = read(method, [raw] if raw else [])
    single = read(method, [raw[i : i + 1] for i in range(len(raw))])
    if whole is not None:
        assert single is not None
        assert single[:2] == whole[:2]
    if single is None:
        assert whole is None


class TestEnd:
    async def test_all_connections_are_closed_at_once(self, connections: list[Connection]) -> None:
        async with serving(say(HELLO)) as server:
            transport = transport_to(server, most=3)
            await fetch(transport)
            server.act = hang
            async with trio.open_nursery() as nursery:
                for _ in range(3):
                    nursery.start_soon(expect, httpx.ReadError, transport)
                await server.until(lambda: len(server.asked) == 4)
                for _ in range(10):
                    nursery.start_soon(expect, httpx.ConnectError, transport)
                await trio.testing.wait_all_tasks_blocked()
                with trio.CancelScope() as scope:
                    scope.cancel()
                    await transport.aclose()
                assert scope.cancelled_caught
                assert all(map(closed, connections))
            assert transport.statistics() == stats(0, 0)
            await transport.aclose()
            with trio.testing.assert_checkpoints():
                await expect(httpx.ConnectError, transport)
            await server.until(lambda: server.open == 0)

    async def test_kept_connections_are_closed(self, connections: list[Connection]) -> None:
        async with serving(say(HELLO)) as server:
            async with transport_to(server) as transport:
                await fetch(transport)
                assert not closed(connections[0])
            assert closed(connections[0])
            assert transport.statistics() == stats(0, 0)

    async def test_a_response_that_is_still_read(self, connections: list[Connection]) -> None:
        async with serving(say(HEAD + b"Content-Length: 10\r\n\r\nhello")) as server:
            transport = transport_to(server)
            response = await transport.handle_async_request(httpx.Request("GET", server.url))
            await transport.aclose()
            assert closed(connections[0])
            chunks = response.aiter_raw()
            assert await anext(chunks) == b"hello"
            with pytest.raises(httpx.StreamClosed):
                await anext(chunks)
            await response.aclose()


class CancelAt(trio.abc.Instrument):
    """Cancels its task's scope when the task is about to run for the n-th time."""

    def __init__(self, step: int) -> None:
        self.left = step
        self.scope = trio.CancelScope()
        self.task = trio.lowlevel.current_task()

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if task is self.task:
            self.left -= 1
            if self.left == 0:
                self.scope.cancel()


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("kept", [False, True], ids=["new", "kept"])
async def test_a_cancel_at_each_step(method: str, kept: bool, connections: list[Connection]) -> None:
    """One of the calls is cancelled; neither its turn nor its connection is lost, and the next call works."""

    async def slowly(stream: trio.SocketStream) -> bool:
        for part in (CHUNKED, b"3\r\nhel", b"\r\n2\r\nlo\r\n", b"0\r\n\r\n"):
            await stream.send_all(part)
            await trio.testing.wait_all_tasks_blocked()
        return True

    async with serving(slowly) as server:
        step, caught = 0, True
        while caught:
            step += 1
            async with transport_to(server, most=1) as transport:
                if kept:
                    await fetch(transport)
                cancelling = CancelAt(step)
                trio.lowlevel.add_instrument(cancelling)
                try:
                    with cancelling.scope:
                        await fetch(transport, method=method)
                finally:
                    trio.lowlevel.remove_instrument(cancelling)
                caught = cancelling.scope.cancelled_caught
                assert transport.statistics() == stats(0, 0 if caught else 1)
                assert not caught or all(map(closed, connections))
                assert await fetch(transport, pool=0.0, connect=5.0) == b"hello"
            assert all(map(closed, connections))
        assert step > 2
        await server.until(lambda: server.open == 0)


REPLIES: dict[str, Act] = {
    "whole": say(HELLO),
    "chunked": say(CHUNKED + b"2\r\nab\r\n0\r\n\r\n"),
    "half": say(HELLO[:-2]),
    "last": say(HELLO.replace(b"HTTP/1.1", b"HTTP/1.0"), end=True),
    "garbage": say(b"?\r\n\r\n"),
    "closed": hang_up,
    "reset": reset,
    "hang": hang,
}
PAUSES = st.sampled_from([0, 0, 0, 1, 2, 3, 5, 8])


@given(
    most=st.integers(1, 3),
    kept=st.integers(0, 3),
    calls=st.lists(
        st.tuples(st.sampled_from(sorted(REPLIES)), st.sampled_from(["GET", "POST", "DELETE"]), PAUSES), max_size=12
    ),
    cancels=st.lists(st.tuples(st.integers(0, 11), PAUSES), max_size=12),
    closing=st.none() | PAUSES,
    stale=st.sampled_from([0.0, 100.0]),
)
@settings(max_examples=60, deadline=None)
def test_no_turn_and_no_connection_is_lost(
    most: int,
    kept: int,
    calls: list[tuple[str, str, int]],
    cancels: list[tuple[int, int]],
    closing: int | None,
    stale: float,
) -> None:
    """Calls of all kinds, cancelled at any moment and closed under way: at the end all is free and all is closed."""

    async def main() -> None:
        async def by_path(stream: trio.SocketStream) -> bool:
            return await REPLIES[server.asked[-1][0][1:]](stream)

        async def call(scope: trio.CancelScope, reply: str, method: str) -> None:
            with scope, suppress(httpx.TransportError, httpx.StreamError):
                await fetch(transport, f"/{reply}", method)
            # A single connection is not shared with POSTs.
            assert transport.statistics().in_use <= max(most, 2)

        async with serving(by_path) as server:
            transport = transport_to(server, most, kept)
            scopes = [trio.CancelScope() for _ in calls]
            async with trio.open_nursery() as nursery:
                for scope, (reply, method, times) in zip(scopes, calls, strict=True):
                    nursery.start_soon(call, scope, reply, method)
                    await pause(times)
                for which, times in cancels:
                    if which < len(scopes):
                        scopes[which].cancel()
                    await pause(times)
                if closing is not None:
                    await pause(closing)
                    await transport.aclose()
                await trio.testing.wait_all_tasks_blocked(0.002)
                for scope in scopes:
                    scope.cancel()
            found = transport.statistics()
            assert (found.in_use, found.waiting) == (0, 0)
            assert found.kept <= min(most, kept)
            assert transport._slots.value == most
            if closing is None:
                server.act = say(HELLO)
                assert await fetch(transport, pool=0.0) == b"hello"
            await transport.aclose()
            assert transport.statistics() == stats(0, 0)
            await server.until(lambda: server.open == 0)

    async def pause(times: int) -> None:
        for _ in range(times):
            await trio.lowlevel.checkpoint()

    usual, _transport.STALE_AGE = _transport.STALE_AGE, stale
    try:
        trio.run(main)
    finally:
        _transport.STALE_AGE = usual
