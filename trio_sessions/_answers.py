"""Which answers a datagram holds: a quick way for what comes back as it went, and the decoder for all else. No I/O."""

from __future__ import annotations

from trio_sessions._batches import Batch, Batches
from trio_sessions._wire import BatchEncoder, Decoder

__all__ = ["Answers"]

#: Digits of the largest inner index that is looked at the quick way.
_INNER_DIGITS = 4


class Answers:
    """Gives the answers that arrive to the batches that ``encoder`` wrote.

    Mostly a batch comes back in its order, in one piece or in many, so what comes next is compared with what was sent
    next: a run, which is accounted for as a whole by :meth:`flush`. A datagram that is neither that nor the beginning
    of another run (a part of a message, several merged, foreign bytes) goes to the decoder, and so does what follows
    as long as that waits for the rest of something. Both ways take the same for an answer.
    """

    __slots__ = ("_batch", "_batches", "_decoder", "_encoder", "_first", "_next", "_prefix", "_sent", "_size")

    def __init__(self, encoder: BatchEncoder, batches: Batches) -> None:
        self._encoder = encoder
        self._batches = batches
        self._decoder = Decoder()
        self._prefix = encoder.prefix
        self._size = encoder.packet_size
        #: The run: its batch, all that was sent of that, and from where to where in this it was answered.
        self._batch: Batch | None
        self._sent: bytes
        self._first: int
        self._next: int
        self.forget()

    @property
    def unread_bytes(self) -> int:
        """Bytes so far, NULs excluded, that were no part of a message."""
        return self._decoder.unread_bytes

    def take(self, data: bytes, now: float) -> bool:
        """Take ``data``, one or several datagrams put together; False when it is foreign. See :meth:`flush`."""
        size = len(data)
        if self._sent.startswith(data, self._next) and size and not size % self._size:
            self._next += size
            return True
        self.flush(now)
        start = 0
        if not self._decoder.pending:
            if self._start_run(data):
                return True
            # Perhaps messages of several batches: one after the other, as long as they are whole.
            while self._start_run(data[start : start + self._size]):
                start += self._size
                self.flush(now)
            if start == size:
                return True
        for message in self._decoder.feed(data[start:]):
            self._batches.answer(message, now)
        return bool(start) or not self._decoder.last_was_foreign

    def flush(self, now: float) -> None:
        """Account for what was taken since the last time; to be called before anything else is done to a batch."""
        batch = self._batch
        if batch is None or self._first == self._next:
            return
        first, end = self._first // self._size, self._next // self._size
        self._first = self._next
        if not batch.is_done and not self._batches.answer_many(batch, first, end - first, now):
            # Somebody knows what was not sent yet. What was, counts.
            self._batches.answer_many(batch, first, batch.sent - first, now)
        if batch.is_done:
            self.forget()

    def forget(self, batch: Batch | None = None) -> None:
        """Keep nothing of what was sent, of this batch or of any, as nothing more of it may come."""
        if batch is not None and batch is not self._batch:
            return
        self._batch, self._sent, self._first, self._next = None, b"", 0, 0

    def _start_run(self, data: bytes) -> bool:
        """Begin a run with ``data``, if that is one or several messages in a row of an outstanding batch."""
        size = self._size
        if len(data) % size or not data.startswith(self._prefix):
            return False
        skip = len(self._prefix)
        fields = data[skip:size].rstrip(b"\0").split(b" ")
        if len(fields) != 4 or not fields[2].isdigit() or len(fields[2]) > _INNER_DIGITS:
            return False
        batch = self._batches.find(fields[1], fields[0], fields[3])
        if batch is None:
            return False
        first = int(fields[2]) * size
        sent = self._sent
        if batch is not self._batch:
            sent = batch.stream or self._encoder.stream(batch.size, batch.index, batch.timestamp)
        # Only what has left, while the rest still waits for room.
        if first + len(data) > batch.sent * size or not sent.startswith(data, first):
            return False
        self._batch, self._sent, self._first, self._next = batch, sent, first, first + len(data)
        return True
