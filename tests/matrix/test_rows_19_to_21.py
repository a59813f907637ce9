"""Rows 19 to 21 of the fault matrix: who is slow holds up nobody, and every message is counted once."""

from __future__ import annotations

import random
from collections import defaultdict
from pathlib import Path

import attrs
import pytest
import trio
from hypothesis import given, settings, strategies as st
from trio.testing import MockClock

from tests.matrix.support import in_each_namespace
from tests.worlds import World, in_namespace, inline, memory_world
from trio_sessions import Node, PoolOptions, PoolStoppedError, SessionOpenError, SessionsError
from trio_sessions.simulator import SimulatorConfig, parse_fault

RELAYERS = 8
#: What is said of "the others" is said of all but these.
SLOW = 3
ROUNDS = 12


def node_of(world: World, options: PoolOptions | None = None) -> Node:
    """A node of ours at the world's."""
    rng = random.Random(0)
    return Node(world.hoprd, None, options, rng=rng, connect=world.sim.connect, in_thread=inline)


@attrs.define
class Traffic:
    """Batches through every relayer of a node, each relayer's one every tenth of a second, and how long they took."""

    node: Node
    slow: tuple[str, ...]
    took: dict[str, list[float]] = attrs.field(factory=lambda: defaultdict(list))

    async def relay_all(self, relayer: str) -> None:
        # More than the intake takes of a relayer that hangs: its own producers wait, and these alone.
        count = 100 if relayer in self.slow else 10
        async with trio.open_nursery() as nursery:
            for _ in range(ROUNDS):
                nursery.start_soon(self.relay, relayer, count)
                nursery.start_soon(self.submit, relayer, count)
                await trio.sleep(0.1)

    async def relay(self, relayer: str, count: int) -> None:
        began = trio.current_time()
        try:
            await self.node.relay(relayer, count)
        except SessionsError:
            return
        self.took[relayer].append(trio.current_time() - began)

    async def submit(self, relayer: str, count: int) -> None:
        try:
            await self.node.submit(relayer, count)
        except SessionsError:
            return


async def times_of_the_others(kind: str, folder: Path, *faults: str) -> list[float]:
    """How long the batches of the relayers without a fault took, from handing in to the last answer; sorted."""
    await trio.Path(folder).mkdir()
    config = SimulatorConfig(relayers=RELAYERS, faults=tuple(parse_fault(fault) for fault in faults))
    async with memory_world(config) as world, trio.open_nursery() as nursery:
        # Without a pace of opens, which would make some wait more than others, at random.
        options = in_namespace(kind, folder, reply_timeout=1.0, opens_per_second=1e6)
        node = node_of(world, options)
        await nursery.start(node.run)
        traffic = Traffic(node, world.sim.node.relayers[:SLOW])
        with trio.move_on_after(20.0):
            async with trio.open_nursery() as feeding:
                for relayer in world.relayers:
                    feeding.start_soon(traffic.relay_all, relayer)
        node.stop()
    assert node.report.messages.balanced
    others = world.sim.node.relayers[SLOW:]
    assert all(len(traffic.took[relayer]) == ROUNDS for relayer in others)
    return sorted(took for relayer in others for took in traffic.took[relayer])


@in_each_namespace
@pytest.mark.parametrize(
    "fault",
    [
        pytest.param("hang:open", id="opens that never answer"),
        pytest.param("delay:open:seconds=15", id="slow opens"),
        pytest.param("status:open:status=500", id="opens that fail"),
        pytest.param("reply-lost:open", id="opens whose replies are lost"),
        pytest.param("loss", id="no answers"),
        pytest.param("loss:p=0.5", id="few answers"),
    ],
)
async def test_row_19_who_is_slow_or_silent_holds_up_nobody(
    autojump_clock: MockClock, kind: str, tmp_path: Path, fault: str
) -> None:
    undisturbed = await times_of_the_others(kind, tmp_path / "undisturbed")
    faults = [f"{fault}:relayer={number}" for number in range(SLOW)]
    disturbed = await times_of_the_others(kind, tmp_path / "disturbed", *faults)
    p99 = int(len(undisturbed) * 0.99)
    assert disturbed[p99] <= 1.1 * undisturbed[p99]


