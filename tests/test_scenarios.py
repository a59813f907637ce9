"""The ten scenarios of the report that the replaced program failed, in virtual time, against a node in memory.

Those where sockets and processes are the matter run again in ``test_scenarios_process.py``.
"""

from __future__ import annotations

import gc

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from tests.worlds import memory_world, state_of
from trio_sessions import BatchOutcome, PoolOptions, Session, SessionEndedError, State
from trio_sessions.simulator import SimulatorConfig, parse_fault

#: The simulator's open latency: a session that is asked for at 0 is there at this time.
OPEN = 0.05
#: So that all sessions asked for at once are opened at the same virtual time.
UNPACED = PoolOptions(opens_per_second=1e9)


async def test_session_kept_when_its_peer_is_temporarily_unreachable(autojump_clock: MockClock) -> None:
    async with memory_world() as world, world.pool() as pool:
        relayer = world.relayers[0]
        session = await pool.session(relayer)
        listener = session.info.listener

        await trio.sleep_until(100.0)
        world.sim.node.set_connected(relayer, False)
        pool.set_reachable(relayer, False)
        await trio.sleep_until(395.0)
        assert state_of(session) is State.UNREACHABLE
        assert session.info.grace_ends_at == 400.0
        # It is still usable; only, nobody answers.
        outcome = await session.relay(2)
        assert (outcome.sent, outcome.answered, outcome.unanswered) == (2, 0, 2)

        world.sim.node.set_connected(relayer, True)
        pool.set_reachable(relayer, True)
        await trio.sleep_until(500.0)
        assert state_of(session) is State.ACTIVE
        assert session.info.listener == listener
        assert (await session.relay(2)).answered == 2
        assert await pool.session(relayer.lower()) is not None
        assert world.events("open", "close") == [(OPEN, "open")]
    world.assert_nothing_left()
    assert pool.report.clean


async def test_session_persists_through_the_grace_period_and_ends_exactly_at_its_end(
    autojump_clock: MockClock,
) -> None:
    async with memory_world() as world, world.pool() as pool:
        relayer = world.relayers[0]
        session = await pool.session(relayer)
        await trio.sleep_until(10.0)
        world.sim.node.set_connected(relayer, False)
        pool.set_reachable(relayer, False)
        await trio.sleep_until(309.999)
        assert state_of(session) is State.UNREACHABLE
        assert world.events() == [(OPEN, "open"), (10.0, "peer_down")]
        await trio.sleep_until(310.0)
        await session.wait_closed()
        assert trio.current_time() == 310.0
        assert state_of(session) is State.CLOSED
        assert world.events("open", "close", "idle_end") == [(OPEN, "open"), (310.0, "close")]
        world.assert_nothing_left()
        with pytest.raises(SessionEndedError, match="grace expired"):
            await session.relay(1)


async def test_flapping_peer_causes_no_churn(autojump_clock: MockClock) -> None:
    async with memory_world() as world, world.pool() as pool:
        relayer = world.relayers[0]
        session = await pool.session(relayer)
        for period in (1, 5, 30, 119, 120, 299) * 5:
            world.sim.node.set_connected(relayer, False)
            pool.set_reachable(relayer, False)
            await trio.sleep(period)
            world.sim.node.set_connected(relayer, True)
            pool.set_reachable(relayer, True)
            await trio.sleep(1.0)
            assert await pool.session(relayer) is not None
            assert (await session.relay(1)).answered == 1
        assert trio.current_time() > 2800
        assert world.sim.node.counters.opens_started == 1
        assert world.sim.node.counters.closes == 0
        assert world.sim.node.counters.idle_ends == 0
        assert pool.report.sessions.opened == 1
    assert world.sim.node.counters.closes == 1
    world.assert_nothing_left()


async def test_concurrent_access_to_sessions(autojump_clock: MockClock) -> None:
    async with memory_world(SimulatorConfig(open_latency=1.0)) as world, world.pool(UNPACED) as pool:
        sessions: list[Session] = []
        outcomes: list[BatchOutcome] = []

        async def use(relayer: str, count: int) -> None:
            session = await pool.session(relayer)
            sessions.append(session)
            outcomes.append(await session.relay(count))

        async with trio.open_nursery() as nursery:
            for i in range(150):
                relayer = world.relayers[i % 3]
                nursery.start_soon(use, relayer.lower() if i % 2 else relayer.upper().replace("0X", "0x"), 1 + i % 7)
        # Fifty callers a relayer: one POST each, one session each, and every batch has its own answers.
        assert [(round(time, 6), kind) for time, kind in world.events()] == [(1.0, "open")] * 3
        assert world.sim.node.counters.opens_started == 3
        assert len({session.info.listener for session in sessions}) == 3
        assert all(outcome.answered == outcome.sent and not outcome.duplicates for outcome in outcomes)
        assert trio.current_time() == pytest.approx(1.02)
    assert pool.report.messages.answered == sum(1 + i % 7 for i in range(150)) == pool.report.messages.accepted
    world.assert_nothing_left()


