"""What instruments hear: each thing once, with its times, and nothing of theirs disturbs the work."""

from __future__ import annotations

import logging
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import pytest
import trio
from trio.testing import MockClock

from tests.worlds import World, faulty, in_namespace, inline
from trio_sessions import (
    BatchSettled,
    CallEnded,
    DemandEnded,
    EndReason,
    Hoprd,
    Instruments,
    ListenerKey,
    MalformedReplyError,
    Node,
    NodePolled,
    NodeTimeoutError,
    Observation,
    OpenEnded,
    OrphanFound,
    OrphanSettled,
    Path as SessionPath,
    PoolEnded,
    PoolOptions,
    PoolStarted,
    PoolStoppedError,
    RejectedError,
    SessionEnded,
    SessionOpenError,
    SessionPool,
    SessionRequest,
    State,
    open_pool,
)
from trio_sessions.simulator import SimulatorConfig, open_memory_node


@attrs.define
class Heard:
    """Instruments that keep all they hear."""

    observations: list[Observation] = attrs.field(factory=list)

    def __call__(self, observation: Observation, /) -> None:
        self.observations.append(observation)

    def kinds(self) -> list[str]:
        """The kinds of all but the calls, in their order."""
        return [type(each).__name__ for each in self.observations if not isinstance(each, CallEnded)]

    def calls(self) -> list[CallEnded]:
        return [each for each in self.observations if isinstance(each, CallEnded)]

    def demands(self) -> list[str]:
        return [each.outcome for each in self.observations if isinstance(each, DemandEnded)]

    def opens(self) -> list[OpenEnded]:
        return [each for each in self.observations if isinstance(each, OpenEnded)]

    def ends(self) -> list[SessionEnded]:
        return [each for each in self.observations if isinstance(each, SessionEnded)]


@asynccontextmanager
async def watched_world(config: SimulatorConfig | None, instruments: Instruments) -> AsyncIterator[World]:
    """A node in memory, and a client whose calls are watched."""
    async with (
        open_memory_node(config) as sim,
        Hoprd(sim.url, token=sim.token, transport=sim.transport, instruments=instruments) as hoprd,
    ):
        yield World(sim, hoprd)


@asynccontextmanager
async def watched_pool(
    world: World, instruments: Instruments, options: PoolOptions | None = None
) -> AsyncIterator[SessionPool]:
    rng = random.Random(0)
    async with open_pool(
        world.hoprd, options, rng=rng, connect=world.sim.connect, in_thread=inline, instruments=instruments
    ) as pool:
        yield pool


async def test_a_session_from_its_demand_to_its_end(autojump_clock: MockClock) -> None:
    heard = Heard()
    config = SimulatorConfig(open_latency=1.5, echo_latency=0.25)
    async with watched_world(config, heard) as world, watched_pool(world, heard) as pool:
        relayer = world.relayers[0]
        began = trio.current_time()
        session = await pool.session(relayer)
        waited = trio.current_time() - began
        opened_at = session.info.opened_at
        assert opened_at is not None
        assert await pool.session(relayer) is not None
        await session.relay(3)
        await trio.sleep(60)
        pool.stop()
    assert heard.kinds() == [
        *("PoolStarted", "OpenEnded", "DemandEnded", "DemandEnded", "BatchSettled", "SessionEnded", "PoolEnded")
    ]
    started, opened, first, second, batch, ended, over = (
        each for each in heard.observations if not isinstance(each, CallEnded)
    )
    assert isinstance(started, PoolStarted)
    assert isinstance(over, PoolEnded)
    assert (started.url, started.instance) == (over.url, over.instance) == (world.hoprd.url, "default")
    assert started.statistics == over.statistics
    assert waited > 1.0
    # A virtual clock: the seconds are exact.
    assert opened == OpenEnded(relayer, "opened", waited, 1, None)
    assert (first, second) == (DemandEnded(relayer, "ready", waited), DemandEnded(relayer, "ready", 0.0))
    assert isinstance(batch, BatchSettled)
    assert batch == BatchSettled(relayer, 3, 0, 0, "", batch.rtts)
    assert len(batch.rtts) == 3
    assert all(0.2 < rtt < 0.4 for rtt in batch.rtts)
    assert isinstance(ended, SessionEnded)
    assert (ended.route, ended.outcome, ended.info.reason) == (relayer, "confirmed", EndReason.STOPPED)
    # The DELETE's time on top.
    assert 60 < ended.seconds < 65
    assert ended.info.opened_at == opened_at
    assert {(call.method, call.route, call.status, call.error) for call in heard.calls()} >= {
        ("POST", "/session/udp/explicit-path", 200, None),
        ("DELETE", "/session/udp/{ip}/{port}", 204, None),
        ("GET", "/session/udp", 200, None),
    }
    assert all(call.seconds >= 0 for call in heard.calls())
    assert max(call.seconds for call in heard.calls() if call.method == "POST") > 1.0


