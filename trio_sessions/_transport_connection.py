"""One connection to the node: a Trio stream with HTTP on it, one call after another, with httpx's errors."""

from __future__ import annotations

import httpx
import trio

from trio_sessions._transport_wire import Head, Reader

__all__ = ["Connection"]

# The second one when our own side closed the connection under a call.
_GONE = (trio.BrokenResourceError, trio.ClosedResourceError)


class Connection:
    """A connection to the node that carries one call after another.

    Whoever uses it closes it after any error or cancel, at once: :meth:`close` has no checkpoint.

    Attributes:
        kept_since: when it was kept for a next call; ``None`` before.
    """

    __slots__ = ("_reader", "_stream", "kept_since")

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
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
            await self._stream.send_all(request)
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
        return self._stream.socket.is_readable()

    def close(self) -> None:
        """Close the socket at once; a task that waits on it gets an error. Idempotent."""
        self._stream.socket.close()

    async def _receive(self) -> None:
        try:
            data = await self._stream.receive_some()
        except _GONE as error:
            raise httpx.ReadError(f"cannot receive: {error}") from error
        self._reader.feed(data)