async def test_registry_changed_while_iterated(autojump_clock: MockClock) -> None:
    async with memory_world(SimulatorConfig(relayers=20)) as world, world.pool() as pool:
        for relayer in world.relayers[:10]:
            await pool.session(relayer)
        infos = iter(pool.sessions())
        seen = [next(infos)]
        closed = await pool.session(world.relayers[3])
        closed.close()
        async with trio.open_nursery() as nursery:
            for relayer in world.relayers[10:]:
                nursery.start_soon(pool.session, relayer)
        await closed.wait_closed()
        for info in infos:
            pool.set_reachable(info.relayer or "", False)
            await trio.lowlevel.checkpoint()
            seen.append(info)
        assert {info.relayer for info in seen} == set(world.relayers[:10])
        assert len(seen) == 10
        await trio.testing.wait_all_tasks_blocked()
        now = {info.relayer: info.state for info in pool.sessions()}
        assert set(now) == set(world.relayers) - {world.relayers[3]}
        assert sum(state is State.UNREACHABLE for state in now.values()) == 8
    world.assert_nothing_left()


@pytest.mark.parametrize(
    "fault",
    ["status:close:status=500:count=3", "hang:close:count=1", "reset:close:count=2", "reply-lost:close:count=1"],
    ids=["500 thrice", "hangs once", "reset twice", "reply lost"],
)
async def test_orphaned_session_when_the_closing_call_fails_is_retried_until_gone(
    autojump_clock: MockClock, fault: str
) -> None:
    async with memory_world(SimulatorConfig(faults=(parse_fault(fault),))) as world:
        stranger = world.sim.node.add_stranger()
        async with world.pool() as pool:
            session = await pool.session(world.relayers[0])
            session.close()
            await session.wait_closed()
            # Long before any stop, without anybody's help.
            assert trio.current_time() < 10
            assert [listener.port for listener in world.sim.node.listeners()] == [stranger.port]
        assert pool.report.clean
        world.assert_nothing_left(strangers=1)


async def test_orphaned_session_when_the_closing_call_fails_for_ever_is_named(autojump_clock: MockClock) -> None:
    async with memory_world(SimulatorConfig(faults=(parse_fault("status:close:status=500"),))) as world:
        async with world.pool() as pool:
            session = await pool.session(world.relayers[0])
            listener = session.info.listener
            assert listener is not None
            session.close()
            await trio.sleep_until(100.0)
            assert state_of(session) is State.CLOSING
        report = pool.report
        assert report.stop_duration == 10.0
        assert not report.clean
        assert [left.listener for left in report.left] == [str(listener.key)]
        assert "500" in report.left[0].reason
        assert report.left[0].route == world.relayers[0]
        assert state_of(session) is State.CLOSED
        assert [record.port for record in world.sim.node.listeners()] == [listener.key.port]
        assert world.sim.open_sockets == 0
        # Backoff: in a hundred seconds it asked a dozen times, not thousands.
        assert 5 < world.sim.node.counters.calls["close"] < 20


async def test_session_used_after_removal(autojump_clock: MockClock) -> None:
    async with memory_world() as world, world.pool() as pool:
        relayer = world.relayers[0]
        session = await pool.session(relayer)
        session.close()
        session.close()
        for use in (lambda: session.relay(1), lambda: session.send(b"x")):
            with pytest.raises(SessionEndedError, match="closed by its user"):
                await use()
        await session.wait_closed()
        with pytest.raises(SessionEndedError, match="closed by its user"):
            await session.receive()
        with pytest.raises(SessionEndedError, match="closed by its user") as caught:
            _ = session.payload_size
        assert caught.value.reason == "closed by its user"
        assert caught.value.route == relayer
        assert pool.report.messages.accepted == 0
        # The relayer's next session is another one.
        again = await pool.session(relayer)
        assert again.info.listener != session.info.listener
        assert (await again.relay(1)).answered == 1
    assert pool.report.sessions.opened == pool.report.sessions.closed == 2
    world.assert_nothing_left()