async def test_an_open_that_fails(autojump_clock: MockClock) -> None:
    heard = Heard()
    async with watched_world(faulty("exit-full:open"), heard) as world:
        async with watched_pool(world, heard, PoolOptions(open_attempts=2)) as pool:
            began = trio.current_time()
            with pytest.raises(SessionOpenError) as caught:
                await pool.session(world.relayers[0])
            seconds = trio.current_time() - began
    [opening] = heard.opens()
    assert (opening.outcome, opening.attempts, opening.seconds) == ("failed", 2, seconds)
    assert isinstance(opening.error, RejectedError)
    assert opening.error is caught.value.__cause__
    assert heard.demands() == ["failed"]
    assert heard.ends() == []
    assert Counter(call.status for call in heard.calls() if call.method == "POST") == {422: 2}


async def test_demands_that_end_otherwise(autojump_clock: MockClock) -> None:
    heard = Heard()
    async with watched_world(SimulatorConfig(open_latency=10.0), heard) as world:
        async with watched_pool(world, heard) as pool, trio.open_nursery() as nursery:
            statistics = pool.statistics
            with trio.move_on_after(1.0):
                await pool.session(world.relayers[0])
            assert heard.demands() == ["timed out"]
            with trio.CancelScope() as scope:
                nursery.start_soon(pool.session, world.relayers[0])
                trio.lowlevel.current_trio_token().run_sync_soon(scope.cancel)
                await pool.session(world.relayers[0])
            assert heard.demands() == ["timed out", "cancelled"]
            assert statistics().demands_waiting == 1
            assert statistics().sessions[State.OPENING] == 1
            nursery.cancel_scope.cancel()
        with pytest.raises(PoolStoppedError):
            await pool.session(world.relayers[0])
    assert heard.demands() == ["timed out", "cancelled", "cancelled", "stopped"]
    assert [opening.outcome for opening in heard.opens()] == ["ended"]
    assert statistics().demands_waiting == 0
    assert set(statistics().sessions.values()) == {0}


async def test_messages_that_were_never_sent_are_settled_once(autojump_clock: MockClock) -> None:
    heard = Heard()
    async with watched_world(faulty("exit-full:open"), heard) as world:
        node = Node(world.hoprd, rng=random.Random(0), connect=world.sim.connect, instruments=heard)
        async with trio.open_nursery() as nursery:
            await nursery.start(node.run)
            assert node.unready == ""
            for relayer in node.relayers:
                await node.submit(relayer, 7)
            node.stop()
            assert node.unready == "stopping, or stopped"
    batches = [each for each in heard.observations if isinstance(each, BatchSettled)]
    assert sum(batch.undelivered for batch in batches) == 7 * len(world.relayers)
    assert {batch.reason for batch in batches} <= set(node.report.messages.undelivered)
    assert node.report.messages.balanced


async def test_a_listener_that_vanishes_and_one_that_is_left(autojump_clock: MockClock) -> None:
    heard = Heard()
    options = PoolOptions(reconcile_interval=2.0, stop_timeout=3.0)
    async with watched_world(None, heard) as world:
        async with watched_pool(world, heard, options) as pool:
            await pool.session(world.relayers[0])
            world.sim.node.restart(down_for=0.5)
            await trio.sleep(20)
            assert [(each.outcome, each.info.reason) for each in heard.ends()] == [("lost", EndReason.LISTENER_GONE)]
            await pool.session(world.relayers[0])
            world.sim.node.restart(down_for=1e6)
    assert [each.outcome for each in heard.ends()] == ["lost", "left"]
    assert pool.report.sessions.lost == 1
    assert len(pool.report.left) == pool.statistics().left == 1


async def test_an_orphan_of_an_earlier_run(autojump_clock: MockClock) -> None:
    heard = Heard()
    options = in_namespace("dedicated")
    async with watched_world(None, heard) as world:
        async with watched_pool(world, heard, options) as pool:
            listener = (await pool.session(world.relayers[0])).info.listener
            assert listener is not None
        assert not any(isinstance(each, OrphanFound) for each in heard.observations)
        # What a killed run would have left on the same address.
        path, destination = SessionPath(via=(world.relayers[1],)), world.sim.node.destinations[0]
        left = SessionRequest(destination, path, path, listen_host=f"{listener.key.ip}:20000", response_buffer=0)
        await world.hoprd.open_session(left)
        async with watched_pool(world, heard, options) as pool:
            await trio.sleep(5)
            assert (pool.statistics().orphans, pool.statistics().janitor_backlog) == (0, 0)
        world.assert_nothing_left()
    [found] = [each for each in heard.observations if isinstance(each, OrphanFound)]
    [settled] = [each for each in heard.observations if isinstance(each, OrphanSettled)]
    assert (found.origin, str(found.listener)) == ("own address", f"udp://{left.listen_host}")
    assert settled == OrphanSettled(found.origin, found.route, found.listener, "confirmed")


