"""Rule 1: one writer."""

from __future__ import annotations

import attrs
import pytest
import trio
import trio.testing
from trio.testing import MockClock

from tests.worlds import memory_world
from trio_sessions import State
from trio_sessions._lifecycle import Event
from trio_sessions._record import ForeignWriteError, SessionRecord
from trio_sessions._route import Route
from trio_sessions.simulator import SimulatorConfig, parse_fault

ROUTE = Route(relayer="0x" + "1" * 40)


async def test_only_the_owning_task_writes() -> None:
    record = SessionRecord(ROUTE)

    async def own(task_status: trio.TaskStatus[None]) -> None:
        record.claim()
        task_status.started()
        record.attempts = 1
        record.apply(Event.OPENED)
        await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        await nursery.start(own)
        await trio.testing.wait_all_tasks_blocked()
        before = record.snapshot()
        for name in ("state", "reason", "destination", "listener", "opened_at", "grace_ends_at", "attempts"):
            with pytest.raises(ForeignWriteError, match=name):
                setattr(record, name, None)
        with pytest.raises(ForeignWriteError):
            record.apply(Event.END)
        with pytest.raises(ForeignWriteError, match="owner already"):
            record.claim()
        assert record.snapshot() == before
        assert before.state is State.ACTIVE
        nursery.cancel_scope.cancel()


async def test_nobody_writes_before_the_owner_came() -> None:
    record = SessionRecord(ROUTE)
    with pytest.raises(ForeignWriteError):
        record.apply(Event.OPENED)
    assert record.snapshot().state is State.OPENING


async def test_a_snapshot_is_frozen_and_does_not_follow() -> None:
    record = SessionRecord(ROUTE)
    record.claim()
    snapshot = record.snapshot()
    record.apply(Event.OPENED)
    assert snapshot.state is State.OPENING
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        snapshot.state = State.CLOSED  # type: ignore[misc]


async def test_the_snapshot_has_the_last_round_trip(autojump_clock: MockClock) -> None:
    async with memory_world(SimulatorConfig(echo_latency=0.25)) as world, world.pool() as pool:
        session = await pool.session(world.relayers[0])
        assert (session.info.last_rtt, session.info.last_answered_at) == (None, None)
        outcome = await session.relay(9)
        assert session.info.last_rtt == sorted(outcome.rtts)[4]
        assert session.info.last_answered_at == trio.current_time()
        # A batch that nobody answers changes nothing.
        before = session.info
        world.sim.node.add_fault(parse_fault("loss"))
        assert (await session.relay(5)).answered == 0
        assert session.info.last_rtt == before.last_rtt
