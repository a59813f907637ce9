"""The count of a pool's sessions and demands, and what its instruments hear of them."""

from __future__ import annotations

from types import TracebackType

import attrs
import trio

from trio_sessions._errors import PoolStoppedError
from trio_sessions._instruments import (
    DemandEnded,
    DemandOutcome,
    EndOutcome,
    Instruments,
    OpenEnded,
    OpenOutcome,
    SessionEnded,
)
from trio_sessions._keeper import Keeper
from trio_sessions._lifecycle import ENDED, Event, State
from trio_sessions._report import SessionCounts
from trio_sessions._route import Route

__all__ = ["Tally"]


class Tally:
    """Counts sessions as they open and end.

    Attributes:
        waiting: demands under way.
    """

    def __init__(self, instruments: Instruments | None) -> None:
        self.waiting = 0
        self._instruments = instruments
        self._opened = self._closed = self._lost = self._failed = 0
        #: When those that are being opened were first asked for; kept for the instruments alone.
        self._asked_at: dict[Keeper, float] = {}

    @property
    def sessions(self) -> SessionCounts:
        """The count so far."""
        return SessionCounts(self._opened, self._closed, self._lost, self._failed)

    def demand(self, route: Route) -> _Demand:
        """Around the wait of one who asks for a session."""
        return _Demand(self, self._instruments, route)

    def asked(self, keeper: Keeper) -> None:
        """A session was asked for that there was not."""
        if self._instruments is not None:
            self._asked_at[keeper] = trio.current_time()

    def event(self, keeper: Keeper, event: Event) -> None:
        """Something has happened to a session, and its state is the new one already."""
        self._opened += event is Event.OPENED
        self._closed += event is Event.SETTLED and not keeper.is_left
        self._lost += event is Event.LISTENER_GONE
        self._failed += event is Event.OPEN_FAILED
        if self._instruments is not None:
            self._tell(self._instruments, keeper, event)

    def _tell(self, instruments: Instruments, keeper: Keeper, event: Event) -> None:
        now, info = trio.current_time(), keeper.info
        asked_at = self._asked_at.pop(keeper, None)
        if asked_at is not None:
            # The first event of its life ends the opening, one way or another.
            error = keeper.failure if event is Event.OPEN_FAILED else None
            opening: OpenOutcome = "opened" if event is Event.OPENED else "ended" if error is None else "failed"
            instruments(OpenEnded(str(keeper.route), opening, now - asked_at, info.attempts, error))
        elif keeper.state in ENDED:
            end: EndOutcome = "lost" if keeper.state is State.LOST else "left" if keeper.is_left else "confirmed"
            lived = 0.0 if info.opened_at is None else now - info.opened_at
            instruments(SessionEnded(str(keeper.route), end, lived, info))


@attrs.define
class _Demand:
    """One who asks for a session and waits."""

    _tally: Tally
    _instruments: Instruments | None
    _route: Route
    _began: float = 0.0

    def __enter__(self) -> None:
        self._tally.waiting += 1
        if self._instruments is not None:
            self._began = trio.current_time()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._tally.waiting -= 1
        if self._instruments is not None:
            seconds = trio.current_time() - self._began
            self._instruments(DemandEnded(str(self._route), _outcome(error), seconds))


def _outcome(error: BaseException | None) -> DemandOutcome:
    if error is None:
        return "ready"
    if isinstance(error, trio.Cancelled):
        return "timed out" if error.source == "deadline" else "cancelled"
    return "stopped" if isinstance(error, PoolStoppedError) else "failed"