async def test_the_listener_of_a_lost_reply_is_an_orphan_until_it_is_closed(autojump_clock: MockClock) -> None:
    heard = Heard()
    options = in_namespace("range")
    async with watched_world(faulty("reply-lost:open:count=1", "delay:close:seconds=2"), heard) as world:
        async with watched_pool(world, heard, options) as pool:
            await pool.session(world.relayers[0])
            while not any(isinstance(each, OrphanFound) for each in heard.observations):  # noqa: ASYNC110
                await trio.sleep(0.1)
            assert pool.statistics().orphans == 1
            await trio.sleep(10)
            assert pool.statistics().orphans == 0
        world.assert_nothing_left()
    orphans = [each for each in heard.observations if isinstance(each, OrphanFound | OrphanSettled)]
    assert [(type(each).__name__, each.origin) for each in orphans] == [
        ("OrphanFound", "lost reply"),
        ("OrphanSettled", "lost reply"),
    ]
    assert "ConnectionLostError" in {call.error for call in heard.calls()}


async def test_polls_of_a_node_that_goes_away(autojump_clock: MockClock) -> None:
    heard = Heard()
    async with watched_world(None, heard) as world:
        node = Node(world.hoprd, connect=world.sim.connect, instruments=heard)
        assert node.unready == "not started"
        world.sim.node.restart(down_for=30.0)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(node.run)
            await trio.sleep(1)
            assert node.unready == "waiting for the node"
            await trio.sleep(60)
            assert node.unready == ""
            world.sim.node.restart(down_for=1e6)
            await trio.sleep(20)
            assert node.unready == "the node does not answer"
            nursery.cancel_scope.cancel()
        assert node.unready == "stopping, or stopped"
    health = [each.healthy for each in heard.observations if isinstance(each, NodePolled)]
    assert [value for value, after in zip(health, [*health[1:], "end"], strict=True) if value != after] == [
        *(None, True, None)
    ]
    polled = next(each for each in heard.observations if isinstance(each, NodePolled) and each.healthy)
    assert (polled.url, polled.relayers) == (world.hoprd.url, len(world.relayers))


async def test_instruments_that_fail_disturb_nothing_and_are_logged_once_a_minute(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    calls = Counter[str]()

    def failing(observation: Observation, /) -> None:
        calls[type(observation).__name__] += 1
        raise ValueError("of the user's")

    with caplog.at_level(logging.INFO, "trio_sessions.instruments"):
        async with watched_world(None, failing) as world:
            node = Node(world.hoprd, rng=random.Random(0), connect=world.sim.connect, instruments=failing)
            async with trio.open_nursery() as nursery:
                await nursery.start(node.run)
                for _ in range(3):
                    assert (await node.relay(node.relayers[0], 5)).answered == 5
                    await trio.sleep(40)
                node.stop()
            assert node.report.clean
            world.assert_nothing_left()
    # The client and the pool have a guard each.
    lines = [record.getMessage() for record in caplog.records]
    assert 2 <= len(lines) <= 2 * 3
    assert sum("more since the last such line" in line for line in lines) >= 2
    assert all(record.exc_info is not None and "of the user's" in str(record.exc_info[1]) for record in caplog.records)
    assert calls["BatchSettled"] == 3
    assert calls["SessionEnded"] == 1


async def test_calls_without_a_reply(autojump_clock: MockClock) -> None:
    heard = Heard()
    async with watched_world(faulty("hang:list:count=2", "garbage:list"), heard) as world:
        with trio.move_on_after(1.0):
            await world.hoprd.list_sessions()
        with pytest.raises(NodeTimeoutError):
            await world.hoprd.list_sessions(timeout=3.0)
        with pytest.raises(MalformedReplyError):
            await world.hoprd.list_sessions()
        assert await world.hoprd.close_session(ListenerKey("udp", "127.0.0.9", 4711)) is False
        assert [(call.route, call.status, call.error) for call in heard.calls()] == [
            ("/session/udp", None, "Cancelled"),
            ("/session/udp", None, "NodeTimeoutError"),
            # The call itself went well; what came is not what the contract promises.
            ("/session/udp", 200, None),
            ("/session/udp/{ip}/{port}", 404, None),
        ]
        assert [call.seconds for call in heard.calls()[:2]] == [1.0, 3.0]
