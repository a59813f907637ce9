"""What goes wrong on the way: each failure becomes the right leaf of our tree, and the next call works."""

from __future__ import annotations

import gzip
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress

import httpx
import pytest
import trio
import trio.testing

from trio_sessions import _rest_edge
from trio_sessions._errors import (
    ConnectionLostError,
    InvalidInputError,
    ListenHostInUseError,
    MalformedReplyError,
    NodeTimeoutError,
    NodeUnavailableError,
    NotAcceptableError,
    NotFoundError,
    NotReadyError,
    OutcomeUnknownError,
    RejectedError,
    ServerFailureError,
    SessionsError,
    StatusError,
    UnauthorizedError,
)
from trio_sessions._hoprd import Hoprd
from trio_sessions._model import ListenerKey, Path, SessionRequest

from .support import (
    API,
    BY_HOPS,
    EXIT,
    Asked,
    Canned,
    canned,
    error_json,
    http,
    http_json,
    listener_json,
    raw_node,
    raw_server,
)

VERSION = http_json({"version": "1"})
SHORT = 0.15


@pytest.mark.parametrize(
    ("reply", "error", "word", "text"),
    [
        (error_json(401, "UNAUTHORIZED"), UnauthorizedError, "UNAUTHORIZED", ""),
        (error_json(404, "SESSION_NOT_FOUND"), NotFoundError, "SESSION_NOT_FOUND", ""),
        (http(404), NotFoundError, None, ""),
        (http(406), NotAcceptableError, None, ""),
        (error_json(406, "UNKNOWN_FAILURE", "off"), NotAcceptableError, "UNKNOWN_FAILURE", "off"),
        (error_json(409, "LISTEN_HOST_ALREADY_USED"), ListenHostInUseError, "LISTEN_HOST_ALREADY_USED", ""),
        (http(412), NotReadyError, None, ""),
        (error_json(422, "UNKNOWN_FAILURE", "timed out"), RejectedError, "UNKNOWN_FAILURE", "timed out"),
        (http(422, "Failed to deserialize", "text/plain"), RejectedError, None, "Failed to deserialize"),
        (http(400, "Invalid URL: x", "text/plain; charset=utf-8"), RejectedError, None, "Invalid URL: x"),
        (http(405), RejectedError, None, ""),
        (error_json(408, "TIMEOUT"), RejectedError, "TIMEOUT", ""),
        (http(413, "length limit exceeded", "text/plain"), RejectedError, None, "length limit exceeded"),
        (http(415), RejectedError, None, ""),
        (
            error_json(429, "TOO_MANY_OPEN_WEBSOCKET_CONNECTIONS"),
            RejectedError,
            "TOO_MANY_OPEN_WEBSOCKET_CONNECTIONS",
            "",
        ),
        (error_json(500, "UNKNOWN_FAILURE", "pool"), ServerFailureError, "UNKNOWN_FAILURE", "pool"),
        (http(502, "<html>Bad Gateway</html>", "text/html"), ServerFailureError, None, "<html>Bad Gateway</html>"),
        (http(503), ServerFailureError, None, ""),
        # JSON that is not the daemon's, or none at all in spite of its type
        (http(422, '{"detail": 1}', "application/json"), RejectedError, None, '{"detail": 1}'),
        (http(422, '{"status": 1}', "application/json"), RejectedError, None, '{"status": 1}'),
        (http(422, '{"status": "X", "error": 3}', "application/json"), RejectedError, "X", ""),
        (http(422, "[1", "application/json"), RejectedError, None, "[1"),
        (http(422, b"\xff\xfe", "text/plain"), RejectedError, None, "��"),
        # the quirk of 3.x and early 4.0 (contract §1.4)
        (error_json(200, "PEER_NOT_FOUND"), NotFoundError, "PEER_NOT_FOUND", ""),
        (error_json(200, "NOT_READY"), NotReadyError, "NOT_READY", ""),
        (error_json(200, "UNAUTHORIZED"), UnauthorizedError, "UNAUTHORIZED", ""),
        (error_json(200, "LISTEN_HOST_ALREADY_USED"), ListenHostInUseError, "LISTEN_HOST_ALREADY_USED", ""),
        (error_json(200, "UNKNOWN_FAILURE", "x"), RejectedError, "UNKNOWN_FAILURE", "x"),
    ],
    ids=lambda value: value.split(b"\r", 1)[0][9:].decode() if isinstance(value, bytes) else None,
)
async def test_statuses(reply: bytes, error: type[StatusError], word: str | None, text: str) -> None:
    async with raw_node(lambda _: reply) as node, Hoprd(node.url) as hoprd:
        with pytest.raises(error) as caught:
            await hoprd.version()
    failure = caught.value
    assert type(failure) is error
    assert (failure.method, failure.path) == ("GET", f"{API}/node/version")
    assert failure.status == int(reply[9:12])
    assert (failure.word, failure.text) == (word, text)


