"""A simulated hoprd: the model with its controls, to be served by one of the two fronts."""

from __future__ import annotations

from collections import deque

from trio_sessions.simulator._agenda import Agenda
from trio_sessions.simulator._config import SimulatorConfig
from trio_sessions.simulator._faults import Fault
from trio_sessions.simulator._history import Counters, Event
from trio_sessions.simulator._http import Request, Steps
from trio_sessions.simulator._router import Router
from trio_sessions.simulator._sessions import ListenerRecord
from trio_sessions.simulator._world import World

__all__ = ["SimulatedNode"]


class SimulatedNode:
    """A node without I/O: it decides, a front performs.

    The methods are controls for tests; all of them act at once and none of them waits. They take effect at the front's
    present time, so they need a front that runs.

    Attributes:
        config: as given.
    """

    def __init__(self, config: SimulatorConfig | None = None) -> None:
        self.config = SimulatorConfig() if config is None else config
        self._world = World(self.config)
        self._router = Router(self._world)

    # --- for the fronts ---

    @property
    def world(self) -> World:
        """The whole state, for the fronts."""
        return self._world

    @property
    def agenda(self) -> Agenda:
        """What the front has to do in time."""
        return self._world.agenda

    def handle(self, request: Request, now: float) -> Steps:
        """Answer ``request``; see :data:`trio_sessions.simulator._http.Steps`."""
        return self._router.handle(request, now)

    # --- what it is ---

    @property
    def address(self) -> str:
        """The node's own address."""
        return self._world.topology.address

    @property
    def relayers(self) -> tuple[str, ...]:
        """Addresses of the peers with open channels."""
        return self._world.topology.relayers

    @property
    def destinations(self) -> tuple[str, ...]:
        """Addresses of the peers without a channel, for exits."""
        return self._world.topology.destinations

    # --- what happened ---

    def listeners(self) -> tuple[ListenerRecord, ...]:
        """The finished listeners, as the API lists them: the oracle of every test."""
        return tuple(session.record() for session in self._world.sessions.table.values())

    def delisted(self) -> tuple[ListenerRecord, ...]:
        """The listeners that live though the API doesn't list them: the end of another one took their entry."""
        return tuple(session.record() for session in self._world.sessions.delisted())

    @property
    def opening(self) -> int:
        """How many opens hold a port and aren't committed, while their clients wait."""
        return self._world.opening

    @property
    def pending(self) -> int:
        """How many opens will be committed although their clients have left (fault ``leave-after-disconnect``)."""
        return len(self._world.pending)

    @property
    def counters(self) -> Counters:
        """How often what happened."""
        return self._world.history.counters

    @property
    def events(self) -> deque[Event]:
        """What happened, with its exact time; bounded."""
        return self._world.history.events

    # --- what happens ---

    def add_stranger(
        self,
        *,
        ip: str | None = None,
        port: int = 0,
        protocol: str = "udp",
        destination: str | None = None,
        relayer: str | None = None,
    ) -> ListenerRecord:
        """Add a listener of another client of the node; its traffic holds it open.

        Raises:
            InvalidInputError: the address cannot be bound.
        """
        session = self._world.add_stranger(
            self._world.clock(), ip=ip, port=port, protocol=protocol, destination=destination, relayer=relayer
        )
        return session.record()

    def set_connected(self, address: str, connected: bool) -> None:
        """Bring a peer in or out of sight.

        Raises:
            InvalidInputError: it is no peer.
        """
        self._world.set_connected(address, connected, self._world.clock())

    def set_channel(self, address: str, status: str) -> None:
        """Change the node's channel to a relayer: ``Open``, ``PendingToClose`` or ``Closed``.

        Raises:
            InvalidInputError: another status, or a peer without a channel.
        """
        self._world.topology.set_channel(address, status)

    def set_running(self, running: bool) -> None:
        """Take the node behind the API out of its state Running, or bring it back (contract §5)."""
        self._world.can_run = running

    def restart(self, down_for: float = 0.0) -> None:
        """Restart the node; it loses every session, and its connections die (contract §3.8)."""
        self._world.restart(down_for, self._world.clock())

    def add_fault(self, fault: Fault) -> None:
        """Arm one more fault; its times count from now.

        Raises:
            InvalidInputError: it names a relayer that there isn't.
        """
        self._world.add_fault(fault, self._world.clock())

    def clear_faults(self) -> None:
        """Disarm every fault."""
        self._world.faults.clear()
