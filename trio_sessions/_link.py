"""The messages' way of one session: its socket, the batches that are out, and who gets what arrives."""

from __future__ import annotations

import errno
import time
from collections.abc import Awaitable, Callable
from math import inf

import attrs
import trio

from trio_sessions._answers import Answers
from trio_sessions._batches import Batch, Batches
from trio_sessions._datagrams import DatagramSocket
from trio_sessions._wire import MAX_INDEX, BatchEncoder

__all__ = ["Link", "LinkClosedError"]

#: Datagrams that one task sends before it lets the others run.
_SEND_BURST = 64
#: Reads after which a task lets the others run, and bytes: one read may take the datagrams of several batches.
_READ_BURST = 64
_READ_BYTES = 1 << 18
#: Such bursts that take all which a socket can hold.
_BACKLOG_BURSTS = 64
#: Received datagrams that are kept for a reader of raw ones, each of at most 64 KiB; further ones are dropped.
_RECEIVE_BUFFER = 256
#: Batches that may be outstanding on one session; further ones wait.
_MAX_OUTSTANDING = 1024
#: Bytes of a batch that are kept at most, once it is sent, until it is over.
_KEPT_STREAM = 1 << 14
#: Seconds until the next try when a device's queue is full.
_QUEUE_PAUSE = 0.001
#: The timestamp of a probe: that of no batch.
_NEVER = 0


class LinkClosedError(Exception):
    """The link was closed, or its socket failed; never seen outside of the session."""


@attrs.frozen(eq=False)
class _Relaying:
    """What a link has once it relays; most links of a large pool never do.

    ``slots`` has one for each batch that may be outstanding: whoever waits for one is served in turn.
    """

    batches: Batches
    answers: Answers
    slots: trio.Semaphore = attrs.field(
        factory=lambda: trio.Semaphore(_MAX_OUTSTANDING, max_value=_MAX_OUTSTANDING), init=False
    )


