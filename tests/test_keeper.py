"""A session's one task: it reads, watches over its relayer, and drains, and no word to it is lost or comes twice."""

from __future__ import annotations

import errno
import os
from collections.abc import Awaitable, Callable

import pytest
import trio
from hypothesis import example, given, settings, strategies as st
from trio.testing import MockClock

from tests.test_cancellation import run_with_cancel
from tests.worlds import Breakable, World, memory_world, state_of
from trio_sessions import EndReason, PoolOptions, PoolReport, Session, SessionEndedError, SessionPool, State, open_pool
from trio_sessions._datagrams import DatagramSocket
from trio_sessions.simulator import SimulatorConfig

GRACE = 10.0
ECHO = 0.5


class Deaf(Breakable):
    """A socket whose next read raises what it is told to, at once."""

    def __init__(self, inner: DatagramSocket) -> None:
        super().__init__(inner)
        self._failed = trio.Event()

    def fail(self, error: Exception) -> None:
        self.broken = error
        self._failed.set()

    def receive_nowait(self) -> bytes:
        if self.broken is not None:
            raise self.broken
        return super().receive_nowait()

    async def wait_readable(self) -> None:
        if self.broken is not None:
            await trio.lowlevel.checkpoint()
            return
        async with trio.open_nursery() as nursery:

            async def until_failed() -> None:
                await self._failed.wait()
                nursery.cancel_scope.cancel()

            nursery.start_soon(until_failed)
            await super().wait_readable()
            nursery.cancel_scope.cancel()


def system_error(code: int) -> OSError:
    return OSError(code, os.strerror(code))


async def unreachable(pool: SessionPool, relayer: str) -> Session:
    session = await pool.session(relayer)
    pool.set_reachable(relayer, False)
    await trio.sleep(0.1)
    assert state_of(session) is State.UNREACHABLE
    return session


async def test_in_its_grace_period_a_session_gets_all_answers(autojump_clock: MockClock) -> None:
    async with memory_world(SimulatorConfig(echo_latency=ECHO)) as world:
        async with world.pool(PoolOptions(grace_period=GRACE)) as pool:
            relayer = world.relayers[0]
            session = await pool.session(relayer)
            async with trio.open_nursery() as nursery:

                async def relay() -> None:
                    assert (await session.relay(7)).answered == 7

                # Handed in before, while it goes, in it, and while it comes back.
                for _ in range(5):
                    nursery.start_soon(relay)
                    await trio.sleep(ECHO / 2)
                    pool.set_reachable(relayer, False)
                    nursery.start_soon(relay)
                    await trio.sleep(ECHO / 2)
                    nursery.start_soon(relay)
                    assert state_of(session) is State.UNREACHABLE
                    await session.send(b"raw")
                    pool.set_reachable(relayer, True)
            assert [await session.receive() for _ in range(5)] == [b"raw"] * 5
            assert state_of(session) is State.ACTIVE
        assert pool.report.messages.balanced
        world.assert_nothing_left()


@pytest.mark.parametrize("state", [State.ACTIVE, State.UNREACHABLE, State.DRAINING], ids=lambda state: state.name)
@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (system_error(errno.ENETDOWN), EndReason.SOCKET_FAILED),
        (system_error(errno.ECONNREFUSED), EndReason.LISTENER_GONE),
        (ZeroDivisionError("planted"), EndReason.CRASHED),
    ],
    ids=["fails", "is refused", "crashes"],
)
async def test_a_socket_that_fails_ends_its_session_in_each_state(
    autojump_clock: MockClock, state: State, error: Exception, reason: EndReason
) -> None:
    sockets: list[Deaf] = []
    options = PoolOptions(grace_period=GRACE, drain_timeout=5.0, stop_timeout=20.0, reply_timeout=60.0)
    async with memory_world(SimulatorConfig(echo_latency=50.0)) as world:

        def connect(ip: str, port: int) -> DatagramSocket:
            sockets.append(Deaf(world.sim.connect(ip, port)))
            return sockets[-1]

        async with trio.open_nursery() as nursery, open_pool(world.hoprd, options, connect=connect) as pool:
            session, other = [await pool.session(relayer) for relayer in world.relayers[:2]]
            nursery.start_soon(session.relay, 3)
            await trio.sleep(1.0)
            if state is State.UNREACHABLE:
                pool.set_reachable(world.relayers[0], False)
            elif state is State.DRAINING:
                session.close()
                reason = EndReason.CLOSED_BY_USER
            await trio.sleep(1.0)
            assert state_of(session) is state
            began = trio.current_time()
            sockets[0].fail(error)
            await session.wait_closed()
            # Nothing can come any more.
            assert trio.current_time() - began <= 1.5
            assert session.info.reason is reason
            with pytest.raises(SessionEndedError, match=reason.value):
                await session.relay(1)
            # Its sibling lives, and the next demand is served.
            assert state_of(other) is State.ACTIVE
            assert state_of(await pool.session(world.relayers[0])) in (State.ACTIVE, State.UNREACHABLE)
        assert pool.report.messages.balanced
        assert pool.report.messages.unanswered == 3
        world.assert_nothing_left()


