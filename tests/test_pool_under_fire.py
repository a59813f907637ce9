"""What a review of the pool found, each once: stop deadlines, crashes, calls that hang, storms, growth."""

from __future__ import annotations

import errno
from functools import partial
from itertools import pairwise

import httpx
import pytest
import trio
import trio.testing
from trio.testing import MockClock

from tests.worlds import Breakable, World, faulty, memory_world, state_of
from trio_sessions import (
    EndReason,
    Hoprd,
    InvalidInputError,
    Node,
    PoolOptions,
    PoolStoppedError,
    SessionEndedError,
    SessionOpenError,
    State,
    open_pool,
)
from trio_sessions._datagrams import DatagramSocket
from trio_sessions.simulator import SimulatorConfig, parse_fault

# -- the stop's deadline


async def test_a_session_that_drains_already_gets_no_more_time_than_a_stop_has(autojump_clock: MockClock) -> None:
    options = PoolOptions(drain_timeout=60.0, stop_timeout=10.0, reply_timeout=100.0)
    async with memory_world(SimulatorConfig(echo_latency=50.0)) as world:
        async with trio.open_nursery() as nursery:
            async with world.pool(options) as pool:
                session = await pool.session(world.relayers[0])
                nursery.start_soon(session.relay, 3)
                await trio.sleep(0.1)
                session.close()
                await trio.sleep(0.1)
                assert state_of(session) is State.DRAINING
            assert pool.report.stop_duration == pytest.approx(5.0)
        assert pool.report.clean
        world.assert_nothing_left()


async def test_a_cancelled_block_keeps_the_stops_deadline(autojump_clock: MockClock) -> None:
    options = PoolOptions(drain_timeout=60.0, stop_timeout=10.0, reply_timeout=100.0)
    async with memory_world(SimulatorConfig(echo_latency=50.0)) as world:
        async with trio.open_nursery() as relaying:
            with trio.move_on_after(1.0):
                async with world.pool(options) as pool:
                    session = await pool.session(world.relayers[0])
                    relaying.start_soon(session.relay, 3)
                    await trio.sleep_forever()
        assert trio.current_time() == pytest.approx(6.0)
        assert pool.report.clean


async def test_a_stop_wakes_what_waits_for_its_next_try(autojump_clock: MockClock) -> None:
    async with memory_world() as world:
        async with world.pool() as pool:
            session = await pool.session(world.relayers[0])
            world.sim.node.add_fault(parse_fault("status:close:status=500"))
            session.close()
            # By now the next try is up to half a minute away.
            await trio.sleep(60.0)
            world.sim.node.clear_faults()
        assert pool.report.stop_duration is not None
        assert pool.report.stop_duration <= 2.1
        assert pool.report.clean
        world.assert_nothing_left()


@pytest.mark.parametrize("stop_timeout", [1e-6, 0.01, 0.5])
async def test_a_tiny_stop_timeout_is_kept_and_names_what_is_left(
    autojump_clock: MockClock, stop_timeout: float
) -> None:
    async with memory_world(SimulatorConfig(delete_latency=1.0)) as world:
        async with world.pool(PoolOptions(stop_timeout=stop_timeout)) as pool:
            for relayer in world.relayers:
                await pool.session(relayer)
        assert pool.report.stop_duration == pytest.approx(stop_timeout)
        assert len(pool.report.left) == 3
        assert pool.report.open_sessions == 0
        assert world.sim.open_sockets == 0


async def test_no_post_goes_out_for_those_who_have_left(autojump_clock: MockClock) -> None:
    async with memory_world(faulty("delay:list:seconds=0.9")) as world:
        async with world.pool() as pool:
            with trio.move_on_after(0.5):
                await pool.session(world.relayers[0])
        assert pool.report.clean
        assert world.sim.node.counters.calls["open"] == 0


async def test_a_body_that_is_shielded_from_its_cancel_is_told_that_the_pool_has_stopped(
    autojump_clock: MockClock,
) -> None:
    async with memory_world() as world:
        with trio.CancelScope() as scope:
            async with world.pool() as pool:
                await pool.session(world.relayers[0])
                scope.cancel()
                with trio.CancelScope(shield=True):
                    await trio.sleep(0.0)
                    for relayer in world.relayers:
                        with pytest.raises(PoolStoppedError):
                            await pool.session(relayer)
        world.assert_nothing_left()


# -- crashes