class Link:
    """Sends and receives through one connected socket, from its opening to :meth:`close`.

    ``on_failure`` is called, once, with the error that made the socket useless.

    A batch has no task of its own: whoever calls :meth:`begin` sends it by :meth:`send_all`. When it is over its
    ``on_done`` is called, and :meth:`wait_done` returns; whoever began it must then call :meth:`end`.
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
        self._reply_timeout = reply_timeout
        self._on_failure = on_failure
        self._closed = False
        #: Before there is any, no datagram can be a relay message of ours.
        self._relaying: _Relaying | None = None
        self._raw: tuple[trio.MemorySendChannel[bytes], trio.MemoryReceiveChannel[bytes]] | None = None
        self._dropped = 0
        self._last_received = -inf
        self._last_rtt: float | None = None
        self._last_answered_at: float | None = None
        #: Whether the latest burst of reads left nothing.
        self._all_read = True
        #: What the reader waits in, while it does. Its deadline is never later than that of any batch.
        self._waiting: trio.CancelScope | None = None
        self._interrupted = False
        self._waits_for_room: trio.Lock | None = None
        self._idle: trio.Event | None = None

    def set_reply_timeout(self, seconds: float) -> None:
        """How long answers are waited for, of batches whose last message leaves from now on."""
        self._reply_timeout = seconds
        if self._relaying is not None:
            self._relaying.batches.set_reply_timeout(seconds)

    @property
    def outstanding(self) -> int:
        """Batches that wait for answers."""
        return 0 if self._relaying is None else len(self._relaying.batches)

    @property
    def datagrams_dropped(self) -> int:
        """Received datagrams that found the buffer for raw ones full."""
        return self._dropped

    @property
    def bytes_unread(self) -> int:
        """Received bytes that were no relay message."""
        return 0 if self._relaying is None else self._relaying.answers.unread_bytes

    @property
    def last_rtt(self) -> float | None:
        """Round trip, in seconds, of the answer in the middle of the last batch that had any."""
        return self._last_rtt

    @property
    def last_answered_at(self) -> float | None:
        """When something came in last before that batch was over, by Trio's clock: mostly its last answer."""
        return self._last_answered_at

    @property
    def last_received(self) -> float:
        """When something came in last, by Trio's clock: then the listener was there."""
        return self._last_received

    # -- single datagrams

    def probe(self) -> None:
        """Ask the far end for a sign of life: its echo sets :attr:`last_received`, and nobody else hears of it."""
        # A relay message that belongs to no batch: whoever reads ours takes it out, wherever it is merged to.
        self._start_relaying()
        try:
            self._socket.send_nowait(self._encoder.stream(1, MAX_INDEX, _NEVER))
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
        while not self._closed:
            try:
                self._socket.send_nowait(datagram)
            except OSError as error:
                await self._what_to_wait_for(error)()
            else:
                return
        raise LinkClosedError

    async def receive(self) -> bytes:
        """The next datagram that holds no relay message.

        Raises:
            LinkClosedError: closed, and all that had arrived was taken.
        """
        try:
            return await self._raw_channel()[1].receive()
        except trio.EndOfChannel:
            raise LinkClosedError from None

    # -- batches

    def begin_nowait(self, size: int, on_done: Callable[[Batch], None] | None = None) -> Batch | None:
        """A new batch; ``None`` when there is no room for one now.

        Raises:
            LinkClosedError: closed.
        """
        if self._closed:
            raise LinkClosedError
        relaying = self._relaying or self._start_relaying()
        try:
            relaying.slots.acquire_nowait()
        except trio.WouldBlock:
            return None
        return _new_batch(relaying, size, on_done)

    async def begin(self, size: int, on_done: Callable[[Batch], None] | None = None) -> Batch:
        """A new batch, as soon as there is room for one; a checkpoint only if it has to wait.

        Raises:
            LinkClosedError: closed, before there was.
        """
        batch = self.begin_nowait(size, on_done)
        if batch is not None:
            return batch
        relaying = self._start_relaying()
        await relaying.slots.acquire()
        if self._closed:
            # Everybody was let through.
            raise LinkClosedError
        return _new_batch(relaying, size, on_done)

    async def send_all(self, batch: Batch) -> None:
        """Send the whole batch, waiting for room and letting others run where need be; no checkpoint otherwise.

        Raises:
            LinkClosedError: closed, or the socket failed: the link's owner ends the batch.
        """
        while (wait := self._send_burst(batch)) is not None:
            await wait()

    async def wait_done(self, batch: Batch) -> None:
        """Wait until no more answers of the batch are waited for; for one task a batch. No checkpoint if that is so."""
        if batch.is_done:
            return
        task, on_done = trio.lowlevel.current_task(), batch.on_done

        def wake(batch: Batch) -> None:
            trio.lowlevel.reschedule(task)
            if on_done is not None:
                on_done(batch)

        def abort(_: object) -> trio.lowlevel.Abort:
            batch.on_done = on_done
            return trio.lowlevel.Abort.SUCCEEDED

        batch.on_done = wake
        await trio.lowlevel.wait_task_rescheduled(abort)

    def give_up(self, batch: Batch) -> None:
        """Wait for no more answers of the batch, whose ``on_done`` is called if it was not before."""
        self._start_relaying().batches.finish(batch)

    def end(self, batch: Batch) -> None:
        """Wait for no more answers of the batch, and make room for another; once for each that began."""
        relaying = self._start_relaying()
        relaying.batches.finish(batch)
        relaying.answers.forget(batch)
        relaying.slots.release()
        if batch.rtts:
            # Once a batch, and nothing is sorted: what left together comes back in the order of its round trips.
            self._last_rtt = batch.rtts[len(batch.rtts) // 2]
            self._last_answered_at = self._last_received
        if self._idle is not None and self.is_idle:
            self._idle.set()

    def _send_burst(self, batch: Batch) -> Callable[[], Awaitable[None]] | None:
        """Send what there is room for, within a burst; what to wait for before the next try, if not all is sent."""
        if self._closed:
            raise LinkClosedError
        stream = batch.stream or self._encoder.stream(batch.size, batch.index, batch.timestamp)
        stop = min(batch.size, batch.sent + _SEND_BURST)
        wait: Callable[[], Awaitable[None]] = trio.lowlevel.checkpoint
        now = trio.current_time()
        try:
            count = self._socket.send_stream_nowait(stream, self._encoder.packet_size, batch.sent, stop)
        except OSError as error:
            wait = self._what_to_wait_for(error)
        else:
            batch.departed(count, now)
        if batch.sent < batch.size:
            batch.stream = stream
            return wait
        # To compare the answers with; of a large batch it is written once more.
        batch.stream = stream if len(stream) <= _KEPT_STREAM else b""
        assert self._relaying is not None
        batches = self._relaying.batches
        batches.all_sent(batch, now)
        if self._waiting is not None and self._waiting.deadline == inf:
            self._waiting.deadline = batches.next_deadline
        return None

    # -- waiting for room

    def _what_to_wait_for(self, error: OSError) -> Callable[[], Awaitable[None]]:
        """What a send that raised ``error`` has to wait for.

        Raises:
            LinkClosedError: for nothing; the socket is of no more use.
        """
        if isinstance(error, BlockingIOError):
            return self._wait_writable
        if error.errno == errno.ENOBUFS:
            # The device's queue is full, which no socket becomes writable for.
            return _pause
        self._failed(error)
        raise LinkClosedError from error

    async def _wait_writable(self) -> None:
        # Several batches may find the buffer full, and one task alone may wait for a socket.
        if self._waits_for_room is None:
            self._waits_for_room = trio.Lock()
        async with self._waits_for_room:
            if self._closed:
                raise LinkClosedError
            try:
                await self._socket.wait_writable()
            except trio.ClosedResourceError:
                raise LinkClosedError from None

    # -- the reader

    async def run(self) -> None:
        """Take what arrives, and end the batches whose time is over, until :meth:`interrupt`, or the socket fails."""
        self._interrupted = False
        while not self._interrupted:
            with trio.CancelScope(deadline=self._next_deadline()) as self._waiting:
                while True:
                    await self._socket.wait_readable()
                    if not self._read_burst():
                        return
            # Perhaps a deadline has come. What arrived by then counts, however late this task has its turn.
            for _ in range(_BACKLOG_BURSTS):
                if not self._read_burst():
                    return
                if self._all_read:
                    break
                await trio.lowlevel.checkpoint()
            if self._relaying is not None:
                self._relaying.batches.expire(trio.current_time())
                self._relaying.answers.forget()

    def interrupt(self) -> None:
        """Make :meth:`run` return soon, if it runs; what has not been read yet is read when it runs again."""
        self._interrupted = True
        if self._waiting is not None:
            self._waiting.cancel()

    def _next_deadline(self) -> float:
        return inf if self._relaying is None else self._relaying.batches.next_deadline

    def _read_burst(self) -> bool:
        """Take what has arrived, within a burst; False when the socket is of no more use."""
        now = trio.current_time()
        answers = None if self._relaying is None else self._relaying.answers
        size = 0
        try:
            for _ in range(_READ_BURST):
                datagram = self._socket.receive_nowait()
                self._last_received = now
                if answers is None or not answers.take(datagram, now):
                    self._keep_raw(datagram)
                size += len(datagram)
                if size >= _READ_BYTES:
                    break
            self._all_read = False
        except BlockingIOError:
            self._all_read = True
        except OSError as error:
            self._failed(error)
            return False
        finally:
            if answers is not None:
                answers.flush(now)
        return True

    def _keep_raw(self, datagram: bytes) -> None:
        try:
            self._raw_channel()[0].send_nowait(datagram)
        except trio.WouldBlock:
            self._dropped += 1

    # -- the end

    async def wait_idle(self) -> None:
        """Wait until no batch is outstanding, and none waits for room."""
        if not self.is_idle:
            self._idle = trio.Event()
            await self._idle.wait()

    def close(self) -> None:
        """Close the socket, at once and without a checkpoint, and end every batch. Idempotent."""
        self._socket.close()
        self._closed = True
        if self._relaying is not None:
            self._relaying.batches.abort()
            # Who waits for room hears of it now, and not one after the other.
            slots = self._relaying.slots
            for _ in range(slots.statistics().tasks_waiting):
                slots.release()
        if self._raw is not None:
            self._raw[0].close()

    @property
    def is_idle(self) -> bool:
        """Whether no batch is outstanding, and none waits for room."""
        return self._relaying is None or self._relaying.slots.value == _MAX_OUTSTANDING

    def _failed(self, error: OSError) -> None:
        if not self._closed:
            self._on_failure(error)

    def _start_relaying(self) -> _Relaying:
        if self._relaying is None:
            batches = Batches(self._reply_timeout)
            self._relaying = _Relaying(batches, Answers(self._encoder, batches))
        return self._relaying

    def _raw_channel(self) -> tuple[trio.MemorySendChannel[bytes], trio.MemoryReceiveChannel[bytes]]:
        if self._raw is None:
            self._raw = trio.open_memory_channel[bytes](_RECEIVE_BUFFER)
            if self._closed:
                self._raw[0].close()
        return self._raw


def _new_batch(relaying: _Relaying, size: int, on_done: Callable[[Batch], None] | None) -> Batch:
    return relaying.batches.begin(size, time.time_ns() // 1_000_000, on_done)


async def _pause() -> None:
    await trio.sleep(_QUEUE_PAUSE)