class TestWords:
    """What is said in a moment in which the task does not listen."""

    async def test_while_it_opens(self, autojump_clock: MockClock) -> None:
        async with memory_world(SimulatorConfig(open_latency=2.0)) as world:
            async with world.pool(PoolOptions(grace_period=GRACE)) as pool:
                one, other, third = world.relayers
                async with trio.open_nursery() as nursery:
                    for relayer in world.relayers:
                        nursery.start_soon(pool.session, relayer)
                    await trio.sleep(1.0)
                    pool.set_reachable(one, False)
                    pool.set_reachable(other, False)
                    pool.set_reachable(other, True)
                await trio.sleep(0.1)
                by_relayer = {info.relayer: info for info in pool.sessions()}
                assert by_relayer[one].state is State.UNREACHABLE
                # From when it was open: before there was nothing to keep.
                assert by_relayer[one].grace_ends_at == (by_relayer[one].opened_at or 0.0) + GRACE
                assert by_relayer[other].state is by_relayer[third].state is State.ACTIVE

    async def test_two_that_take_each_other_back(self, autojump_clock: MockClock) -> None:
        async with memory_world(SimulatorConfig(echo_latency=ECHO)) as world:
            async with world.pool(PoolOptions(grace_period=GRACE)) as pool:
                relayer = world.relayers[0]
                session = await pool.session(relayer)
                async with trio.open_nursery() as nursery:
                    outcomes = []

                    async def relay() -> None:
                        outcomes.append(await session.relay(5))

                    nursery.start_soon(relay)
                    await trio.sleep(ECHO / 2)
                    pool.set_reachable(relayer, False)
                    pool.set_reachable(relayer, True)
                    await trio.testing.wait_all_tasks_blocked()
                    assert state_of(session) is State.ACTIVE
                assert outcomes[0].answered == 5
                pool.set_reachable(relayer, False)
                await trio.sleep(1.0)
                ends_at = session.info.grace_ends_at
                pool.set_reachable(relayer, True)
                pool.set_reachable(relayer, False)
                await trio.sleep(1.0)
                assert state_of(session) is State.UNREACHABLE
                # It was never in sight: the same grace period.
                assert session.info.grace_ends_at == ends_at

    @pytest.mark.parametrize("state", [State.ACTIVE, State.UNREACHABLE], ids=lambda state: state.name)
    @pytest.mark.parametrize("first", ["close", "reachable"])
    async def test_an_end_and_another_word_at_once(self, autojump_clock: MockClock, state: State, first: str) -> None:
        async with memory_world() as world, world.pool(PoolOptions(grace_period=GRACE)) as pool:
            relayer = world.relayers[0]
            session = await pool.session(relayer)
            if state is State.UNREACHABLE:
                session = await unreachable(pool, relayer)
            if first == "close":
                session.close()
            pool.set_reachable(relayer, state is State.UNREACHABLE)
            session.close()
            await session.wait_closed()
            assert session.info.reason is EndReason.CLOSED_BY_USER
            assert session.info.grace_ends_at is None
        world.assert_nothing_left()

    async def test_after_its_end_is_known_no_word_counts(self, autojump_clock: MockClock) -> None:
        config = SimulatorConfig(echo_latency=1.0, delete_latency=2.0)
        async with memory_world(config) as world, world.pool(PoolOptions(grace_period=0.0)) as pool:
            relayer = world.relayers[0]
            session = await pool.session(relayer)
            keeper = session._keeper
            states = []
            async with trio.open_nursery() as nursery:
                outcomes = []

                async def relay() -> None:
                    outcomes.append(await session.relay(5))

                nursery.start_soon(relay)
                await trio.sleep(0.1)
                session.close()
                for _ in range(8):
                    await trio.sleep(0.5)
                    states.append(state_of(session))
                    for word in (False, True, False):
                        keeper.set_reachable(word)
                    keeper.tell(EndReason.GRACE_EXPIRED)
            assert {State.DRAINING, State.CLOSING, State.CLOSED} == set(states)
            assert outcomes[0].answered == 5
            assert session.info.reason is EndReason.CLOSED_BY_USER


