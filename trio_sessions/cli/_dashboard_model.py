"""What the live view of a run shows, as frozen records, and how it follows from the node's snapshots."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from typing import Final

import attrs

from trio_sessions import EndReason, Messages, PoolReport, SessionInfo, State
from trio_sessions._route import Route

__all__ = ["NO_SESSION", "Heading", "History", "Row", "Totals", "View", "loss"]

#: The state of a relayer that has no session now.
NO_SESSION: Final = "no session"

#: Seconds that loss and round trips of a row are taken over, and between two samples of the loss.
WINDOW: Final = 60.0
_SAMPLE_EVERY = 5.0
#: Seconds that the messages a second are counted over: batches come in bursts.
_RATE_WINDOW = 5.0
#: Round trips of a row that are kept.
_MOST_ROUND_TRIPS = 64
#: From this share of lost messages on a relayer needs attention.
LOSSY: Final = 0.05
#: Relayers in whose order attention is needed, the first most.
_ATTENTION = (NO_SESSION, "lost", "unreachable", "opening")


@attrs.frozen
class Heading:
    """What doesn't change while a run runs."""

    url: str
    instance: str
    namespace: str


@attrs.frozen
class Row:
    """One relayer, or the route of sessions by hops. Durations in seconds.

    Attributes:
        name: its address.
        state: in a word, that of its session, or :data:`NO_SESSION`.
        grace_left: of the grace period that is running.
        round_trips: of recent batches, a median each.
        loss: share of the messages of the last minute that got no answer; ``None`` without any.
        answered, accepted: messages since the start.
        destination: the exit node.
        listener: ``ip:port``.
    """

    name: str
    state: str
    grace_left: float | None = None
    round_trips: tuple[float, ...] = ()
    loss: float | None = None
    answered: int = 0
    accepted: int = 0
    destination: str | None = None
    listener: str | None = None

    @property
    def attention(self) -> tuple[float, float]:
        """The lower the sooner it must be seen."""
        if self.state in _ATTENTION:
            return _ATTENTION.index(self.state), self.grace_left or 0.0
        if (self.loss or 0.0) >= LOSSY:
            # In steps, so that rows don't change places all the time.
            return len(_ATTENTION), -round(5 * (self.loss or 0.0))
        return len(_ATTENTION) + 1 + (self.state == State.ACTIVE.value), 0.0


@attrs.frozen
class Totals:
    """All relayers together; ``loss`` is that of the last minute, everything else counts from the start."""

    states: Mapping[str, int]
    rate: float
    loss: float | None
    rtt: Mapping[str, float]
    answered: int
    accepted: int
    undelivered: int


@attrs.frozen
class View:
    """One moment of a run. Durations in seconds.

    Attributes:
        heading: node and instance.
        dialect: of the node, e.g. ``"4.1"``; ``None`` while nobody has asked.
        healthy: as :attr:`Node.healthy`.
        elapsed: since the messages began.
        duration: that the run shall take, if not until a signal.
        stopping: since when it stops.
        rows: by address.
        totals: of all rows.
        events: what happened since the last view, in words, the newest last.
    """

    heading: Heading
    dialect: str | None
    healthy: bool | None
    elapsed: float
    duration: float | None
    stopping: float | None
    rows: tuple[Row, ...]
    totals: Totals
    report: PoolReport
    events: tuple[str, ...] = ()


def loss(messages: Messages) -> float | None:
    """The share of sent messages that got no answer, of those whose time is over; ``None`` before there are any."""
    return _share(messages.answered, messages.unanswered)


def _share(answered: int, unanswered: int) -> float | None:
    over = answered + unanswered
    return unanswered / over if over else None


@attrs.define
class _Window:
    """What changed within the last minute: the counts of a moment ago, the oldest first."""

    samples: deque[tuple[float, int, int]] = attrs.field(factory=deque)

    def loss(self, now: float, messages: Messages) -> float | None:
        answered, unanswered = messages.answered, messages.unanswered
        if not self.samples or now >= self.samples[-1][0] + _SAMPLE_EVERY:
            self.samples.append((now, answered, unanswered))
        while len(self.samples) > 1 and self.samples[1][0] <= now - WINDOW:
            self.samples.popleft()
        _, answered_then, unanswered_then = self.samples[0]
        return _share(answered - answered_then, unanswered - unanswered_then)


@attrs.define
class _Past:
    """What is kept of one relayer: a bounded number of samples."""

    name: str
    window: _Window = attrs.field(factory=_Window)
    round_trips: deque[float] = attrs.field(factory=lambda: deque(maxlen=_MOST_ROUND_TRIPS))
    answered_at: float | None = None
    info: SessionInfo | None = None