#: Relayers that answer, among those that do not.
HEALTHY = 60


async def opening_times(kind: str, hanging: int) -> list[float]:
    """How long the opens of the healthy relayers took, among so many that never answer; sorted.

    All are asked for one after the other, 250 a second, and nobody waits for the pool's own pace: so what is measured
    is what opens wait for each other.
    """
    config = SimulatorConfig(
        dialect="3",
        relayers=hanging + HEALTHY,
        max_sessions=hanging + HEALTHY,
        faults=tuple(parse_fault(f"hang:open:relayer={number}") for number in range(hanging)),
    )
    took: list[float] = []
    async with memory_world(config) as world:
        others, healthy = world.sim.node.relayers[:hanging], world.sim.node.relayers[hanging:]
        # The healthy ones come evenly among the others.
        step = hanging // HEALTHY
        # What becomes of them at a stop is another row's matter.
        options = in_namespace(kind, opens_per_second=1e9, stop_timeout=0.1)
        async with world.pool(options) as pool:

            async def ask(relayer: str) -> None:
                began = trio.current_time()
                try:
                    await pool.session(relayer)
                except SessionsError:
                    return
                if relayer in healthy:
                    took.append(trio.current_time() - began)

            async with trio.open_nursery() as nursery:
                for number, relayer in enumerate(healthy):
                    for each in (*others[number * step : (number + 1) * step], relayer):
                        nursery.start_soon(ask, each)
                        await trio.sleep(0.004)
                await trio.sleep(0.5)
                nursery.cancel_scope.cancel()
            pool.stop(drain=False)
    assert len(took) == HEALTHY
    return sorted(took)


@pytest.mark.parametrize(("kind", "hanging"), [("shared", 300), ("dedicated", 1000)])
async def test_row_19_opens_that_hang_hold_up_no_other_open(autojump_clock: MockClock, kind: str, hanging: int) -> None:
    undisturbed = await opening_times(kind, 0)
    disturbed = await opening_times(kind, hanging)
    p99 = int(len(undisturbed) * 0.99)
    assert disturbed[p99] <= 1.1 * undisturbed[p99]


@in_each_namespace
@pytest.mark.parametrize("drain", [True, False], ids=["drain", "no drain"])
async def test_row_20_with_a_full_send_buffer_everything_waits_and_is_counted(
    autojump_clock: MockClock, kind: str, tmp_path: Path, drain: bool
) -> None:
    async with memory_world(SimulatorConfig(relayers=2, echo_latency=0.05), send_buffer=8) as world:
        options = in_namespace(kind, tmp_path)
        node = node_of(world, options)
        async with trio.open_nursery() as nursery:
            await nursery.start(node.run)
            given_up: list[int] = []

            async def relay(relayer: str, seconds: float) -> None:
                with trio.move_on_after(seconds) as patience:
                    await node.relay(relayer, 400)
                given_up.append(patience.cancelled_caught)

            for relayer in world.relayers:
                await node.pool.session(relayer)
            for relayer in world.relayers:
                # A buffer takes 8 datagrams a millisecond: 400 take 50 ms, and two batches wait for each other.
                nursery.start_soon(relay, relayer, 10.0)
                nursery.start_soon(relay, relayer, 0.02)
                nursery.start_soon(node.submit, relayer, 100)
            await trio.sleep(0.04)
            assert all(session.outstanding for session in node.pool.sessions())
            node.stop(drain=drain)
        messages = node.report.messages
        assert sorted(given_up) == [False, False, True, True]
        assert messages.accepted == 2 * (400 + 400 + 100)
        # The impatient ones' messages that had left are unanswered, the others never left.
        assert messages.unanswered > 0
        assert messages.undelivered["cancelled"] > 0
        assert ("stopped" in messages.undelivered) == (not drain)
        if drain:
            assert messages.answered == 2 * (400 + 100)
        assert node.report.clean
        world.assert_nothing_left()


