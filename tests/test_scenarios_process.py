"""The scenarios where sockets and processes are the matter, against a simulator in a process of its own.

Real HTTP, real UDP, real time: nothing here asserts how long a thing takes, only what is so when it has happened.
"""

from __future__ import annotations

import gc
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import httpx
import trio

from tests.cli.support import TOKEN, Simulator, simulator
from trio_sessions import BatchOutcome, EndReason, Hoprd, PoolOptions, Session, SessionPool, State, open_pool


@attrs.frozen
class World:
    """A simulator's process and a client of it."""

    simulator: Simulator
    hoprd: Hoprd
    control: httpx.AsyncClient

    @property
    def relayers(self) -> list[str]:
        found: list[str] = self.simulator.ready["relayers"]
        return found

    async def counters(self) -> dict[str, int]:
        found: dict[str, int] = (await self.control.get("/simulator/state")).json()["counters"]
        return found

    async def wait_until_restarted(self) -> None:
        """Ask until the node that answers is the one after the restart; its end takes the connections with it."""
        while True:
            try:
                if (await self.counters())["restarts"]:
                    return
            except httpx.TransportError:
                await trio.lowlevel.checkpoint()

    async def tell(self, what: str, **values: object) -> None:
        (await self.control.post(f"/simulator/{what}", json=values)).raise_for_status()


@asynccontextmanager
async def process_world(*arguments: str) -> AsyncIterator[World]:
    async with simulator(*arguments) as it:
        async with (
            Hoprd(it.url, token=TOKEN) as hoprd,
            httpx.AsyncClient(base_url=it.url, headers={"X-Auth-Token": TOKEN}, trust_env=False) as control,
        ):
            yield World(it, hoprd, control)


def open_files() -> int:
    """File descriptors of this process."""
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


async def unreachable(pool: SessionPool, relayer: str, session: Session) -> None:
    pool.set_reachable(relayer, False)
    while session.info.state is State.ACTIVE:
        await trio.lowlevel.checkpoint()


async def test_session_kept_when_its_peer_is_temporarily_unreachable() -> None:
    async with process_world() as world, open_pool(world.hoprd) as pool:
        relayer = world.relayers[0]
        session = await pool.session(relayer)
        assert (await session.relay(10)).answered == 10
        await world.tell("peers", address=relayer, connected=False)
        await unreachable(pool, relayer, session)
        assert session.info.state is State.UNREACHABLE
        await world.tell("peers", address=relayer, connected=True)
        pool.set_reachable(relayer, True)
        # The same socket: the node has pinned its address, and would drop what came from another.
        assert (await session.relay(10)).answered == 10
        counters = await world.counters()
        assert (counters["opens_started"], counters["closes"], counters["datagrams_foreign"]) == (1, 0, 0)


async def test_session_persists_through_the_grace_period_and_ends_at_its_end() -> None:
    async with process_world() as world, open_pool(world.hoprd, PoolOptions(grace_period=0.5)) as pool:
        session = await pool.session(world.relayers[0])
        await unreachable(pool, world.relayers[0], session)
        lost_at = trio.current_time()
        assert len(await world.simulator.listeners()) == 1
        await session.wait_closed()
        assert trio.current_time() - lost_at >= 0.45
        assert session.info.reason is EndReason.GRACE_EXPIRED
        assert await world.simulator.listeners() == []


async def test_flapping_peer_causes_no_churn() -> None:
    async with process_world() as world, open_pool(world.hoprd) as pool:
        relayer = world.relayers[0]
        session = await pool.session(relayer)
        for _ in range(50):
            await unreachable(pool, relayer, session)
            pool.set_reachable(relayer, True)
            assert (await (await pool.session(relayer)).relay(1)).answered == 1
        counters = await world.counters()
        assert (counters["opens_started"], counters["closes"]) == (1, 0)


async def test_concurrent_access_to_sessions() -> None:
    async with process_world() as world, open_pool(world.hoprd) as pool:
        outcomes: list[BatchOutcome] = []

        async def use(relayer: str) -> None:
            outcomes.append(await (await pool.session(relayer)).relay(5))

        async with trio.open_nursery() as nursery:
            for i in range(50):
                nursery.start_soon(use, world.relayers[i % 2])
        assert [outcome.answered for outcome in outcomes] == [5] * 50
        assert (await world.counters())["opens_started"] == 2


async def test_orphaned_session_when_the_closing_call_fails_is_retried_until_gone() -> None:
    faults = ("--fault", "status:close:status=500:count=2", "--fault", "reply-lost:close:after=2:count=1")
    async with process_world(*faults) as world:
        async with open_pool(world.hoprd) as pool:
            await pool.session(world.relayers[0])
        assert pool.report.clean
        assert await world.simulator.listeners() == []


async def test_sessions_dont_accumulate_over_open_close_rounds() -> None:
    async with process_world() as world, open_pool(world.hoprd) as pool:

        async def rounds(count: int) -> int:
            for i in range(count):
                session = await pool.session(world.relayers[i % 3])
                session.close()
                await session.wait_closed()
            return open_files()

        assert await rounds(5) == await rounds(60)
        assert await world.simulator.listeners() == []


async def test_stop_cleans_up_every_session_and_socket() -> None:
    async with process_world("--relayers", "20") as world:
        # A kept connection of the client counts as well, so it is there before.
        await world.hoprd.version()
        before = open_files()
        async with open_pool(world.hoprd) as pool:
            async with trio.open_nursery() as nursery:
                for relayer in world.relayers:
                    nursery.start_soon(pool.session, relayer)
            assert len(await world.simulator.listeners()) == 20
            assert open_files() >= before + 20
            pool.stop()
        assert pool.report.clean
        assert await world.simulator.listeners() == []
        # Kept connections may come and go; sockets of twenty sessions may not stay.
        assert open_files() < before + 20


async def test_in_flight_messages_at_shutdown_are_finished_or_counted() -> None:
    async with process_world("--echo-latency", "0.3") as world:
        async with trio.open_nursery() as nursery:
            async with open_pool(world.hoprd) as pool:
                session = await pool.session(world.relayers[0])
                nursery.start_soon(session.relay, 100)
                while not session.info.outstanding:
                    await trio.lowlevel.checkpoint()
                pool.stop()
        messages = pool.report.messages
        assert (messages.accepted, messages.answered) == (100, 100)
        assert pool.report.clean


async def test_a_refused_datagram_ends_the_session_of_a_restarted_node() -> None:
    async with process_world() as world, open_pool(world.hoprd) as pool:
        relayer = world.relayers[0]
        session = await pool.session(relayer)
        await session.relay(1)
        await world.tell("restart", down_for=0.0)
        await world.wait_until_restarted()
        outcome = await session.relay(3)
        assert outcome.answered == 0
        await session.wait_closed()
        assert session.info.state is State.LOST
        assert (await (await pool.session(relayer)).relay(3)).answered == 3