class Crashing(httpx.AsyncBaseTransport):
    """A transport with a bug: it raises what no transport should, in the calls of one method."""

    def __init__(self, world: World, method: str, times: int) -> None:
        self._inner = world.sim.transport
        self._method = method
        self._times = times

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.method == self._method and request.url.path.startswith("/api/v4/session") and self._times:
            self._times -= 1
            raise ZeroDivisionError("planted")
        return await self._inner.handle_async_request(request)


@pytest.mark.parametrize("method", ["POST", "DELETE", "GET"])
async def test_a_crash_in_one_call_costs_no_other_session(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture, method: str
) -> None:
    async with memory_world() as world:
        async with Hoprd(world.sim.url, token=world.sim.token, transport=world.sim.transport) as good:
            async with open_pool(good, PoolOptions(open_attempts=1), connect=world.sim.connect) as pool:
                sessions = [await pool.session(relayer) for relayer in world.relayers[:2]]
                await trio.sleep(1.1)
                # From here on the one client has a transport with a bug.
                good._edge._transport = Crashing(world, method, times=1)
                if method == "POST":
                    with pytest.raises(SessionOpenError, match="planted"):
                        await pool.session(world.relayers[2])
                elif method == "DELETE":
                    sessions[0].close()
                    await sessions[0].wait_closed()
                    assert state_of(sessions[0]) is State.CLOSED
                await trio.sleep(11.0)
                assert (await sessions[1].relay(3)).answered == 3
                assert (await (await pool.session(world.relayers[2])).relay(3)).answered == 3
        assert "planted" in caplog.text
        assert len(world.sim.node.listeners()) == (method == "DELETE")
        left = [item.listener for item in pool.report.left]
        assert len(left) == (method != "GET")
        assert all("planted" in item.reason for item in pool.report.left)


async def test_a_crash_while_it_watches_ends_the_session_with_the_cause(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with memory_world() as world, world.pool() as pool:
        session = await pool.session(world.relayers[0])

        async def crash(_: str) -> None:
            raise ZeroDivisionError("planted")

        # The keep-alive runs two nurseries deep: its error must come out as a leaf all the same.
        monkeypatch.setattr(world.hoprd, "session_config", crash)
        pool.set_reachable(world.relayers[0], False)
        await session.wait_closed()
        assert session.info.reason is EndReason.CRASHED
        (record,) = [record for record in caplog.records if "crashed" in record.message]
        assert record.exc_info is not None
        assert record.exc_info[0] is ZeroDivisionError
        monkeypatch.undo()
        await pool.session(world.relayers[0])


# -- calls that hang


async def test_a_list_that_hangs_holds_up_an_open_for_a_second_at_most(autojump_clock: MockClock) -> None:
    async with memory_world() as world, world.pool() as pool:
        await pool.session(world.relayers[0])
        await trio.sleep(2.0)
        world.sim.node.add_fault(parse_fault("hang:list"))
        started = trio.current_time()
        async with trio.open_nursery() as nursery:
            for relayer in world.relayers[1:]:
                nursery.start_soon(pool.session, relayer)
        assert trio.current_time() - started < 1.1
        world.sim.node.clear_faults()


async def test_a_list_of_peers_that_hangs_holds_up_nobody_who_needs_none(autojump_clock: MockClock) -> None:
    async with memory_world(faulty("hang:peers:after=1:count=1")) as world, world.pool() as pool:
        # The first call of the route is the probe's.
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pool.session, world.relayers[0])
            await trio.testing.wait_all_tasks_blocked()
            await pool.session(world.relayers[1], destination=world.sim.node.destinations[0])
            assert trio.current_time() < 0.2


# -- storms and growth


async def test_sessions_that_open_and_die_at_once_back_off(autojump_clock: MockClock) -> None:
    """As when the listeners cannot be reached at the address that the pool was told to use."""
    async with memory_world() as world:
        async with open_pool(world.hoprd, connect=lambda ip, port: world.sim.connect(ip, 1)) as pool:
            with trio.move_on_after(60.0):
                while True:
                    session = await pool.session(world.relayers[0])
                    await session.relay(1)
                    await session.wait_closed()
            assert world.sim.node.counters.opens_committed < 12
        assert pool.report.clean
        world.assert_nothing_left()


