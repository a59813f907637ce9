"""Fault row 4: a cancel at any moment leaves nothing behind and no message uncounted.

Each operation runs once to count the steps that all tasks take together, then once for each of these steps with a
cancel just before it: so it comes wherever the caller, the session's task or the janitor's may be.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable

import pytest
import trio
from trio.testing import MockClock

from tests.worlds import World, memory_world
from trio_sessions import Node, PoolReport, SessionPool


class CancelAtStep(trio.abc.Instrument):
    """Cancels a scope before the given step, of whatever task."""

    def __init__(self, scope: trio.CancelScope, step: int) -> None:
        self._scope = scope
        self._step = step
        self.steps = 0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.steps += 1
        if self.steps == self._step:
            self._scope.cancel()


#: Runs in the scope that is cancelled; puts the report's source into the list as soon as there is one.
Operation = Callable[[World, list[Callable[[], PoolReport]]], Awaitable[None]]


async def a_whole_pool(world: World, reports: list[Callable[[], PoolReport]]) -> None:
    async with world.pool() as pool:
        reports.append(lambda: pool.report)
        session = await pool.session(world.relayers[0])
        await session.relay(3)
        await session.send(b"x")
        await session.receive()
        pool.set_reachable(world.relayers[0], False)
        other = await pool.session(world.relayers[1])
        other.close()
        await other.wait_closed()
        pool.stop()
        await trio.sleep(0.01)


async def a_whole_node(world: World, reports: list[Callable[[], PoolReport]]) -> None:
    node = Node(world.hoprd, rng=random.Random(0), connect=world.sim.connect)
    async with trio.open_nursery() as nursery:
        await nursery.start(node.run)
        reports.append(lambda: node.report)
        await node.submit(world.relayers[0], 3)
        await node.relay(world.relayers[1], 3)
        node.stop()


async def run_with_cancel(operation: Operation, step: int) -> int:
    """Run the operation with a cancel before this step; the number of steps that it took."""
    async with memory_world() as world:
        stranger = world.sim.node.add_stranger()
        reports: list[Callable[[], PoolReport]] = []
        with trio.CancelScope() as scope:
            instrument = CancelAtStep(scope, step)
            trio.lowlevel.add_instrument(instrument)
            try:
                await operation(world, reports)
            finally:
                trio.lowlevel.remove_instrument(instrument)
        assert world.sim.node.listeners()[0].port == stranger.port
        world.assert_nothing_left(strangers=1)
        for report in reports:
            assert report().clean, report()
            assert report().sessions.opened == report().sessions.closed + report().sessions.lost
            assert (report().stop_duration or 0) < 2
        return instrument.steps


@pytest.mark.parametrize("operation", [a_whole_pool, a_whole_node])
async def test_a_cancel_at_any_step_leaves_nothing(operation: Operation, autojump_clock: MockClock) -> None:
    steps = await run_with_cancel(operation, -1)
    assert steps > 50
    for step in range(1, steps + 1):
        await run_with_cancel(operation, step)


async def test_a_cancelled_user_of_a_pool_leaves_the_pool_in_order(autojump_clock: MockClock) -> None:
    """The scope is around the use alone: the pool goes on, and the next user finds it in order."""

    async def use(pool: SessionPool, relayer: str) -> None:
        session = await pool.session(relayer)
        await session.relay(3)
        session.close()
        await session.wait_closed()

    async def once(step: int) -> int:
        async with memory_world() as world, world.pool() as pool:
            with trio.CancelScope() as scope:
                instrument = CancelAtStep(scope, step)
                trio.lowlevel.add_instrument(instrument)
                await use(pool, world.relayers[0])
            trio.lowlevel.remove_instrument(instrument)
            with trio.fail_after(5):
                await use(pool, world.relayers[0])
                await use(pool, world.relayers[1])
            assert pool.report.messages.balanced
            assert pool.report.messages.answered >= 6
        assert pool.report.clean
        world.assert_nothing_left()
        return instrument.steps

    for step in range(1, await once(-1) + 1):
        await once(step)