chances = st.sampled_from([0.0, 0.05, 0.3, 1.0])


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    chance=st.fixed_dictionaries(dict.fromkeys(("loss", "duplicate", "reorder", "merge", "split"), chances)),
    batches=st.lists(st.integers(1, 40), min_size=1, max_size=12),
)
def test_row_21_whatever_becomes_of_datagrams_nothing_is_counted_twice(
    seed: int, chance: dict[str, float], batches: list[int]
) -> None:
    faults = tuple(parse_fault(f"{kind}:p={p}") for kind, p in chance.items() if p)

    async def main() -> None:
        async with memory_world(SimulatorConfig(seed=seed, faults=faults)) as world:
            async with world.pool(seed=seed) as pool:
                session = await pool.session(world.relayers[0])

                async def relay(count: int) -> None:
                    outcome = await session.relay(count)
                    assert outcome.sent == count
                    assert outcome.answered == len(outcome.rtts) <= count
                    assert all(rtt > 0 for rtt in outcome.rtts)
                    if not chance["loss"]:
                        assert outcome.answered == count
                    if not chance["duplicate"]:
                        assert outcome.duplicates == 0

                async with trio.open_nursery() as nursery:
                    for count in batches:
                        nursery.start_soon(relay, count)
            messages = pool.report.messages
            assert messages.accepted == sum(batches) == messages.answered + messages.unanswered
            if chance["loss"] == 1.0:
                assert messages.answered == 0
            assert pool.report.clean
            world.assert_nothing_left()

    trio.run(main, clock=MockClock(autojump_threshold=0))


@pytest.mark.parametrize("sent", [False, True], ids=["before it is open", "while it is open"])
async def test_row_21_messages_of_a_lost_session_are_counted_once(autojump_clock: MockClock, sent: bool) -> None:
    async with memory_world(SimulatorConfig(dialect="3", relayers=2, echo_latency=0.5, open_latency=0.5)) as world:
        node = node_of(world)
        async with trio.open_nursery() as nursery:
            await nursery.start(node.run)
            relayer, other = world.relayers
            if sent:
                await node.pool.session(relayer)
            await node.submit(relayer, 20)
            await node.submit(other, 30)
            nursery.start_soon(node.relay, relayer, 5)
            await trio.sleep(0.1)
            world.sim.node.restart(down_for=2.0)
            await trio.sleep(170.0)
            node.stop()
        messages = node.report.messages
        assert messages.accepted == 55
        # What had left is lost with its session; what had not waits for the next one.
        assert (messages.answered, messages.unanswered) == ((30, 25) if sent else (55, 0))
        assert node.report.clean


async def test_row_21_a_relayer_that_cannot_be_opened_costs_its_own_messages_alone(autojump_clock: MockClock) -> None:
    async with memory_world(SimulatorConfig(faults=(parse_fault("status:open:relayer=0:status=500"),))) as world:
        node = node_of(world)
        async with trio.open_nursery() as nursery:
            await nursery.start(node.run)
            broken, whole, _ = world.sim.node.relayers
            for _ in range(5):
                await node.submit(broken, 10)
                await node.submit(whole, 10)
            with pytest.raises(SessionOpenError):
                await node.relay(broken, 10)
            node.stop()
            with pytest.raises(PoolStoppedError):
                await node.submit(whole, 1)
        by_relayer = node.report.by_relayer
        assert by_relayer[broken].undelivered == {"open failed": 60}
        assert (by_relayer[whole].accepted, by_relayer[whole].answered) == (50, 50)
        assert node.report.clean