async def test_a_proxy_without_a_node_behind_it_costs_no_growing_pile(autojump_clock: MockClock) -> None:
    async with memory_world(SimulatorConfig(relayers=20)) as world, world.pool() as pool:
        await pool.session(world.relayers[0])
        world.sim.node.add_fault(parse_fault("status:any:status=503"))
        async with trio.open_nursery() as nursery:
            for relayer in world.relayers[1:]:
                destination = world.sim.node.destinations[0]
                nursery.start_soon(partial(pool.session, relayer, destination=destination))
            await trio.sleep(60.0)
            tasks = trio.lowlevel.current_statistics().tasks_living
            calls = world.sim.node.counters.calls.total()
            await trio.sleep(1800.0)
            assert trio.lowlevel.current_statistics().tasks_living <= tasks
            assert world.sim.node.counters.calls.total() - calls < 1800 / 5
            world.sim.node.clear_faults()
    world.assert_nothing_left()


async def test_short_outages_cost_no_time_beyond_them(autojump_clock: MockClock) -> None:
    """Those who wait for the node hold no places in the queue that they cannot use."""
    async with memory_world(SimulatorConfig(relayers=30)) as world:
        async with world.pool(PoolOptions(opens_per_second=1.0)) as pool:
            async with trio.open_nursery() as nursery:
                for relayer in world.relayers:
                    nursery.start_soon(pool.session, relayer)
                for _ in range(3):
                    await trio.sleep(3.0)
                    world.sim.node.restart(down_for=1.0)
            opens = [time for time, _ in world.events("open")]
            assert max(later - sooner for sooner, later in pairwise(opens)) < 6.0


# -- small things


async def test_a_probe_is_seen_by_nobody(autojump_clock: MockClock) -> None:
    async with memory_world(faulty("duplicate")) as world:
        async with world.pool(PoolOptions(reconcile_interval=1.0)) as pool:
            session = await pool.session(world.relayers[0])
            world.sim.node.add_fault(parse_fault("empty:list:count=1"))
            with trio.move_on_after(5.0) as nothing:
                await session.receive()
            assert nothing.cancelled_caught
            assert world.sim.node.counters.datagrams_received == 1
            assert session.info.bytes_unread == 0
            await session.send(b"raw")
            assert await session.receive() == b"raw"


async def test_what_was_accepted_before_a_session_drains_goes_on_and_nothing_is_accepted_after(
    autojump_clock: MockClock,
) -> None:
    async with memory_world(SimulatorConfig(echo_latency=1.0)) as world:
        async with world.pool() as pool:
            session = await pool.session(world.relayers[0])
            began = trio.current_time()
            async with trio.open_nursery() as nursery:
                for _ in range(1500):
                    nursery.start_soon(session.relay, 1)
                await trio.sleep(0.5)
                session.close()
                await trio.sleep(0.1)
                with pytest.raises(SessionEndedError):
                    await session.relay(1)
            # No more than 1024 are out at once: the others waited for these.
            assert trio.current_time() - began == pytest.approx(2.0, abs=0.01)
        assert pool.report.messages.accepted == pool.report.messages.answered == 1500
        assert pool.report.clean


async def test_a_drain_that_is_too_short_counts_what_still_waits(autojump_clock: MockClock) -> None:
    async with memory_world(SimulatorConfig(echo_latency=1.0)) as world:
        async with world.pool(PoolOptions(drain_timeout=1.2)) as pool:
            session = await pool.session(world.relayers[0])
            ended: list[str] = []

            async def relay() -> None:
                try:
                    await session.relay(1)
                except SessionEndedError as error:
                    ended.append(error.reason)

            async with trio.open_nursery() as nursery:
                for _ in range(2100):
                    nursery.start_soon(relay)
                await trio.testing.wait_all_tasks_blocked()
                session.close()
        assert ended == ["closed by its user"] * (2100 - 2 * 1024)
        messages = pool.report.messages
        assert (messages.answered, messages.unanswered) == (1024, 1024)
        assert messages.undelivered == {"closed by its user": 52}
        assert pool.report.clean


