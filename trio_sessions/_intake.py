"""The intake: batches for any relayer, each held in its relayer's lane until every message of it is accounted for."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Awaitable, Callable, Container
from functools import partial

import trio

from trio_sessions._batches import BatchOutcome
from trio_sessions._errors import PoolStoppedError, SessionEndedError, SessionsError
from trio_sessions._lane import Bounds, Lane, LaneClosedError
from trio_sessions._ledger import Entry, Ledger
from trio_sessions._lifecycle import EndReason
from trio_sessions._log_fields import about
from trio_sessions._session import CANCELLED, Session

__all__ = ["Intake"]

_log = logging.getLogger("trio_sessions.node")


class _Way:
    """All that one relayer has to itself."""

    def __init__(self, relayer: str, bounds: Bounds) -> None:
        self.relayer = relayer
        self.lane = Lane(bounds)
        #: Its session, as it was last; perhaps over.
        self.session: Session | None = None
        #: Batches that nobody waits for and that wait for a session; while there are any, a task looks after them.
        self.queue: deque[Entry] = deque()
        self.is_served = False


class Intake:
    """Takes batches while it is open, and carries each to its end, through as many sessions as that takes.

    What is taken is in the ledger, and is settled there whatever happens.

    Args:
        nursery: of the tasks that serve batches which nobody waits for.
        open_session: the session for a relayer, opened if need be.
    """

    def __init__(
        self, ledger: Ledger, nursery: trio.Nursery, bounds: Bounds, open_session: Callable[[str], Awaitable[Session]]
    ) -> None:
        self._ledger = ledger
        self._nursery = nursery
        self._bounds = bounds
        self._open_session = open_session
        self._closed = False
        self._over = False
        #: By the relayer in lower case.
        self._ways: dict[str, _Way] = {}
        #: Batches that are taken and not settled.
        self._in_hand = 0
        self._empty: trio.Event | None = None

    async def relay(self, relayer: str, count: int) -> BatchOutcome:
        """See :meth:`trio_sessions.Node.relay`."""
        way = self._way(relayer)
        entry = await self._accept(way, count)
        reason = CANCELLED
        try:
            while True:
                session = way.session
                if session is None or not session._usable:
                    session = way.session = await self._open_session(relayer)
                try:
                    return await session._relay(entry)
                except SessionEndedError as error:
                    # It ended before anything of the batch was sent: the next session will do, unless all are ending.
                    reason = error.reason
        except SessionsError as error:
            reason = _reason_of(error)
            raise
        finally:
            self._settled(way, entry, reason)

    async def submit(self, relayer: str, count: int) -> None:
        """See :meth:`trio_sessions.Node.submit`."""
        await trio.lowlevel.checkpoint()
        way = self._way(relayer)
        entry = await self._accept(way, count)
        session = way.session
        if not way.is_served and session is not None and session._usable:
            try:
                await session._submit(entry, partial(self._settled, way, entry, ""))
            except SessionEndedError:
                # Before it began: it waits for the next session.
                pass
            except BaseException:
                if not entry.settled:
                    self._settled(way, entry, CANCELLED)
                raise
            else:
                return
        if self._over:
            self._settled(way, entry, EndReason.STOPPED.value)
            raise PoolStoppedError(relayer, EndReason.STOPPED.value)
        way.queue.append(entry)
        if not way.is_served:
            way.is_served = True
            self._nursery.start_soon(self._serve, way)

    def close(self) -> None:
        """Take nothing any more; who waits for room hears of it. What was taken goes on. Idempotent."""
        self._closed = True
        for way in self._ways.values():
            way.lane.close()

    def end(self) -> None:
        """Start no task any more, since the nursery is about to close."""
        self.close()
        self._over = True

    async def wait_empty(self) -> None:
        """Wait until all that was taken is settled."""
        if self._in_hand:
            self._empty = trio.Event()
            await self._empty.wait()

    def forget_idle(self, relayers: Container[str]) -> None:
        """Forget what belongs to relayers other than these, by address in lower case, if nothing of it is in hand."""
        for key, way in list(self._ways.items()):
            if key not in relayers and way.lane.is_idle:
                del self._ways[key]
        self._bounds.lanes = len(self._ways)

    def _way(self, relayer: str) -> _Way:
        key = relayer.lower()
        way = self._ways.get(key)
        if way is None:
            way = self._ways[key] = _Way(relayer, self._bounds)
            self._bounds.lanes = len(self._ways)
        return way

    async def _accept(self, way: _Way, count: int) -> Entry:
        """Take a batch into the books, once there is room for it."""
        try:
            if self._closed:
                raise LaneClosedError
            if not way.lane.enter_nowait(count):
                await way.lane.enter(count)
        except LaneClosedError:
            raise PoolStoppedError(way.relayer, EndReason.STOPPED.value) from None
        self._in_hand += 1
        return self._ledger.accept(way.relayer, count)

    def _settled(self, way: _Way, entry: Entry, reason: str) -> None:
        """The batch is over; what of it nobody has settled was not delivered, for this reason."""
        if not entry.settled:
            entry.settle(undelivered=entry.count, reason=reason)
        way.lane.leave(entry.count)
        self._in_hand -= 1
        if not self._in_hand and self._empty is not None:
            self._empty.set()

    async def _serve(self, way: _Way) -> None:
        """Send what is in the queue, one batch after the other, as soon as there is a session for it."""
        reason = CANCELLED
        try:
            while way.queue:
                try:
                    session = way.session = await self._open_session(way.relayer)
                    await self._send_queued(way, session)
                except SessionsError as error:
                    # The ledger will have it, and session and gate have logged what matters.
                    batches, fields = len(way.queue), about(error=error, relayer=way.relayer, batches=len(way.queue))
                    _log.debug("%d batches for %s not delivered: %s", batches, way.relayer, error, extra=fields)
                    self._give_up(way, _reason_of(error))
        except Exception:  # noqa: BLE001 - it is logged, and counted
            # A crash costs what waited for this relayer, which is counted, and no other's.
            _log.exception("batches for %s crashed", way.relayer, extra=about(relayer=way.relayer))
            reason = EndReason.CRASHED.value
        finally:
            way.is_served = False
            self._give_up(way, reason)

    async def _send_queued(self, way: _Way, session: Session) -> None:
        while way.queue and session._usable:
            entry = way.queue.popleft()
            try:
                await session._submit(entry, partial(self._settled, way, entry, ""))
            except SessionEndedError:
                way.queue.appendleft(entry)
                return
            except BaseException:
                if not entry.settled:
                    self._settled(way, entry, CANCELLED)
                raise

    def _give_up(self, way: _Way, reason: str) -> None:
        while way.queue:
            self._settled(way, way.queue.popleft(), reason)


def _reason_of(error: SessionsError) -> str:
    return error.reason if isinstance(error, SessionEndedError) else EndReason.OPEN_FAILED.value
