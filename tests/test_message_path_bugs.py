"""What a hunt for bugs in the message path found, one test each."""

from __future__ import annotations

from math import inf

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from tests.worlds import inline, memory_world
from trio_sessions import Node, NodeOptions, PoolOptions, PoolStoppedError, _link
from trio_sessions._answers import Answers
from trio_sessions._batches import Batch, Batches
from trio_sessions._link import Link
from trio_sessions._wire import BatchEncoder
from trio_sessions.simulator import SimulatorConfig, parse_fault

ENCODER = BatchEncoder("0x" + "a" * 40, "0x" + "b" * 40, 607)


async def test_a_session_that_ends_settles_what_waits_for_room_before_it_is_over(autojump_clock: MockClock) -> None:
    """The report is final when the node has returned, however many callers still have to be told."""
    options = NodeOptions(intake=100_000, intake_total=1_000_000)
    async with memory_world(send_buffer=1) as world:
        node = Node(world.hoprd, options, connect=world.sim.connect, in_thread=inline)
        undelivered = []

        async def relay() -> None:
            outcome = await node.relay(world.relayers[0], 100)
            undelivered.append(outcome.undelivered)

        async def run(task_status: trio.TaskStatus[None]) -> None:
            await node.run(task_status=task_status)
            assert node.report.messages.balanced

        async with trio.open_nursery() as nursery:
            await nursery.start(run)
            for _ in range(300):
                nursery.start_soon(relay)
            await trio.sleep(0.0605)
            assert node.report.messages.pending == 30_000
            node.stop(drain=False)
        assert len(undelivered) == 300
        assert sum(undelivered) == node.report.messages.undelivered["stopped"]


@pytest.mark.parametrize("limit", [1, 3])
async def test_who_waits_for_a_place_hears_at_once_that_the_session_ends(
    autojump_clock: MockClock, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_link, "_MAX_OUTSTANDING", limit)
    options = NodeOptions(intake=100_000, intake_total=1_000_000)
    async with memory_world(SimulatorConfig(echo_latency=100.0)) as world:
        node = Node(world.hoprd, options, connect=world.sim.connect, in_thread=inline)
        refused = []

        async def relay() -> None:
            try:
                await node.relay(world.relayers[0], 1)
            except PoolStoppedError as error:
                refused.append(error.reason)

        async def run(task_status: trio.TaskStatus[None]) -> None:
            await node.run(task_status=task_status)
            assert node.report.messages.balanced

        async with trio.open_nursery() as nursery:
            await nursery.start(run)
            for _ in range(300):
                nursery.start_soon(relay)
            await trio.sleep(0.1)
            assert node.report.messages.pending == 300
            node.stop(drain=False)
        assert refused == ["stopped"] * (300 - limit)


@pytest.mark.parametrize("drain", [True, False])
async def test_a_pool_that_its_user_stops_while_the_node_drains_has_no_more_time(
    autojump_clock: MockClock, drain: bool
) -> None:
    async with memory_world(SimulatorConfig(echo_latency=100.0)) as world:
        node = Node(world.hoprd, None, PoolOptions(reply_timeout=1000.0), connect=world.sim.connect, in_thread=inline)
        async with trio.open_nursery() as nursery:
            await nursery.start(node.run)
            await node.submit(world.relayers[0], 10)
            await trio.sleep_until(1.0)
            world.sim.node.add_fault(parse_fault("hang:close"))
            node.stop()
            await trio.sleep_until(3.0)
            node.pool.stop(drain=drain)
        assert trio.current_time() == pytest.approx(11.0, abs=0.1)
        assert node.report.stop_duration == pytest.approx(10.0, abs=1e-6)
        assert node.report.messages.balanced


