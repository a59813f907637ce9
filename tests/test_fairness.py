"""A busy session lets the others run: between two steps of anybody else, it does no more than a bounded piece."""

from __future__ import annotations

from itertools import pairwise

import pytest
import trio
from trio.testing import MockClock

from tests.worlds import memory_world
from trio_sessions import Node, NodeOptions
from trio_sessions.simulator import SimulatorConfig

#: What one task sends or reads at most before the next one has its turn.
BURST = 64
STEPS = 300


@pytest.mark.parametrize(("senders", "count"), [(1, 1000), (4, 1000), (64, 10)])
async def test_a_busy_session_starves_nobody(mock_clock: MockClock, senders: int, count: int) -> None:
    # No time passes, and nothing ever blocks: what does not yield by itself would run for ever.
    config = SimulatorConfig(echo_latency=0.0, open_latency=0.0)
    async with memory_world(config, send_buffer=10**9) as world, world.pool() as pool:
        session = await pool.session(world.relayers[0])
        counters = world.sim.node.counters

        async def relay() -> None:
            while True:
                await session.relay(count)

        async with trio.open_nursery() as nursery:
            for _ in range(senders):
                nursery.start_soon(relay)
            before, largest, busy = counters.datagrams_received, 0, 0
            for _ in range(STEPS):
                await trio.lowlevel.checkpoint()
                done = counters.datagrams_received - before
                before, largest, busy = counters.datagrams_received, max(largest, done), busy + (done > 0)
            nursery.cancel_scope.cancel()
        # Between two steps of ours each other task has two turns at most.
        assert largest <= 2 * senders * BURST
        assert busy > STEPS / 10
        assert pool.report.messages.answered > 0
        pool.stop()


async def test_submitting_without_end_starves_nobody(mock_clock: MockClock) -> None:
    config = SimulatorConfig(echo_latency=0.0, open_latency=0.0)
    async with memory_world(config, send_buffer=10**9) as world:
        node = Node(world.hoprd, NodeOptions(intake=100_000, intake_total=1_000_000), connect=world.sim.connect)
        async with trio.open_nursery() as nursery:
            await nursery.start(node.run)
            await node.pool.session(world.relayers[0])

            async def submit() -> None:
                while True:
                    await node.submit(world.relayers[0], 10)

            async with trio.open_nursery() as feeding:
                feeding.start_soon(submit)
                accepted = []
                for _ in range(STEPS):
                    await trio.lowlevel.checkpoint()
                    accepted.append(node.report.messages.accepted)
                feeding.cancel_scope.cancel()
            # A batch at a time, and two turns.
            assert max(after - before for before, after in pairwise(accepted)) <= 20
            assert accepted[-1] > 0
            node.stop(drain=False)
