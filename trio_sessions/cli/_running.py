"""One run: a node, its traffic, and the one way in which it ends."""

from __future__ import annotations

import random
import signal
from collections.abc import AsyncIterator, Callable

import attrs
import trio

from trio_sessions import (
    Hoprd,
    InvalidInputError,
    Node,
    PoolReport,
    SessionsError,
    raise_descriptor_limit,
)
from trio_sessions._datagrams import Connect, connect_udp
from trio_sessions._leaf import open_leaf_nursery
from trio_sessions.cli._dashboard_model import Heading
from trio_sessions.cli._metrics import Metrics
from trio_sessions.cli._plan import SIMULATED_RELAYERS, Plan, Reading
from trio_sessions.cli._progress import show_progress
from trio_sessions.cli._reload import Reload
from trio_sessions.cli._screen import Screen
from trio_sessions.cli._signals import has_terminal, receive_signals
from trio_sessions.cli._status import UNAVAILABLE, CommandError
from trio_sessions.cli._traffic import Traffic

__all__ = ["Outcome", "Run", "relay"]


#: Sessions that a simulated node takes beyond one for each relayer.
_SPARE_SESSIONS = 100


@attrs.frozen
class Outcome:
    """How a run ended.

    Attributes:
        report: of the pool, final.
        failure: why it ended early, or why not one session could be opened; ``None`` when it went well.
        at_node: the listeners that the simulated node itself has after the stop; ``None`` for a real node.
    """

    report: PoolReport
    failure: SessionsError | CommandError | None = None
    at_node: int | None = None

    @property
    def clean(self) -> bool:
        """Whether nothing is left, in the node's eyes too, and every message is accounted for."""
        return self.report.clean and not self.at_node


async def relay(
    plan: Plan, screen: Screen, read: Callable[[], Reading], reloading: tuple[signal.Signals, ...] = ()
) -> Outcome:
    """Do what ``plan`` says, until its time is over or a signal comes.

    Args:
        read: reads the configuration again.
        reloading: the signals at which it is.

    Raises:
        InvalidInputError: the plan doesn't fit this node, or a value of it breaks a rule.
        StatusError: the node's first answer was a refusal.
        CommandError: the node did not come up in time, or has no relayer.
    """
    # A session has a socket, and the usual limit of 1024 descriptors is soon used up; this process is all ours.
    raise_descriptor_limit()
    with receive_signals(*reloading) as signals:
        if plan.url is None:
            return await _simulated(plan, screen, read, signals)
        return await _run(plan, screen, plan.url, plan.token, read).until_over(signals)


def _run(plan: Plan, screen: Screen, url: str, token: str | None, read: Callable[[], Reading]) -> Run:
    metrics = None if plan.metrics is None else Metrics(plan.metrics, relayer_label=plan.metrics_relayer_label)
    instruments = None if metrics is None else metrics.instruments
    return Run(plan, screen, Hoprd(url, token=token, instruments=instruments), read=read, metrics=metrics)


async def _simulated(plan: Plan, screen: Screen, read: Callable[[], Reading], signals: AsyncIterator[int]) -> Outcome:
    """Run against a simulated node in this process, and ask that node what is left."""
    from trio_sessions.simulator import SimulatedNode, SimulatorConfig, serve_node

    relayers = plan.relayers if isinstance(plan.relayers, int) else SIMULATED_RELAYERS
    # A real node's cap of sessions is not the subject here.
    config = SimulatorConfig(relayers=relayers, seed=plan.seed or 0, max_sessions=relayers + _SPARE_SESSIONS)
    simulated = SimulatedNode(config)
    async with open_leaf_nursery() as nursery:
        server = await nursery.start(serve_node, simulated)
        outcome = await _run(plan, screen, server.url, server.token, read).until_over(signals)
        at_node = len(simulated.listeners())
        nursery.cancel_scope.cancel()
    return attrs.evolve(outcome, at_node=at_node)


