"""A session as its users hold it. It changes nothing of the session's record: it sends, and waits for answers."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial

import trio

from trio_sessions._address import same_address
from trio_sessions._batches import Batch, BatchOutcome
from trio_sessions._errors import InvalidInputError
from trio_sessions._histogram import Histogram
from trio_sessions._keeper import Keeper
from trio_sessions._ledger import Entry, Ledger
from trio_sessions._lifecycle import EndReason
from trio_sessions._link import Link, LinkClosedError
from trio_sessions._record import SessionInfo

__all__ = ["CANCELLED", "MAX_BATCH", "Session", "check_count"]

#: The most messages that one batch may have: about what fits into a socket's buffers at once.
MAX_BATCH = 1000
#: The reason of messages whose sender was cancelled before they left.
CANCELLED = "cancelled"


class Session:
    """One session; get it from :meth:`SessionPool.session`.

    It stays usable while its relayer is out of sight for less than the grace period. After its end every use raises
    :class:`SessionEndedError` with the reason; ask the pool for a new one.
    """

    def __init__(self, keeper: Keeper, ledger: Ledger, rtt: Histogram) -> None:
        self._keeper = keeper
        self._ledger = ledger
        self._rtt = rtt

    def __repr__(self) -> str:
        return f"<Session via {self._keeper.route}: {self._keeper.state.value}>"

    @property
    def _usable(self) -> bool:
        return self._keeper.usable

    @property
    def info(self) -> SessionInfo:
        """A frozen snapshot."""
        return self._keeper.info

    @property
    def payload_size(self) -> int:
        """Bytes of the largest datagram that pays for its own echo: hoprMtu less surbLen (contract §4.2)."""
        self._usable_link()
        assert self._keeper.listener is not None
        return self._keeper.listener.payload_size

    async def send(self, data: bytes) -> None:
        """Send one datagram.

        It may be lost, and nobody will say so. When cancelled, or when this raises, it was not sent.

        Raises:
            InvalidInputError: empty (the node takes that for the end of the session), or above :attr:`payload_size`.
            SessionEndedError: the session is over, or ends while the send waits for room.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        link = self._usable_link()
        limit = self.payload_size
        if not data:
            raise InvalidInputError(
                "payload", data, "is empty", "the node takes that for the session's end: send a byte"
            )
        if len(data) > limit:
            raise InvalidInputError(
                "payload", f"{len(data)} bytes", f"is above this session's {limit} bytes", "split it"
            )
        try:
            await link.send(data)
        except LinkClosedError:
            await trio.lowlevel.checkpoint_if_cancelled()
            raise self._keeper.ended() from None

    async def receive(self) -> bytes:
        """Wait for the next datagram that holds no relay message, and return it whole.

        At most 256 wait to be received; further ones are dropped and counted in :attr:`info`. Datagrams may arrive
        merged or split (contract §4.3), and one of NUL bytes alone may be taken for the padding of a message. When
        cancelled, none is lost.

        Raises:
            SessionEndedError: the session is over, and all that had arrived was received.
        """
        link = self._keeper.link
        if link is None:
            raise self._keeper.ended()
        try:
            return await link.receive()
        except LinkClosedError:
            await trio.lowlevel.checkpoint_if_cancelled()
            raise self._keeper.ended() from None

    async def relay(self, count: int = 1) -> BatchOutcome:
        """Send a batch of ``count`` messages there and back, and wait for the answers.

        Returns when all are answered, when the reply timeout has passed since the last was sent, or when the session
        ends. The ledger counts every message whatever happens: when cancelled, those that were sent count as
        unanswered and the others as undelivered. Any number of batches may be outstanding: each gets its own answers.

        Raises:
            InvalidInputError: ``count`` is not 1 to 1000.
            SessionEndedError: the session is over, or ends before the first message could be sent.
        """
        check_count(count)
        # Who is cancelled hears of that, and not of the stop that the same cancel may have brought.
        await trio.lowlevel.checkpoint_if_cancelled()
        self._usable_link()
        entry = self._ledger.accept(str(self._keeper.route), count)
        try:
            return await self._relay(entry)
        finally:
            if not entry.settled:
                entry.settle(undelivered=count, reason=self._reason())

    def close(self) -> None:
        """End the session: no new messages from now on, its socket closes, its listener is deleted. Idempotent."""
        self._keeper.tell(EndReason.CLOSED_BY_USER)

    async def wait_closed(self) -> None:
        """Wait until the session is over: its listener is gone, or named in the pool's report."""
        await self._keeper.wait_over()

    def _check_destination(self, wanted: str | None) -> None:
        if wanted is None:
            return
        own = self.info.destination
        if own is not None and not same_address(own, wanted):
            rule = f"is not that of the open session via {self._keeper.route}, {own}"
            raise InvalidInputError(
                "destination", wanted, rule, "close that session first, or leave the destination out"
            )

    async def _relay(self, entry: Entry) -> BatchOutcome:
        """Relay an accepted batch, and settle its entry once the batch has begun.

        Raises:
            SessionEndedError: before it began; the entry is not settled, and may be tried on another session.
        """
        link = self._usable_link()
        # Settled at the very moment when it is over: so when the session is, its books are complete.
        done = partial(self._end, link, entry)
        try:
            batch = link.begin_nowait(entry.count, done) or await link.begin(entry.count, done)
        except LinkClosedError:
            await trio.lowlevel.checkpoint_if_cancelled()
            raise self._keeper.ended() from None
        try:
            # The link's owner ends the batches when it closes: until then answers still count.
            with suppress(LinkClosedError):
                await link.send_all(batch)
            await link.wait_done(batch)
        finally:
            # When cancelled; else it is over.
            link.give_up(batch)
        return batch.outcome(entry.relayer, self._reason())

    async def _submit(self, entry: Entry, on_end: Callable[[], None]) -> None:
        """Send an accepted batch that nobody waits for; return when it is sent, or the session ends.

        Once it has begun, its entry is settled and ``on_end`` called when it is over. When cancelled, it is over.

        Raises:
            SessionEndedError: before it began; the entry is not settled, and may be tried on another session.
        """
        link = self._usable_link()

        def done(batch: Batch) -> None:
            self._end(link, entry, batch)
            on_end()

        try:
            batch = link.begin_nowait(entry.count, done) or await link.begin(entry.count, done)
        except LinkClosedError:
            await trio.lowlevel.checkpoint_if_cancelled()
            raise self._keeper.ended() from None
        try:
            await link.send_all(batch)
        except LinkClosedError:
            # As above.
            pass
        except BaseException:
            link.give_up(batch)
            raise

    def _end(self, link: Link, entry: Entry, batch: Batch) -> None:
        link.end(batch)
        answered = len(batch.rtts)
        undelivered = batch.size - batch.sent
        reason = self._reason() if undelivered else ""
        entry.settle(
            answered=answered,
            unanswered=batch.sent - answered,
            undelivered=undelivered,
            reason=reason,
            rtts=batch.rtts,
        )
        self._rtt.add_all(batch.rtts)

    def _reason(self) -> str:
        """Why messages that did not leave did not."""
        return CANCELLED if self._keeper.usable else self._keeper.reason.value

    def _usable_link(self) -> Link:
        if self._keeper.link is None or not self._keeper.usable:
            raise self._keeper.ended()
        return self._keeper.link


def check_count(count: object) -> None:
    """Check the size of a batch.

    Raises:
        InvalidInputError: it is not 1 to :data:`MAX_BATCH`.
    """
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= MAX_BATCH:
        raise InvalidInputError("count", count, f"must be a whole number from 1 to {MAX_BATCH}")