@pytest.mark.parametrize(
    "reply",
    [
        http(301, b"", "", "Location: http://127.0.0.1:1/"),
        http(302),
        http(304),
        http(201, "{}", "application/json"),
        http(204),
        http(200, '{"version": "1"}', "text/html"),
        http(200, '{"version": "1"}'),
        http(200, "", "application/json"),
        http(200, '{"version": "1"', "application/json"),
        http(200, b'{"version": "\xff"}', "application/json"),
        http(200, '{"version": "1"}'.encode("utf-16"), "application/json"),
        http(200, '﻿{"version": "1"}', "application/json"),
        http(200, '{"version": NaN}', "application/json"),
        http(200, "[" * 200_000, "application/json"),
        http(200, "9" * 5000, "application/json"),
        http(200, "{}", "application/json"),
        http(200, "null", "application/json"),
        http(200, gzip.compress(b'{"version": "1"}'), "application/json", "Content-Encoding: gzip"),
    ],
    ids=[
        "301", "302", "304", "201", "204", "html", "no type", "empty", "truncated", "not UTF-8", "UTF-16", "BOM", "NaN",
        "deep", "many digits", "missing field", "null", "gzip",
    ],
)  # fmt: skip
async def test_malformed_replies(reply: bytes) -> None:
    async with raw_node(lambda _: reply) as node, Hoprd(node.url) as hoprd:
        with pytest.raises(MalformedReplyError) as caught:
            await hoprd.version()
        # A redirect is not followed: the token would go with it.
        assert len(node.asked) == 1
    assert caught.value.path == f"{API}/node/version"


@pytest.mark.parametrize(
    "call",
    [
        lambda hoprd: hoprd.open_session(BY_HOPS),
        lambda hoprd: hoprd.close_session(ListenerKey("udp", "127.0.0.1", 1)),
        lambda hoprd: hoprd.set_session_config("0xab"),
    ],
    ids=["open", "close", "set config"],
)
@pytest.mark.parametrize("status", [201, 202, 303])
async def test_other_successes_are_no_success(call: Callable[[Hoprd], Awaitable[object]], status: int) -> None:
    async with raw_node(lambda _: http(status, "{}", "application/json")) as node, Hoprd(node.url) as hoprd:
        with pytest.raises(MalformedReplyError) as caught:
            await call(hoprd)
        assert caught.value.status == status


async def test_huge_body(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_rest_edge, "MAX_BODY", 100_000)
    reply = [http(200, '"' + "x" * 1_000_000 + '"', "application/json")]
    async with raw_node(lambda _: reply[0]) as node, Hoprd(node.url) as hoprd:
        with pytest.raises(MalformedReplyError, match="more than 100000 bytes"):
            await hoprd.version()
        reply[0] = VERSION
        assert await hoprd.version() == "1"