class Run:
    """A run against the node of ``hoprd``, which is opened and closed by it."""

    def __init__(
        self,
        plan: Plan,
        screen: Screen,
        hoprd: Hoprd,
        *,
        read: Callable[[], Reading] | None = None,
        connect: Connect = connect_udp,
        metrics: Metrics | None = None,
    ) -> None:
        self._plan = plan
        self._screen = screen
        self._hoprd = hoprd
        self._metrics = metrics
        self._node = Node(
            self._hoprd,
            plan.node_options,
            plan.pool_options(hoprd.url),
            rng=random.Random(plan.seed),
            connect=connect,
            instruments=None if metrics is None else metrics.instruments,
        )
        self._reload = None if read is None else Reload(self._node, hoprd.url, read, screen.note)
        self._had_terminal = has_terminal()
        self._traffic: Traffic | None = None
        self._is_up = False
        self._stopping = False
        self._failure: SessionsError | CommandError | None = None
        self._ran_out = False
        #: What a stop cancels besides the node: nobody shall go on to hand in messages.
        self._feeding = trio.CancelScope()

    async def until_over(self, signals: AsyncIterator[int]) -> Outcome:
        """Run until something says stop, and until the stop is over; see :func:`relay`."""
        async with self._hoprd, open_leaf_nursery() as nursery:
            if self._metrics is not None:
                # From before the node is up until the stop is over.
                await self._metrics.serve(self._node, self._screen, nursery)
            async with open_leaf_nursery() as working:
                # They end with the work, and not before: a signal counts until the stop is over. Each of them waits
                # before it acts, so that the node's run has begun by then, and there is a pool to report of.
                nursery.start_soon(self._obey, signals)
                nursery.start_soon(self._watch_clock)
                await working.start(self._node.run)
                await self._start_traffic(working, nursery)
            nursery.cancel_scope.cancel()
        report = self._node.report
        if self._failure is None and self._traffic is not None and not report.sessions.opened:
            self._failure = self._traffic.failure
            if self._failure is None and self._ran_out:
                self._failure = CommandError("the run was over before a session was open: give it more time, or see -v")
        return Outcome(report, self._failure)

    async def _start_traffic(self, working: trio.Nursery, nursery: trio.Nursery) -> None:
        if self._stopping:
            return
        self._is_up = True
        await self._check_destinations()
        self._traffic = Traffic(self._node, self._plan, self._give_up)
        working.start_soon(self._feed, self._traffic)
        heading = Heading(self._hoprd.url, self._plan.instance, str(self._plan.namespace_to_use))
        nursery.start_soon(show_progress, self._node, self._screen, heading, self._plan.duration)

    async def _check_destinations(self) -> None:
        """Find out at once, and not by sessions that cannot be opened, that no destination is in sight."""
        wanted = {destination.lower() for destination in self._plan.destinations}
        if wanted and not wanted & {peer.address.lower() for peer in await self._hoprd.peers()}:
            rule = "is no peer that the node is connected to"
            raise InvalidInputError("--destination", ", ".join(self._plan.destinations), rule, "choose another one")

    async def _feed(self, traffic: Traffic) -> None:
        with self._feeding:
            await traffic.run()

    async def _obey(self, signals: AsyncIterator[int]) -> None:
        """The first signal stops, the second waits for no more answers; nothing ever shortens the clean-up."""
        await self._wait_for_stop(signals)
        self._screen.note("stopping; a second signal waits for no more answers")
        self._stop()
        await self._wait_for_stop(signals)
        self._screen.note("waiting for no more answers; closing what is open")
        self._stop(drain=False)

    async def _wait_for_stop(self, signals: AsyncIterator[int]) -> None:
        """Wait for the next signal to stop. SIGHUP is one when it comes from a terminal that was closed."""
        while await anext(signals) == signal.SIGHUP:
            if self._had_terminal and not has_terminal():
                self._had_terminal = False
                return
            if self._stopping:
                self._screen.note("the configuration is not read again: the run is stopping")
            elif self._reload is not None:
                self._plan = self._reload(self._plan, self._traffic)

    async def _watch_clock(self) -> None:
        if self._plan.duration is None:
            return
        await trio.sleep(self._plan.duration)
        if not self._is_up and not self._stopping:
            within = f"within the {self._plan.duration:g} s of the run"
            raise CommandError(f"no node came up at {self._hoprd.url} {within}: check the URL", UNAVAILABLE)
        self._ran_out = not self._stopping
        self._stop()

    def _give_up(self, failure: SessionsError) -> None:
        if not self._stopping:
            self._failure = failure
            self._stop()

    def _stop(self, *, drain: bool = True) -> None:
        self._stopping = True
        self._node.stop(drain=drain)
        self._feeding.cancel()
