"""A whole run in virtual time: pace, failures, and every way in which it ends."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from math import inf
from signal import SIGINT
from typing import Any

import attrs
import httpx
import pytest
import trio
import trio.testing

from tests.worlds import faulty
from trio_sessions import CannotPinRelayerError, Hoprd, InvalidInputError, SessionOpenError, UnauthorizedError
from trio_sessions.cli._dashboard_model import View
from trio_sessions.cli._plan import Plan
from trio_sessions.cli._progress_line import progress_line
from trio_sessions.cli._running import Outcome, Run
from trio_sessions.cli._status import CommandError
from trio_sessions.simulator import MemoryNode, SimulatorConfig, open_memory_node


class Notes:
    """A screen that keeps what it is shown."""

    interval = 1.0

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.lines: list[str] = []

    def note(self, text: str, level: str = "info") -> None:
        self.notes.append(text if level == "info" else f"{level}: {text}")

    def log(self, line: str, level: int) -> None:
        self.notes.append(line)

    def progress(self, line: str) -> None:
        self.lines.append(line)

    def show(self, view: View) -> None:
        self.progress(progress_line(view))


class Bent(httpx.AsyncBaseTransport):
    """A transport that answers some requests itself."""

    def __init__(self, inner: httpx.AsyncBaseTransport, answer: Callable[[httpx.Request], httpx.Response | None]):
        self._inner = inner
        self._answer = answer

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return self._answer(request) or await self._inner.handle_async_request(request)


class Signals(AsyncIterator[int]):
    """One signal at each of these times."""

    def __init__(self, times: Iterable[float]) -> None:
        self._times = [*times, inf]

    async def __anext__(self) -> int:
        await trio.sleep_until(self._times.pop(0))
        return SIGINT


@attrs.define
class Stage:
    """A node in memory, and a run to perform on it."""

    sim: MemoryNode
    screen: Notes = attrs.field(factory=Notes)

    async def run(
        self,
        plan: Plan,
        *,
        signals_at: tuple[float, ...] = (),
        answer: Callable[[httpx.Request], httpx.Response | None] = lambda _: None,
    ) -> Outcome:
        """Perform ``plan`` to its end, with signals at these times after the start."""
        signals = Signals(trio.current_time() + at for at in signals_at)
        hoprd = Hoprd(self.sim.url, token=self.sim.token, transport=Bent(self.sim.transport, answer))
        outcome = await Run(plan, self.screen, hoprd, connect=self.sim.connect).until_over(signals)
        assert self.sim.node.listeners() == ()
        assert self.sim.open_sockets == 0
        return outcome


@asynccontextmanager
async def stage(config: SimulatorConfig | None = None) -> AsyncIterator[Stage]:
    async with open_memory_node(config) as sim:
        yield Stage(sim)


def plan(**changes: Any) -> Plan:
    return attrs.evolve(Plan(url="http://node.invalid", seed=1, no_journal=True), **changes)


async def test_pace_and_duration(autojump_clock: trio.testing.MockClock) -> None:
    async with stage(SimulatorConfig(relayers=4)) as it:
        began = trio.current_time()
        outcome = await it.run(plan(rate=100, batch=10, duration=60.05))
    assert trio.current_time() - began == pytest.approx(60.05, abs=0.2)
    report = outcome.report
    assert outcome.clean
    assert outcome.failure is None
    # A batch every 0.1 s, from 0 s on; the first ones wait for their session.
    assert report.messages.accepted == report.messages.answered == 6010
    assert [messages.accepted for messages in report.by_relayer.values()] == [1510, 1500, 1500, 1500]
    assert it.screen.lines[30].endswith("100.0 msg/s, loss 0.00 %, rtt p50 20.0 p99 20.0 ms")
    assert it.screen.lines[30].startswith("31 of 60.05 s: 4 sessions open, ")
    assert it.screen.notes == []


async def test_what_could_not_be_sent_is_not_made_up_for(autojump_clock: trio.testing.MockClock) -> None:
    async with stage(faulty("delay:open:seconds=20")) as it:
        outcome = await it.run(plan(rate=100, batch=10, relayers=1, duration=40))
    assert outcome.report.messages.accepted == pytest.approx(2000, abs=20)
    assert outcome.clean


async def test_loss_is_shown_without_what_is_pending(autojump_clock: trio.testing.MockClock) -> None:
    async with stage(SimulatorConfig(relayers=1, echo_latency=1.5)) as it:
        await it.run(plan(duration=6))
    first, *others = [line.split(", ")[2] for line in it.screen.lines]
    assert first == "loss -"
    assert set(others) == {"loss 0.00 %"}
    assert it.screen.lines[-1].startswith("stopping since 1 s: ")


async def test_relayers_come_and_go(autojump_clock: trio.testing.MockClock) -> None:
    async with stage(SimulatorConfig(relayers=2)) as it, trio.open_nursery() as nursery:
        first = it.sim.node.relayers[0]

        async def close_and_open() -> None:
            await trio.sleep(20)
            it.sim.node.set_channel(first, "Closed")
            await trio.sleep(40)
            it.sim.node.set_channel(first, "Open")

        nursery.start_soon(close_and_open)
        outcome = await it.run(plan(rate=10, batch=10, duration=100))
        accepted = {relayer: messages.accepted for relayer, messages in outcome.report.by_relayer.items()}
    # The other one gets all while there is one alone.
    assert sum(accepted.values()) == pytest.approx(1000, abs=30)
    assert accepted[first] == pytest.approx(300, abs=60)
    assert outcome.clean


@pytest.mark.parametrize("number", [1, 2])
async def test_a_number_of_relayers(number: int, autojump_clock: trio.testing.MockClock) -> None:
    async with stage() as it:
        outcome = await it.run(plan(relayers=number, duration=5))
    assert outcome.report.sessions.opened == number


async def test_the_only_destination_is_no_relayer_of_its_own(autojump_clock: trio.testing.MockClock) -> None:
    async with stage() as it:
        first = it.sim.node.relayers[0]
        outcome = await it.run(plan(destinations=(first,), duration=5))
        assert first not in outcome.report.by_relayer
        with pytest.raises(InvalidInputError, match="--relayers 3: the node has 2 relayers"):
            await it.run(plan(destinations=(first,), relayers=3, duration=5))
    assert outcome.report.sessions.opened == 2


async def test_no_relayer_and_no_destination(autojump_clock: trio.testing.MockClock) -> None:
    async with stage(SimulatorConfig(relayers=0)) as it:
        with pytest.raises(CommandError, match="no relayer with an open outgoing channel"):
            await it.run(plan())
        for hops in (None, 1):
            with pytest.raises(InvalidInputError, match="is no peer that the node is connected to"):
                await it.run(plan(hops=hops, destinations=("0x" + "ee" * 20,)))
    async with stage(SimulatorConfig(relayers=0, destinations=0)) as it:
        with pytest.raises(CommandError, match="connected to no destination"):
            await it.run(plan(hops=1))


def test_a_simulated_node_has_its_bounds() -> None:
    with pytest.raises(InvalidInputError, match="more than the 1000"):
        Plan(url=None, relayers=1001)
    assert Plan(url="http://127.0.0.1:1", relayers=1001).relayers == 1001


async def test_a_signal_before_the_node_is_up(autojump_clock: trio.testing.MockClock) -> None:
    async with stage() as it:
        it.sim.node.restart(down_for=1000)
        outcome = await it.run(plan(), signals_at=(100,))
    assert trio.current_time() == pytest.approx(100)
    assert outcome.failure is None
    assert outcome.clean
    assert outcome.report.sessions.opened == 0


async def test_the_time_is_over_before_the_node_is_up(autojump_clock: trio.testing.MockClock) -> None:
    async with stage() as it:
        it.sim.node.restart(down_for=1000)
        with pytest.raises(CommandError, match="no node came up") as caught:
            await it.run(plan(duration=30))
    assert caught.value.status == 69


async def test_the_time_is_over_before_a_session_is_open(autojump_clock: trio.testing.MockClock) -> None:
    async with stage(faulty("delay:open:seconds=20")) as it:
        outcome = await it.run(plan(duration=10, stop_timeout=60))
    assert str(outcome.failure).startswith("the run was over before a session was open")


async def test_the_second_signal_waits_for_no_answers(autojump_clock: trio.testing.MockClock) -> None:
    for signals, stop in (((10,), 1.0), ((10, 10.25), 0.25)):
        async with stage(SimulatorConfig(relayers=1, echo_latency=30)) as it:
            # One batch at 0 s, the next just before the signal: its answers are waited for until 11 s.
            outcome = await it.run(plan(rate=10 / 9, duration=None), signals_at=signals)
        assert outcome.report.stop_duration == pytest.approx(stop, abs=0.2)
        assert outcome.report.messages.unanswered == 20
        assert outcome.clean


def refuse_posts(status: int, since: float = 0.0) -> Callable[[httpx.Request], httpx.Response | None]:
    """POSTs are answered by something that is no daemon."""

    def answer(request: httpx.Request) -> httpx.Response | None:
        if request.method == "POST" and trio.current_time() >= since:
            return httpx.Response(status, headers={"content-type": "text/plain"}, text="no", request=request)
        return None

    return answer


async def test_all_relayers_fail_for_good(autojump_clock: trio.testing.MockClock) -> None:
    async with stage() as it:
        outcome = await it.run(plan(), answer=refuse_posts(422))
    assert isinstance(outcome.failure, SessionOpenError)
    assert outcome.report.sessions.failed == 3
    assert trio.current_time() < 5


async def test_token_that_is_refused_from_now_on(autojump_clock: trio.testing.MockClock) -> None:
    # The node restarts at 30 s: the sessions have to be opened anew, and with that token they can't be.
    async with stage(faulty("restart:at=30:seconds=1")) as it:
        outcome = await it.run(plan(), answer=refuse_posts(401, since=30))
    assert isinstance(outcome.failure, UnauthorizedError)
    assert outcome.clean
    assert 30 < trio.current_time() < 60


async def test_node_that_pins_no_relayer(autojump_clock: trio.testing.MockClock) -> None:
    async with stage(SimulatorConfig(explicit_path=False)) as it:
        outcome = await it.run(plan())
    assert isinstance(outcome.failure, CannotPinRelayerError)
    assert trio.current_time() < 1


async def test_failures_are_told_and_it_tries_on(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with stage(faulty("exit-full:until=100")) as it:
        outcome = await it.run(plan(duration=200, rate=10))
    told = [record.getMessage() for record in caplog.records if record.name == "trio_sessions.cli"]
    # How many of them are shown is the screen's to decide.
    assert len(told) >= 3
    assert all("trying on" in each for each in told)
    assert outcome.failure is None
    assert outcome.report.sessions.opened == 3
    assert outcome.report.messages.answered > 0
