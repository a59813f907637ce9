"""What an earlier run left, and what only comes to light later: found, told apart, closed."""

from __future__ import annotations

import trio
from trio.testing import MockClock

from tests.worlds import memory_world
from trio_sessions import DedicatedAddress, PoolOptions, SessionRequest
from trio_sessions._model import Path
from trio_sessions.simulator import SimulatorConfig, parse_fault

ADDRESS = "127.5.5.5"
#: The first port that a pool of this seed asks for on an address of its own.
FIRST_PORT = 20_145


async def test_what_comes_late_to_our_address_is_closed_even_where_a_post_of_ours_is_unsettled(
    autojump_clock: MockClock,
) -> None:
    """A POST of a killed run is committed after the sweep, on the port that a POST with a lost reply asked for."""
    faults = ("delay:open:count=1:seconds=3", "leave-after-disconnect:open:count=1", "reply-lost:open:after=1:count=1")
    config = SimulatorConfig(dialect="3", faults=tuple(parse_fault(fault) for fault in faults))
    async with memory_world(config) as world:
        stranger = world.sim.node.add_stranger(ip="127.5.5.6", port=FIRST_PORT)
        ours, killed = world.relayers[:2]
        destination = world.sim.node.destinations[0]
        path = Path(via=(killed,))
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
