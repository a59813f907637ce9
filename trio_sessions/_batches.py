"""The batches that a session has outstanding, and which answer belongs to which. No I/O: times are passed in.

An answer is ours when index, inner index and timestamp are those of a message that is out; so an echo of an earlier
batch of the same index, two halves glued together by loss, or somebody else's datagram counts as nothing.
"""

from __future__ import annotations

import heapq
from math import inf

import attrs
import trio

from trio_sessions._wire import MAX_INDEX, Message

__all__ = ["Batch", "BatchOutcome", "Batches"]

_INDEX_RANGE = MAX_INDEX + 1


@attrs.frozen
class BatchOutcome:
    """What became of one batch.

    ``sent + undelivered`` is the size of the batch, ``answered + unanswered`` is ``sent``.

    Attributes:
        relayer: the relayer, or the route of a session by hops.
        sent: messages that left.
        answered: of these, the ones that came back in time, each counted once.
        unanswered: of these, the others.
        undelivered: messages that never left.
        reason: why not; ``None`` when all left.
        duplicates: answers that came more than once.
        rtts: round-trip times of the answered ones in seconds, by Trio's (monotonic) clock, in order of arrival.
    """

    relayer: str
    sent: int
    answered: int
    unanswered: int
    undelivered: int
    reason: str | None
    duplicates: int
    rtts: tuple[float, ...]


@attrs.define(eq=False)
class Batch:
    """One batch under way."""

    size: int
    index: int
    #: Unix milliseconds, as the wire format wants it; here it serves only to recognise answers.
    timestamp: int
    #: When each message left, by Trio's clock; its length is the number sent.
    sent_at: list[float] = attrs.field(factory=list)
    rtts: list[float] = attrs.field(factory=list)
    duplicates: int = 0
    #: Set when no answer is waited for any more.
    done: trio.Event = attrs.field(factory=trio.Event)
    #: One byte a message: 1 when it was answered.
    _seen: bytearray = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._seen = bytearray(self.size)

    def answer(self, inner_index: int, now: float) -> bool:
        """Take an answer; False when it is none of a message that was sent."""
        if inner_index >= len(self.sent_at):
            return False
        if self._seen[inner_index]:
            self.duplicates += 1
        else:
            self._seen[inner_index] = 1
            self.rtts.append(now - self.sent_at[inner_index])
        return True

    @property
    def complete(self) -> bool:
        """Whether every message was answered."""
        return len(self.rtts) == self.size

    def outcome(self, relayer: str, reason: str) -> BatchOutcome:
        """The result so far; whatever was not sent is undelivered, for this reason."""
        sent = len(self.sent_at)
        return BatchOutcome(
            relayer=relayer,
            sent=sent,
            answered=len(self.rtts),
            unanswered=sent - len(self.rtts),
            undelivered=self.size - sent,
            reason=reason if sent < self.size else None,
            duplicates=self.duplicates,
            rtts=tuple(self.rtts),
        )


class Batches:
    """All batches of one session that still wait for answers."""

    def __init__(self) -> None:
        self._next_index = 0
        self._outstanding: dict[int, Batch] = {}
        # Deadlines of batches that are all sent; those that completed before are skipped when they come up.
        self._deadlines: list[tuple[float, int, Batch]] = []
        self._sequence = 0
        self._idle = trio.Event()
        self._idle.set()

    def __len__(self) -> int:
        return len(self._outstanding)

    def begin(self, size: int, timestamp: int) -> Batch:
        """A new batch, under an index that no outstanding one has. Nothing of it is sent yet."""
        while self._next_index in self._outstanding:
            self._next_index = (self._next_index + 1) % _INDEX_RANGE
        batch = Batch(size, self._next_index, timestamp)
        self._next_index = (self._next_index + 1) % _INDEX_RANGE
        self._outstanding[batch.index] = batch
        if self._idle.is_set():
            self._idle = trio.Event()
        return batch

    def all_sent(self, batch: Batch, deadline: float) -> None:
        """Nothing more of ``batch`` will be sent; answers count until ``deadline``."""
        if batch.complete:
            self.finish(batch)
        elif not batch.done.is_set():
            self._sequence += 1
            heapq.heappush(self._deadlines, (deadline, self._sequence, batch))

    def answer(self, message: Message, now: float) -> bool:
        """Give ``message`` to the batch it answers; False when there is none."""
        batch = self._outstanding.get(message.index)
        if batch is None or batch.timestamp != message.timestamp:
            return False
        if not batch.answer(message.inner_index, now):
            return False
        if batch.complete:
            self.finish(batch)
        return True

    @property
    def next_deadline(self) -> float:
        """When :meth:`expire` is due, by the clock of the deadlines; infinity when nothing is."""
        while self._deadlines and self._deadlines[0][2].done.is_set():
            heapq.heappop(self._deadlines)
        return self._deadlines[0][0] if self._deadlines else inf

    def expire(self, now: float) -> None:
        """End every batch whose deadline has come."""
        while self.next_deadline <= now:
            self.finish(self._deadlines[0][2])

    def finish(self, batch: Batch) -> None:
        """Wait for no more answers of ``batch``. Idempotent."""
        if not batch.done.is_set():
            batch.done.set()
            del self._outstanding[batch.index]
            if not self._outstanding:
                self._idle.set()

    def abort(self) -> None:
        """End all: no more answers will come, and what was not sent never will be."""
        for batch in list(self._outstanding.values()):
            self.finish(batch)

    async def wait_idle(self) -> None:
        """Wait until no batch is outstanding."""
        await self._idle.wait()