async def test_sessions_dont_accumulate_over_a_thousand_open_close_rounds(autojump_clock: MockClock) -> None:
    async with memory_world() as world, world.pool() as pool:

        async def rounds(count: int) -> tuple[int, int]:
            for i in range(count):
                session = await pool.session(world.relayers[i % 3])
                await session.relay(1)
                session.close()
                await session.wait_closed()
                assert len(world.sim.node.listeners()) == 0
                assert world.sim.open_sockets == 0
                assert pool.sessions() == ()
            # Beyond the time that anything about a closed listener is kept.
            await trio.sleep(600.0)
            gc.collect()
            return trio.lowlevel.current_statistics().tasks_living, ours()

        def ours() -> int:
            modules = (str(type(thing).__module__) for thing in gc.get_objects())
            return sum(name.startswith("trio_sessions._") for name in modules)

        assert await rounds(50) == await rounds(1000)
        assert world.sim.node.counters.opens_committed == world.sim.node.counters.closes == 1050
    assert pool.report.clean
    assert pool.report.messages.answered == 1050


async def test_stop_cleans_up_every_session_and_socket(autojump_clock: MockClock) -> None:
    config = SimulatorConfig(relayers=100, delete_latency=0.1, max_sessions=200)
    async with memory_world(config) as world:
        stranger = world.sim.node.add_stranger()
        tasks_before = trio.lowlevel.current_statistics().tasks_living
        async with world.pool(UNPACED) as pool:
            async with trio.open_nursery() as nursery:
                for relayer in world.relayers:
                    nursery.start_soon(pool.session, relayer)
            assert world.sim.open_sockets == 100
            started = trio.current_time()
            pool.stop()
            pool.stop()
            # stop() returns at once, and the code of the block goes on.
            assert trio.current_time() == started
            await trio.testing.wait_all_tasks_blocked()
            assert world.sim.open_sockets == 0
            with pytest.raises(SessionEndedError, match="stopped"):
                await pool.session(world.relayers[0])
            body_went_on = True
        assert body_went_on
        assert trio.lowlevel.current_statistics().tasks_living == tasks_before
        assert [listener.port for listener in world.sim.node.listeners()] == [stranger.port]
        # A stop has up to 256 DELETEs in flight, each takes a tenth of a second.
        assert pool.report.stop_duration == pytest.approx(0.1)
        assert pool.report.sessions.opened == pool.report.sessions.closed == 100
        assert pool.report.clean
        world.assert_nothing_left(strangers=1)


@pytest.mark.parametrize(
    ("echo_latency", "answered", "stop_duration"),
    [(0.5, 10, 0.4), (2.5, 0, 1.9), (1.9, 10, 1.8)],
    ids=["soon answered", "never answered in time", "just answered"],
)
async def test_in_flight_messages_at_shutdown_are_finished_or_counted(
    autojump_clock: MockClock, echo_latency: float, answered: int, stop_duration: float
) -> None:
    async with memory_world(SimulatorConfig(echo_latency=echo_latency)) as world:
        outcomes: list[BatchOutcome] = []

        async def relay(session: Session) -> None:
            outcomes.append(await session.relay(10))

        async with trio.open_nursery() as nursery:
            async with world.pool() as pool:
                nursery.start_soon(relay, await pool.session(world.relayers[0]))
                await trio.sleep(0.1)
                pool.stop()
            assert pool.report.stop_duration == pytest.approx(stop_duration)
        assert [(outcome.sent, outcome.answered) for outcome in outcomes] == [(10, answered)]
        messages = pool.report.messages
        assert (messages.accepted, messages.answered, messages.unanswered) == (10, answered, 10 - answered)
        assert pool.report.clean
        world.assert_nothing_left()


async def test_in_flight_messages_beyond_the_drain_timeout_are_counted(autojump_clock: MockClock) -> None:
    options = PoolOptions(reply_timeout=60.0, drain_timeout=1.0)
    async with memory_world(SimulatorConfig(echo_latency=50.0)) as world:
        async with trio.open_nursery() as nursery:
            async with world.pool(options) as pool:
                session = await pool.session(world.relayers[0])
                nursery.start_soon(session.relay, 10)
                await trio.sleep(0.1)
            assert pool.report.stop_duration == pytest.approx(1.0)
        assert pool.report.messages.unanswered == 10
        assert pool.report.clean
        world.assert_nothing_left()
