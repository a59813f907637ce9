"""A node that is out while listeners of ours are still to be closed: few ask, and nothing of a promise is lost."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
import trio
from trio.testing import MockClock

from tests.worlds import NAMESPACES, World, in_namespace, inline, memory_world
from trio_sessions import Hoprd, SessionPool, open_pool
from trio_sessions.simulator import SimulatorConfig

SESSIONS = 100
DAY = 86_400.0


class Breakable(httpx.AsyncBaseTransport):
    """A way to the node that can be cut, which leaves its listeners as they are; it counts what is asked."""

    def __init__(self, inner: httpx.AsyncBaseTransport) -> None:
        self._inner = inner
        self.is_cut = False
        self.requests = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests += 1
        if self.is_cut:
            await trio.lowlevel.checkpoint()
            raise httpx.ConnectError("cut")
        return await self._inner.handle_async_request(request)


@asynccontextmanager
async def cut_off(kind: str, folder: Path) -> AsyncIterator[tuple[World, Breakable, SessionPool]]:
    """A pool whose sessions were all closed when the node was just out of reach."""
    async with memory_world(SimulatorConfig(relayers=SESSIONS, max_sessions=2 * SESSIONS)) as world:
        way = Breakable(world.sim.transport)
        async with (
            Hoprd(world.sim.url, token=world.sim.token, transport=way) as hoprd,
            open_pool(
                hoprd,
                in_namespace(kind, folder),
                connect=world.sim.connect,
                rng=random.Random(1),
                in_thread=inline,
            ) as pool,
        ):
            sessions = [await pool.session(relayer) for relayer in world.relayers]
            way.is_cut = True
            for session in sessions:
                session.close()
            way.requests = 0
            yield world, way, pool


@pytest.mark.parametrize("kind", NAMESPACES)
async def test_of_a_hundred_that_cannot_be_closed_one_asks_for_a_day(
    autojump_clock: MockClock, tmp_path: Path, kind: str
) -> None:
    async with cut_off(kind, tmp_path) as (world, way, pool):
        await trio.sleep(DAY)
        # Of every one its first try and perhaps another, one who asks every 7.5 to 15 s, and the reconciling.
        assert way.requests <= 3 * SESSIONS + DAY / 7.5 + DAY / 10
        assert pool.statistics().janitor_backlog == SESSIONS
        way.is_cut = False
        # One who asks finds out, and then all go on at once.
        await trio.sleep(20)
        assert pool.statistics().janitor_backlog == 0
        world.assert_nothing_left()
    assert pool.report.clean


@pytest.mark.parametrize("kind", NAMESPACES)
async def test_a_stop_waits_for_nobody_who_asks(autojump_clock: MockClock, tmp_path: Path, kind: str) -> None:
    async with cut_off(kind, tmp_path) as (world, way, pool):
        await trio.sleep(1000)
        pool.stop()
        stopped_at = trio.current_time()
        await trio.sleep(1)
        # It is back in the middle of the stop: what was to be closed is closed in the time that is left.
        way.is_cut = False
    assert trio.current_time() - stopped_at < 6
    assert pool.report.clean
    world.assert_nothing_left()


async def test_a_stop_while_the_node_is_out_keeps_its_deadline_and_names_what_is_left(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with cut_off("range", tmp_path) as (_, _, pool):
        await trio.sleep(1000)
        pool.stop()
        stopped_at = trio.current_time()
    assert trio.current_time() - stopped_at == pytest.approx(10, abs=0.1)
    assert len(pool.report.left) == SESSIONS
