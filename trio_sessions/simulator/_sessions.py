"""The node's sessions: the table of listeners, the manager's slots, the idle end (contract §2.3, §3.4, §3.5)."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterator

import attrs

from trio_sessions.simulator._agenda import Agenda
from trio_sessions.simulator._dialects import Rules
from trio_sessions.simulator._history import History, Key
from trio_sessions.simulator._kernel import Binding, Source
from trio_sessions.simulator._spec import SessionSpec
from trio_sessions.simulator._topology import Topology

__all__ = ["DEFAULT_BALANCER", "Balancer", "ListenerRecord", "Session", "Sessions", "balancer_of"]

#: Seconds between two sweeps for expired sessions (contract §3.5).
SWEEP = (15.0, 22.5)

#: How many ended listeners are remembered, for a list of the past.
MAX_PAST = 10_000


@attrs.frozen
class Balancer:
    """The replies that the exit may send ahead: SURBs to hold, SURBs a second (contract §2.1)."""

    target: int
    rate: int


#: What the node takes when a request names nothing (contract §2.1, responseBuffer).
DEFAULT_BALANCER = Balancer(7000, 5000)


def balancer_of(response_buffer: int | None, max_surb_upstream: int | None, mtu: int) -> Balancer | None:
    """The balancer that a request sets up; ``None`` when the buffer is so small that it is off (contract §2.1)."""
    if response_buffer is None:
        return DEFAULT_BALANCER
    if response_buffer < 2 * mtu:
        return None
    rate = DEFAULT_BALANCER.rate if max_surb_upstream is None else max(max_surb_upstream // (8 * mtu), 1)
    return Balancer(response_buffer // mtu, rate)


@attrs.frozen
class ListenerRecord:
    """A listener as it was at one moment.

    Attributes:
        protocol, ip, port: its identity; see :attr:`key`.
        destination: as the daemon prints it.
        forward: the number of hops, or the addresses of the path as they were given.
        session_id: of the session behind it.
        opened_at: the time of its commit.
        last_received: when the idle timer was last reset.
        stranger: whether it belongs to nobody under test.
        datagrams: received from the pinned client.
        echoes: sent back.
    """

    protocol: str
    ip: str
    port: int
    destination: str
    forward: int | tuple[str, ...]
    session_id: str
    opened_at: float
    last_received: float
    stranger: bool
    datagrams: int
    echoes: int

    @property
    def key(self) -> Key:
        """Protocol, ip and port."""
        return (self.protocol, self.ip, self.port)


@attrs.define(eq=False)
class Session:
    """One session of the node, mutable and internal.

    Attributes:
        pinned: the only client it hears (contract §3.6).
        surbs: reply blocks that the exit holds, when the balancer is off (contract §4.2).
        hold_until: frames wait for a missing one until then (contract §4.3).
        path_version, path_carries: the kept answer of the topology.
        relayers: numbers of the relayers that its path names.
        explicit: whether it came by the explicit-path route.
        segmented: whether its data goes in frames (contract §4.4: every capability but NoRateControl implies it).
        flushes: whether every datagram goes off by itself.
    """

    id: str
    key: Key
    spec: SessionSpec
    balancer: Balancer | None
    binding: Binding
    opened_at: float
    last_received: float
    relayers: frozenset[int] = frozenset()
    explicit: bool = False
    stranger: bool = False
    ended: bool = False
    pinned: Source | None = None
    datagrams: int = 0
    echoes: int = 0
    surbs: int = 0
    hold_until: float = 0.0
    path_version: int = -1
    path_carries: bool = False
    segmented: bool = attrs.field(init=False)
    flushes: bool = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.segmented = bool(self.spec.capabilities - {"NoRateControl"})
        self.flushes = not self.segmented or "NoDelay" in self.spec.capabilities

    def record(self) -> ListenerRecord:
        """A snapshot."""
        spec = self.spec
        return ListenerRecord(
            *self.key,
            spec.destination,
            spec.forward.via if spec.forward.hops is None else spec.forward.hops,
            self.id,
            self.opened_at,
            self.last_received,
            self.stranger,
            self.datagrams,
            self.echoes,
        )


class Sessions:
    """The table and the manager.

    Attributes:
        table: the finished listeners, by identity: what the API lists and deletes.
        alive: every session by id, those that another one pushed out of the table included (contract §3.2).
        slots: of the manager, by session id; the value is when a session without owner was last heard of.
    """

    def __init__(
        self,
        rules: Rules,
        topology: Topology,
        agenda: Agenda,
        history: History,
        *,
        idle_timeout: float,
        release_latency: float,
        seed: int,
    ) -> None:
        self.table: dict[Key, Session] = {}
        self.alive: dict[str, Session] = {}
        self.slots: dict[str, float | None] = {}
        self._past: deque[tuple[Session, float]] = deque(maxlen=MAX_PAST)
        self._rules = rules
        self._topology = topology
        self._agenda = agenda
        self._history = history
        self._idle_timeout = idle_timeout
        self._release_latency = release_latency
        self._ids = random.Random(f"{seed}:ids")
        self._sweep_times = random.Random(f"{seed}:sweep")
        self._sweeping = False

    def new_id(self) -> str:
        """An id in the dialect's form (contract §2.5)."""
        pseudonym = f"0x{self._ids.getrandbits(80):020x}"
        return f"{pseudonym}:{self._ids.randrange(1024, 65536)}" if self._rules.tagged_ids else pseudonym

    @property
    def is_full(self) -> bool:
        """Whether the manager has no slot left (contract §3.4)."""
        return len(self.slots) >= self._rules.max_sessions

    def take_slot(self, session_id: str) -> None:
        """Use a slot for a session that is being opened."""
        self.slots[session_id] = None

    def free_slot(self, session_id: str) -> None:
        """Give a slot back, if it is still held."""
        self.slots.pop(session_id, None)

    def leave_slot(self, session_id: str, now: float) -> None:
        """Leave a slot to the idle end: nobody owns its session any more."""
        if session_id in self.slots:
            self.slots[session_id] = now
            self._keep_sweeping(now)

    def add(self, session: Session, now: float) -> None:
        """Commit an opened session; it pushes another one with the same identity out of the table (contract §3.2).

        A TCP listener is no session by itself, so it has no slot and no idle end (contract §3.1).
        """
        self._unlist(session.key, now)
        self.table[session.key] = session
        self.alive[session.id] = session
        if session.key[0] == "udp":
            self.take_slot(session.id)
            self._keep_sweeping(now)

    def close(self, session: Session, now: float) -> None:
        """What a DELETE does: off the table at once, the port is free a little later (contract §3.7)."""
        self._remove(session, now)
        if self._rules.delete_frees_slot:
            self.free_slot(session.id)
        else:
            self.leave_slot(session.id, session.last_received)
        self._history.note(now, "close", session.key)
        self._agenda.at(now + self._release_latency, _release, session.binding)

    def end(self, session: Session, kind: str, now: float) -> None:
        """A session ends by itself: ``idle_end`` or ``eof_end``."""
        self._remove(session, now)
        self.free_slot(session.id)
        session.binding.close()
        self._history.note(now, kind, session.key)

    def lose_all(self, now: float) -> None:
        """A restart: nothing survives (contract §3.8)."""
        for session in self.alive.values():
            session.ended = True
            session.binding.close()
        self._past.extend((session, now) for session in self.table.values())
        self.table.clear()
        self.alive.clear()
        self.slots.clear()

    def delist(self, key: Key, now: float) -> None:
        """The clean-up of an ended listener: by identity, so its successor leaves the table (contract §3.2)."""
        gone = self._unlist(key, now)
        if gone is not None and not gone.ended:
            self._history.note(now, "delisted", key)

    def delisted(self) -> Iterator[Session]:
        """The sessions that live but have no entry in the table: only their idle end, or a restart, ends them."""
        return (session for session in self.alive.values() if self.table.get(session.key) is not session)

    def listed_at(self, when: float) -> Iterator[Session]:
        """The listeners that the list showed at a time in the past."""
        for session, ended_at in self._past:
            if session.opened_at <= when < ended_at:
                yield session
        for session in self.table.values():
            if session.opened_at <= when:
                yield session

    def _remove(self, session: Session, now: float) -> None:
        session.ended = True
        self.alive.pop(session.id, None)
        self.delist(session.key, now)

    def _unlist(self, key: Key, now: float) -> Session | None:
        """Take whoever has ``key`` off the table."""
        gone = self.table.pop(key, None)
        if gone is not None:
            self._past.append((gone, now))
        return gone

    def _keep_sweeping(self, now: float) -> None:
        if not self._sweeping:
            self._sweeping = True
            self._agenda.at(now + self._sweep_times.uniform(*SWEEP), self._sweep)

    def _sweep(self, _: None, now: float) -> None:
        expired = now - self._idle_timeout
        for session in list(self.alive.values()):
            if session.stranger or session.key[0] == "tcp" or self._kept_alive(session):
                session.last_received = now
            elif session.last_received <= expired:
                self._history.counters.idle_ends += 1
                self.end(session, "idle_end", now)
        for session_id, heard in list(self.slots.items()):
            if heard is not None and heard <= expired:
                del self.slots[session_id]
        self._sweeping = False
        if self.alive or self.slots:
            self._keep_sweeping(now)

    def _kept_alive(self, session: Session) -> bool:
        """Whether the exit's level notices reach the node (contract §3.5)."""
        spec = session.spec
        return (
            self._rules.keep_alives
            and "NoRateControl" not in spec.capabilities
            and self._topology.carries(spec.forward, spec.back, spec.destination)
        )


def _release(binding: Binding, _: float) -> None:
    binding.close()
