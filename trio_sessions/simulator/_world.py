"""The whole state of a simulated node, and what can be done to it; no I/O, the time comes in from the front."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from functools import partial
from ipaddress import ip_address

from trio_sessions._errors import InvalidInputError
from trio_sessions.simulator._agenda import Agenda
from trio_sessions.simulator._config import SimulatorConfig
from trio_sessions.simulator._echo import EchoPath
from trio_sessions.simulator._faults import Fault, FaultPlan
from trio_sessions.simulator._history import History, Key
from trio_sessions.simulator._kernel import Binding, Kernel
from trio_sessions.simulator._sessions import Balancer, Session, Sessions, balancer_of
from trio_sessions.simulator._spec import SessionSpec
from trio_sessions.simulator._topology import Route, Topology

__all__ = ["EPOCH", "World"]

#: What the daemon's clock shows, in seconds, when the front's shows 0: the model knows no wall clock.
EPOCH = 1_750_000_000


def _no_time() -> float:
    """Before a front is plugged in."""
    return 0.0


def _nobody() -> None:
    """Before a front is plugged in."""


class World:
    """Everything that the routes read and change.

    Attributes:
        kernel: gives out sockets; the front sets it.
        clock: tells the time, for what happens outside of a call; the front sets it.
        on_restart: what the front does when the node goes down: it kills the connections.
        retries: random numbers of the retry delays.
        opening: how many opens hold a port, not committed, while their clients wait.
        pending: the sockets of the opens that will be committed although their clients have left, by session id.
    """

    def __init__(self, config: SimulatorConfig) -> None:
        self.config = config
        self.rules = config.rules
        self.agenda = Agenda()
        self.history = History()
        self.faults = FaultPlan(config.seed)
        self.topology = Topology(config.seed, config.relayers, config.destinations)
        self.sessions = Sessions(
            self.rules,
            self.topology,
            self.agenda,
            self.history,
            idle_timeout=config.idle_timeout,
            release_latency=config.release_latency,
            seed=config.seed,
        )
        self.echoes = EchoPath(
            rules=self.rules,
            surb_len=config.surb_len,
            latency=config.echo_latency,
            sessions=self.sessions,
            topology=self.topology,
            faults=self.faults,
            agenda=self.agenda,
            history=self.history,
        )
        self.retries = random.Random(f"{config.seed}:retries")
        self.kernel: Kernel | None = None
        self.clock: Callable[[], float] = _no_time
        self.on_restart: Callable[[], None] = _nobody
        self.boots = 0
        self.up_at = -math.inf
        self.can_run = True
        self.opening = 0
        self.pending: dict[str, Binding] = {}

    def start(self, kernel: Kernel, clock: Callable[[], float]) -> None:
        """Plug in a front: from now on there are sockets and time, and the plan of the faults runs."""
        self.kernel = kernel
        self.clock = clock
        for fault in self.config.faults:
            self.add_fault(fault, clock())

    def stop(self) -> None:
        """Unplug the front; every listener is closed."""
        self._lose_all(self.clock())
        self.kernel = None

    # --- the state of the node ---

    def refuses(self, now: float) -> bool:
        """Whether nothing listens at the API's port (contract §3.8)."""
        return now < self.up_at and not self.rules.api_before_node

    def runs(self, now: float) -> bool:
        """Whether the node behind the API is in the state Running."""
        return self.can_run and now >= self.up_at

    def restart(self, down_for: float, now: float) -> None:
        """Stop and start again, after ``down_for`` seconds; no session survives (contract §3.8)."""
        self.boots += 1
        self.up_at = now + down_for
        self._lose_all(now)
        self.history.counters.restarts += 1
        self.history.note(now, "restart", down_for)
        self.on_restart()

    def _lose_all(self, now: float) -> None:
        self.sessions.lose_all(now)
        for binding in self.pending.values():
            binding.close()
        self.pending.clear()

    def set_connected(self, address: str, connected: bool, now: float) -> None:
        """Bring a peer in or out of sight."""
        if self.topology.set_connected(address, connected):
            self.history.note(now, "peer_up" if connected else "peer_down", self.topology.peer(address).address)

    # --- faults ---

    def add_fault(self, fault: Fault, now: float) -> None:
        """Arm a fault; its times count from ``now``."""
        if fault.relayer is not None and fault.relayer >= len(self.topology.relayers):
            raise InvalidInputError("fault relayer", fault.relayer, f"there are {len(self.topology.relayers)} relayers")
        self.faults.add(fault, now)
        if fault.kind == "restart":
            self.agenda.at(now + fault.at, self._restart_by_fault, fault)
        elif fault.kind == "flap":
            for turn in range(1 if fault.count is None else fault.count):
                began = now + fault.at + 2 * turn * fault.seconds
                self.agenda.at(began, self._peer_down_by_fault, (fault.relayer, fault.seconds))

    def _restart_by_fault(self, fault: Fault, now: float) -> None:
        self.restart(fault.seconds, now)

    def _peer_down_by_fault(self, outage: tuple[int, float], now: float) -> None:
        relayer, seconds = outage
        address = self.topology.relayers[relayer]
        self.set_connected(address, False, now)
        self.agenda.at(now + seconds, self._peer_up_by_fault, address)

    def _peer_up_by_fault(self, address: str, now: float) -> None:
        self.set_connected(address, True, now)

    # --- sessions ---

    def bind(self, protocol: str, ip: str, port: int, *, share: bool = False) -> Binding:
        """A socket of the system.

        Raises:
            OSError: it has none to give.
        """
        if self.kernel is None:
            raise OSError("the simulated node has no network yet")
        return self.kernel.bind(protocol, ip, port, share=share)

    def commit(
        self, session_id: str, key: Key, spec: SessionSpec, binding: Binding, now: float, *, explicit: bool = False
    ) -> Session:
        """An open has succeeded: from now on the listener is in the table and hears its client."""
        session = Session(
            id=session_id,
            key=key,
            spec=spec,
            balancer=self.balancer_of(spec),
            binding=binding,
            opened_at=now,
            last_received=now,
            relayers=self.topology.numbers((spec.forward, spec.back)),
            explicit=explicit,
        )
        self._listen(session, now)
        self.history.counters.opens_committed += 1
        self.history.note(now, "open", key)
        return session

    def balancer_of(self, spec: SessionSpec) -> Balancer | None:
        """The balancer that a request sets up, in this dialect's packets."""
        return balancer_of(spec.response_buffer, spec.max_surb_upstream, self.rules.hopr_mtu)

    def add_stranger(
        self,
        now: float,
        *,
        ip: str | None = None,
        port: int = 0,
        protocol: str = "udp",
        destination: str | None = None,
        relayer: str | None = None,
    ) -> Session:
        """A listener that another client of the node has opened; its traffic holds it open for ever.

        Raises:
            InvalidInputError: the address is taken, or there is no peer to lead it to.
        """
        if destination is None:
            destination = (*self.topology.destinations, *self.topology.relayers, self.topology.address)[0]
        via = Route(hops=1) if relayer is None else Route(via=(relayer,))
        spec = SessionSpec(
            destination=destination,
            forward=via,
            back=via,
            target="#0",
            listen_host=None,
            capabilities=frozenset({"NoDelay", "NoRateControl"}),
            response_buffer=0,
            max_surb_upstream=None,
            pool=None,
            max_clients=1,
        )
        try:
            ip = str(ip_address(self.config.listen_host if ip is None else ip))
            binding = self.bind(protocol, ip, port)
        except (OSError, ValueError) as error:
            raise InvalidInputError("listen host", f"{ip}:{port}", f"cannot be bound: {error}") from error
        key = (protocol, ip, binding.port)
        session = Session(
            id=self.sessions.new_id(),
            key=key,
            spec=spec,
            balancer=None,
            binding=binding,
            opened_at=now,
            last_received=now,
            relayers=self.topology.numbers((via,)),
            # As a client would get it: with a relayer, by the explicit-path route where there is one.
            explicit=relayer is not None and self.rules.intermediate_path != "taken",
            stranger=True,
        )
        self._listen(session, now)
        self.history.note(now, "stranger", key)
        return session

    def _listen(self, session: Session, now: float) -> None:
        self.sessions.add(session, now)
        session.binding.start(partial(self.echoes.receive, session))