class History:
    """Makes a :class:`View` of each pair of snapshots, with what it remembers of the ones before. No clock, no I/O."""

    def __init__(self, heading: Heading, duration: float | None, began: float) -> None:
        self._heading = heading
        self._duration = duration
        self._began = began
        self._relayers: dict[str, _Past] = {}
        self._window = _Window(deque([(began, 0, 0)]))
        self._answered = deque([(began, 0)])
        self._healthy: bool | None = True
        self._lost = 0

    def view(
        self,
        now: float,
        *,
        sessions: tuple[SessionInfo, ...],
        report: PoolReport,
        healthy: bool | None,
        dialect: str | None,
    ) -> View:
        """The view of this moment, by Trio's clock."""
        named = [(str(Route(info.relayer, info.destination, info.hops)), info) for info in sessions]
        # Of two of the same relayer the later one is the newer one.
        current = {name.lower(): info for name, info in named}
        for name in (*(name for name, _ in named), *report.by_relayer):
            if name.lower() not in self._relayers:
                self._relayers[name.lower()] = _Past(name)
        books = {name.lower(): messages for name, messages in report.by_relayer.items()}
        stops = report.stop_duration is not None
        lost, self._lost = report.sessions.lost > self._lost, report.sessions.lost
        changes = _Changes(EndReason.STOPPED if stops else EndReason.LISTENER_GONE if lost else None)
        rows = []
        for key, past in sorted(self._relayers.items()):
            info = current.get(key)
            changes.note(past.name, past.info, info, now)
            past.info = info
            rows.append(_row(now, past, books.get(key, _NOTHING), stops=stops))
        totals = Totals(
            states=Counter(row.state for row in rows),
            rate=self._rate(now, report.messages.answered),
            loss=self._window.loss(now, report.messages),
            rtt=report.rtt,
            answered=report.messages.answered,
            accepted=report.messages.accepted,
            undelivered=sum(report.messages.undelivered.values()),
        )
        events = [*self._health(healthy), *changes.texts()]
        return View(
            heading=self._heading,
            dialect=dialect,
            healthy=healthy,
            elapsed=now - self._began,
            duration=self._duration,
            stopping=report.stop_duration,
            rows=tuple(rows),
            totals=totals,
            report=report,
            events=tuple(events),
        )

    def _rate(self, now: float, answered: int) -> float:
        samples = self._answered
        samples.append((now, answered))
        while len(samples) > 2 and samples[0][0] < now - _RATE_WINDOW:
            samples.popleft()
        (then, before), (_, count) = samples[0], samples[-1]
        return (count - before) / (now - then) if now > then else 0.0

    def _health(self, healthy: bool | None) -> list[str]:
        before, self._healthy = self._healthy, healthy
        if healthy == before:
            return []
        if healthy is None:
            return ["the node does not answer"]
        return ["the node is back" if healthy else "the node says that it is not healthy"]


_NOTHING = Messages()


def _row(now: float, past: _Past, messages: Messages, *, stops: bool) -> Row:
    info = past.info
    if info is not None and info.last_rtt is not None and info.last_answered_at != past.answered_at:
        past.answered_at = info.last_answered_at
        past.round_trips.append(info.last_rtt)
    elif past.answered_at is not None and past.answered_at < now - WINDOW:
        past.round_trips.clear()
    grace_ends_at = None if info is None else info.grace_ends_at
    return Row(
        name=past.name,
        state=info.state.value if info is not None else State.CLOSED.value if stops else NO_SESSION,
        grace_left=None if grace_ends_at is None else max(0.0, grace_ends_at - now),
        round_trips=tuple(past.round_trips),
        loss=past.window.loss(now, messages),
        answered=messages.answered,
        accepted=messages.accepted,
        destination=None if info is None else info.destination,
        listener=None
        if info is None or info.listener is None
        else _place(info.listener.key.ip, info.listener.key.port),
    )


def _place(ip: str, port: int) -> str:
    return f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"


class _Changes:
    """What happened to the relayers between two looks, in words; alike changes of many are one line."""

    #: Relayers that are named one by one.
    _MOST_NAMED = 3

    def __init__(self, likely_end: EndReason | None) -> None:
        #: Of sessions that are over before anybody saw why.
        self._likely_end = likely_end
        self._by_kind: dict[str, list[str]] = {}

    def note(self, name: str, before: SessionInfo | None, after: SessionInfo | None, now: float) -> None:
        was, is_now = before and before.state, after and after.state
        if was is is_now and (before and before.opened_at) == (after and after.opened_at):
            return
        if (
            is_now is State.ACTIVE
            and was is State.UNREACHABLE
            and before
            and after
            and before.opened_at == after.opened_at
        ):
            self._add("back in sight", name)
        elif is_now is State.UNREACHABLE and after and after.grace_ends_at is not None:
            self._add(f"out of sight, grace period of {after.grace_ends_at - now:.0f} s", name)
        elif is_now is State.ACTIVE:
            self._add("session open", name)
        elif was in (State.ACTIVE, State.UNREACHABLE):
            last = after or before
            reason = self._likely_end if last is None or last.reason is None else last.reason
            self._add("session over" if reason is None else f"session over: {reason.value}", name)
        elif was is State.OPENING and is_now is None and self._likely_end is not EndReason.STOPPED:
            self._add("could not be opened", name)

    def _add(self, kind: str, name: str) -> None:
        self._by_kind.setdefault(kind, []).append(name)

    def texts(self) -> list[str]:
        found = []
        for kind, names in self._by_kind.items():
            if len(names) > self._MOST_NAMED:
                found.append(f"{len(names)} relayers: {kind}")
            else:
                found += [f"{name}: {kind}" for name in names]
        return found
