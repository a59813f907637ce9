"""Every message is accounted for once, whatever happens to it: random runs of a node, judged by what its users saw."""

from __future__ import annotations

import random

import attrs
import trio
from hypothesis import given, settings, strategies as st
from trio.testing import MockClock

from tests.worlds import World, inline, memory_world
from trio_sessions import BatchOutcome, Messages, Node, NodeOptions, PoolOptions, SessionsError
from trio_sessions.simulator import SimulatorConfig, parse_fault

FAULTS = (
    "loss:p=0.3",
    "duplicate:p=0.3",
    "reorder:p=0.3",
    "merge:p=0.5",
    "split:p=0.2",
    "hang:open:relayer=0",
    "status:open:status=500:p=0.5",
    "delay:open:seconds=3:p=0.3",
    "reply-lost:open:p=0.2",
    "status:close:status=500:p=0.3",
    "empty:list:p=0.2",
    "flap:relayer=1:at=2:seconds=4:count=3",
)


@attrs.define
class Users:
    """What those who hand in messages did and saw."""

    node: Node
    rng: random.Random
    outcomes: list[BatchOutcome] = attrs.field(factory=list)
    refused: int = 0
    submitted: int = 0

    async def one(self) -> None:
        """Hand in one batch, at some time, with some patience."""
        rng = self.rng
        await trio.sleep(rng.uniform(0, 20))
        relayer, count = rng.choice(self.node.relayers), rng.choice([1, 2, 9, 10, 11, 100, 600])
        with trio.move_on_after(rng.choice([0.0, 0.01, 0.05, 1.0, 1000.0])):
            try:
                if rng.random() < 0.5:
                    self.outcomes.append(await self.node.relay(relayer, count))
                else:
                    await self.node.submit(relayer, count)
                    self.submitted += count
            except SessionsError:
                self.refused += count

    async def disturb(self, world: World, stop_at: float) -> None:
        """Close sessions, break their sockets, restart the node; then stop."""
        rng, began = self.rng, trio.current_time()
        while (left := began + stop_at - trio.current_time()) > 0:
            await trio.sleep(min(left, rng.uniform(0.1, 5)))
            deed = rng.random()
            if deed < 0.3 and self.node.pool.sessions():
                relayer = rng.choice(self.node.pool.sessions()).relayer
                assert relayer is not None
                self.node.pool.set_reachable(relayer, rng.random() < 0.5)
            elif deed < 0.5:
                world.sim.node.restart(down_for=rng.uniform(0, 3))
            check(self.node.report.messages)
        self.node.stop(drain=rng.random() < 0.7)


def check(messages: Messages) -> None:
    """The books balance at any moment: what is in none of the other columns is pending."""
    settled = messages.answered + messages.unanswered + sum(messages.undelivered.values())
    assert messages.accepted == settled + messages.pending
    assert messages.pending >= 0


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    faults=st.sets(st.sampled_from(FAULTS), max_size=5),
    stop_at=st.floats(0.1, 30.0),
    send_buffer=st.sampled_from([4, 256]),
)
def test_whatever_happens_every_message_is_counted_once(
    seed: int, faults: set[str], stop_at: float, send_buffer: int
) -> None:
    config = SimulatorConfig(seed=seed, relayers=4, faults=tuple(parse_fault(fault) for fault in sorted(faults)))

    async def main() -> None:
        async with memory_world(config, send_buffer=send_buffer) as world:
            node = Node(
                world.hoprd,
                NodeOptions(poll_interval=1.0, intake_total=2000),
                PoolOptions(reconcile_interval=2.0, reply_timeout=0.5, grace_period=3.0),
                rng=random.Random(seed),
                connect=world.sim.connect,
                in_thread=inline,
            )
            users = Users(node, random.Random(seed))
            async with trio.open_nursery() as nursery:
                await nursery.start(node.run)
                for _ in range(60):
                    nursery.start_soon(users.one)
                nursery.start_soon(users.disturb, world, stop_at)
            report = node.report
        messages = report.messages
        assert messages.balanced
        for column in ("accepted", "answered", "unanswered"):
            assert getattr(messages, column) == sum(getattr(each, column) for each in report.by_relayer.values())
        assert all(each.balanced for each in report.by_relayer.values())
        seen = {key: sum(getattr(each, key) for each in users.outcomes) for key in ("answered", "unanswered")}
        # Beyond what their callers saw there are only the batches that nobody waited for, or whose caller gave up.
        assert messages.answered >= seen["answered"]
        assert messages.unanswered >= seen["unanswered"]
        assert messages.accepted >= users.submitted + sum(each.sent for each in users.outcomes)
        if "loss:p=0.3" not in faults and "duplicate:p=0.3" not in faults:
            assert messages.answered <= world.sim.node.counters.datagrams_received
        assert report.open_sessions == 0
        assert world.sim.open_sockets == 0
        assert report.stop_duration is not None
        assert report.stop_duration <= 10.0 + 1e-6

    trio.run(main, clock=MockClock(autojump_threshold=0))
