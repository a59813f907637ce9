"""What the library tells of itself while it works: one callable, which gets a frozen record of each thing that happens.

Without instruments no record is made.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from math import inf
from typing import Literal, Protocol, TypeAlias

import attrs
import trio

from trio_sessions._errors import SessionsError
from trio_sessions._log_fields import about
from trio_sessions._model import ListenerKey
from trio_sessions._record import SessionInfo
from trio_sessions._statistics import PoolStatistics

__all__ = [
    "BatchSettled",
    "CallEnded",
    "DemandEnded",
    "Instruments",
    "NodePolled",
    "Observation",
    "OpenEnded",
    "OrphanFound",
    "OrphanSettled",
    "PoolEnded",
    "PoolStarted",
    "SessionEnded",
    "guarded",
]

_log = logging.getLogger("trio_sessions.instruments")

#: Instruments that fail again and again cost one log line in this time, seconds.
_LOG_INTERVAL = 60.0


@attrs.frozen
class PoolStarted:
    """A pool has begun to run.

    Attributes:
        url: of its node.
        instance: its name.
        statistics: the pool's numbers at the moment of the call; of any thread, and also after the pool's end.
    """

    url: str
    instance: str
    statistics: Callable[[], PoolStatistics]


@attrs.frozen
class PoolEnded:
    """A pool has ended, with all that it had; the fields are those of its :class:`PoolStarted`."""

    url: str
    instance: str
    statistics: Callable[[], PoolStatistics]


#: ``"ended"``: it was stopped, or closed, before it was open.
OpenOutcome: TypeAlias = Literal["opened", "failed", "ended"]


@attrs.frozen
class OpenEnded:
    """A session is open, or will not be.

    Attributes:
        route: its relayer, or its hops and destination, as text.
        outcome: see :data:`OpenOutcome`.
        seconds: since it was first asked for, with every attempt and all waits between them.
        attempts: POSTs that were tried.
        error: why it failed; ``None`` unless it did.
    """

    route: str
    outcome: OpenOutcome
    seconds: float
    attempts: int
    error: SessionsError | None


#: What became of a listener: the node has confirmed its end; it is left, and named in the report; the node had lost it.
EndOutcome: TypeAlias = Literal["confirmed", "left", "lost"]


@attrs.frozen
class SessionEnded:
    """A session that was open is over.

    Attributes:
        route: its relayer, or its hops and destination, as text.
        outcome: what became of its listener, see :data:`EndOutcome`.
        seconds: since it was open.
        info: its last snapshot, with the reason.
    """

    route: str
    outcome: EndOutcome
    seconds: float
    info: SessionInfo


#: ``"timed out"``: a deadline of the caller's has come; ``"cancelled"``: any other cancel.
DemandOutcome: TypeAlias = Literal["ready", "failed", "stopped", "timed out", "cancelled"]


@attrs.frozen
class DemandEnded:
    """A call of :meth:`SessionPool.session` is over, most often because the session is there already.

    Attributes:
        route: the relayer, or the hops and destination, as text.
        outcome: see :data:`DemandOutcome`.
        seconds: that the caller waited.
    """

    route: str
    outcome: DemandOutcome
    seconds: float


@attrs.frozen
class BatchSettled:
    """Every message of a batch is accounted for; they are ``answered + unanswered + undelivered``.

    Attributes:
        relayer: as in the report: the relayer, or for sessions by hops the destination or the whole route.
        answered: messages that came back.
        unanswered: that were sent and did not.
        undelivered: that were never sent.
        reason: why not; ``""`` when all were sent.
        rtts: round-trip times of the answered ones in seconds, in order of arrival.
    """

    relayer: str
    answered: int
    unanswered: int
    undelivered: int
    reason: str
    rtts: tuple[float, ...]


@attrs.frozen
class CallEnded:
    """A call to the node's REST API is over.

    Attributes:
        method: the HTTP method.
        route: the path without what differs from session to session, e.g. ``"/session/udp/{ip}/{port}"``.
        status: the HTTP status; ``None`` without a reply that can be read.
        error: then the name of the error's class, or ``"Cancelled"``; else ``None``.
        seconds: that it took, with the wait for a connection.
    """

    method: str
    route: str
    status: int | None
    error: str | None
    seconds: float


#: Where an orphan comes from: the journal of an earlier run; an address of ours, on which nobody else may listen; a
#: POST whose reply was lost; a list that had hidden it for a while; or somebody asked to close it.
Origin: TypeAlias = Literal["earlier run", "own address", "lost reply", "vanished", "asked"]


@attrs.frozen
class OrphanFound:
    """The node has a listener of ours that no session of this pool had; it will be closed.

    Attributes:
        origin: where it comes from.
        route: of the session that it was made for, as text, as far as that is known.
        listener: its key.
    """

    origin: Origin
    route: str
    listener: ListenerKey


@attrs.frozen
class OrphanSettled:
    """The same listener is gone, or left and named in the report.

    Attributes:
        outcome: ``"confirmed"`` by the node, or ``"left"``.
    """

    origin: Origin
    route: str
    listener: ListenerKey
    outcome: Literal["confirmed", "left"]


@attrs.frozen
class NodePolled:
    """A :class:`Node` has asked its node how it is.

    Attributes:
        url: of the node.
        healthy: what the node's own check says; ``None`` when it did not answer.
        relayers: that can be used; after a failure as before.
        connected: peers that the node is connected to; likewise.
    """

    url: str
    healthy: bool | None
    relayers: int
    connected: int


#: What instruments are told; there may be more kinds in a later version.
Observation: TypeAlias = (
    PoolStarted
    | PoolEnded
    | OpenEnded
    | SessionEnded
    | DemandEnded
    | BatchSettled
    | CallEnded
    | OrphanFound
    | OrphanSettled
    | NodePolled
)


class Instruments(Protocol):
    """Any callable that takes one :data:`Observation`: hand it to ``open_pool``, ``Node`` and ``Hoprd``.

    It is called in Trio's thread in the middle of the work, so it must neither block nor wait. Look at the kinds that
    matter to you, e.g. with ``match``, and pass over the others. An exception that it raises is logged, at most once a
    minute, and goes no further: the work goes on, and so do the calls.
    """

    def __call__(self, observation: Observation, /) -> None:
        """Take note of what has happened."""


def guarded(instruments: Instruments | None) -> Instruments | None:
    """The same instruments, whose exceptions are logged and go no further; ``None`` if there are none."""
    return instruments if instruments is None or isinstance(instruments, _Guarded) else _Guarded(instruments)


class _Guarded:
    def __init__(self, instruments: Instruments) -> None:
        self._instruments = instruments
        self._logged_at = -inf
        self._unlogged = 0

    def __call__(self, observation: Observation, /) -> None:
        try:
            self._instruments(observation)
        except Exception as error:  # noqa: BLE001 - a fault in watching must not be one of the work
            self._failed(observation, error)

    def _failed(self, observation: Observation, error: Exception) -> None:
        now = trio.current_time()
        if now < self._logged_at + _LOG_INTERVAL:
            self._unlogged += 1
            return
        others = f" ({self._unlogged} more since the last such line)" if self._unlogged else ""
        self._logged_at, self._unlogged = now, 0
        name, fields = type(observation).__name__, about(error=error)
        _log.error("instruments failed at a %s%s", name, others, exc_info=error, extra=fields)