async def test_huge_body_of_a_transport_that_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stream(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            for _ in range(30):
                await trio.lowlevel.checkpoint()
                yield b"x" * 10

    monkeypatch.setattr(_rest_edge, "MAX_BODY", 100)
    async with Hoprd("http://node", transport=canned(lambda _: httpx.Response(200, stream=Stream()))) as hoprd:
        with pytest.raises(MalformedReplyError, match="more than 100 bytes"):
            await hoprd.version()


async def test_refused() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        async with Hoprd(f"http://127.0.0.1:{closed.getsockname()[1]}") as hoprd:
            with pytest.raises(NodeUnavailableError, match="no connection") as caught:
                await hoprd.version()
    assert caught.value.__cause__ is not None


async def test_no_such_host() -> None:
    async with Hoprd("http://node.invalid:3001", timeout=5) as hoprd:
        with pytest.raises(NodeUnavailableError):
            await hoprd.version()


async def test_a_host_that_never_accepts_is_unavailable() -> None:
    """The backlog is full: the connection is never made, so nothing was sent."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        address = listening.getsockname()
        fillers = [socket.socket() for _ in range(4)]
        try:
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex(address)
            async with Hoprd(f"http://127.0.0.1:{address[1]}", timeout=SHORT) as hoprd:
                with pytest.raises(NodeUnavailableError):
                    await hoprd.version()
        finally:
            for filler in fillers:
                filler.close()


async def test_time_out_after_sending() -> None:
    """The kernel accepts, nobody reads: the request may be in the node's hands."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(5)
        async with Hoprd(f"http://127.0.0.1:{listening.getsockname()[1]}", timeout=SHORT) as hoprd:
            with pytest.raises(NodeTimeoutError, match=r"no reply within 0\.15 s"):
                await hoprd.version()


async def test_time_out_while_waiting_for_a_connection() -> None:
    async with raw_node(lambda _: None) as node, Hoprd(node.url, timeout=SHORT, max_connections=1) as hoprd:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_expect, NodeTimeoutError, hoprd)
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(NodeUnavailableError):
                await hoprd.version()
        assert len(node.asked) == 1


async def _expect(error: type[SessionsError], hoprd: Hoprd) -> None:
    with pytest.raises(error):
        await hoprd.version()


@pytest.mark.parametrize(
    ("events", "error"),
    [
        ((), NodeTimeoutError),  # the transport does not tell: it may have sent
        (("connection.connect_tcp.started",), NodeUnavailableError),
        (("connection.connect_tcp.started", "http11.send_request_headers.started"), NodeTimeoutError),
        (("http11.send_request_headers.started",), NodeTimeoutError),
    ],
    ids=["nothing known", "connecting", "sent", "sent by a kept connection"],
)
async def test_where_the_time_went(
    events: tuple[str, ...], error: type[SessionsError], autojump_clock: trio.testing.MockClock
) -> None:
    async def answer(request: httpx.Request) -> httpx.Response:
        for event in events:
            await request.extensions["trace"](event, {})
        assert request.extensions["timeout"] == {"pool": 1.8, "connect": 1.8, "read": None, "write": None}
        return await _never(request)

    async with Hoprd("http://node", transport=Canned(answer)) as hoprd:
        with pytest.raises(error, match=r"within 2 s") as caught:
            await hoprd.close_session(ListenerKey("udp", "127.0.0.1", 1), timeout=2)
        assert type(caught.value) is error
        assert trio.current_time() == 2


