"""The data path: a datagram's way to the exit's echo service and back (contract §3.6, §4)."""

from __future__ import annotations

import random

from trio_sessions.simulator._agenda import Agenda
from trio_sessions.simulator._dialects import Rules
from trio_sessions.simulator._faults import FaultPlan
from trio_sessions.simulator._history import History
from trio_sessions.simulator._kernel import Source
from trio_sessions.simulator._sessions import Session, Sessions
from trio_sessions.simulator._topology import Topology

__all__ = ["READ_SIZE", "EchoPath"]

#: Bytes that the node reads of a datagram; the rest is cut off (contract §4.3).
READ_SIZE = 16384

#: Bytes of a frame of a segmented session (contract §4.3).
FRAME_SIZE = 1500

#: Reply blocks that an exit keeps of one session (contract §4.4).
SURB_RING = 15_000


class _Echo:
    """Bytes on their way back."""

    __slots__ = ("arrived", "data", "session")

    def __init__(self, session: Session, data: bytes, arrived: float) -> None:
        self.session = session
        self.data = data
        self.arrived = arrived


class EchoPath:
    """Takes the datagrams of all listeners and sends their echoes."""

    def __init__(
        self,
        *,
        rules: Rules,
        surb_len: int,
        latency: float,
        sessions: Sessions,
        topology: Topology,
        faults: FaultPlan,
        agenda: Agenda,
        history: History,
    ) -> None:
        self._rules = rules
        self._surb_len = surb_len
        self._latency = latency
        self._sessions = sessions
        self._topology = topology
        self._faults = faults
        self._agenda = agenda
        self._history = history
        self._counters = history.counters
        # The last echo of each session that is still on its way: what a later one may be merged into.
        self._tails: dict[str, _Echo] = {}

    def receive(self, session: Session, source: Source, data: bytes, now: float) -> None:
        """One datagram has come in at the session's listener."""
        if session.ended:
            return
        if not data:
            # A read of nothing is the end of the stream (contract §3.6).
            self._counters.eof_ends += 1
            self._sessions.end(session, "eof_end", now)
            return
        if session.pinned is None:
            session.pinned = source
        elif session.pinned != source:
            self._counters.datagrams_foreign += 1
            return
        session.datagrams += 1
        self._counters.datagrams_received += 1
        if not session.spec.echoes or not self._carries(session):
            self._counters.datagrams_lost += 1
            return
        size = FRAME_SIZE if session.segmented else self._rules.raw_payload
        data = data[:READ_SIZE]
        if len(data) <= size:
            self._send(session, data, now)
        else:
            for start in range(0, len(data), size):
                self._send(session, data[start : start + size], now)

    def _carries(self, session: Session) -> bool:
        version = self._topology.version
        if session.path_version != version:
            spec = session.spec
            session.path_carries = self._topology.carries(spec.forward, spec.back, spec.destination)
            session.path_version = version
        return session.path_carries

    def _send(self, session: Session, piece: bytes, now: float) -> None:
        """One piece reaches the exit, which sends it back."""
        if session.balancer is None and not self._pay(session, len(piece)):
            self._counters.datagrams_starved += 1
            return
        due = now + self._latency
        due = max(due, session.hold_until)
        if self._faults.on_data:
            self._send_badly(session, piece, due, now)
        elif session.flushes:
            self._agenda.at(due, self._deliver, _Echo(session, piece, now))
        elif not self._merge(session, piece, now):
            self._schedule(session, piece, due, now)

    def _pay(self, session: Session, size: int) -> bool:
        """Take the reply blocks for an echo of ``size``; what comes in carries one where it fits (contract §4.2)."""
        mtu = self._rules.hopr_mtu
        if (size - 1) % mtu + 1 + self._surb_len <= mtu:
            session.surbs = min(session.surbs + 1, SURB_RING)
        packets = -(-size // mtu) if session.segmented else 1
        if session.surbs < packets:
            return False
        session.surbs -= packets
        return True

    def _send_badly(self, session: Session, piece: bytes, due: float, now: float) -> None:
        """The same through a network with faults."""
        fired = self._faults.fire_data(session.relayers, now)
        if "loss" in fired:
            self._lose(session, due, now)
            if "Retransmission" not in session.spec.capabilities:
                return
            due += 2 * self._latency
        merges = "merge" in fired
        if (merges or not session.flushes) and self._merge(session, piece, now, any_time=merges):
            return
        if "reorder" in fired:
            due += max(self._latency, 0.001) * fired["reorder"].uniform(0.5, 2)
        for part in _split(piece, fired.get("split")):
            self._schedule(session, part, due, now)
            if "duplicate" in fired:
                self._schedule(session, part, due, now)

    def _lose(self, session: Session, due: float, now: float) -> None:
        """A lost frame of a segmented session holds up the later ones (contract §4.3)."""
        self._counters.datagrams_lost += 1
        if session.segmented and "Retransmission" not in session.spec.capabilities:
            # It is missed when it would have come: behind those held up or, since 4.1, when it was due itself.
            missed = due if self._rules.stalls_add_up else now + self._latency
            session.hold_until = max(session.hold_until, missed + self._rules.frame_timeout)

    def _merge(self, session: Session, piece: bytes, now: float, *, any_time: bool = False) -> bool:
        """Join ``piece`` to the echo before it, if one frame holds both."""
        tail = self._tails.get(session.id)
        if tail is None or len(tail.data) + len(piece) > FRAME_SIZE or not (any_time or tail.arrived == now):
            return False
        tail.data += piece
        return True

    def _schedule(self, session: Session, piece: bytes, due: float, now: float) -> None:
        echo = _Echo(session, piece, now)
        self._tails[session.id] = echo
        self._agenda.at(due, self._deliver, echo)

    def _deliver(self, echo: _Echo, now: float) -> None:
        session = echo.session
        if self._tails and self._tails.get(session.id) is echo:
            del self._tails[session.id]
        if session.ended or session.pinned is None:
            return
        session.last_received = now
        session.echoes += 1
        self._counters.echoes_sent += 1
        session.binding.send(echo.data, session.pinned)


def _split(piece: bytes, rng: random.Random | None) -> tuple[bytes, ...]:
    if rng is None or len(piece) < 2:
        return (piece,)
    at = rng.randrange(1, len(piece))
    return piece[:at], piece[at:]
