"""The messages' way of one session: its socket, the batches that are out, and who gets what arrives."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from math import inf

import trio

from trio_sessions._batches import Batch, Batches
from trio_sessions._datagrams import DatagramSocket
from trio_sessions._wire import MAX_INDEX, BatchEncoder, Decoder

__all__ = ["Link", "LinkClosedError"]

#: Datagrams that one task reads before it lets the others run.
_READ_BURST = 64
#: ... and sends.
_SEND_BURST = 64
#: Received datagrams that are kept for a reader of raw ones, each of at most 16 KiB; further ones are dropped.
_RECEIVE_BUFFER = 256
#: Batches that may be outstanding on one session; further ones wait.
_MAX_OUTSTANDING = 1024
#: Seconds until the next try when a device's queue is full.
_QUEUE_PAUSE = 0.001
#: The timestamp of a probe: that of no batch.
_NEVER = 0


class LinkClosedError(Exception):
    """The link was closed, or its socket failed; never seen outside of the session."""


class Link:
    """Sends and receives through one connected socket, from its opening to :meth:`close`.

    ``on_failure`` is called, once, with the error that made the socket useless.
    """

    def __init__(
        self,
        sock: DatagramSocket,
        encoder: BatchEncoder,
        *,
        reply_timeout: float,
        on_failure: Callable[[OSError], None],
    ) -> None:
        self._socket = sock
        self._encoder = encoder
        self._decoder = Decoder()
        self._reply_timeout = reply_timeout
        self._on_failure = on_failure
        self._batches = Batches()
        self._slots = trio.CapacityLimiter(_MAX_OUTSTANDING)
        self._closed = False
        self._takes_no_more = False
        #: Whether a batch was ever sent: before that, no datagram can be a relay message of ours.
        self._relays = False
        self._to_receiver, self._received = trio.open_memory_channel[bytes](_RECEIVE_BUFFER)
        self._dropped = 0
        self._last_received = -inf
        self._waiting = trio.CancelScope()
        self._waits_for_room = trio.Lock()

    @property
    def outstanding(self) -> int:
        """Batches that wait for answers."""
        return len(self._batches)

    @property
    def datagrams_dropped(self) -> int:
        """Received datagrams that found the buffer for raw ones full."""
        return self._dropped

    @property
    def bytes_unread(self) -> int:
        """Received bytes that were no relay message."""
        return self._decoder.unread_bytes

    @property
    def last_received(self) -> float:
        """When something came in last, by Trio's clock: then the listener was there."""
        return self._last_received

    def probe(self) -> None:
        """Ask the far end for a sign of life: its echo sets :attr:`last_received`, and nobody else hears of it."""
        # A relay message that belongs to no batch: whoever reads ours takes it out, wherever it is merged to.
        (probe,) = self._encoder.encode(1, MAX_INDEX, _NEVER)
        self._relays = True
        try:
            self._socket.send_nowait(probe)
        except BlockingIOError:
            # Full: then there is traffic enough to tell.
            pass
        except OSError as error:
            self._failed(error)

    async def send(self, datagram: bytes) -> None:
        """Send one datagram; always a checkpoint. Not sent when this raises.

        Raises:
            LinkClosedError: before or while it waited for room.
        """
        await trio.lowlevel.checkpoint()
        await self._send(datagram)

    async def receive(self) -> bytes:
        """The next datagram that holds no relay message.

        Raises:
            LinkClosedError: closed, and all that had arrived was taken.
        """
        try:
            return await self._received.receive()
        except trio.EndOfChannel:
            raise LinkClosedError from None

    async def begin(self, size: int) -> Batch:
        """A new batch, as soon as there is room for one; whoever gets it must call :meth:`end`, in the same task.

        Raises:
            LinkClosedError: before there was.
        """
        await self._slots.acquire()
        if self._closed or self._takes_no_more:
            self._slots.release()
            raise LinkClosedError
        self._relays = True
        return self._batches.begin(size, time.time_ns() // 1_000_000)

    async def carry(self, batch: Batch) -> None:
        """Send the batch, and wait until no more answers of it are waited for. What became of it, the batch tells."""
        try:
            for datagram in self._encoder.encode(batch.size, batch.index, batch.timestamp):
                await self._send(datagram)
                batch.sent_at.append(trio.current_time())
                if len(batch.sent_at) % _SEND_BURST == 0:
                    await trio.lowlevel.checkpoint()
        except LinkClosedError:
            # The link's owner ends the batches when it closes: until then answers still count.
            pass
        else:
            deadline = trio.current_time() + self._reply_timeout
            self._batches.all_sent(batch, deadline)
            self._waiting.deadline = min(self._waiting.deadline, deadline)
        await batch.done.wait()

    def end(self, batch: Batch) -> None:
        """Wait for no more answers of the batch, and make room for another."""
        self._batches.finish(batch)
        self._slots.release()

    async def _send(self, datagram: bytes) -> None:
        """Send, with a checkpoint only if it has to wait."""
        while not self._closed:
            try:
                self._socket.send_nowait(datagram)
            except BlockingIOError:
                await self._wait_writable()
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    self._failed(error)
                    raise LinkClosedError from error
                # The device's queue is full, which no socket becomes writable for.
                await trio.sleep(_QUEUE_PAUSE)
            else:
                return
        raise LinkClosedError

    async def _wait_writable(self) -> None:
        # Several batches may find the buffer full, and one task alone may wait for a socket.
        async with self._waits_for_room:
            if self._closed:
                raise LinkClosedError
            try:
                await self._socket.wait_writable()
            except trio.ClosedResourceError:
                raise LinkClosedError from None

    async def run(self) -> None:
        """Take what arrives, and end the batches whose time is over, until cancelled or the socket fails."""
        while True:
            with trio.CancelScope(deadline=self._batches.next_deadline) as self._waiting:
                await self._socket.wait_readable()
            now = trio.current_time()
            try:
                for _ in range(_READ_BURST):
                    self._take(self._socket.receive_nowait(), now)
            except BlockingIOError:
                pass
            except OSError as error:
                self._failed(error)
                return
            self._batches.expire(now)

    def _take(self, datagram: bytes, now: float) -> None:
        self._last_received = now
        if self._relays:
            for message in self._decoder.feed(datagram):
                self._batches.answer(message, now)
            if not self._decoder.last_was_foreign:
                return
        try:
            self._to_receiver.send_nowait(datagram)
        except trio.WouldBlock:
            self._dropped += 1

    def _failed(self, error: OSError) -> None:
        if not self._closed:
            self._on_failure(error)

    def take_no_more(self) -> None:
        """Let no batch begin any more; those that have begun go on."""
        self._takes_no_more = True

    async def wait_idle(self) -> None:
        """Wait until no batch is outstanding."""
        await self._batches.wait_idle()

    def close(self) -> None:
        """Close the socket, at once and without a checkpoint, and end every batch. Idempotent."""
        self._socket.close()
        self._closed = True
        self._batches.abort()
        self._to_receiver.close()
