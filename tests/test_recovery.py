"""What an earlier run left, and what only comes to light later: found, told apart, closed."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import attrs
import pytest
import trio
from trio.testing import MockClock

from tests.worlds import memory_world
from trio_sessions import (
    DedicatedAddress,
    Path as Path_,
    PoolOptions,
    PortRange,
    SessionOpenError,
    SessionPool,
    SessionRequest,
)
from trio_sessions._namespaces import derive_address
from trio_sessions.simulator import SimulatorConfig, parse_fault

#: Of this process alone: another one may run these tests at the same time.
ADDRESS = derive_address(str(os.getpid()), "test_recovery")
#: The first port that a pool of this seed asks for on an address of its own.
FIRST_PORT = 20_145


async def test_what_comes_late_to_our_address_is_closed_even_where_a_post_of_ours_is_unsettled(
    autojump_clock: MockClock,
) -> None:
    """A POST of a killed run is committed after the sweep, on the port that a POST with a lost reply asked for."""
    faults = ("delay:open:count=1:seconds=3", "leave-after-disconnect:open:count=1", "reply-lost:open:after=1:count=1")
    config = SimulatorConfig(dialect="3", faults=tuple(parse_fault(fault) for fault in faults))
    async with memory_world(config) as world:
        stranger = world.sim.node.add_stranger(ip="127.0.5.6", port=FIRST_PORT)
        ours, killed = world.relayers[:2]
        destination = world.sim.node.destinations[0]
        path = Path_(via=(killed,))
        with trio.move_on_after(0.5):
            await world.hoprd.open_session(
                SessionRequest(destination, path, path, listen_host=f"{ADDRESS}:{FIRST_PORT}", response_buffer=0)
            )
        options = PoolOptions(namespace=DedicatedAddress(ADDRESS), destinations=(destination,))
        async with world.pool(options) as pool:
            session = await pool.session(ours)
            await trio.sleep(4)
            late = [each for each in world.sim.node.listeners() if each.forward == (killed,)]
            assert [each.port for each in late] == [FIRST_PORT]
            # One reconcile interval.
            await trio.sleep(10)
            assert {each.session_id for each in world.sim.node.listeners() if each.forward == (killed,)} == set()
            assert (await session.relay(1)).answered == 1
        assert [each.session_id for each in world.sim.node.listeners()] == [stranger.session_id]


async def test_a_second_pool_of_the_same_process_finds_its_own_address_empty(autojump_clock: MockClock) -> None:
    async with memory_world() as world:
        options = PoolOptions(namespace=DedicatedAddress(ADDRESS))
        for _ in range(3):
            async with world.pool(options) as pool:
                for relayer in world.relayers:
                    await pool.session(relayer)
                assert len(world.sim.node.listeners()) == 3
            assert pool.report.clean
            world.assert_nothing_left()


async def test_the_quarantine_of_a_port_outlives_the_program(
    autojump_clock: MockClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trio_sessions._journal_file._uptime", trio.current_time)
    options = PoolOptions(namespace=PortRange(40_000, 40_002), journal=tmp_path / "journal", open_attempts=1)
    used: list[int] = []
    async with memory_world() as world:
        for seed in range(3):
            async with world.pool(options, seed) as pool:
                session = await pool.session(world.relayers[0])
                assert session.info.listener is not None
                used.append(session.info.listener.key.port)
        assert sorted(used) == [40_000, 40_001, 40_002]
        async with world.pool(options) as pool:
            with pytest.raises(SessionOpenError, match="0 in use, 3 in quarantine"):
                await pool.session(world.relayers[0])
        await trio.sleep(210)
        # Its row went with the rest.
        async with world.pool(options) as pool:
            await pool.session(world.relayers[0])
        assert pool.report.clean


async def test_the_rows_of_rested_ports_don_t_pile_up(autojump_clock: MockClock, tmp_path: Path) -> None:
    options = PoolOptions(namespace=PortRange(40_000, 40_009), journal=tmp_path / "journal")
    async with memory_world() as world, world.pool(options) as pool:
        for _ in range(40):
            session = await pool.session(world.relayers[0])
            session.close()
            await session.wait_closed()
            await trio.sleep(50)
        with closing(sqlite3.connect(tmp_path / "journal")) as journal:
            (rows,) = journal.execute("SELECT count(*) FROM listener").fetchone()
        assert rows <= 6


async def test_a_list_that_lies_before_a_post_makes_no_stranger_ours(autojump_clock: MockClock) -> None:
    """The first list is empty, the POST has no effect, and the next list shows a stranger who was there all along."""
    config = SimulatorConfig(dialect="3", call_latency=0.01, faults=(parse_fault("reset:open:count=1"),))
    for fault in ("empty:list:count=1", "stale:list:seconds=5:count=1"):
        async with memory_world(config) as world:
            await trio.sleep(10)
            relayer, destination = world.relayers[0], world.sim.node.destinations[0]
            stranger = world.sim.node.add_stranger(relayer=relayer, destination=destination)
            await trio.sleep(1)
            world.sim.node.add_fault(parse_fault(fault))
            async with world.pool(PoolOptions(destinations=(destination,))) as pool:
                await pool.session(relayer)
                await trio.sleep(60)
            assert [each.session_id for each in world.sim.node.listeners()] == [stranger.session_id]


async def test_what_a_sweep_could_not_close_is_named(autojump_clock: MockClock) -> None:
    async with memory_world() as world:
        for port in (20_001, 20_002):
            destination, path = world.sim.node.destinations[0], Path_(hops=1)
            await world.hoprd.open_session(
                SessionRequest(destination, path, path, listen_host=f"{ADDRESS}:{port}", response_buffer=0)
            )
        world.sim.node.add_fault(parse_fault("status:close"))
        options = PoolOptions(namespace=DedicatedAddress(ADDRESS))
        async with world.pool(options) as pool:
            await trio.sleep(1)
        named = {left.listener for left in pool.report.left}
        assert named == {f"udp://{ADDRESS}:20001", f"udp://{ADDRESS}:20002"}
        assert not pool.report.clean
        world.sim.node.clear_faults()
        async with world.pool(options) as pool:
            await trio.sleep(1)
        assert pool.report.clean
        world.assert_nothing_left()


async def test_a_single_look_at_another_on_the_port_is_not_believed(autojump_clock: MockClock) -> None:
    """Two lists of a moment ago show who had the port before us; at a stop, nobody would look again."""
    config = SimulatorConfig(port_range=(5000, 5000), call_latency=0.01)
    async with memory_world(config) as world:
        async with world.pool() as pool:
            first = await pool.session(world.relayers[0])
            await trio.sleep(2)
            first.close()
            await first.wait_closed()
            await trio.sleep(1)
            await pool.session(world.relayers[1])
            await trio.sleep(1)
            world.sim.node.add_fault(parse_fault("stale:list:seconds=2.5:count=2"))
        assert pool.report.clean
        world.assert_nothing_left()


async def test_what_could_once_not_be_told_apart_is_left_alone_by_the_next_start(
    autojump_clock: MockClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stranger like ours stood beside the listener of a lost reply; we are killed, ours ends, he stays."""
    monkeypatch.setattr("trio_sessions._journal_file._uptime", trio.current_time)
    config = SimulatorConfig(dialect="3", idle_timeout=5, open_latency=0.1, faults=(parse_fault("reply-lost:open"),))
    async with memory_world(config) as world:
        relayer, destination = world.relayers[0], world.sim.node.destinations[0]
        options = PoolOptions(destinations=(destination,), journal=tmp_path / "journal", open_attempts=1)
        async with world.pool(options) as pool, trio.open_nursery() as nursery:
            nursery.start_soon(open_in_vain, pool, relayer)
            await trio.sleep(0.05)
            stranger = world.sim.node.add_stranger(relayer=relayer, destination=destination)
            await trio.sleep(3)
            assert len(world.sim.node.listeners()) == 2
            copy = tmp_path / "copy"
            for suffix in ("", "-wal"):
                shutil.copy(f"{tmp_path / 'journal'}{suffix}", f"{copy}{suffix}")
        await trio.sleep(35)
        world.sim.node.clear_faults()
        assert [each.session_id for each in world.sim.node.listeners()] == [stranger.session_id]
        async with world.pool(attrs.evolve(options, journal=copy)):
            await trio.sleep(20)
        assert [each.session_id for each in world.sim.node.listeners()] == [stranger.session_id]


async def open_in_vain(pool: SessionPool, relayer: str) -> None:
    with pytest.raises(SessionOpenError):
        await pool.session(relayer)