async def test_a_node_that_restarts_while_we_drain_ends_the_waiting(autojump_clock: MockClock) -> None:
    options = PoolOptions(drain_timeout=100.0, reply_timeout=100.0)
    async with memory_world(SimulatorConfig(echo_latency=50.0)) as world:
        async with trio.open_nursery() as nursery, world.pool(options) as pool:
            session = await pool.session(world.relayers[0])
            nursery.start_soon(session.relay, 1)
            await trio.sleep(1.0)
            session.close()
            await trio.testing.wait_all_tasks_blocked()
            assert state_of(session) is State.DRAINING
            world.sim.node.restart()
            session._keeper.probe()
            session._keeper._link._socket.send_nowait(b"x")  # type: ignore[union-attr]
            await session.wait_closed()
            assert trio.current_time() < 2.0
            assert state_of(session) is State.LOST
        assert pool.report.clean


async def test_a_socket_that_fails_before_the_drain_begins_ends_the_waiting_too(autojump_clock: MockClock) -> None:
    options = PoolOptions(drain_timeout=100.0, reply_timeout=100.0)
    async with memory_world(SimulatorConfig(echo_latency=50.0)) as world:
        async with trio.open_nursery() as nursery, world.pool(options) as pool:
            session = await pool.session(world.relayers[0])
            nursery.start_soon(session.relay, 1)
            await trio.sleep(1.0)
            session.close()
            # The task has not heard of either yet.
            session._keeper._socket_failed(OSError(errno.ENETDOWN, "Network is down"))
            await session.wait_closed()
            assert trio.current_time() < 2.0
            assert session.info.reason is EndReason.CLOSED_BY_USER
        assert pool.report.clean


async def test_two_spellings_of_a_relayer_have_one_account(autojump_clock: MockClock) -> None:
    async with memory_world() as world, world.pool() as pool:
        relayer = world.relayers[0]
        await (await pool.session(relayer.lower())).relay(1)
        (await pool.session(relayer)).close()
        await trio.sleep(1.0)
        await (await pool.session(relayer)).relay(2)
        assert {name: messages.answered for name, messages in pool.report.by_relayer.items()} == {relayer.lower(): 3}


async def test_packets_too_small_for_a_message_are_found_out_at_the_open(autojump_clock: MockClock) -> None:
    async with memory_world(SimulatorConfig(hopr_mtu=500)) as world, world.pool() as pool:
        with pytest.raises(SessionOpenError) as caught:
            await pool.session(world.relayers[0])
        assert isinstance(caught.value.__cause__, InvalidInputError)
        assert caught.value.attempts == 1
        await trio.sleep(0.1)
        world.assert_nothing_left()


