"""Opens that hang cost the others nothing, and there is a bound on them."""

from __future__ import annotations

import json
import random
from contextlib import suppress

import httpx
import pytest
import trio
import trio.testing
from trio.testing import MockClock

from tests.worlds import World, memory_world
from trio_sessions import Hoprd, PoolOptions, SessionsError, open_pool
from trio_sessions.simulator import SimulatorConfig, open_memory_node


class _Silent(httpx.AsyncBaseTransport):
    """The way to a node that never answers the POSTs through some relayers; counts those that wait for that."""

    def __init__(self, inner: httpx.AsyncBaseTransport) -> None:
        self._inner = inner
        self.relayers: frozenset[str] = frozenset()
        self.waiting = self.most_waiting = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            path = json.loads(await request.aread())["forwardPath"]
            if path["IntermediatePath"][0] in self.relayers:
                self.waiting += 1
                self.most_waiting = max(self.most_waiting, self.waiting)
                try:
                    await trio.sleep_forever()
                finally:
                    self.waiting -= 1
        return await self._inner.handle_async_request(request)


HEALTHY = 40


async def opening_times(others: int, *, hang: bool, options: PoolOptions) -> tuple[list[float], int]:
    """How long the healthy relayers' sessions take to open, when the others were asked for first; and the most POSTs
    that hung at a time.
    """
    config = SimulatorConfig(dialect="3", relayers=others + HEALTHY, max_sessions=others + HEALTHY, open_latency=0.2)
    took: dict[str, float] = {}
    async with open_memory_node(config) as sim:
        silent = _Silent(sim.transport)
        async with Hoprd(sim.url, token=sim.token, transport=silent) as hoprd:
            world = World(sim, hoprd)
            unwell, healthy = world.relayers[:others], world.relayers[others:]
            silent.relayers = frozenset(unwell) if hang else frozenset()

            async def ask(relayer: str) -> None:
                began = trio.current_time()
                with suppress(SessionsError):
                    await pool.session(relayer)
                    took[relayer] = trio.current_time() - began

            async with open_pool(hoprd, options, rng=random.Random(0), connect=sim.connect) as pool:
                async with trio.open_nursery() as nursery:
                    for relayer in unwell:
                        nursery.start_soon(ask, relayer)
                    await trio.testing.wait_all_tasks_blocked()
                    async with trio.open_nursery() as asking:
                        for relayer in healthy:
                            asking.start_soon(ask, relayer)
                    nursery.cancel_scope.cancel()
                pool.stop(drain=False)
        world.assert_nothing_left()
    return sorted(took[relayer] for relayer in healthy), silent.most_waiting


@pytest.mark.parametrize("others", [300])
async def test_opens_that_hang_cost_the_others_nothing(autojump_clock: MockClock, others: int) -> None:
    options = PoolOptions()
    undisturbed, hung = await opening_times(others, hang=False, options=options)
    assert hung == 0
    disturbed, hung = await opening_times(others, hang=True, options=options)
    assert hung == others
    assert disturbed == pytest.approx(undisturbed, rel=0.01)


async def test_opens_that_hang_are_bounded(autojump_clock: MockClock) -> None:
    _, hung = await opening_times(200, hang=True, options=PoolOptions(max_opens=4, open_attempts=1))
    assert hung == 4 + 16 * 4


async def test_a_young_open_does_hold_its_place(autojump_clock: MockClock) -> None:
    config = SimulatorConfig(relayers=3, open_latency=0.5)
    async with memory_world(config) as world, world.pool(PoolOptions(max_opens=1)) as pool:
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            for relayer in world.relayers:
                nursery.start_soon(pool.session, relayer)
        assert trio.current_time() - began >= 1.5