WORDS = st.lists(st.tuples(st.integers(0, 25), st.booleans()), max_size=12)


@settings(max_examples=30, deadline=None)
@given(WORDS, st.none() | st.integers(0, 40))
@example([(1, False), (1, True), (1, False), (11, True)], None)
@example([(0, False), (9, True), (9, False)], None)
def test_a_session_ends_exactly_when_its_relayer_was_out_of_sight_for_the_grace_period(
    words: list[tuple[int, bool]], closed_at: int | None
) -> None:
    """And until then all its messages are answered, whatever is said; several words may come at one moment."""
    grace = 9.5
    words = sorted(words, key=lambda word: word[0])
    # What the words say: where a moment has several, its last one counts.
    out_since, lost_at = None, None
    for moment, reachable in [*dict(words).items(), (60, True)]:
        if out_since is not None and moment > out_since + grace:
            lost_at = out_since + grace
            break
        if reachable:
            out_since = None
        elif out_since is None:
            out_since = moment
    expected = EndReason.GRACE_EXPIRED
    if closed_at is not None and (lost_at is None or closed_at < lost_at):
        expected, lost_at = EndReason.CLOSED_BY_USER, closed_at

    async def main() -> None:
        config = SimulatorConfig(echo_latency=0.3, open_latency=0.0)
        async with memory_world(config) as world, world.pool(PoolOptions(grace_period=grace)) as pool:
            relayer = world.relayers[0]
            session = await pool.session(relayer)
            began = trio.current_time()
            answered = []

            async def relay() -> None:
                while session._usable:
                    answered.append((await session.relay(3)).answered)
                    await trio.sleep(0.37)

            async def speak() -> None:
                for moment, reachable in words:
                    if began + moment > trio.current_time():
                        await trio.sleep_until(began + moment)
                    pool.set_reachable(relayer, reachable)

            async def close() -> None:
                if closed_at is not None:
                    await trio.sleep_until(began + closed_at)
                    session.close()

            async with trio.open_nursery() as nursery:
                for part in (relay, speak, close):
                    nursery.start_soon(part)
                await trio.sleep_until(began + 50.0)
                if lost_at is None:
                    assert session._usable
                    session.close()
                    expected_end = 50.0
                else:
                    expected_end = lost_at
                await session.wait_closed()
            assert session.info.reason is (expected if lost_at is not None else EndReason.CLOSED_BY_USER)
            [closed] = world.events("close")
            # It waits for the answers under way, and no longer.
            assert began + expected_end <= closed[0] <= began + expected_end + 0.4
            assert set(answered) == {3}
        world.assert_nothing_left()

    trio.run(main, clock=MockClock(autojump_threshold=0))


async def a_session_in_each_state(world: World, reports: list[Callable[[], PoolReport]]) -> None:
    """Opened, out of sight and back, out of sight to its end with messages under way, and drained at the end."""
    one, other, _ = world.relayers
    async with world.pool(PoolOptions(grace_period=0.1, reply_timeout=0.5)) as pool:
        reports.append(lambda: pool.report)
        first, second = await pool.session(one), await pool.session(other)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(first.relay, 2)
            pool.set_reachable(one, False)
            await trio.sleep(0.05)
            pool.set_reachable(one, True)
            await trio.sleep(0.001)
            pool.set_reachable(one, False)
            await trio.sleep(0.095)
            nursery.start_soon(first.relay, 2)
            await first.wait_closed()
            nursery.start_soon(second.relay, 2)
            await trio.sleep(0.001)
            pool.stop()


OPERATIONS: list[Callable[[World, list[Callable[[], PoolReport]]], Awaitable[None]]] = [a_session_in_each_state]


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_a_cancel_at_any_step_of_its_states_leaves_nothing(
    operation: Callable[[World, list[Callable[[], PoolReport]]], Awaitable[None]], autojump_clock: MockClock
) -> None:
    steps = await run_with_cancel(operation, -1)
    assert steps > 50
    for step in range(1, steps + 1):
        await run_with_cancel(operation, step)
