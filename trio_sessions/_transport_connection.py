"""One connection to the node: a socket with HTTP on it, one call after another, with httpx's errors."""

from __future__ import annotations

import socket

import httpx
import trio

from trio_sessions._transport_wire import Head, Reader

__all__ = ["Connection"]

#: Bytes that are read at once: most responses are a tenth of that, and only a list is longer.
_READ_SIZE = 65_536

# The second one when our own side closed the connection under a call.
_GONE = (OSError, trio.ClosedResourceError)


class Connection:
    """A connection to the node that carries one call after another.

    It takes the socket out of ``stream`` and works on it without Trio's stream and socket around, which take a fifth of
    a call's time. Whoever uses it closes it after any error or cancel, at once: :meth:`close` has no checkpoint.

    Attributes:
        kept_since: when it was kept for a next call; ``None`` before.
    """

    __slots__ = ("_reader", "_socket", "kept_since")

    def __init__(self, stream: trio.SocketStream) -> None:
        self._socket = socket.socket(fileno=stream.socket.detach())
        self._socket.setblocking(False)
        self._reader = Reader("")
        self.kept_since: float | None = None

    @property
    def heard(self) -> bool:
        """Whether any byte came in answer to the last request."""
        return self._reader.heard

    async def ask(self, method: str, request: bytes) -> Head:
        """Send a request whole, and wait for the head of its response.

        Raises:
            httpx.WriteError, httpx.ReadError: the connection died.
            httpx.RemoteProtocolError: what came is no response, or nothing came.
        """
        self._reader = reader = Reader(method)
        try:
            await self._send(request)
        except _GONE as error:
            raise httpx.WriteError(f"cannot send: {error}") from error
        head = None
        while head is None:
            await self._receive()
            head = reader.head()
        return head

    async def more(self) -> tuple[bytes, bool]:
        """Wait for more of the response's body, and give what :meth:`drain` gives."""
        await self._receive()
        return self.drain()

    def drain(self) -> tuple[bytes, bool]:
        """What has come of the response's body since the last time, and whether that was the end of it."""
        data = self._reader.body()
        return data, self._reader.whole

    def keep(self, now: float) -> bool:
        """Make ready for a next call; ``False`` if there cannot be one on this connection."""
        self.kept_since = now
        return self._reader.lasting

    def is_stale(self) -> bool:
        """Whether the node closed the connection, or sent what nobody asked for, since it was kept."""
        try:
            self._socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            pass
        return True

    def close(self) -> None:
        """Close the socket at once; a task that waits on it gets an error. Idempotent."""
        if self._socket.fileno() >= 0:
            trio.lowlevel.notify_closing(self._socket)
            self._socket.close()

    async def _send(self, data: bytes) -> None:
        """Send all of it; a checkpoint only where the socket is full."""
        rest: bytes | memoryview = data
        while rest:
            self._check_open()
            try:
                sent = self._socket.send(rest)
            except BlockingIOError:
                await trio.lowlevel.wait_writable(self._socket)
            else:
                rest = memoryview(rest)[sent:] if sent < len(rest) else b""

    async def _receive(self) -> None:
        """Wait for the next bytes, always with a checkpoint, and have the reader take them."""
        data = None
        try:
            while data is None:
                self._check_open()
                await trio.lowlevel.wait_readable(self._socket)
                try:
                    data = self._socket.recv(_READ_SIZE)
                except BlockingIOError:
                    # The system was wrong: there was nothing.
                    continue
        except _GONE as error:
            raise httpx.ReadError(f"cannot receive: {error}") from error
        self._reader.feed(data)

    def _check_open(self) -> None:
        # A closed socket has descriptor -1, which epoll would refuse with an error of its own.
        if self._socket.fileno() < 0:
            raise trio.ClosedResourceError("the connection was closed")
