"""The pool: opening, single flight, retries, the brake, reconciling, stopping; against a node in memory."""

from __future__ import annotations

import errno
import random
from functools import partial

import attrs
import httpx
import pytest
import trio
import trio.testing
from trio.testing import MockClock

from tests.worlds import NOBODY, Breakable, World, faulty, memory_world, state_of
from trio_sessions import (
    CannotPinRelayerError,
    EndReason,
    Hoprd,
    InvalidInputError,
    MalformedReplyError,
    NoDestinationError,
    PoolOptions,
    PoolStoppedError,
    RejectedError,
    ServerFailureError,
    Session,
    SessionEndedError,
    SessionOpenError,
    State,
    UnauthorizedError,
    open_pool,
)
from trio_sessions._datagrams import DatagramSocket
from trio_sessions.simulator import SimulatorConfig, parse_fault

# -- opening


async def test_fifty_callers_cost_one_post_and_share_its_failure(autojump_clock: MockClock) -> None:
    async with memory_world(faulty("status:open:status=500")) as world, world.pool() as pool:
        errors: list[SessionOpenError] = []

        async def ask() -> None:
            with pytest.raises(SessionOpenError) as caught:
                await pool.session(world.relayers[0])
            errors.append(caught.value)

        async with trio.open_nursery() as nursery:
            for _ in range(50):
                nursery.start_soon(ask)
        assert len(errors) == 50
        # Each has an error of its own, with the one cause.
        assert len(set(map(id, errors))) == 50
        assert len({id(error.__cause__) for error in errors}) == 1
        assert isinstance(errors[0].__cause__, ServerFailureError)
        assert errors[0].attempts == 3
        assert errors[0].route == world.relayers[0]
        assert world.sim.node.counters.calls["open"] == 3
        assert pool.report.sessions.failed == 1
        assert pool.sessions() == ()


async def test_a_failed_relayer_backs_off_longer_each_time(autojump_clock: MockClock) -> None:
    async with memory_world(faulty("status:open:status=422:relayer=0")) as world:
        async with world.pool(PoolOptions(open_attempts=1)) as pool:
            waits = []
            for _ in range(8):
                with pytest.raises(SessionOpenError) as caught:
                    await pool.session(world.relayers[0])
                waits.append(caught.value.retry_in)
                # Meanwhile the others open at once.
                before = trio.current_time()
                for relayer in world.relayers[1:]:
                    session = await pool.session(relayer)
                    session.close()
                    await session.wait_closed()
                assert trio.current_time() - before < 1
            planned = [min(60.0, 2.0**n) for n in range(8)]
            assert all(plan / 2 <= wait <= plan for plan, wait in zip(planned, waits, strict=True))
            started = trio.current_time()
            with pytest.raises(SessionOpenError):
                await pool.session(world.relayers[0])
            assert waits[-1] * 0.9 < trio.current_time() - started <= waits[-1]


async def test_a_failed_relayer_is_forgiven_after_a_success(autojump_clock: MockClock) -> None:
    async with memory_world(faulty("status:open:status=500:count=2")) as world, world.pool() as pool:
        session = await pool.session(world.relayers[0])
        assert session.info.attempts == 3
        opened_at = trio.current_time()
        assert 1.5 <= opened_at <= 3.2
        session.close()
        await session.wait_closed()
        await pool.session(world.relayers[0])
        assert trio.current_time() - opened_at < 0.2
    assert pool.report.sessions.failed == 0
    world.assert_nothing_left()


async def test_a_cancelled_caller_leaves_the_opening_to_the_next(autojump_clock: MockClock) -> None:
    async with memory_world(SimulatorConfig(open_latency=5.0)) as world, world.pool() as pool:
        with trio.move_on_after(1.0) as scope:
            await pool.session(world.relayers[0])
        assert scope.cancelled_caught
        session = await pool.session(world.relayers[0])
        assert trio.current_time() == pytest.approx(5.0)
        assert world.sim.node.counters.opens_started == 1
        assert state_of(session) is State.ACTIVE
    world.assert_nothing_left()


@pytest.mark.parametrize("dialect", ["3", "4.0", "4.1"])
async def test_a_relayer_is_pinned_in_every_dialect_that_can(autojump_clock: MockClock, dialect: str) -> None:
    async with memory_world(SimulatorConfig(dialect=dialect)) as world:
        async with world.pool() as pool:
            session = await pool.session(world.relayers[1])
            assert (await session.relay(10)).answered == 10
            (record,) = world.sim.node.listeners()
            assert record.forward == (world.relayers[1],)
            assert session.info.destination is not None
            assert session.info.destination.lower() not in {world.relayers[1].lower(), world.sim.node.address.lower()}
        assert pool.report.clean
        world.assert_nothing_left()