async def test_a_node_survives_a_crash_in_one_batch(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with memory_world() as world:
        node = Node(world.hoprd, connect=world.sim.connect)
        async with trio.open_nursery() as nursery:
            await nursery.start(node.run)
            with monkeypatch.context() as patched:

                async def crash(*_: object, **__: object) -> None:
                    raise ZeroDivisionError("planted")

                patched.setattr(node.pool, "session", crash)
                await node.submit(world.relayers[0], 3)
                await trio.testing.wait_all_tasks_blocked()
            assert (await node.relay(world.relayers[0], 3)).answered == 3
            node.stop()
        assert "planted" in caplog.text
        assert node.report.messages.undelivered == {"its task crashed": 3}
        assert node.report.clean


# -- a token that is wrong all of a sudden


async def test_401_at_a_delete_stops_the_tries_and_names_the_listener(autojump_clock: MockClock) -> None:
    async with memory_world() as world:
        async with world.pool() as pool:
            session = await pool.session(world.relayers[0])
            await session.relay(1)
            world.sim.node.add_fault(parse_fault("status:close:status=401"))
            session.close()
            await session.wait_closed()
            assert trio.current_time() < 0.2
            await trio.sleep(100.0)
            assert world.sim.node.counters.calls["close"] == 1
        (left,) = pool.report.left
        assert left.listener == str(session.info.listener and session.info.listener.key)
        assert "401" in left.reason
        assert pool.report.stop_duration == pytest.approx(0.0)


async def test_401_while_it_looks_for_a_lost_reply_stops_the_tries_and_names_it(autojump_clock: MockClock) -> None:
    async with memory_world(faulty("reset:open:count=1")) as world:
        async with world.pool(PoolOptions(open_attempts=1)) as pool:
            with pytest.raises(SessionOpenError):
                await pool.session(world.relayers[0])
            world.sim.node.add_fault(parse_fault("status:list:status=401"))
            await trio.sleep(5.0)
            (left,) = pool.report.left
            assert (left.listener, left.route) == (None, world.relayers[0])
        assert pool.report.stop_duration == pytest.approx(0.0)


# -- lost replies that nothing settles


async def test_a_lost_reply_is_named_when_the_list_fails_for_too_long(autojump_clock: MockClock) -> None:
    async with memory_world(faulty("reset:open:count=1")) as world:
        async with world.pool(PoolOptions(open_attempts=1)) as pool:
            with pytest.raises(SessionOpenError):
                await pool.session(world.relayers[0])
            world.sim.node.add_fault(parse_fault("status:list:status=500"))
            await trio.sleep(300.0)
            assert [left.listener for left in pool.report.left] == []
            await trio.sleep(60.0)
            assert [left.listener for left in pool.report.left] == [None]


async def test_a_lost_reply_is_named_when_what_could_be_its_listener_stays(autojump_clock: MockClock) -> None:
    async with memory_world(SimulatorConfig(dialect="3")) as world:
        relayer, destination = world.relayers[0], world.sim.node.destinations[0]
        world.sim.node.add_fault(parse_fault("reset:open:count=1"))
        async with world.pool(PoolOptions(open_attempts=1)) as pool:
            with pytest.raises(SessionOpenError):
                await pool.session(relayer, destination=destination)
            # Two alike, for one lost reply.
            strangers = [world.sim.node.add_stranger(relayer=relayer, destination=destination) for _ in range(2)]
            await trio.sleep(400.0)
            assert [left.listener for left in pool.report.left] == [None]
        assert world.sim.node.counters.closes == 0
        assert len(strangers) == len(world.sim.node.listeners())


# -- a full socket


@pytest.mark.parametrize("batches", [1, 5])
async def test_a_full_send_buffer_makes_the_sender_wait(autojump_clock: MockClock, batches: int) -> None:
    async with memory_world(send_buffer=8) as world:
        async with world.pool() as pool:
            session = await pool.session(world.relayers[0])
            async with trio.open_nursery() as nursery:
                for _ in range(batches):
                    nursery.start_soon(session.relay, 1000)
                nursery.start_soon(session.send, b"raw")
        assert pool.report.messages.answered == batches * 1000
        assert pool.report.clean


async def test_a_send_that_waits_for_room_hears_of_the_end(autojump_clock: MockClock) -> None:
    async with memory_world(send_buffer=8) as world, world.pool() as pool:
        session = await pool.session(world.relayers[0])
        ended = 0

        async def send() -> None:
            nonlocal ended
            try:
                await session.send(b"raw")
            except SessionEndedError:
                ended += 1

        async with trio.open_nursery() as nursery:
            for _ in range(50):
                nursery.start_soon(send)
            await trio.lowlevel.checkpoint()
            session.close()
        assert ended > 0
        await session.wait_closed()
        assert repr(session) == f"<Session via {world.relayers[0]}: closed>"


async def test_a_device_whose_queue_is_full_is_tried_again(autojump_clock: MockClock) -> None:
    async with memory_world() as world:
        sockets: list[Breakable] = []

        def connect(ip: str, port: int) -> DatagramSocket:
            sockets.append(Breakable(world.sim.connect(ip, port)))
            return sockets[-1]

        async with open_pool(world.hoprd, connect=connect) as pool:
            session = await pool.session(world.relayers[0])
            sockets[0].broken = OSError(errno.ENOBUFS, "No buffer space available")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(session.relay, 3)
                await trio.sleep(0.1)
                sockets[0].broken = None
        assert pool.report.messages.answered == 3
        assert trio.current_time() < 0.3


@pytest.mark.parametrize(("error", "lost"), [(BlockingIOError(), 0), (OSError(errno.ENETDOWN, "Network is down"), 1)])
async def test_a_probe_that_cannot_be_sent(autojump_clock: MockClock, error: OSError, lost: int) -> None:
    async with memory_world() as world:
        sockets: list[Breakable] = []

        def connect(ip: str, port: int) -> DatagramSocket:
            sockets.append(Breakable(world.sim.connect(ip, port)))
            return sockets[-1]

        async with open_pool(world.hoprd, connect=connect) as pool:
            session = await pool.session(world.relayers[0])
            await trio.sleep(9.0)
            sockets[0].broken = error
            world.sim.node.add_fault(parse_fault("empty:list:count=1"))
            await trio.sleep(3.0)
            # One bad look and no probe is no proof; a dead socket is.
            assert (state_of(session) is State.ACTIVE) == (not lost)
        assert pool.report.clean
        world.assert_nothing_left()
