"""The transport below httpx's interface that carries all calls to one node over plain HTTP, made for Trio.

httpcore's pool looks at every connection and every waiting request at each step; here a step costs the same however
many there are.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Awaitable, Callable, Mapping

import attrs
import httpx
import trio

from trio_sessions._descriptors import why_no_socket
from trio_sessions._limit import Limit
from trio_sessions._transport_connection import Connection
from trio_sessions._transport_wire import Head, encode

__all__ = ["Progress", "Transport", "TransportStatistics"]

#: Seconds that a connection was kept when it may have been closed for its idleness with the news still on its way;
#: if it dies at a younger age, the node died, or meant it, and may have acted before.
STALE_AGE = 1.0

#: The share of all connections that POSTs may have: a node takes its time for one that opens a session, and what does
#: not wait for somebody far away must find a connection nevertheless.
_POST_SHARE = 0.75
#: A POST that waits for longer, seconds, counts no more, unless there are so many times as many as of all connections.
_POST_PATIENCE = 1.0
_SLOW_POSTS = 16

# Not DELETE: the first one may have worked, and the port be a stranger's by now. Whoever closes looks before each try.
_REPEATABLE = ("GET",)


@attrs.frozen
class TransportStatistics:
    """A snapshot of a transport, for debugging.

    Attributes:
        in_use: calls that have their turn, each with a connection or about to have one.
        kept: connections without a call.
        waiting: calls that wait for their turn.
    """

    in_use: int
    kept: int
    waiting: int


class Progress:
    """How far a request came, as the transport tells; those of httpx do by the trace extension, or not at all."""

    __slots__ = ("connecting", "sending")

    def __init__(self) -> None:
        self.connecting = self.sending = False

    async def note(self, event: str, info: Mapping[str, object]) -> None:
        """Take one event of httpcore, e.g. ``"http11.send_request_headers.started"``."""
        if event.endswith("send_request_headers.started"):
            self.sending = True
        else:
            self.connecting = True

    @property
    def unsent(self) -> bool:
        """Whether surely nothing was sent: connecting began, sending did not."""
        return self.connecting and not self.sending


@attrs.define(eq=False)
class _Turn:
    """A call's share of the limits, from its turn in the queue until its response is read or given up.

    ``connecting`` is the scope in which its connection is made; without ``has_slot`` others have its slot.
    """

    is_post: bool
    progress: Progress
    #: What httpx's trace extension is told, and of which request.
    trace: Callable[[str, Mapping[str, object]], Awaitable[None]] | None = None
    request: httpx.Request | None = None
    connection: Connection | None = None
    connecting: trio.CancelScope | None = None
    has_slot: bool = True


class Transport(httpx.AsyncBaseTransport):
    """Calls to one node, over ``max_connections`` connections at a time; further calls wait, first come, first served.

    A POST may wait for somebody far away, so three quarters of the connections are all that POSTs can have; one that
    waits for its response for longer than a second does not count any more, up to 16 times ``max_connections`` of them.
    A single connection cannot be shared: there is another one, then, for POSTs alone.

    After a call its connection is kept for the next one, the last one first. So few are in use when few are needed,
    and the others age. What is older than ``keep_for`` seconds, or more than ``max_kept``, is closed when the next
    call begins or ends. A call that fails, is cancelled or whose response is closed early closes its connection at
    once, before any checkpoint.

    A GET whose connection proves stale, having been kept for :data:`STALE_AGE` or longer and dying before a byte of the
    response, is sent once more, over a new connection. No other call is ever sent twice.

    Of httpx's time-outs these are kept: ``pool`` and ``connect``. Sending and receiving last until the caller cancels.
    The ``trace`` extension is told when a call begins to connect and to send, by httpcore's names.

    Raises (all from :meth:`handle_async_request` and the response's stream):
        httpx.PoolTimeout, httpx.ConnectTimeout, httpx.ConnectError: surely nothing was sent.
        httpx.UnsupportedProtocol: the request is for another node; nothing was sent.
        httpx.LocalProtocolError: the request is no valid HTTP; nothing was sent.
        httpx.WriteError, httpx.ReadError: the connection died.
        httpx.RemoteProtocolError: the response is no valid HTTP, or is missing.
    """

    def __init__(self, url: str, *, max_connections: int, max_kept: int, keep_for: float) -> None:
        self._origin = _origin(httpx.URL(url))
        if self._origin[0] != "http":
            raise httpx.UnsupportedProtocol("this transport speaks plain http only")
        self._max_kept = max_kept
        self._keep_for = keep_for
        self._slots = trio.Semaphore(max_connections, max_value=max_connections)
        share = int(max_connections * _POST_SHARE)
        self._posts_need_slots = share > 0
        self._posts = Limit[_Turn](
            max(1, share),
            most_slow=max_connections * _SLOW_POSTS,
            patience=_POST_PATIENCE,
            on_slow=self._make_room,
        )
        self._turns: set[_Turn] = set()
        # By the time since when they are kept, the oldest first.
        self._kept: deque[Connection] = deque()
        self._closed = False

    def statistics(self) -> TransportStatistics:
        """How many calls and connections there are now."""
        waiting = self._slots.statistics().tasks_waiting + self._posts.queued
        return TransportStatistics(len(self._turns), len(self._kept), waiting)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Make one call; it may be cancelled at any time."""
        if _origin(request.url) != self._origin:
            await trio.lowlevel.checkpoint()
            raise httpx.UnsupportedProtocol("this transport speaks to one node only")
        message = encode(request, await request.aread())
        timeouts = request.extensions.get("timeout", {})
        turn = _Turn(request.method == "POST", Progress(), request.extensions.get("trace"), request)
        await self._queue(turn, timeouts.get("pool"))
        try:
            head, connection = await self._call(turn, request.method, message, timeouts.get("connect"))
            body, whole = connection.drain()
        except BaseException:
            self._end(turn, keep=False)
            raise
        # What has come with the head is mostly all: then it takes no stream to read it.
        stream: httpx.AsyncByteStream = httpx.ByteStream(body) if whole else _Body(self, turn, connection, body)
        if whole:
            self._end(turn, keep=True)
        extensions = {"reason_phrase": head.reason}
        return httpx.Response(head.status, headers=head.headers, stream=stream, extensions=extensions)

    async def call(
        self,
        method: str,
        message: bytes,
        progress: Progress,
        *,
        pool_timeout: float,
        connect_timeout: float,
        max_body: int,
    ) -> tuple[Head, bytes | None]:
        """Make one call without httpx's request and response, which take longer than all the rest.

        Args:
            method: of the message.
            message: the request as it goes over the wire.
            progress: told how far the call came: while it waits for its turn, too, nothing was sent.
            pool_timeout: seconds after which a turn comes too late; until there is one, it waits until it is cancelled.
            connect_timeout: seconds, as httpx's time-out of this name.
            max_body: bytes; of a longer body only ``None`` is given back.
        """
        turn = _Turn(method == "POST", progress)
        progress.connecting = True
        latest = trio.current_time() + pool_timeout
        await self._queue(turn, None)
        try:
            if trio.current_time() > latest:
                # The caller's time is nearly over: nobody would wait for the reply to what is sent now.
                raise httpx.PoolTimeout(f"no connection was free within {pool_timeout:g} s")
            head, connection = await self._call(turn, method, message, connect_timeout)
            body, whole = connection.drain()
            if not whole:
                parts, size = [body], len(body)
                while not whole and size <= max_body:
                    body, whole = await connection.more()
                    parts.append(body)
                    size += len(body)
                body = b"".join(parts)
        except BaseException:
            self._end(turn, keep=False)
            raise
        too_long = len(body) > max_body
        self._end(turn, keep=whole)
        return head, None if too_long else body

    def close_idle(self) -> None:
        """Close the connections without a call, all but the last: somebody needs their file descriptors."""
        while len(self._kept) > 1:
            self._kept.popleft().close()

    async def aclose(self) -> None:
        """Close all connections at once, those in use too: their calls fail, and so do those that wait. Idempotent."""
        self._closed = True
        for turn in tuple(self._turns):
            self._end(turn, keep=False)
        while self._kept:
            self._kept.pop().close()
        await trio.lowlevel.checkpoint()

    async def _queue(self, turn: _Turn, timeout: float | None) -> None:
        if not self._has_turn_now(turn):
            if timeout is None:
                await self._wait_for_slot(turn)
            else:
                with trio.move_on_after(timeout) as scope:
                    await self._wait_for_slot(turn)
                if scope.cancelled_caught:
                    raise httpx.PoolTimeout(f"no connection was free within {timeout:g} s") from None
        self._turns.add(turn)
        if self._closed:
            self._end(turn, keep=False)
            await trio.lowlevel.checkpoint()
            raise httpx.ConnectError("the transport is closed")

    def _has_turn_now(self, turn: _Turn) -> bool:
        """Give the call its turn, if it need not wait for it."""
        if turn.is_post and not self._posts.acquire_nowait(turn):
            return False
        try:
            if turn.is_post and not self._posts_need_slots:
                turn.has_slot = False
            else:
                self._slots.acquire_nowait()
        except trio.WouldBlock:
            if turn.is_post:
                self._posts.release(turn)
            return False
        if turn.is_post:
            self._posts.waits(turn)
        return True

    async def _wait_for_slot(self, turn: _Turn) -> None:
        if not turn.is_post:
            await self._slots.acquire()
            return
        await self._posts.acquire(turn)
        try:
            if self._posts_need_slots:
                await self._take_slot()
            else:
                turn.has_slot = False
        except BaseException:
            self._posts.release(turn)
            raise
        self._posts.waits(turn)

    async def _take_slot(self) -> None:
        """Wait for a slot; no checkpoint when there is one."""
        try:
            self._slots.acquire_nowait()
        except trio.WouldBlock:
            await self._slots.acquire()

    def _make_room(self, turn: _Turn) -> None:
        """A POST takes long: its slot is another call's."""
        if turn.has_slot:
            turn.has_slot = False
            self._slots.release()

    async def _call(self, turn: _Turn, method: str, message: bytes, timeout: float | None) -> tuple[Head, Connection]:
        connection = turn.connection = self._newest()
        lost: httpx.TransportError | None = None
        failed: httpx.TransportError | None = None
        if connection is not None:
            repeatable = method in _REPEATABLE and _age(connection) >= STALE_AGE
            try:
                return await self._exchange(turn, connection, method, message)
            except (httpx.NetworkError, httpx.RemoteProtocolError) as error:
                if not repeatable or connection.heard or self._closed:
                    raise
                connection.close()
                turn.connection = None
                # Without its frames, as they hold it.
                lost = error.with_traceback(None)
        try:
            connection = await self._connect(turn, timeout)
        except httpx.TransportError as error:
            if lost is None:
                raise
            failed = error
        else:
            return await self._exchange(turn, connection, method, message)
        # That there is no new connection does not mean that nothing was sent over the old one.
        raise lost from failed

    async def _exchange(
        self, turn: _Turn, connection: Connection, method: str, message: bytes
    ) -> tuple[Head, Connection]:
        # Who is cancelled has surely not sent.
        await trio.lowlevel.checkpoint_if_cancelled()
        turn.progress.sending = True
        if turn.trace is not None:
            await turn.trace("http11.send_request_headers.started", {"request": turn.request})
        return await connection.ask(method, message), connection

    async def _connect(self, turn: _Turn, timeout: float | None) -> Connection:
        _, host, port = self._origin
        turn.progress.connecting = True
        if turn.trace is not None:
            await turn.trace("connection.connect_tcp.started", {"request": turn.request})
        stream = None
        with trio.move_on_after(math.inf if timeout is None else timeout) as turn.connecting:
            try:
                stream = await trio.open_tcp_stream(host, port)
            except OSError as error:
                raise httpx.ConnectError(why_no_socket(error)) from error
        turn.connecting = None
        if stream is None and not self._closed:
            raise httpx.ConnectTimeout(f"not connected within {timeout:g} s")
        if stream is None or self._closed:
            if stream is not None:
                stream.socket.close()
            raise httpx.ConnectError("the transport was closed")
        connection = turn.connection = Connection(stream)
        return connection

    def _newest(self) -> Connection | None:
        """The connection that was kept last, unless it is too old or stale: then that one is closed."""
        self._close_old()
        while self._kept:
            connection = self._kept.pop()
            if not connection.is_stale():
                return connection
            connection.close()
        return None

    def _close_old(self) -> None:
        kept = self._kept
        while kept and (len(kept) > self._max_kept or _age(kept[0]) >= self._keep_for):
            kept.popleft().close()

    def _end(self, turn: _Turn, *, keep: bool) -> None:
        """Let the next call have its turn; the connection is kept, if it can be, or closed. Idempotent."""
        if turn not in self._turns:
            return
        self._turns.remove(turn)
        connection = turn.connection
        if turn.connecting is not None:
            turn.connecting.cancel()
        if connection is not None:
            if keep and connection.keep(trio.current_time()):
                self._kept.append(connection)
                self._close_old()
            else:
                connection.close()
        if turn.is_post:
            self._posts.release(turn)
        if turn.has_slot:
            self._slots.release()


class _Body(httpx.AsyncByteStream):
    """A response's body as it comes, after what has come with its head; with its end the turn is over."""

    def __init__(self, transport: Transport, turn: _Turn, connection: Connection, ready: bytes) -> None:
        self._transport = transport
        self._turn = turn
        self._connection = connection
        self._ready = ready
        self._whole = False

    def __aiter__(self) -> _Body:
        return self

    async def __anext__(self) -> bytes:
        while not self._ready:
            if self._whole:
                raise StopAsyncIteration
            if self._turn not in self._transport._turns:
                raise httpx.StreamClosed
            try:
                self._take(await self._connection.more())
            except BaseException:
                self._transport._end(self._turn, keep=False)
                raise
        ready, self._ready = self._ready, b""
        return ready

    async def aclose(self) -> None:
        self._transport._end(self._turn, keep=False)

    def _take(self, come: tuple[bytes, bool]) -> None:
        self._ready, self._whole = come
        if self._whole:
            self._transport._end(self._turn, keep=True)


def _origin(url: httpx.URL) -> tuple[str, str, int]:
    return url.scheme, url.raw_host.decode("ascii"), url.port or 80


def _age(connection: Connection) -> float:
    since = connection.kept_since
    return 0.0 if since is None else trio.current_time() - since