@pytest.mark.parametrize(("dialect", "explicit_path"), [("3", True), ("4.0-rc", False), ("4.0", False), ("4.1", True)])
async def test_sessions_by_hops_work_on_every_dialect(
    autojump_clock: MockClock, dialect: str, explicit_path: bool
) -> None:
    async with memory_world(SimulatorConfig(dialect=dialect, explicit_path=explicit_path)) as world:
        async with world.pool() as pool:
            destination = world.sim.node.destinations[0]
            session = await pool.session(destination=destination, hops=1)
            assert await pool.session(destination=destination.lower(), hops=1) is not None
            assert (await session.relay(5)).answered == 5
            assert session.info.relayer is None
            assert (session.info.hops, session.info.destination) == (1, destination)
            # Another number of hops is another session.
            await pool.session(destination=destination, hops=2)
            assert world.sim.node.counters.opens_committed == 2
            # No relayer is known, so nobody's reachability matters.
            pool.set_connected([])
            await trio.testing.wait_all_tasks_blocked()
            assert state_of(session) is State.ACTIVE
        world.assert_nothing_left()


@pytest.mark.parametrize("dialect", ["4.0-rc", "4.0", "4.1"])
async def test_a_node_that_cannot_pin_says_what_to_do(autojump_clock: MockClock, dialect: str) -> None:
    async with (
        memory_world(SimulatorConfig(dialect=dialect, explicit_path=False)) as world,
        world.pool() as pool,
    ):
        with pytest.raises(SessionOpenError) as caught:
            await pool.session(world.relayers[0])
        assert isinstance(caught.value.__cause__, CannotPinRelayerError)
        assert caught.value.attempts == 1
        assert "hops" in str(caught.value)
        assert world.sim.node.counters.calls["open"] <= 1


async def test_401_is_final_and_shows_no_token(autojump_clock: MockClock) -> None:
    async with memory_world() as world:
        async with Hoprd(world.sim.url, token="wrong-token-for-sure", transport=world.sim.transport) as hoprd:
            async with open_pool(hoprd, connect=world.sim.connect) as pool:
                with pytest.raises(SessionOpenError) as caught:
                    await pool.session(world.relayers[0])
        assert isinstance(caught.value.__cause__, UnauthorizedError)
        assert "wrong-token" not in repr(caught.value) + str(caught.value)


async def test_a_loopback_session_is_final(autojump_clock: MockClock) -> None:
    async with memory_world() as world, world.pool() as pool:
        with pytest.raises(SessionOpenError, match="loopback") as caught:
            await pool.session(world.relayers[0], destination=world.sim.node.address)
        assert caught.value.attempts == 1


async def test_a_slow_or_silent_relayer_costs_the_others_nothing(autojump_clock: MockClock) -> None:
    async with memory_world(faulty("hang:open:relayer=0")) as world, world.pool() as pool:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pool.session, world.relayers[0])
            await trio.testing.wait_all_tasks_blocked()
            session = await pool.session(world.relayers[1])
            assert trio.current_time() < 0.1
            assert (await session.relay(10)).answered == 10
            nursery.cancel_scope.cancel()


# -- destinations


async def test_destination_is_a_configured_one_that_is_connected(autojump_clock: MockClock) -> None:
    async with memory_world(SimulatorConfig(relayers=2, destinations=4)) as world:
        first, second, third, _ = world.sim.node.destinations
        world.sim.node.set_connected(second, False)
        options = PoolOptions(destinations=(first.lower(), second, third, world.relayers[0]))
        async with world.pool(options) as pool:
            chosen = set()
            for _ in range(20):
                session = await pool.session(world.relayers[0])
                chosen.add(session.info.destination)
                session.close()
                await session.wait_closed()
            assert chosen == {first.lower(), third}


async def test_no_destination_is_a_clear_error(autojump_clock: MockClock) -> None:
    async with memory_world() as world:
        async with world.pool(PoolOptions(destinations=(NOBODY,), open_attempts=1)) as pool:
            with pytest.raises(SessionOpenError, match="none of the 1 configured") as caught:
                await pool.session(world.relayers[0])
            assert isinstance(caught.value.__cause__, NoDestinationError)
        async with world.pool(PoolOptions(open_attempts=1)) as pool:
            pool.set_connected([world.relayers[0], world.sim.node.address])
            with pytest.raises(SessionOpenError, match="no other peer"):
                await pool.session(world.relayers[0])
        assert world.sim.node.counters.opens_started == 0


async def test_an_open_session_keeps_its_destination(autojump_clock: MockClock) -> None:
    async with memory_world() as world, world.pool() as pool:
        one, other = world.sim.node.destinations
        session = await pool.session(world.relayers[0], destination=one)
        assert (await pool.session(world.relayers[0])).info.listener == session.info.listener
        assert (await pool.session(world.relayers[0], destination=one.lower())).info.listener == session.info.listener
        with pytest.raises(InvalidInputError, match="close that session first"):
            await pool.session(world.relayers[0], destination=other)


@pytest.mark.parametrize(
    ("relayer", "destination", "hops", "what"),
    [
        (None, None, None, "relayer"),
        ("nonsense", None, None, "relayer"),
        ("0x12", None, None, "relayer"),
        (NOBODY, "0xzz", None, "destination"),
        (NOBODY, NOBODY.upper().replace("0X", "0x"), None, "destination"),
        (NOBODY, None, 1, "hops"),
        (None, None, 1, "destination"),
        (None, NOBODY, 4, "hops"),
        (None, NOBODY, -1, "hops"),
    ],
)
async def test_impossible_routes(
    autojump_clock: MockClock, relayer: str | None, destination: str | None, hops: int | None, what: str
) -> None:
    async with memory_world() as world, world.pool() as pool:
        with pytest.raises(InvalidInputError) as caught:
            await pool.session(relayer, destination=destination, hops=hops)
        assert caught.value.what == what
        assert "\n" not in str(caught.value)
        assert world.sim.node.counters.calls["open"] == 0