async def test_trickling_reply_is_bounded() -> None:
    async def serve(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 9999\r\n\r\n[")
        with suppress(trio.BrokenResourceError):
            while True:
                await stream.send_all(b" ")
                await trio.sleep(SHORT / 10)

    async with raw_server(serve) as url, Hoprd(url, timeout=SHORT) as hoprd:
        began = trio.current_time()
        with pytest.raises(NodeTimeoutError):
            await hoprd.version()
        assert trio.current_time() - began < 10 * SHORT


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"\x00" * 2000,
    ],
    ids=["nothing", "short body", "bad chunk", "no HTTP", "bad length", "zeros"],
)
async def test_lost_connection_and_the_next_call_works(reply: bytes) -> None:
    """Whatever was sent may have been acted on."""

    async def serve(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some()
            await stream.send_all(replies.pop(0))

    replies = [reply, VERSION]
    async with raw_server(serve) as url, Hoprd(url) as hoprd:
        with pytest.raises(ConnectionLostError):
            await hoprd.version()
        assert await hoprd.version() == "1"


async def test_a_kept_connection_dies_between_calls() -> None:
    def answer(asked: Asked) -> bytes:
        return VERSION if len(node.asked) % 2 else b""

    async with raw_node(lambda _: VERSION) as node, Hoprd(node.url) as hoprd:
        assert await hoprd.version() == "1"
        assert await hoprd.version() == "1"
        assert node.connections == 1
        node.answer = answer
        with pytest.raises(ConnectionLostError):
            await hoprd.version() and await hoprd.version()
        assert await hoprd.version() == "1"


async def test_cancelled_call_and_the_next_call_works() -> None:
    async with raw_node(lambda _: None) as node, Hoprd(node.url, max_connections=1) as hoprd:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hoprd.version)
            await trio.testing.wait_all_tasks_blocked(0.01)
            while not node.asked:
                await trio.testing.wait_all_tasks_blocked(0.01)
            nursery.cancel_scope.cancel()
        node.answer = lambda _: VERSION
        assert await hoprd.version() == "1"


async def test_a_deadline_of_the_caller_is_not_ours(autojump_clock: trio.testing.MockClock) -> None:
    async with Hoprd("http://node", transport=Canned(_never), timeout=10) as hoprd:
        with trio.move_on_after(5) as scope:
            await hoprd.version()
        assert scope.cancelled_caught
        with pytest.raises(trio.TooSlowError), trio.fail_after(5):
            await hoprd.version()
        # Both at once: the caller's scope encloses ours, and ours knows what happened.
        with trio.move_on_after(10) as scope, pytest.raises(NodeTimeoutError):
            await hoprd.version()


async def _never(request: httpx.Request) -> httpx.Response:
    await trio.sleep_forever()
    raise AssertionError


@pytest.mark.parametrize(
    ("forward", "back", "buffer", "seconds"),
    [(0, 0, 0, 57), (1, 1, 0, 97), (3, 3, 0, 177), (1, 1, None, 107), (1, 0, 2_000_000, 87)],
)
async def test_an_open_gets_the_time_that_the_node_may_take(
    forward: int, back: int, buffer: int | None, seconds: float, autojump_clock: trio.testing.MockClock
) -> None:
    request = SessionRequest(EXIT, Path(hops=forward), Path(hops=back), response_buffer=buffer)
    async with Hoprd("http://node", transport=Canned(_never), timeout=1) as hoprd:
        began = trio.current_time()
        with pytest.raises(NodeTimeoutError):
            await hoprd.open_session(request)
        assert trio.current_time() - began == seconds
        with pytest.raises(NodeTimeoutError):
            await hoprd.open_session(request, timeout=2)
        assert trio.current_time() - began == seconds + 2
        with pytest.raises(NodeTimeoutError):
            await hoprd.close_session(ListenerKey("udp", "127.0.0.1", 1), timeout=0.5)
        assert trio.current_time() - began == seconds + 2.5


