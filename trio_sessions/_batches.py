"""The batches that a session has outstanding, and which answer belongs to which. No I/O: times are passed in.

An answer is ours when index, inner index and timestamp are those of a message that is out; so an echo of an earlier
batch of the same index, two halves glued together by loss, or somebody else's datagram counts as nothing.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Callable
from math import inf

import attrs

from trio_sessions._wire import MAX_INDEX, Message

__all__ = ["Batch", "BatchOutcome", "Batches"]

_INDEX_RANGE = MAX_INDEX + 1
#: Batches that are over and wait behind one that is not, beyond as many as are outstanding.
_MOST_DONE = 32


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
    """One batch under way.

    Attributes:
        size: messages.
        index: what tells it from the others that are outstanding.
        timestamp: Unix milliseconds, as the wire format wants it; here it serves only to recognise answers.
        on_done: called, once, when no answer is waited for any more.
        is_done: whether that is so.
        sent: messages that left, in the order of their inner indices.
        rtts: round-trip times of the answered ones in seconds, in order of arrival.
        duplicates: answers that came more than once.
        stream: all its datagrams, while it is sent in parts and, if it is not large, until it is over; else empty.
    """

    size: int
    index: int
    timestamp: int
    on_done: Callable[[Batch], None] | None = None
    is_done: bool = False
    sent: int = 0
    rtts: list[float] = attrs.field(factory=list)
    duplicates: int = 0
    stream: bytes = b""
    #: What was sent at one time by Trio's clock: the first message's inner index, and the time. Mostly all at once.
    _departures: list[tuple[int, float]] = attrs.field(factory=list)
    #: One byte a message: 1 when it was answered.
    _seen: bytearray = attrs.field(init=False)
    #: The numbers as they stand in the messages.
    _key: bytes = attrs.field(init=False)
    _size_text: bytes = attrs.field(init=False)
    _time_text: bytes = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._seen = bytearray(self.size)
        self._key = b"%d" % self.index
        self._size_text = b"%d" % self.size
        self._time_text = b"%d" % self.timestamp

    def departed(self, count: int, now: float) -> None:
        """The next ``count`` messages have left."""
        self._departures.append((self.sent, now))
        self.sent += count

    def answer(self, inner_index: int, now: float) -> bool:
        """Take an answer; False when it is none of a message that was sent."""
        if inner_index >= self.sent:
            return False
        if self._seen[inner_index]:
            self.duplicates += 1
        else:
            self._seen[inner_index] = 1
            self.rtts.append(now - self._left_at(inner_index))
        return True

    def answer_many(self, first: int, count: int, now: float) -> bool:
        """Take the answers of ``count`` messages in a row; False when not all of them were sent."""
        end = first + count
        if end > self.sent:
            return False
        if len(self._departures) == 1 and self._seen.find(1, first, end) < 0:
            self._seen[first:end] = b"\1" * count
            self.rtts += [now - self._departures[0][1]] * count
        else:
            for inner_index in range(first, end):
                if len(self.rtts) == self.size:
                    # What comes after the last missing answer belongs to nobody any more.
                    break
                self.answer(inner_index, now)
        return True

    def _left_at(self, inner_index: int) -> float:
        return self._departures[bisect_right(self._departures, (inner_index, inf)) - 1][1]

    @property
    def complete(self) -> bool:
        """Whether every message was answered."""
        return len(self.rtts) == self.size

    def outcome(self, relayer: str, reason: str) -> BatchOutcome:
        """The result so far; whatever was not sent is undelivered, for this reason."""
        return BatchOutcome(
            relayer=relayer,
            sent=self.sent,
            answered=len(self.rtts),
            unanswered=self.sent - len(self.rtts),
            undelivered=self.size - self.sent,
            reason=reason if self.sent < self.size else None,
            duplicates=self.duplicates,
            rtts=tuple(self.rtts),
        )


class Batches:
    """All batches of one session that still wait for answers, each until ``reply_timeout`` after its last message."""

    def __init__(self, reply_timeout: float) -> None:
        self._reply_timeout = reply_timeout
        self._next_index = 0
        #: By the index as it stands in the messages.
        self._outstanding: dict[bytes, Batch] = {}
        #: Those that are all sent, in the order of their deadlines, since all wait equally long. Those that completed
        #: before are skipped when they come up, or taken out when they are the most.
        self._deadlines: deque[tuple[float, Batch]] = deque()

    def set_reply_timeout(self, seconds: float) -> None:
        """For batches that are all sent from now on. If it is shorter, they end no earlier than those before them."""
        self._reply_timeout = seconds

    def __len__(self) -> int:
        return len(self._outstanding)

    def begin(self, size: int, timestamp: int, on_done: Callable[[Batch], None] | None = None) -> Batch:
        """A new batch, under an index that no outstanding one has. Nothing of it is sent yet."""
        while True:
            batch = Batch(size, self._next_index, timestamp, on_done)
            self._next_index = (self._next_index + 1) % _INDEX_RANGE
            if batch._key not in self._outstanding:
                self._outstanding[batch._key] = batch
                return batch

    def all_sent(self, batch: Batch, now: float) -> None:
        """Nothing more of ``batch`` will be sent; answers count until the reply timeout."""
        if batch.complete:
            self.finish(batch)
        elif not batch.is_done:
            if len(self._deadlines) > 2 * len(self._outstanding) + _MOST_DONE:
                self._deadlines = deque(each for each in self._deadlines if not each[1].is_done)
            self._deadlines.append((now + self._reply_timeout, batch))

    def find(self, key: bytes, size_text: bytes, time_text: bytes) -> Batch | None:
        """The outstanding batch with these numbers, as they stand in a message."""
        batch = self._outstanding.get(key)
        if batch is None or batch._time_text != time_text or batch._size_text != size_text:
            return None
        return batch

    def answer(self, message: Message, now: float) -> bool:
        """Give ``message`` to the batch it answers; False when there is none."""
        batch = self._outstanding.get(b"%d" % message.index)
        if batch is None or batch.timestamp != message.timestamp:
            return False
        return self.answer_many(batch, message.inner_index, 1, now)

    def answer_many(self, batch: Batch, first: int, count: int, now: float) -> bool:
        """The answers of ``count`` messages in a row of ``batch`` have come; False when not all of them were sent."""
        if not (batch.answer(first, now) if count == 1 else batch.answer_many(first, count, now)):
            return False
        if len(batch.rtts) == batch.size:
            self.finish(batch)
        return True

    @property
    def next_deadline(self) -> float:
        """When :meth:`expire` is due, by the clock of the deadlines; infinity when nothing is."""
        self._skip_done()
        return self._deadlines[0][0] if self._deadlines else inf

    def expire(self, now: float) -> None:
        """End every batch whose deadline has come."""
        while self.next_deadline <= now:
            self.finish(self._deadlines[0][1])

    def finish(self, batch: Batch) -> None:
        """Wait for no more answers of the batch. Idempotent."""
        if batch.is_done:
            return
        batch.is_done = True
        batch.stream = b""
        del self._outstanding[batch._key]
        self._skip_done()
        if batch.on_done is not None:
            batch.on_done(batch)

    def abort(self) -> None:
        """End all: no more answers will come, and what was not sent never will be."""
        for batch in list(self._outstanding.values()):
            self.finish(batch)

    def _skip_done(self) -> None:
        deadlines = self._deadlines
        while deadlines and deadlines[0][1].is_done:
            deadlines.popleft()
