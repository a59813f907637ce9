"""Rule 4 where it is hardest: ports that change hands at the worst moment, and lost replies beside strangers."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from tests.worlds import World, faulty, memory_world
from trio_sessions import NodeTimeoutError, PoolOptions, Session, SessionOpenError
from trio_sessions._flight import SingleFlight
from trio_sessions.simulator import ListenerRecord, SimulatorConfig, parse_fault


def take_port(world: World, session: Session) -> ListenerRecord:
    """A stranger gets the port that the session's listener had."""
    assert session.info.listener is not None
    return world.sim.node.add_stranger(port=session.info.listener.key.port)


def ports(world: World) -> list[int]:
    return [record.port for record in world.sim.node.listeners()]


@pytest.mark.parametrize("fault", [None, "status:close:status=500:count=1", "hang:close:count=1"])
async def test_a_retry_looks_first_whatever_the_first_try_failed_with(
    autojump_clock: MockClock, fault: str | None
) -> None:
    async with memory_world() as world:
        async with world.pool() as pool:
            session = await pool.session(world.relayers[0])
            await session.relay(1)
            if fault is None:
                world.sim.node.restart(down_for=0.5)
            else:
                world.sim.node.add_fault(parse_fault(fault))
            session.close()
            await trio.sleep(0.1)
            if fault is not None:
                world.sim.node.restart()
            else:
                await trio.sleep(0.45)
            stranger = take_port(world, session)
            await session.wait_closed()
            assert ports(world) == [stranger.port]
        assert pool.report.clean


@pytest.mark.parametrize("down_for", [0.05, 0.1, 0.2, 0.4, 0.8])
async def test_what_came_in_before_the_node_was_out_proves_nothing_after_it(
    autojump_clock: MockClock, down_for: float
) -> None:
    """A restart may have ended the listener: its port, not listed any more, is not to be closed on old evidence."""
    async with memory_world() as world:
        async with world.pool() as pool:
            session = await pool.session(world.relayers[0])
            await session.relay(1)
            world.sim.node.restart(down_for=down_for)
            session.close()
            await session.wait_closed()
            assert world.sim.node.counters.closes_missed == 0
        assert pool.report.clean


async def test_an_echo_from_a_strangers_listener_is_no_sign_of_life_of_ours(autojump_clock: MockClock) -> None:
    """Reconciling finds the port in another's hands: no probe goes there, and nothing is deleted."""
    async with memory_world() as world:
        async with world.pool() as pool:
            session = await pool.session(world.relayers[0])
            world.sim.node.restart()
            stranger = take_port(world, session)
            await session.wait_closed()
            assert session.info.reason is not None
            assert session.info.reason.value == "listener gone"
            await trio.sleep(5.0)
            assert ports(world) == [stranger.port]
            assert world.sim.node.counters.datagrams_received == 0
        assert pool.report.clean


async def test_even_traffic_with_a_strangers_listener_does_not_make_it_ours(autojump_clock: MockClock) -> None:
    async with memory_world() as world:
        async with world.pool(PoolOptions(reconcile_interval=1000.0)) as pool:
            session = await pool.session(world.relayers[0])
            world.sim.node.restart()
            stranger = take_port(world, session)
            # Our socket is the first that his listener hears of, so it answers us.
            assert (await session.relay(3)).answered == 3
            session.close()
            await session.wait_closed()
            assert ports(world) == [stranger.port]
        assert pool.report.clean


async def test_a_sign_of_life_ages_while_the_delete_waits_its_turn(autojump_clock: MockClock) -> None:
    async with memory_world() as world:
        async with world.pool(PoolOptions(max_closes=1)) as pool:
            first, second = [await pool.session(relayer) for relayer in world.relayers[:2]]
            await first.relay(1)
            await second.relay(1)
            world.sim.node.add_fault(parse_fault("hang:close:count=1"))
            first.close()
            second.close()
            await trio.sleep(2.0)
            world.sim.node.restart()
            stranger = take_port(world, second)
            await first.wait_closed()
            await second.wait_closed()
            assert ports(world) == [stranger.port]
        assert pool.report.clean