@pytest.mark.parametrize("hanging", [False, True])
async def test_a_cancel_while_a_node_drains_gives_it_no_more_time(autojump_clock: MockClock, hanging: bool) -> None:
    config = SimulatorConfig(echo_latency=100.0)
    options = PoolOptions(reply_timeout=1000.0, drain_timeout=5.0, stop_timeout=10.0)
    async with memory_world(config) as world:
        node = Node(world.hoprd, None, options, connect=world.sim.connect, in_thread=inline)
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                await nursery.start(node.run)
                await node.submit(world.relayers[0], 10)
                await trio.sleep_until(1.0)
                if hanging:
                    world.sim.node.add_fault(parse_fault("hang:close"))
                node.stop()
                await trio.sleep_until(5.0)
                scope.cancel()
        assert trio.current_time() == pytest.approx(11.0 if hanging else 6.0, abs=0.1)
        assert node.report.stop_duration == pytest.approx(trio.current_time() - 1.0, abs=1e-6)
        assert node.report.messages.balanced


def test_one_batch_that_waits_keeps_no_others_that_are_over() -> None:
    batches = Batches(1000.0)

    def relay(size: int, answers: int) -> Batch:
        batch = batches.begin(size, 1)
        batch.departed(size, 0.0)
        batches.all_sent(batch, 0.0)
        assert not answers or batches.answer_many(batch, 0, answers, 1.0)
        return batch

    slow = relay(2, 1)
    for _ in range(10_000):
        relay(2, 2)
    assert len(batches) == 1
    assert len(batches._deadlines) < 100
    last = relay(2, 1)
    assert batches.next_deadline == 1000.0
    batches.expire(1000.0)
    assert slow.is_done
    assert last.is_done
    assert batches.next_deadline == inf


def test_a_batch_that_left_one_by_one_is_answered_by_when_each_left() -> None:
    batches = Batches(1000.0)
    batch = batches.begin(1000, 1)
    for number in range(1000):
        batch.departed(1, float(number))
    batches.all_sent(batch, 1000.0)
    assert batches.answer_many(batch, 0, 999, 2000.0)
    assert batch.rtts == [2000.0 - number for number in range(999)]


class Backlog:
    """A socket that sends everything, and echoes when it is told to."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.arrived: list[bytes] = []
        self.news = trio.Event()

    def send_nowait(self, data: bytes) -> None:
        self.sent.append(data)

    def send_stream_nowait(self, stream: bytes, size: int, start: int, stop: int) -> int:
        self.sent += [stream[at : at + size] for at in range(start * size, stop * size, size)]
        return stop - start

    def receive_nowait(self) -> bytes:
        if not self.arrived:
            raise BlockingIOError
        return self.arrived.pop(0)

    async def wait_writable(self) -> None:
        await trio.lowlevel.checkpoint()

    async def wait_readable(self) -> None:
        await trio.lowlevel.checkpoint()
        if not self.arrived:
            await self.news.wait()

    def close(self) -> None:
        pass


async def test_what_arrived_in_time_counts_when_the_reader_comes_late(mock_clock: MockClock) -> None:
    """A program that blocks for longer than the reply timeout finds its answers all the same."""
    sock = Backlog()
    link = Link(sock, ENCODER, reply_timeout=2.0, on_failure=lambda _: None)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(link.run)
        batches = [await link.begin(1) for _ in range(500)]
        for batch in batches:
            await link.send_all(batch)
        await trio.testing.wait_all_tasks_blocked()
        sock.arrived += sock.sent
        sock.news.set()
        # Nobody had a turn meanwhile.
        mock_clock.jump(3.0)
        for batch in batches:
            await link.wait_done(batch)
        nursery.cancel_scope.cancel()
    assert [len(batch.rtts) for batch in batches] == [1] * 500


async def test_what_a_batch_that_was_given_up_holds_is_let_go() -> None:
    link = Link(Backlog(), ENCODER, reply_timeout=2.0, on_failure=lambda _: None)
    batch = link.begin_nowait(1000)
    assert batch is not None
    relaying = link._relaying
    assert relaying is not None
    answers: Answers = relaying.answers
    stream = ENCODER.stream(batch.size, batch.index, batch.timestamp)
    batch.departed(64, 0.0)
    answers.take(stream[:607], 1.0)
    answers.flush(1.0)
    assert len(batch.rtts) == 1
    link.end(batch)
    assert answers._sent == b""