# -- the node goes away, and comes back


async def test_while_the_node_is_down_everybody_waits_and_few_ask(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with memory_world(SimulatorConfig(relayers=50)) as world:
        requests = 0
        transport = world.sim.transport

        class Counting(httpx.AsyncBaseTransport):
            async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
                nonlocal requests
                requests += 1
                return await transport.handle_async_request(request)

        async with Hoprd(world.sim.url, token=world.sim.token, transport=Counting()) as hoprd:
            async with open_pool(hoprd, connect=world.sim.connect, rng=random.Random(1)) as pool:
                await pool.session(world.relayers[0])
                world.sim.node.restart(down_for=3600.0)
                requests = 0
                async with trio.open_nursery() as nursery:
                    for relayer in world.relayers[1:]:
                        nursery.start_soon(pool.session, relayer)
                    await trio.sleep(3500.0)
                    # One asks for all, and the reconciling goes on; only at the start some fail together.
                    assert requests < 3500 / 7.5 + 3500 / 10 + 60
                assert trio.current_time() < 3600 + 60
                assert len(world.sim.node.listeners()) == 49
        warnings = [record for record in caplog.records if "takes no sessions" in record.message]
        assert 1 <= len(warnings) <= 62


async def test_after_an_outage_posts_come_at_a_steady_pace(autojump_clock: MockClock) -> None:
    async with memory_world(SimulatorConfig(relayers=100, max_sessions=200)) as world:
        async with world.pool(PoolOptions(opens_per_second=10)) as pool:
            world.sim.node.restart(down_for=60.0)
            async with trio.open_nursery() as nursery:
                for relayer in world.relayers:
                    nursery.start_soon(pool.session, relayer)
            opens = [time for time, _ in world.events("open")]
            assert len(opens) == 100
            for start in opens:
                assert sum(start <= time < start + 1 for time in opens) <= 11


async def test_a_restarted_nodes_sessions_are_lost_and_reopened_on_demand(autojump_clock: MockClock) -> None:
    async with memory_world() as world:
        async with world.pool() as pool:
            relayers = world.relayers
            sessions = [await pool.session(relayer) for relayer in relayers]
            await trio.sleep_until(12.0)
            world.sim.node.restart()
            # The first message finds out at once, by a refused datagram; the others are found by reconciling.
            outcome = await sessions[0].relay(5)
            assert outcome.answered == 0
            assert outcome.sent + outcome.undelivered == 5
            await sessions[0].wait_closed()
            assert trio.current_time() < 12.1
            assert state_of(sessions[0]) is State.LOST
            assert sessions[0].info.reason is EndReason.LISTENER_GONE
            for session in sessions[1:]:
                await session.wait_closed()
                assert state_of(session) is State.LOST
            assert trio.current_time() == pytest.approx(20.0)
            with pytest.raises(SessionEndedError, match="listener gone"):
                await sessions[0].relay(1)
            again = [await pool.session(relayer) for relayer in relayers]
            assert all([(await session.relay(3)).answered == 3 for session in again])
        report = pool.report
        assert (report.sessions.opened, report.sessions.closed, report.sessions.lost) == (6, 3, 3)
        assert report.clean
        world.assert_nothing_left()


async def test_idle_end_is_noticed_within_a_reconcile_interval(autojump_clock: MockClock) -> None:
    async with memory_world() as world, world.pool() as pool:
        session = await pool.session(world.relayers[0])
        await session.relay(1)
        await session.wait_closed()
        ((ended_at, _),) = world.events("idle_end")
        assert 180 < ended_at < 204
        assert ended_at <= trio.current_time() <= ended_at + 11.0
        assert pool.report.sessions.lost == 1


# -- reconciling: what must not happen


@pytest.mark.parametrize(
    "fault",
    ["empty:list:count=1", "null:list:count=3", "status:list:status=500:count=5", "garbage:list", "hang:list:after=1"],
)
async def test_a_list_that_fails_or_lies_once_closes_nothing(autojump_clock: MockClock, fault: str) -> None:
    async with memory_world() as world:
        stranger = world.sim.node.add_stranger()
        async with world.pool() as pool:
            sessions = [await pool.session(relayer) for relayer in world.relayers]
            world.sim.node.add_fault(parse_fault(fault))
            await trio.sleep(100.0)
            assert all(state_of(session) is State.ACTIVE for session in sessions)
            assert world.sim.node.counters.closes == 0
            assert stranger.port in {record.port for record in world.sim.node.listeners()}
            world.sim.node.clear_faults()
        world.assert_nothing_left(strangers=1)


@pytest.mark.parametrize("fault", ["empty:list", "stale:list:seconds=5"])
async def test_a_list_that_lies_on_ends_no_session_that_is_alive(autojump_clock: MockClock, fault: str) -> None:
    async with memory_world(SimulatorConfig(relayers=30)) as world:
        async with world.pool(PoolOptions(reconcile_interval=1.0)) as pool:
            world.sim.node.add_fault(parse_fault(fault))
            sessions = []
            for relayer in world.relayers:
                sessions.append(await pool.session(relayer))
                await trio.sleep(0.17)
            await trio.sleep(60.0)
            assert pool.report.sessions.lost == 0
            assert all([(await session.relay(1)).answered == 1 for session in sessions])
            with trio.move_on_after(1.0) as nothing_to_receive:
                await sessions[0].receive()
            assert nothing_to_receive.cancelled_caught
            world.sim.node.clear_faults()
        world.assert_nothing_left()


async def test_a_list_that_lies_while_no_sign_of_life_comes_orphans_nothing(autojump_clock: MockClock) -> None:
    """The sessions are given up, but their listeners are closed when the truth comes out."""
    async with memory_world() as world:
        world.sim.node.add_stranger()
        async with world.pool() as pool:
            sessions = [await pool.session(relayer) for relayer in world.relayers]
            world.sim.node.add_fault(parse_fault("empty:list"))
            world.sim.node.add_fault(parse_fault("loss"))
            for session in sessions:
                await session.wait_closed()
            await trio.sleep(5.0)
            assert len(world.sim.node.listeners()) == 4
            assert world.sim.node.counters.closes == 0
            world.sim.node.clear_faults()
            await trio.sleep(11.0)
            assert len(world.sim.node.listeners()) == 1
        world.assert_nothing_left(strangers=1)


# -- lies and lost replies of a POST


LOST_REPLIES = ["reply-lost:open:count=1", "reply-hangs:open:count=1", "port0:open:count=1", "garbage:open:count=1"]


@pytest.mark.parametrize("fault", LOST_REPLIES)
async def test_the_listener_of_a_lost_or_broken_reply_is_found_and_closed(
    autojump_clock: MockClock, fault: str
) -> None:
    """In a dialect whose list shows the path by which a listener is known to be ours."""
    async with memory_world(SimulatorConfig(dialect="3")) as world:
        relayer, destination = world.relayers[0], world.sim.node.destinations[0]
        # The first is like ours in all that the list shows, but was there before.
        strangers = [world.sim.node.add_stranger(relayer=relayer, destination=destination)]
        strangers += [world.sim.node.add_stranger() for _ in range(3)]
        world.sim.node.add_fault(parse_fault(fault))
        async with world.pool() as pool:
            session = await pool.session(relayer, destination=destination)
            await trio.sleep(5.0)
            ports = {record.port for record in world.sim.node.listeners()}
            assert session.info.listener is not None
            assert ports == {stranger.port for stranger in strangers} | {session.info.listener.key.port}
            assert (await session.relay(1)).answered == 1
        assert pool.report.clean
        assert world.sim.node.counters.opens_committed == 2
        world.assert_nothing_left(strangers=4)


@pytest.mark.parametrize("fault", LOST_REPLIES)
async def test_the_listener_of_a_lost_reply_that_cannot_be_told_from_others_is_left_to_its_idle_end(
    autojump_clock: MockClock, fault: str
) -> None:
    """The list of dialect 4.1 hides the paths of pinned sessions (contract §2.2): a stranger's looks the same."""
    async with memory_world() as world:
        relayer, destination = world.relayers[0], world.sim.node.destinations[0]
        world.sim.node.add_fault(parse_fault(fault))
        async with world.pool() as pool:
            session = await pool.session(relayer, destination=destination)
            stranger = world.sim.node.add_stranger(destination=destination)
            await trio.sleep(2.0)
            assert len(world.sim.node.listeners()) == 3
            assert world.sim.node.counters.closes == 0
            while trio.current_time() < 430.0:
                assert (await session.relay(1)).answered == 1
                await trio.sleep(10.0)
            assert session.info.listener is not None
            ports = {record.port for record in world.sim.node.listeners()}
            assert ports == {stranger.port, session.info.listener.key.port}
        # By now it is known to be gone: nothing has to be named.
        assert pool.report.clean


async def test_a_lost_reply_that_is_not_settled_at_the_stop_is_named(autojump_clock: MockClock) -> None:
    async with memory_world() as world:
        world.sim.node.add_fault(parse_fault("reply-lost:open:count=1"))
        async with world.pool() as pool:
            await pool.session(world.relayers[0])
        (left,) = pool.report.left
        assert (left.listener, left.route) == (None, world.relayers[0])
        (record,) = world.sim.node.listeners()
        assert f"perhaps udp://127.0.0.1:{record.port}" in left.reason
        assert not pool.report.clean
        # It cannot be told from a stranger's, so there is nothing to wait for.
        assert pool.report.stop_duration is not None
        assert pool.report.stop_duration < 1.0
        assert (pool.report.sessions.opened, pool.report.sessions.closed) == (1, 1)


async def test_a_sibling_that_is_still_opening_is_not_taken_for_the_lost_one(autojump_clock: MockClock) -> None:
    """Two relayers, one destination; the first POST dies without an effect while the second is under way."""
    async with memory_world(SimulatorConfig(dialect="3")) as world:
        destination = world.sim.node.destinations[0]
        world.sim.node.add_fault(parse_fault("reset:open:count=1"))
        world.sim.node.add_fault(parse_fault("delay:open:seconds=5:relayer=1"))
        async with world.pool() as pool:
            async with trio.open_nursery() as nursery:
                for relayer in world.relayers[:2]:
                    nursery.start_soon(partial(pool.session, relayer, destination=destination))
            await trio.sleep(150.0)
            assert len(world.sim.node.listeners()) == 2
            assert world.sim.node.counters.closes == 0
        assert pool.report.clean


async def test_a_stranger_that_opened_long_before_is_not_taken_for_a_lost_reply(autojump_clock: MockClock) -> None:
    """Nobody has looked at the list for an hour when the POST dies."""
    async with memory_world(SimulatorConfig(dialect="3")) as world:
        relayer, destination = world.relayers[0], world.sim.node.destinations[0]
        async with world.pool(PoolOptions(open_attempts=1)) as pool:
            session = await pool.session(relayer, destination=destination)
            session.close()
            await trio.sleep(3600.0)
            stranger = world.sim.node.add_stranger(relayer=relayer, destination=destination)
            await trio.sleep(60.0)
            world.sim.node.add_fault(parse_fault("reset:open:count=1"))
            with pytest.raises(SessionOpenError):
                await pool.session(relayer, destination=destination)
            await trio.sleep(100.0)
            assert [record.port for record in world.sim.node.listeners()] == [stranger.port]


@pytest.mark.parametrize("ending", ["restart", "idle end"])
@pytest.mark.parametrize("how", ["close", "stop"])
async def test_a_stranger_on_the_port_of_a_vanished_listener_is_not_closed(
    autojump_clock: MockClock, ending: str, how: str
) -> None:
    """Before we have noticed that ours is gone."""
    async with memory_world() as world:
        async with world.pool(PoolOptions(reconcile_interval=10_000.0)) as pool:
            session = await pool.session(world.relayers[0])
            assert session.info.listener is not None
            if ending == "restart":
                world.sim.node.restart()
            else:
                await trio.sleep(205.0)
            assert world.sim.node.listeners() == ()
            stranger = world.sim.node.add_stranger(port=session.info.listener.key.port)
            if how == "close":
                session.close()
                await session.wait_closed()
        assert [record.port for record in world.sim.node.listeners()] == [stranger.port]
        assert world.sim.node.counters.closes == 0
        assert pool.report.clean


async def test_a_port_that_is_still_closing_is_refused_and_its_new_listener_closed_after(
    autojump_clock: MockClock,
) -> None:
    """The DELETE worked, its reply hangs, and the node hands the lowest free port out again: to us."""
    async with memory_world(SimulatorConfig(port_range=(5000, 5010))) as world:
        world.sim.node.add_fault(parse_fault("reply-hangs:close:count=1"))
        async with world.pool() as pool:
            first = await pool.session(world.relayers[0])
            first.close()
            await trio.sleep(0.05)
            again = await pool.session(world.relayers[0])
            assert again.info.attempts > 1
            assert (await again.relay(1)).answered == 1
            await trio.sleep(20.0)
            assert len(world.sim.node.listeners()) == 1
        assert pool.report.clean
        world.assert_nothing_left()


async def test_a_lost_reply_on_the_port_of_a_vanished_listener_is_found(autojump_clock: MockClock) -> None:
    async with memory_world(SimulatorConfig(dialect="3", port_range=(5000, 5010))) as world:
        async with world.pool() as pool:
            session = await pool.session(world.relayers[0])
            world.sim.node.restart()
            await session.relay(1)
            await session.wait_closed()
            world.sim.node.add_fault(parse_fault("reply-lost:open:count=1"))
            again = await pool.session(world.relayers[1])
            await trio.sleep(5.0)
            assert again.info.listener is not None
            assert [record.port for record in world.sim.node.listeners()] == [again.info.listener.key.port]
        assert pool.report.clean
        world.assert_nothing_left()


async def test_two_sessions_on_one_port_are_refused_loudly(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with memory_world() as world, world.pool(PoolOptions(open_attempts=1)) as pool:
        first = await pool.session(world.relayers[0])
        world.sim.node.add_fault(parse_fault("same-port:open:count=1"))
        with pytest.raises(SessionOpenError) as caught:
            await pool.session(world.relayers[1])
        cause = caught.value.__cause__
        assert isinstance(cause, MalformedReplyError)
        assert cause.where == "$.port"
        assert world.relayers[0] in str(cause)
        assert "in use" in caplog.text
        assert world.sim.node.counters.closes == 0
        assert state_of(first) is State.ACTIVE


async def test_a_port_reused_by_a_stranger_is_not_closed(autojump_clock: MockClock) -> None:
    """The DELETE worked, its reply was lost, and a stranger has the port: the retry must see that."""
    async with memory_world(faulty("reuse:close:count=1", "reply-lost:close:count=1")) as world:
        async with world.pool() as pool:
            session = await pool.session(world.relayers[0])
            session.close()
            await session.wait_closed()
            (stranger,) = world.sim.node.listeners()
            assert session.info.listener is not None
            assert stranger.port == session.info.listener.key.port
        assert pool.report.clean
        world.assert_nothing_left(strangers=1)


# -- stopping


@pytest.mark.parametrize("at", [0.0, 0.01, 0.5, 0.999, 1.0, 1.001])
async def test_stop_during_a_post(autojump_clock: MockClock, at: float) -> None:
    async with memory_world(SimulatorConfig(open_latency=1.0)) as world:
        world.sim.node.add_stranger()
        asked: list[BaseException | Session] = []

        async def ask() -> None:
            try:
                asked.append(await pool.session(world.relayers[0]))
            except PoolStoppedError as error:
                asked.append(error)

        async with trio.open_nursery() as nursery:
            async with world.pool() as pool:
                nursery.start_soon(ask)
                await trio.sleep(at)
                pool.stop()
        assert len(asked) == 1
        assert pool.report.clean
        assert pool.report.stop_duration is not None
        assert pool.report.stop_duration <= 1.01
        world.assert_nothing_left(strangers=1)


async def test_stop_during_a_post_that_never_answers_keeps_the_deadline_and_names_it(
    autojump_clock: MockClock,
) -> None:
    async with memory_world(faulty("hang:open")) as world:
        async with world.pool() as pool:
            with trio.move_on_after(1.0):
                await pool.session(world.relayers[0])
        assert pool.report.stop_duration == pytest.approx(10.0)
        (left,) = pool.report.left
        assert left.listener is None
        assert left.route == world.relayers[0]
        assert not pool.report.clean
        assert world.sim.open_sockets == 0


async def test_a_post_committed_after_we_left_is_found_within_the_stop(autojump_clock: MockClock) -> None:
    config = attrs.evolve(faulty("leave-after-disconnect:open"), open_latency=6.0, dialect="3")
    async with memory_world(config) as world:
        world.sim.node.add_stranger()
        async with world.pool() as pool:
            with trio.move_on_after(0.5):
                await pool.session(world.relayers[0], destination=world.sim.node.destinations[0])
        assert world.sim.node.counters.opens_late == 1
        assert pool.report.clean
        world.assert_nothing_left(strangers=1)


@pytest.mark.parametrize("fault", ["hang:close", "hang:any"])
async def test_stop_with_a_hanging_node_keeps_the_deadline_and_names_what_is_left(
    autojump_clock: MockClock, fault: str
) -> None:
    async with memory_world(SimulatorConfig(relayers=30)) as world:
        async with world.pool() as pool:
            for relayer in world.relayers:
                await pool.session(relayer)
            world.sim.node.add_fault(parse_fault(fault))
            started = trio.current_time()
        assert trio.current_time() - started == pytest.approx(10.0)
        left = {item.listener for item in pool.report.left}
        assert left == {f"udp://{record.ip}:{record.port}" for record in world.sim.node.listeners()}
        assert len(left) == 30
        assert (pool.report.sessions.opened, pool.report.sessions.closed) == (30, 0)
        assert not pool.report.clean
        assert world.sim.open_sockets == 0
        assert pool.report.open_sessions == 0


async def test_stop_without_drain_cuts_the_waiting_short(autojump_clock: MockClock) -> None:
    async with memory_world(SimulatorConfig(echo_latency=1.5)) as world:
        async with trio.open_nursery() as nursery:
            async with world.pool() as pool:
                nursery.start_soon((await pool.session(world.relayers[0])).relay, 5)
                await trio.sleep(0.1)
                pool.stop()
                await trio.sleep(0.2)
                pool.stop(drain=False)
            assert pool.report.stop_duration == pytest.approx(0.2)
        assert pool.report.messages.unanswered == 5
        assert pool.report.clean
        world.assert_nothing_left()


async def test_leaving_the_block_stops(autojump_clock: MockClock) -> None:
    async with memory_world() as world:
        async with world.pool() as pool:
            await pool.session(world.relayers[0])
            assert pool.report.open_sessions == 1
        assert pool.stopped
        assert pool.report.clean
        with pytest.raises(PoolStoppedError):
            await pool.session(world.relayers[0])
        pool.stop()
        world.assert_nothing_left()


async def test_a_cancelled_block_cleans_up_too(autojump_clock: MockClock) -> None:
    async with memory_world(SimulatorConfig(relayers=10, delete_latency=1.0)) as world:
        with trio.move_on_after(5.0) as scope:
            async with world.pool() as pool:
                for relayer in world.relayers:
                    await pool.session(relayer)
                await trio.sleep_forever()
        assert scope.cancelled_caught
        assert pool.report.clean
        assert trio.current_time() == pytest.approx(6.0)
        world.assert_nothing_left()


class _UsersError(Exception):
    pass


async def test_errors_of_the_block_come_out_bare_and_unchanged(autojump_clock: MockClock) -> None:
    async with memory_world() as world:
        cause = ValueError("the cause")

        async def fail() -> None:
            async with world.pool() as pool:
                await pool.session(world.relayers[0])
                raise _UsersError from cause

        with pytest.raises(_UsersError) as caught:
            await fail()
        assert caught.value.__cause__ is cause
        world.assert_nothing_left()


async def test_a_group_of_the_users_own_stays_a_group(autojump_clock: MockClock) -> None:
    async with memory_world() as world:
        group = ExceptionGroup("mine", [_UsersError(), _UsersError()])
        with pytest.raises(ExceptionGroup) as caught:
            async with world.pool():
                raise group
        assert caught.value is group


# -- crashes and exhausted resources


async def test_a_crashed_session_leaves_its_siblings_alone(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with memory_world() as world:
        made = 0

        def connect(ip: str, port: int) -> DatagramSocket:
            nonlocal made
            made += 1
            if made == 2:
                raise ZeroDivisionError("planted")
            return world.sim.connect(ip, port)

        async with open_pool(world.hoprd, connect=connect) as pool:
            first = await pool.session(world.relayers[0])
            with pytest.raises(SessionOpenError) as caught:
                await pool.session(world.relayers[1])
            cause = caught.value.__cause__
            assert isinstance(cause, SessionEndedError)
            assert isinstance(cause.__cause__, ZeroDivisionError)
            assert "planted" in caplog.text
            assert (await first.relay(3)).answered == 3
            await pool.session(world.relayers[1])
        assert pool.report.clean
        world.assert_nothing_left()


async def test_a_reader_that_crashes_ends_its_session_alone(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with memory_world() as world:
        sockets: list[Breakable] = []

        def connect(ip: str, port: int) -> DatagramSocket:
            sockets.append(Breakable(world.sim.connect(ip, port)))
            return sockets[-1]

        async with open_pool(world.hoprd, connect=connect) as pool:
            first, second = [await pool.session(relayer) for relayer in world.relayers[:2]]

            sockets[0].broken = ZeroDivisionError("planted")
            outcome = await first.relay(3)
            assert outcome.answered == 0
            await first.wait_closed()
            assert first.info.reason is EndReason.CRASHED
            assert (await second.relay(3)).answered == 3
        assert "planted" in caplog.text
        assert pool.report.clean
        world.assert_nothing_left()


async def test_out_of_file_descriptors_leaves_no_half_session(autojump_clock: MockClock) -> None:
    async with memory_world() as world:
        async with world.pool(PoolOptions(open_attempts=2)) as pool:
            await pool.session(world.relayers[0])
            world.sim.socket_limit = 1
            with pytest.raises(SessionOpenError) as caught:
                await pool.session(world.relayers[1])
            cause = caught.value.__cause__
            assert isinstance(cause, SessionOpenError)
            assert isinstance(cause.__cause__, OSError)
            assert cause.__cause__.errno == errno.EMFILE
            await trio.sleep(1.0)
            assert len(world.sim.node.listeners()) == 1
            world.sim.socket_limit = None
            assert (await (await pool.session(world.relayers[1])).relay(1)).answered == 1
        world.assert_nothing_left()


@pytest.mark.parametrize("fault", ["cap:open", "exit-full:open"])
async def test_a_full_node_is_asked_with_backoff(autojump_clock: MockClock, fault: str) -> None:
    async with memory_world(faulty(fault)) as world, world.pool(PoolOptions(open_attempts=4)) as pool:
        with pytest.raises(SessionOpenError) as caught:
            await pool.session(world.relayers[0])
        assert isinstance(caught.value.__cause__, RejectedError)
        assert world.sim.node.counters.calls["open"] == 4
        assert trio.current_time() > 3.5


async def test_ports_used_up_is_asked_with_backoff(autojump_clock: MockClock) -> None:
    async with memory_world(SimulatorConfig(port_range=(5000, 5001))) as world, world.pool() as pool:
        await pool.session(world.relayers[0])
        second = await pool.session(world.relayers[1])
        with pytest.raises(SessionOpenError, match="no valid socket addresses"):
            await pool.session(world.relayers[2])
        second.close()
        await second.wait_closed()
        await pool.session(world.relayers[2])
    world.assert_nothing_left()


# -- raw datagrams


async def test_datagrams_there_and_back(autojump_clock: MockClock) -> None:
    async with memory_world() as world, world.pool() as pool:
        session = await pool.session(world.relayers[0])
        await session.send(b"hello")
        assert await session.receive() == b"hello"
        assert session.payload_size == 1020 - 395
        await session.send(b"x" * session.payload_size)
        assert await session.receive() == b"x" * session.payload_size
        # Raw ones and relay messages share the session without getting in each other's way.
        assert (await session.relay(2)).answered == 2
        await session.send(b"between")
        assert (await session.relay(2)).answered == 2
        assert await session.receive() == b"between"
        with trio.move_on_after(1.0) as scope:
            await session.receive()
        assert scope.cancelled_caught
        await session.send(b"kept")
        assert await session.receive() == b"kept"
    assert pool.report.messages.accepted == 4


@pytest.mark.parametrize(("data", "rule"), [(b"", "is empty"), (b"x" * 626, "above this session's 625 bytes")])
async def test_empty_or_oversized_payloads_are_refused_before_sending(
    autojump_clock: MockClock, data: bytes, rule: str
) -> None:
    async with memory_world() as world, world.pool() as pool:
        session = await pool.session(world.relayers[0])
        with pytest.raises(InvalidInputError, match=rule):
            await session.send(data)
        assert world.sim.node.counters.datagrams_received == 0
        assert (await session.relay(1)).answered == 1


async def test_unread_datagrams_are_bounded_and_counted(autojump_clock: MockClock) -> None:
    async with memory_world() as world, world.pool() as pool:
        session = await pool.session(world.relayers[0])
        for _ in range(300):
            await session.send(b"x")
            await trio.sleep(0.001)
        await trio.sleep(1.0)
        assert session.info.datagrams_dropped == 44
        session.close()
        await session.wait_closed()
        for _ in range(256):
            assert await session.receive() == b"x"
        with pytest.raises(SessionEndedError):
            await session.receive()


@pytest.mark.parametrize("count", [0, -1, 1001, True, 1.5, "3"])
async def test_impossible_counts(autojump_clock: MockClock, count: int) -> None:
    async with memory_world() as world, world.pool() as pool:
        session = await pool.session(world.relayers[0])
        with pytest.raises(InvalidInputError, match="whole number from 1 to 1000"):
            await session.relay(count)
        assert pool.report.messages.accepted == 0


# -- relaying under faults


async def _relay_under(world: World, *faults: str, batches: int = 20, size: int = 10) -> dict[str, int]:
    async with world.pool() as pool:
        session = await pool.session(world.relayers[0])
        for fault in faults:
            world.sim.node.add_fault(parse_fault(fault))
        totals = {"sent": 0, "answered": 0, "unanswered": 0, "duplicates": 0}

        async def relay() -> None:
            outcome = await session.relay(size)
            for key in totals:
                totals[key] += getattr(outcome, key)

        async with trio.open_nursery() as nursery:
            for _ in range(batches):
                nursery.start_soon(relay)
                await trio.sleep(0.05)
    messages = pool.report.messages
    assert messages.balanced
    assert messages.accepted == batches * size == totals["sent"]
    assert (messages.answered, messages.unanswered) == (totals["answered"], totals["unanswered"])
    assert pool.report.clean
    world.assert_nothing_left()
    return totals


async def test_several_batches_outstanding(autojump_clock: MockClock) -> None:
    async with memory_world(SimulatorConfig(echo_latency=0.2)) as world:
        totals = await _relay_under(world)
    assert totals == {"sent": 200, "answered": 200, "unanswered": 0, "duplicates": 0}


async def test_lost_datagrams_are_unanswered(autojump_clock: MockClock) -> None:
    async with memory_world(SimulatorConfig(dialect="4.0")) as world:
        totals = await _relay_under(world, "loss:count=1")
        assert world.sim.node.counters.datagrams_lost == 1
    # Those that the node held back behind the lost one, for 0.8 s, came in time.
    assert totals["unanswered"] == 1


async def test_answers_that_come_after_the_reply_timeout_are_none(autojump_clock: MockClock) -> None:
    """The node of dialect 4.1 holds what is behind a lost datagram back for three seconds (contract §4.3)."""
    async with memory_world() as world:
        totals = await _relay_under(world, "loss:count=1", batches=1)
    assert 1 < totals["unanswered"] <= 10


async def test_doubled_datagrams_are_counted_once(autojump_clock: MockClock) -> None:
    async with memory_world() as world:
        totals = await _relay_under(world, "duplicate:p=0.5", "loss:p=0.05")
    assert totals["duplicates"] > 0
    assert totals["answered"] + totals["unanswered"] == 200


@pytest.mark.parametrize("faults", [("merge:p=0.5",), ("split:p=0.5",), ("reorder:p=0.5",)])
async def test_merged_split_and_reordered_echoes_are_all_answers(
    autojump_clock: MockClock, faults: tuple[str, ...]
) -> None:
    async with memory_world() as world:
        totals = await _relay_under(world, *faults)
    assert totals["answered"] == 200


async def test_a_session_whose_socket_dies_is_replaced(autojump_clock: MockClock) -> None:
    async with memory_world() as world:
        sockets: list[Breakable] = []

        def connect(ip: str, port: int) -> DatagramSocket:
            sockets.append(Breakable(world.sim.connect(ip, port)))
            return sockets[-1]

        async with open_pool(world.hoprd, connect=connect) as pool:
            session = await pool.session(world.relayers[0])

            sockets[0].broken = OSError(errno.ENETDOWN, "Network is down")
            outcome = await session.relay(5)
            assert (outcome.sent, outcome.undelivered, outcome.reason) == (0, 5, "replaced: its local socket failed")
            await session.wait_closed()
            assert session.info.reason is EndReason.SOCKET_FAILED
            again = await pool.session(world.relayers[0])
            assert (await again.relay(5)).answered == 5
        assert pool.report.messages.undelivered == {"replaced: its local socket failed": 5}
        assert world.sim.node.counters.closes == 2
        assert pool.report.clean
        world.assert_nothing_left()


async def test_cancelled_relays_are_counted(autojump_clock: MockClock) -> None:
    async with memory_world(SimulatorConfig(echo_latency=1.0)) as world:
        async with world.pool() as pool:
            session = await pool.session(world.relayers[0])
            with trio.move_on_after(0.5) as scope:
                await session.relay(7)
            assert scope.cancelled_caught
            assert session.info.outstanding == 0
        assert (pool.report.messages.accepted, pool.report.messages.unanswered) == (7, 7)
        assert pool.report.clean