@pytest.mark.parametrize(
    ("raised", "error"),
    [
        (httpx.ConnectError("no"), NodeUnavailableError),
        (httpx.ConnectTimeout("slow"), NodeUnavailableError),
        (httpx.PoolTimeout(""), NodeUnavailableError),
        (httpx.ReadTimeout("slow"), NodeTimeoutError),
        (httpx.WriteTimeout("slow"), NodeTimeoutError),
        (httpx.ReadError("gone"), ConnectionLostError),
        (httpx.WriteError("gone"), ConnectionLostError),
        (httpx.CloseError("gone"), ConnectionLostError),
        (httpx.RemoteProtocolError("what?"), ConnectionLostError),
        (httpx.LocalProtocolError("what?"), ConnectionLostError),
        (httpx.StreamConsumed(), ConnectionLostError),
        (OSError(24, "Too many open files"), ConnectionLostError),
        (trio.ClosedResourceError("closed"), ConnectionLostError),
        (trio.BrokenResourceError(), ConnectionLostError),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
async def test_what_a_transport_raises(raised: Exception, error: type[SessionsError]) -> None:
    async def answer(request: httpx.Request) -> httpx.Response:
        await trio.lowlevel.checkpoint()
        raise raised

    async with Hoprd("http://node", transport=Canned(answer)) as hoprd:
        with pytest.raises(error) as caught:
            await hoprd.version()
    assert type(caught.value) is error
    assert caught.value.__cause__ is raised
    assert issubclass(error, OutcomeUnknownError) or error is NodeUnavailableError


async def test_a_body_that_breaks_off() -> None:
    class Stream(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            yield b"{"
            raise httpx.ReadError("reset")

    async with Hoprd("http://node", transport=canned(lambda _: httpx.Response(200, stream=Stream()))) as hoprd:
        with pytest.raises(ConnectionLostError, match="reset"):
            await hoprd.version()


async def test_out_of_the_block() -> None:
    transport = canned(lambda _: httpx.Response(200, json={"version": "1"}))
    hoprd = Hoprd("http://node/", transport=transport)
    with pytest.raises(InvalidInputError, match=r"http://node.*is not in use; enter it"):
        await hoprd.version()
    async with hoprd as same:
        assert same is hoprd
        assert await hoprd.version() == "1"
        with pytest.raises(InvalidInputError, match="in use already"):
            await hoprd.__aenter__()
        assert transport.closed == 0
    assert transport.closed == 1
    with pytest.raises(InvalidInputError, match="is not in use"):
        await hoprd.version()
    await hoprd.__aexit__(None, None, None)
    assert transport.closed == 1


async def test_leaving_the_block_ends_calls_under_way() -> None:
    async with raw_node(lambda _: None) as node, trio.open_nursery() as nursery, Hoprd(node.url) as hoprd:
        nursery.start_soon(_expect, ConnectionLostError, hoprd)
        while not node.asked:
            await trio.testing.wait_all_tasks_blocked(0.01)


async def test_closing_is_bounded(autojump_clock: trio.testing.MockClock) -> None:
    class Stuck(Canned):
        async def aclose(self) -> None:
            await trio.sleep_forever()

    with trio.CancelScope() as scope:
        async with Hoprd("http://node", transport=Stuck(_never)):
            began = trio.current_time()
            scope.cancel()
    assert trio.current_time() - began == 1.0


async def test_closing_may_fail() -> None:
    class Broken(Canned):
        async def aclose(self) -> None:
            raise OSError(5, "Input/output error")

    async with Hoprd("http://node", transport=Broken(_never)):
        pass


async def test_a_line_in_the_log_for_each_call(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "trio_sessions.rest")
    async with raw_node(lambda _: VERSION) as node, Hoprd(node.url) as hoprd:
        await hoprd.version()
    [record] = [record for record in caplog.records if record.name.startswith("trio_sessions")]
    assert record.message.startswith("GET /api/v4/node/version: 200 in 0.")


async def test_a_refused_open_leaves_the_client_usable() -> None:
    replies = [error_json(422, "UNKNOWN_FAILURE", "timed out"), http_json(listener_json())]
    async with raw_node(lambda _: replies.pop(0)) as node, Hoprd(node.url) as hoprd:
        with pytest.raises(RejectedError):
            await hoprd.open_session(BY_HOPS)
        assert (await hoprd.open_session(BY_HOPS)).key.port == 4711
        assert node.connections == 1