@pytest.mark.parametrize("fault", ["status:list:status=500", "empty:list"])
async def test_a_live_listener_is_closed_though_the_list_fails_or_lies(autojump_clock: MockClock, fault: str) -> None:
    async with memory_world() as world:
        async with world.pool() as pool:
            session = await pool.session(world.relayers[0])
            await session.relay(1)
            world.sim.node.add_fault(parse_fault(fault))
        assert pool.report.clean
        world.assert_nothing_left()


async def test_without_a_list_or_a_sign_of_life_nothing_is_deleted_and_all_is_named(autojump_clock: MockClock) -> None:
    async with memory_world() as world:
        async with world.pool() as pool:
            session = await pool.session(world.relayers[0])
            await session.relay(1)
            # The look takes so long that what came before it proves nothing any more.
            world.sim.node.add_fault(parse_fault("hang:list"))
        assert [left.listener for left in pool.report.left] == [f"udp://127.0.0.1:{ports(world)[0]}"]
        assert pool.report.stop_duration == pytest.approx(10.0)
        assert world.sim.node.counters.calls["close"] == 0


async def test_what_had_vanished_and_is_back_at_the_stop_is_closed(autojump_clock: MockClock) -> None:
    async with memory_world() as world:
        async with world.pool() as pool:
            session = await pool.session(world.relayers[0])
            await trio.sleep(2.0)
            world.sim.node.add_fault(parse_fault("empty:list"))
            session.close()
            await session.wait_closed()
            assert len(ports(world)) == 1
            world.sim.node.clear_faults()
            await trio.sleep(0.1)
        assert pool.report.clean
        world.assert_nothing_left()


async def test_more_alike_listeners_than_lost_replies_are_left_alone(autojump_clock: MockClock) -> None:
    """Two lost replies, each with a listener, and a stranger like them that came in between."""
    async with memory_world(SimulatorConfig(dialect="3")) as world:
        relayer, destination = world.relayers[0], world.sim.node.destinations[0]
        world.sim.node.add_fault(parse_fault("reply-lost:open:count=2"))
        # The lists between are slow, so that the three are there before the first is looked for.
        world.sim.node.add_fault(parse_fault("status:list:status=500:after=1:until=20"))
        async with world.pool(PoolOptions(open_attempts=2)) as pool:
            with pytest.raises(SessionOpenError):
                await pool.session(relayer, destination=destination)
            stranger = world.sim.node.add_stranger(relayer=relayer, destination=destination)
            await trio.sleep(60.0)
            assert stranger.port in ports(world)
            assert world.sim.node.counters.closes == 0


async def test_lost_replies_of_two_relayers_find_a_listener_each(autojump_clock: MockClock) -> None:
    async with memory_world(SimulatorConfig(dialect="3")) as world:
        destination = world.sim.node.destinations[0]
        world.sim.node.add_fault(parse_fault("reply-lost:open:count=2"))
        async with world.pool(PoolOptions(open_attempts=1)) as pool:
            for relayer in world.relayers[:2]:
                with pytest.raises(SessionOpenError):
                    await pool.session(relayer, destination=destination)
            assert len(ports(world)) == 2
            await trio.sleep(5.0)
            assert ports(world) == []
        assert pool.report.clean


async def test_on_an_address_of_our_own_a_lost_reply_never_means_another_address(autojump_clock: MockClock) -> None:
    async with memory_world(SimulatorConfig(dialect="3")) as world:
        relayer, destination = world.relayers[0], world.sim.node.destinations[0]
        options = PoolOptions(open_attempts=1, listen_host="127.9.9.9")
        async with world.pool(options) as pool:
            world.sim.node.add_fault(parse_fault("reset:open:count=1"))
            with pytest.raises(SessionOpenError):
                await pool.session(relayer, destination=destination)
            stranger = world.sim.node.add_stranger(relayer=relayer, destination=destination)
            await trio.sleep(60.0)
            assert ports(world) == [stranger.port]
            world.sim.node.add_fault(parse_fault("reply-lost:open:count=1"))
            with pytest.raises(SessionOpenError):
                await pool.session(world.relayers[1], destination=destination)
            await trio.sleep(5.0)
            assert ports(world) == [stranger.port]


async def test_one_empty_list_does_not_settle_a_lost_reply(autojump_clock: MockClock) -> None:
    async with memory_world(faulty("reply-lost:open:count=1")) as world:
        async with world.pool(PoolOptions(open_attempts=1)) as pool:
            with pytest.raises(SessionOpenError):
                await pool.session(world.relayers[0])
            world.sim.node.add_fault(parse_fault("empty:list:from=106:count=1"))
            await trio.sleep(130.0)
            assert len(ports(world)) == 1
        assert [left.listener for left in pool.report.left] == [None]


