"""The node: relayers by channel, bounded intake, waiting for a daemon that is not up, stopping."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import pytest
import trio
import trio.testing
from trio.testing import MockClock

from tests.worlds import NOBODY, World, faulty, memory_world
from trio_sessions import (
    Hoprd,
    InvalidInputError,
    Node,
    NodeOptions,
    PoolOptions,
    PoolStoppedError,
    SessionOpenError,
    UnauthorizedError,
)
from trio_sessions.simulator import SimulatorConfig


@asynccontextmanager
async def running(
    world: World, options: NodeOptions | None = None, pool_options: PoolOptions | None = None
) -> AsyncIterator[Node]:
    """A node of ours that runs, and is stopped at the end of the block."""
    node = Node(world.hoprd, options, pool_options, rng=random.Random(0), connect=world.sim.connect)
    async with trio.open_nursery() as nursery:
        await nursery.start(node.run)
        yield node
        node.stop()


async def test_relayers_are_the_peers_with_an_open_outgoing_channel(autojump_clock: MockClock) -> None:
    async with memory_world() as world:
        world.sim.node.set_channel(world.relayers[1], "PendingToClose")
        async with running(world) as node:
            assert set(node.relayers) == {world.relayers[0], world.relayers[2]}
            assert node.healthy is True
            for relayer in node.relayers:
                outcome = await node.relay(relayer.lower(), 10)
                assert (outcome.relayer, outcome.answered) == (relayer, 10)
            with pytest.raises(InvalidInputError, match="no relayer of this node with an open outgoing channel"):
                await node.relay(world.relayers[1], 1)
            world.sim.node.set_channel(world.relayers[1], "Open")
            world.sim.node.set_channel(world.relayers[0], "Closed")
            await trio.sleep(11.0)
            assert set(node.relayers) == {world.relayers[1], world.relayers[2]}
            destinations = {info.destination for info in node.pool.sessions()}
            assert world.sim.node.address not in destinations
        assert node.report.clean
        assert set(node.report.by_relayer) == {world.relayers[0], world.relayers[2]}
        world.assert_nothing_left()


async def test_only_the_relayers_that_were_chosen(autojump_clock: MockClock) -> None:
    async with memory_world() as world:
        chosen = (world.relayers[2].lower(), NOBODY)
        async with running(world, NodeOptions(relayers=chosen)) as node:
            assert node.relayers == (world.relayers[2],)


async def test_relayers_in_sight_come_first(autojump_clock: MockClock) -> None:
    async with memory_world() as world:
        first, *others = sorted(world.relayers, key=str.lower)
        world.sim.node.set_connected(first, False)
        async with running(world) as node:
            assert node.relayers == (*others, first)


async def test_the_nodes_peers_drive_the_grace_period(autojump_clock: MockClock) -> None:
    async with memory_world() as world:
        async with running(world) as node:
            relayer = world.relayers[0]
            await node.relay(relayer, 1)
            await trio.sleep_until(5.0)
            world.sim.node.set_connected(relayer, False)
            await trio.sleep_until(250.0)
            assert node.pool.sessions()[0].grace_ends_at == pytest.approx(310.0)
            world.sim.node.set_connected(relayer, True)
            await trio.sleep_until(261.0)
            assert node.pool.sessions()[0].grace_ends_at is None
            assert (await node.relay(relayer, 1)).answered == 1
            world.sim.node.set_connected(relayer, False)
            await trio.sleep_until(600.0)
            assert node.pool.sessions() == ()
        assert world.events("open", "close") == [(0.05, "open"), (pytest.approx(570.0), "close")]
        assert node.report.clean


@pytest.mark.parametrize("dialect", ["3", "4.0-rc", "4.0", "4.1"])
async def test_by_hops_the_destinations_take_the_relayers_place(autojump_clock: MockClock, dialect: str) -> None:
    async with memory_world(SimulatorConfig(dialect=dialect, explicit_path=False)) as world:
        destinations = world.sim.node.destinations
        async with running(world, NodeOptions(hops=1), PoolOptions(destinations=destinations)) as node:
            assert set(node.relayers) == set(destinations)
            for destination in destinations:
                assert (await node.relay(destination, 5)).answered == 5
            with pytest.raises(InvalidInputError, match="no destination that the node is connected to"):
                await node.relay(world.relayers[0], 1)
            assert {info.hops for info in node.pool.sessions()} == {1}
        assert node.report.clean
        world.assert_nothing_left()


async def test_submitted_batches_are_counted_without_being_waited_for(autojump_clock: MockClock) -> None:
    async with memory_world(SimulatorConfig(echo_latency=1.0)) as world:
        async with running(world) as node:
            for relayer in world.relayers:
                await node.submit(relayer, 10)
            assert trio.current_time() < 0.1
            await trio.sleep(0.5)
            assert node.report.messages.pending == 30
        assert node.report.messages.answered == 30
        assert node.report.clean


async def test_the_intake_is_bounded_for_each_relayer(autojump_clock: MockClock) -> None:
    async with memory_world(SimulatorConfig(echo_latency=1.0)) as world:
        async with running(world, NodeOptions(intake=1000)) as node:
            slow, other = world.relayers[:2]
            for _ in range(4):
                await node.submit(slow, 250)
            assert trio.current_time() < 0.1
            # The fifth waits for the first to be answered; another relayer's does not wait.
            async with trio.open_nursery() as nursery:
                nursery.start_soon(node.submit, slow, 250)
                await trio.testing.wait_all_tasks_blocked()
                await node.submit(other, 1000)
                assert trio.current_time() < 0.1
                assert node.report.messages.accepted == 2000
            assert trio.current_time() == pytest.approx(1.05, abs=0.02)
            # One that gives up its place was never accepted.
            with trio.move_on_after(0.1) as scope:
                await node.relay(slow, 1000)
            assert scope.cancelled_caught
            assert node.report.messages.accepted == 2250
        assert node.report.messages.balanced
        assert node.report.clean


async def test_all_relayers_together_have_a_bound_of_which_each_has_its_share(autojump_clock: MockClock) -> None:
    async with memory_world(faulty("hang:open")) as world:
        async with running(world, NodeOptions(intake_total=1200)) as node:
            taken: dict[str, int] = dict.fromkeys(node.relayers, 0)

            async def submit(relayer: str, count: int) -> None:
                await node.submit(relayer, count)
                taken[relayer] += count

            async with trio.open_nursery() as nursery:
                for relayer in node.relayers:
                    # Each has had something in hand, so that they share by three from the beginning.
                    await submit(relayer, 1)
                first, second, third = node.relayers
                for _ in range(10):
                    nursery.start_soon(submit, first, 100)
                for _ in range(1000):
                    nursery.start_soon(submit, second, 1)
                # More than the share: it waits until nothing else of its relayer is in hand.
                nursery.start_soon(submit, third, 500)
                await trio.testing.wait_all_tasks_blocked()
                assert taken == {first: 301, second: 400, third: 1}
                nursery.cancel_scope.cancel()
            world.sim.node.clear_faults()
            node.stop(drain=False)
        assert node.report.messages.accepted == 702
        assert node.report.messages.balanced


async def test_a_relayer_that_cannot_be_opened_costs_its_own_messages_alone(autojump_clock: MockClock) -> None:
    async with memory_world(faulty("exit-full:open:relayer=0")) as world:
        async with running(world) as node:
            bad, good, _ = world.relayers
            with pytest.raises(SessionOpenError, match="NoSlotsAvailable"):
                await node.relay(bad, 5)
            await node.submit(bad, 3)
            assert (await node.relay(good, 10)).answered == 10
            await trio.sleep(600.0)
        messages = node.report.messages
        assert (messages.accepted, messages.answered) == (18, 10)
        assert messages.undelivered == {"open failed": 8}
        assert node.report.clean


async def test_a_lost_session_is_replaced_under_the_callers_feet(autojump_clock: MockClock) -> None:
    async with memory_world() as world:
        async with running(world) as node:
            relayer = world.relayers[0]
            await node.relay(relayer, 1)
            world.sim.node.restart()
            outcomes = [await node.relay(relayer, 10) for _ in range(3)]
            assert [outcome.answered for outcome in outcomes] == [0, 10, 10]
            assert all(outcome.sent + outcome.undelivered == 10 for outcome in outcomes)
        assert node.report.sessions.lost == 1
        assert node.report.clean


async def test_a_node_that_is_not_up_yet_is_waited_for(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with memory_world() as world:
        world.sim.node.restart(down_for=21_600.0)
        started = trio.current_time()
        async with running(world) as node:
            assert 21_600 <= trio.current_time() - started < 21_600 + 16
            assert (await node.relay(world.relayers[0], 1)).answered == 1
        lines = [record for record in caplog.records if "waiting for the node" in record.message]
        assert 1 <= len(lines) <= 6 * 60 + 1
        assert node.report.clean


async def test_an_outage_keeps_what_was_known(autojump_clock: MockClock, caplog: pytest.LogCaptureFixture) -> None:
    async with memory_world() as world:
        async with running(world) as node:
            before = node.relayers
            world.sim.node.restart(down_for=3600.0)
            await trio.sleep(1800.0)
            assert node.relayers == before
            assert node.healthy is None
            lines = [record for record in caplog.records if "does not answer" in record.message]
            assert 25 <= len(lines) <= 31
            await trio.sleep(1900.0)
            assert (await node.relay(before[0], 1)).answered == 1
            assert node.relayers == before
            assert str(node.healthy) == "True"
        assert node.report.clean


async def test_a_wrong_token_is_told_at_once_as_a_leaf() -> None:
    async with memory_world() as world:
        async with Hoprd(world.sim.url, token="wrong-token-for-sure", transport=world.sim.transport) as hoprd:
            node = Node(hoprd, connect=world.sim.connect)
            with pytest.raises(UnauthorizedError):
                await node.run()
            assert node.report.clean


async def test_stop_before_the_start_and_twice(autojump_clock: MockClock) -> None:
    async with memory_world() as world:
        node = Node(world.hoprd, connect=world.sim.connect)
        with pytest.raises(PoolStoppedError, match="not started"):
            await node.relay(world.relayers[0], 1)
        with pytest.raises(PoolStoppedError, match="not started"):
            _ = node.pool
        node.stop()
        node.stop()
        async with trio.open_nursery() as nursery:
            await nursery.start(node.run)
        with pytest.raises(RuntimeError, match="runs once"):
            await node.run()
        assert world.sim.node.counters.calls.total() == 0


async def test_stop_while_waiting_for_the_daemon(autojump_clock: MockClock) -> None:
    async with memory_world() as world:
        world.sim.node.restart(down_for=1000.0)
        node = Node(world.hoprd, connect=world.sim.connect)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(node.run)
            await trio.sleep(100.0)
            node.stop()
        assert trio.current_time() == 100.0
        assert node.report.clean


async def test_what_was_taken_before_a_stop_is_finished(autojump_clock: MockClock) -> None:
    """Batches that are sent, wait for their session, were submitted: all answered. Callers without room: not taken."""
    async with memory_world(SimulatorConfig(echo_latency=0.2, open_latency=1.0)) as world:
        async with trio.open_nursery() as nursery:
            node = Node(world.hoprd, connect=world.sim.connect)
            await nursery.start(node.run)
            refused_at: list[float] = []

            async def relay(relayer: str, count: int) -> None:
                try:
                    assert (await node.relay(relayer, count)).answered == count
                except PoolStoppedError:
                    refused_at.append(trio.current_time())

            quick, slow, slower = world.relayers
            await node.relay(quick, 10)
            nursery.start_soon(relay, quick, 1000)
            for _ in range(3):
                nursery.start_soon(relay, slow, 400)
            await node.submit(slower, 7)
            await trio.sleep(0.1)
            stopped_at = trio.current_time()
            node.stop()
            for use in (node.relay, node.submit):
                with pytest.raises(PoolStoppedError):
                    await use(quick, 1)
            await trio.sleep(0.1)
            assert node.report.stop_duration == pytest.approx(0.1)
        messages = node.report.messages
        assert messages.accepted == messages.answered == 10 + 1000 + 800 + 7
        # At once, and not when there is room again.
        assert refused_at == [stopped_at]
        assert node.report.clean
        assert node.report.stop_duration is not None
        assert node.report.stop_duration < 1.5
        world.assert_nothing_left()


@pytest.mark.parametrize("impatient", [False, True], ids=["drain", "no drain"])
async def test_what_is_not_finished_in_the_drain_timeout_is_counted(autojump_clock: MockClock, impatient: bool) -> None:
    """A relayer whose open hangs, one that answers late, and one that is quick, when the node is stopped."""
    config = attrs.evolve(faulty("hang:open:relayer=0"), echo_latency=1.0)
    async with memory_world(config) as world:
        async with trio.open_nursery() as nursery:
            node = Node(world.hoprd, connect=world.sim.connect)
            await nursery.start(node.run)
            hanging, open_one, _ = world.sim.node.relayers
            await node.relay(open_one, 1)
            ended: list[str] = []

            async def relay() -> None:
                with pytest.raises(PoolStoppedError) as caught:
                    await node.relay(hanging, 20)
                ended.append(caught.value.reason)

            nursery.start_soon(relay)
            await node.submit(hanging, 30)
            await node.submit(open_one, 40)
            await trio.sleep(0.5)
            node.stop()
            if impatient:
                await trio.sleep(0.25)
                node.stop(drain=False)
        messages = node.report.messages
        assert messages.accepted == 91
        assert messages.undelivered == {"stopped": 50}
        assert (messages.answered, messages.unanswered) == ((1, 40) if impatient else (41, 0))
        assert ended == ["stopped"]
        assert messages.balanced
        assert node.report.stop_duration is not None
        assert node.report.stop_duration <= 10.0
        by_relayer = node.report.by_relayer
        assert {relayer: each.accepted for relayer, each in by_relayer.items()} == {hanging: 50, open_one: 41}
        assert all(each.balanced for each in by_relayer.values())


async def test_a_cancelled_run_leaves_nothing(autojump_clock: MockClock) -> None:
    async with memory_world() as world:
        node = Node(world.hoprd, connect=world.sim.connect)
        async with trio.open_nursery() as nursery:
            await nursery.start(node.run)
            await node.relay(world.relayers[0], 5)
            await node.submit(world.relayers[1], 5)
            nursery.cancel_scope.cancel()
        assert node.report.clean
        assert node.report.messages.balanced
        world.assert_nothing_left()


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"relayers": ("0x12",)}, "relayer"),
        ({"hops": 4}, "hops"),
        ({"hops": 1, "relayers": (NOBODY,)}, "hops"),
        ({"poll_interval": 0}, "poll interval"),
        ({"poll_interval": float("nan")}, "poll interval"),
        ({"poll_interval": "10"}, "poll interval"),
        ({"intake": 999}, "intake"),
        ({"intake": True}, "intake"),
    ],
)
def test_impossible_settings(settings: dict[str, object], what: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        NodeOptions(**settings)  # type: ignore[arg-type]
    assert caught.value.what == what


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"destinations": ("x",)}, "destination"),
        ({"grace_period": -1.0}, "grace period"),
        ({"grace_period": float("inf")}, "grace period"),
        ({"stop_timeout": 0.0}, "stop timeout"),
        ({"reply_timeout": True}, "reply timeout"),
        ({"open_attempts": 0}, "open attempts"),
        ({"max_closes": 1.5}, "max closes"),
    ],
)
def test_impossible_pool_settings(settings: dict[str, object], what: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        PoolOptions(**settings)  # type: ignore[arg-type]
    assert caught.value.what == what
