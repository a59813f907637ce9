"""Other options for a pool and a node that run: from when each counts, and that nothing is half done."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock

from tests.worlds import World, faulty, memory_world, state_of
from trio_sessions import (
    DedicatedAddress,
    EndReason,
    InvalidInputError,
    Node,
    NodeOptions,
    PoolOptions,
    PortRange,
    SessionEndedError,
    State,
)
from trio_sessions._options import CHANGEABLE
from trio_sessions.simulator import SimulatorConfig

BASE = PoolOptions(grace_period=100.0)


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


async def test_a_grace_period_that_runs_keeps_its_end(autojump_clock: MockClock) -> None:
    async with memory_world() as world, world.pool(BASE) as pool:
        first, second, _ = [await pool.session(relayer) for relayer in world.relayers[:3]]
        pool.set_reachable(world.relayers[0], False)
        began = trio.current_time()
        await trio.sleep(10)
        pool.set_options(attrs.evolve(BASE, grace_period=20.0))
        pool.set_reachable(world.relayers[1], False)
        later = trio.current_time()
        await second.wait_closed()
        assert trio.current_time() - later == pytest.approx(20, abs=1)
        assert state_of(first) is State.UNREACHABLE
        await first.wait_closed()
        assert trio.current_time() - began == pytest.approx(100, abs=1)
        assert first.info.reason is second.info.reason is EndReason.GRACE_EXPIRED
    world.assert_nothing_left()


async def test_the_reply_timeout_counts_from_the_next_batch_on_in_open_sessions_too(autojump_clock: MockClock) -> None:
    async with memory_world(faulty("loss:p=1")) as world, world.pool(BASE) as pool:
        session = await pool.session(world.relayers[0])
        times: dict[str, float] = {}
        began = trio.current_time()

        async def relay(name: str) -> None:
            await session.relay(1)
            times[name] = trio.current_time() - began

        async with trio.open_nursery() as nursery:
            nursery.start_soon(relay, "before")
            await trio.sleep(1)
            pool.set_options(attrs.evolve(BASE, reply_timeout=30.0))
            await relay("after")
    assert times == {"before": pytest.approx(2, abs=0.1), "after": pytest.approx(31, abs=0.1)}


async def test_a_shorter_reply_timeout_ends_no_batch_before_those_sent_earlier(autojump_clock: MockClock) -> None:
    async with memory_world(faulty("loss:p=1")) as world, world.pool(attrs.evolve(BASE, reply_timeout=10.0)) as pool:
        session = await pool.session(world.relayers[0])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(session.relay, 1)
            await trio.sleep(1)
            pool.set_options(attrs.evolve(BASE, reply_timeout=1.0))
            began = trio.current_time()
            await session.relay(1)
            assert trio.current_time() - began == pytest.approx(9, abs=0.1)
        began = trio.current_time()
        await session.relay(1)
        assert trio.current_time() - began == pytest.approx(1, abs=0.1)


async def test_another_pace_counts_for_those_that_wait_already(autojump_clock: MockClock) -> None:
    slow = attrs.evolve(BASE, opens_per_second=0.001)
    async with memory_world(SimulatorConfig(relayers=4)) as world, world.pool(slow) as pool:
        await pool.session(world.relayers[0])
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            for relayer in world.relayers[1:]:
                nursery.start_soon(pool.session, relayer)
            await trio.sleep(5)
            pool.set_options(attrs.evolve(slow, opens_per_second=1.0))
        assert trio.current_time() - began == pytest.approx(7, abs=1)


async def test_another_reconcile_interval_counts_at_once(autojump_clock: MockClock) -> None:
    rare = attrs.evolve(BASE, reconcile_interval=10_000.0)
    async with memory_world() as world, world.pool(rare) as pool:
        await pool.session(world.relayers[0])
        await trio.sleep(10)
        calls = world.sim.node.counters.calls
        before = calls["list"]
        # Less than it takes to the idle end.
        await trio.sleep(50)
        assert calls["list"] == before
        pool.set_options(attrs.evolve(rare, reconcile_interval=10.0))
        await trio.sleep(55)
        # At once, and then every ten seconds.
        assert calls["list"] - before == 6


async def test_sessions_to_a_destination_that_is_no_longer_wanted_end_drained(autojump_clock: MockClock) -> None:
    async with memory_world() as world:
        old, new = world.sim.node.destinations[:2]
        async with world.pool(attrs.evolve(BASE, destinations=(old,))) as pool:
            chosen = await pool.session(world.relayers[0])
            asked_for = await pool.session(world.relayers[1], destination=old)
            async with trio.open_nursery() as nursery:
                outcomes = []

                async def relay() -> None:
                    outcomes.append(await chosen.relay(10))

                nursery.start_soon(relay)
                await trio.testing.wait_all_tasks_blocked()
                pool.set_options(attrs.evolve(BASE, destinations=(new.lower(),)))
            # Its answers were waited for, and nothing was lost.
            assert outcomes[0].answered == 10
            await chosen.wait_closed()
            assert chosen.info.reason is EndReason.DESTINATION_UNWANTED
            assert state_of(asked_for) is State.ACTIVE
            again = await pool.session(world.relayers[0])
            assert (again.info.destination or "").lower() == new.lower()
    world.assert_nothing_left()


async def test_time_outs_of_a_stop_count_for_the_next_one(autojump_clock: MockClock) -> None:
    async with memory_world(faulty("hang:close")) as world:
        async with world.pool(BASE) as pool:
            await pool.session(world.relayers[0])
            pool.set_options(attrs.evolve(BASE, stop_timeout=1.0))
            began = trio.current_time()
            pool.stop()
            # Too late to change anything of it.
            pool.set_options(attrs.evolve(BASE, stop_timeout=500.0))
        assert trio.current_time() - began == pytest.approx(1, abs=0.1)
        assert len(pool.report.left) == 1


OTHER: dict[str, Any] = {
    "close_timeout": 1.0,
    "open_attempts": 9,
    "wait_for_node": False,
    "max_opens": 9,
    "max_closes": 9,
    "namespace": DedicatedAddress(),
    "instance": "other",
    "journal": "/other",
    "listen_host": "127.0.0.1",
    "connect_host": "127.0.0.1",
    "capabilities": frozenset(),
    "response_buffer": 1,
}


def test_every_option_can_change_or_is_refused() -> None:
    assert {field.name for field in attrs.fields(PoolOptions)} == CHANGEABLE | OTHER.keys()


@pytest.mark.parametrize("name", OTHER)
async def test_what_cannot_change_is_named_and_nothing_changes(name: str, autojump_clock: MockClock) -> None:
    async with memory_world() as world, world.pool(BASE) as pool:
        session = await pool.session(world.relayers[0])
        with pytest.raises(InvalidInputError, match=f"^{name.replace('_', ' ')} .*cannot change while it runs"):
            pool.set_options(attrs.evolve(BASE, grace_period=1.0, **{name: OTHER[name]}))
        pool.set_reachable(world.relayers[0], False)
        await trio.sleep(50)
        assert state_of(session) is State.UNREACHABLE


# -- the node


async def test_sessions_of_relayers_that_are_no_longer_wanted_end_drained(autojump_clock: MockClock) -> None:
    async with memory_world() as world, running(world) as node:
        keep, drop = world.relayers[:2]
        for relayer in (keep, drop):
            await node.relay(relayer)
        outcomes = []

        async def relay() -> None:
            outcomes.append(await node.relay(drop, 10))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(relay)
            await trio.testing.wait_all_tasks_blocked()
            node.set_options(NodeOptions(relayers=(keep.lower(),)))
        assert outcomes[0].answered == 10
        assert node.relayers == (keep,)
        assert set(node.available) >= {keep, drop}
        with pytest.raises(InvalidInputError, match="no relayer of this node"):
            await node.submit(drop)
        await trio.sleep(5)
        assert [info.relayer for info in node.pool.sessions()] == [keep]
        assert len(world.sim.node.listeners()) == 1
        node.set_options(NodeOptions())
        assert (await node.relay(drop)).answered == 1
    assert node.report.clean


async def test_batches_that_wait_for_a_session_no_longer_wanted_are_undelivered(autojump_clock: MockClock) -> None:
    async with memory_world(faulty("delay:open:seconds=20")) as world, running(world) as node:
        keep, drop = world.relayers[:2]
        await node.submit(drop, 10)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_want, node, keep)
            with pytest.raises(SessionEndedError, match="no longer wanted"):
                await node.relay(drop, 5)
        await trio.sleep(60)
        assert node.pool.sessions() == ()
        assert world.sim.node.listeners() == ()
    assert node.report.messages.undelivered == {EndReason.UNWANTED.value: 15}
    assert node.report.clean


async def test_what_waits_for_a_node_that_is_down_hears_at_once_that_it_is_unwanted(autojump_clock: MockClock) -> None:
    async with memory_world() as world, running(world) as node:
        keep, drop = world.relayers[:2]
        world.sim.node.restart(down_for=3600.0)
        await node.submit(drop, 10)
        await trio.sleep(100)
        node.set_options(NodeOptions(relayers=(keep,)))
        await trio.sleep(1)
        assert node.report.messages.undelivered == {EndReason.UNWANTED.value: 10}
        assert node.pool.sessions() == ()
        await trio.sleep(3700)
        assert world.events("open") == []
    assert node.report.clean


async def _want(node: Node, relayer: str) -> None:
    await trio.sleep(3)
    node.set_options(NodeOptions(relayers=(relayer,)))


async def test_by_hops_the_destinations_are_what_is_wanted(autojump_clock: MockClock) -> None:
    async with memory_world() as world:
        one, other = world.sim.node.destinations[:2]
        options, pool_options = NodeOptions(hops=1), PoolOptions(destinations=(one, other))
        async with running(world, options, pool_options) as node:
            for destination in (one, other):
                await node.relay(destination)
            node.set_options(pool_options=attrs.evolve(pool_options, destinations=(other,)))
            await trio.sleep(5)
            assert [info.destination for info in node.pool.sessions()] == [other]


@pytest.mark.parametrize(("old", "new", "next_poll"), [(1000.0, 30.0, 30.0), (50.0, 5.0, 20.0), (50.0, 200.0, 200.0)])
async def test_the_wait_for_the_next_poll_is_measured_by_the_new_interval(
    old: float, new: float, next_poll: float, autojump_clock: MockClock
) -> None:
    async with memory_world() as world, running(world, NodeOptions(poll_interval=old)) as node:
        began = trio.current_time()
        await trio.sleep(20)
        world.sim.node.set_channel(world.relayers[0], "Closed")
        node.set_options(NodeOptions(poll_interval=new))
        if next_poll > 20:
            await trio.sleep_until(began + next_poll - 1)
            assert world.relayers[0] in node.relayers
        await trio.sleep_until(began + next_poll + 1)
        assert world.relayers[0] not in node.relayers


async def test_before_the_start_and_after_the_end_options_may_be_set(autojump_clock: MockClock) -> None:
    async with memory_world() as world:
        node = Node(world.hoprd, connect=world.sim.connect)
        node.set_options(NodeOptions(relayers=(world.relayers[0],)))
        async with trio.open_nursery() as nursery:
            await nursery.start(node.run)
            assert node.relayers == (world.relayers[0],)
            node.stop()
        node.set_options(NodeOptions())
        assert node.report.clean


@pytest.mark.parametrize(
    ("options", "pool_options", "told"),
    [
        (NodeOptions(hops=1), None, "hops .*cannot change while it runs"),
        (NodeOptions(intake=5000), None, "intake .*cannot change"),
        (None, PoolOptions(max_opens=1), "max opens .*cannot change"),
        (
            NodeOptions(relayers=tuple(f"0x{n:040x}" for n in range(9))),
            None,
            "port range .* has 8 ports for 9 sessions",
        ),
    ],
    ids=["hops", "intake", "of the pool", "too few ports"],
)
async def test_what_a_node_cannot_change_changes_nothing(
    options: NodeOptions | None, pool_options: PoolOptions | None, told: str, autojump_clock: MockClock
) -> None:
    ports = PoolOptions(namespace=PortRange(40_000, 40_007))
    async with memory_world() as world, running(world, None, ports) as node:
        if pool_options is not None:
            pool_options = attrs.evolve(ports, grace_period=1.0, max_opens=pool_options.max_opens)
        session = await node.pool.session(world.relayers[0])
        with pytest.raises(InvalidInputError, match=told):
            node.set_options(options, pool_options)
        assert set(node.relayers) == set(world.relayers)
        world.sim.node.set_connected(world.relayers[0], False)
        await trio.sleep(50)
        assert state_of(session) is State.UNREACHABLE