async def test_a_port_that_a_lost_session_still_holds_is_given_up_for_its_successor(
    autojump_clock: MockClock,
) -> None:
    """After a restart, before we know of it: the lowest port goes to our next session, whose holder is the old one."""
    async with memory_world(SimulatorConfig(port_range=(5000, 5010))) as world:
        async with world.pool() as pool:
            old = await pool.session(world.relayers[0])
            world.sim.node.restart()
            new = await pool.session(world.relayers[1])
            assert new.info.attempts > 1
            await old.wait_closed()
            await trio.sleep(20.0)
            assert new.info.listener is not None
            assert ports(world) == [new.info.listener.key.port]
        assert pool.report.clean
        world.assert_nothing_left()


# -- one call for all


async def test_a_failure_is_shared_by_those_who_waited_and_not_by_those_who_come_later(
    autojump_clock: MockClock,
) -> None:
    calls = 0

    async def call() -> int:
        nonlocal calls
        calls += 1
        mine = calls
        await trio.sleep(1.0)
        if mine == 1:
            raise NodeTimeoutError("GET", "/", "too slow")
        return mine

    flight = SingleFlight(call)
    errors: list[NodeTimeoutError] = []
    results: list[int] = []

    async def ask(since: float) -> None:
        try:
            results.append(await flight.get(since))
        except NodeTimeoutError as error:
            errors.append(error)

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(ask, 0.0)
        await trio.sleep(0.5)
        for _ in range(5):
            # They need a call that begins now or later.
            nursery.start_soon(ask, 0.5)
    assert calls == 2
    assert len({id(error) for error in errors}) == len(errors) == 5
    assert results == [2] * 5
    assert trio.current_time() == 2.0
    assert await flight.get() == 3


async def test_a_cancelled_caller_hands_the_call_over(autojump_clock: MockClock) -> None:
    calls = 0

    async def call() -> int:
        nonlocal calls
        calls += 1
        await trio.sleep(1.0)
        return calls

    flight = SingleFlight(call)
    results: list[int] = []

    async def ask() -> None:
        results.append(await flight.get())

    async with trio.open_nursery() as nursery:
        with trio.move_on_after(0.5):
            async with trio.open_nursery() as cancelled:
                cancelled.start_soon(ask)
                await trio.testing.wait_all_tasks_blocked()
                nursery.start_soon(ask)
                nursery.start_soon(ask)
    assert results == [2, 2]


# -- what a stop costs


async def test_a_stop_costs_one_look_and_a_delete_for_each(autojump_clock: MockClock) -> None:
    async with memory_world(SimulatorConfig(relayers=20)) as world:
        async with world.pool() as pool:
            for relayer in world.relayers:
                await (await pool.session(relayer)).relay(1)
            await trio.sleep(0.5)
            before = world.sim.node.counters.calls.copy()
        assert world.sim.node.counters.calls - before == {"list": 1, "close": 20}
        assert pool.report.clean


async def test_a_failing_last_look_changes_nothing(autojump_clock: MockClock) -> None:
    async with memory_world() as world:
        async with world.pool() as pool:
            session = await pool.session(world.relayers[0])
            world.sim.node.restart()
            await session.relay(1)
            await session.wait_closed()
            await trio.sleep(2.0)
            world.sim.node.add_fault(parse_fault("status:list:status=500"))
        assert pool.report.clean
        assert pool.report.stop_duration == pytest.approx(0.0)


async def test_a_call_that_hangs_fails_for_all_who_wait_at_the_same_time(autojump_clock: MockClock) -> None:
    """Not one after the other: a hundred sessions would hear of it in a quarter of an hour."""
    async with memory_world(SimulatorConfig(relayers=20)) as world:
        async with world.pool(PoolOptions(open_attempts=1)) as pool:
            world.sim.node.add_fault(parse_fault("hang:account"))

            async def ask(relayer: str) -> None:
                with pytest.raises(SessionOpenError, match="addresses"):
                    await pool.session(relayer)

            async with trio.open_nursery() as nursery:
                for relayer in world.relayers:
                    nursery.start_soon(ask, relayer)
            assert trio.current_time() < 10.5
