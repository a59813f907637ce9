"""What happened in a simulator: counters, and events with their exact times."""

from __future__ import annotations

from collections import Counter, deque
from typing import Any, NamedTuple

import attrs

__all__ = ["Counters", "Event", "History", "Key"]

#: How many events are kept; older ones are forgotten.
MAX_EVENTS = 100_000

#: The identity of a listener: protocol, ip and port (contract §2.3).
Key = tuple[str, str, int]


class Event(NamedTuple):
    """Something that happened; equal to a plain tuple of the same values.

    ``kind`` is one of ``open``, ``open_failed``, ``abandoned``, ``close``, ``idle_end``, ``eof_end``, ``stranger``,
    ``delisted`` (by the end of another listener; it lives on; each with the listener's :data:`Key`), ``peer_up``,
    ``peer_down`` (with the address) and ``restart`` (with the seconds of the outage).
    """

    time: float
    kind: str
    detail: Key | str | float


@attrs.define
class Counters:
    """How often what happened since the start; restarts don't reset them.

    Attributes:
        opens_started: POSTs of a session that got as far as a bound port.
        opens_committed: ... and made a listener.
        opens_failed: ... and were refused.
        opens_abandoned: ... and whose client left before.
        opens_late: ... and made a listener after the client had left; counted as committed and abandoned, too.
        closes: DELETEs that closed something; one of port 0 counts once.
        closes_missed: DELETEs answered with 404.
        unauthorized: replies with 401.
        not_acceptable: replies with an empty 406.
        idle_ends, eof_ends: listeners that ended by themselves.
        restarts: of the node.
        datagrams_received: from pinned clients.
        datagrams_foreign: dropped, from another address than the pinned one.
        datagrams_lost: by a path that is down, a target without an echo, or a fault.
        datagrams_starved: whose echo found no reply block at the exit (contract §4.2).
        echoes_sent: datagrams sent back.
        calls: by kind of call.
        faults: how often each kind of fault happened to a call.
    """

    opens_started: int = 0
    opens_committed: int = 0
    opens_failed: int = 0
    opens_abandoned: int = 0
    opens_late: int = 0
    closes: int = 0
    closes_missed: int = 0
    unauthorized: int = 0
    not_acceptable: int = 0
    idle_ends: int = 0
    eof_ends: int = 0
    restarts: int = 0
    datagrams_received: int = 0
    datagrams_foreign: int = 0
    datagrams_lost: int = 0
    datagrams_starved: int = 0
    echoes_sent: int = 0
    calls: Counter[str] = attrs.field(factory=Counter)
    faults: Counter[str] = attrs.field(factory=Counter)

    def as_dict(self) -> dict[str, Any]:
        """All counters, ready for JSON."""
        return attrs.asdict(self)


class History:
    """The counters and the last events."""

    __slots__ = ("counters", "events")

    def __init__(self) -> None:
        self.counters = Counters()
        self.events: deque[Event] = deque(maxlen=MAX_EVENTS)

    def note(self, now: float, kind: str, detail: Key | str | float) -> None:
        """Add an event."""
        self.events.append(Event(now, kind, detail))
