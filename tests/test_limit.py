"""So many at a time, and the slow ones apart: against what the words say, at every moment of virtual time."""

from __future__ import annotations

from math import inf

import attrs
import pytest
import trio
import trio.testing
from hypothesis import example, given, settings, strategies as st
from trio.testing import MockClock

from trio_sessions._limit import Limit

PATIENCE = 2.0


@attrs.frozen
class Job:
    """A holder: when it comes, for how long it works, and waits after that, and when it loses patience."""

    comes: float
    works: float
    waits: float | None = None
    gives_up: float | None = None


@attrs.define
class Model:
    """What is known from outside: who holds, since when they wait, and who was said to be slow."""

    most: int
    most_slow: int
    queue: list[int] = attrs.field(factory=list)
    busy: set[int] = attrs.field(factory=set)
    waiting: dict[int, float] = attrs.field(factory=dict)
    slow: set[int] = attrs.field(factory=set)
    order: list[int] = attrs.field(factory=list)

    def on_slow(self, holder: int) -> None:
        assert trio.current_time() >= self.waiting.pop(holder) + PATIENCE
        assert self.queue, "nobody wants the room"
        self.slow.add(holder)
        assert len(self.slow) <= self.most_slow

    def check(self, limit: Limit[int]) -> None:
        """Whoever has to wait now has a reason to."""
        assert limit.queued == len(self.queue)
        assert len(self.busy) + len(self.waiting) <= self.most
        if self.queue:
            assert len(self.busy) + len(self.waiting) == self.most
            overdue = [since for since in self.waiting.values() if since + PATIENCE <= trio.current_time()]
            assert not overdue or len(self.slow) == self.most_slow


async def run_jobs(most: int, most_slow: int, jobs: list[Job]) -> Model:
    model = Model(most, most_slow)
    limit = Limit[int](most, most_slow=most_slow, patience=PATIENCE, on_slow=model.on_slow)

    gives_up_at: dict[int, float] = {}

    async def do(number: int, job: Job) -> None:
        await trio.sleep(job.comes)
        # Those that come at one moment come in any order: this is where it is seen.
        model.queue.append(number)
        gives_up_at[number] = inf if job.gives_up is None else trio.current_time() + job.gives_up
        with trio.move_on_at(gives_up_at[number]) as patience:
            await limit.acquire(number)
        if patience.cancelled_caught:
            model.queue.remove(number)
            return
        # Who has given up and does not know it yet is no more in turn.
        ahead = model.queue[: model.queue.index(number)]
        assert all(gives_up_at[each] <= trio.current_time() for each in ahead), "not in turn"
        model.queue.remove(number)
        model.order.append(number)
        model.busy.add(number)
        try:
            await trio.sleep(job.works)
            if job.waits is not None:
                model.busy.remove(number)
                model.waiting[number] = trio.current_time()
                limit.waits(number)
                await trio.sleep(job.waits)
        finally:
            model.busy.discard(number)
            model.waiting.pop(number, None)
            model.slow.discard(number)
            limit.release(number)

    async with trio.open_nursery() as nursery:
        for number, job in enumerate(jobs):
            nursery.start_soon(do, number, job)
        while nursery.child_tasks:
            await trio.testing.wait_all_tasks_blocked()
            model.check(limit)
            await trio.sleep(0.5)
    assert limit.queued == 0
    # All is free again.
    for number in range(most):
        with trio.fail_after(0):
            await limit.acquire(-1 - number)
    return model


moments = st.integers(0, 12).map(lambda half: half / 2)
spans = st.integers(0, 8).map(lambda half: half / 2)
jobs_of_all_kinds = st.builds(Job, moments, spans, st.none() | spans | st.just(30.0), st.none() | spans)


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 3), st.integers(0, 3), st.lists(jobs_of_all_kinds, max_size=10))
# The one that is next in turn came when all were busy: they began to wait after that.
@example(1, 1, [Job(0, 0.5, 30), Job(0, 1)])
@example(2, 2, [Job(0, 0.5, 30), Job(0, 1, 30), Job(0, 1), Job(0, 1)])
# A place among the slow ones is free again, and one has waited for long.
@example(1, 1, [Job(0, 0, 5), Job(1, 0, 30), Job(2, 1)])
# The next in turn gives up while it sleeps.
@example(1, 1, [Job(0, 0, 30), Job(0, 1, None, 1), Job(0.5, 1)])
@example(1, 0, [Job(0, 0), Job(0, 0), Job(0, 0, None, 0)])
def test_no_more_than_so_many_and_nobody_waits_without_a_reason(most: int, most_slow: int, jobs: list[Job]) -> None:
    model = trio.run(run_jobs, most, most_slow, jobs, clock=MockClock(autojump_threshold=0))
    patient = {number for number, job in enumerate(jobs) if job.gives_up is None}
    assert patient <= set(model.order)


async def test_the_room_of_a_slow_one_is_anothers_after_exactly_the_patience(autojump_clock: MockClock) -> None:
    limit = Limit[str](1, most_slow=2, patience=PATIENCE)
    entered: list[tuple[str, float]] = []

    async def enter(name: str) -> None:
        await limit.acquire(name)
        entered.append((name, trio.current_time()))
        limit.waits(name)

    async with trio.open_nursery() as nursery:
        await limit.acquire("first")
        nursery.start_soon(enter, "second")
        nursery.start_soon(enter, "third")
        nursery.start_soon(enter, "fourth")
        await trio.sleep(10)
        assert limit.queued == 3
        # The second one sleeps, and hears that there is something to wait for now.
        limit.waits("first")
        await trio.sleep(100)
        # Two are slow: that is all there may be.
        assert [time for _, time in entered] == [12.0, 14.0]
        limit.release(entered[0][0])
        await trio.sleep(0.5)
        assert len(entered) == 3
        assert limit.queued == 0


@pytest.mark.parametrize("state", ["busy", "waiting", "slow"])
async def test_a_release_makes_room_at_once_in_each_state(autojump_clock: MockClock, state: str) -> None:
    limit = Limit[int](1, most_slow=1, patience=PATIENCE)
    await limit.acquire(0)
    other = 0
    if state != "busy":
        limit.waits(0)
    if state == "slow":
        await trio.sleep(PATIENCE)
        await limit.acquire(1)
        other = 1
        # Now there is one slow one, and one that will not become it.
        limit.waits(1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(limit.acquire, 2)
        await trio.sleep(1.0)
        assert limit.queued == 1
        limit.release(other)
        limit.release(other)
        await trio.testing.wait_all_tasks_blocked()
        assert limit.queued == 0
    # Of a slow one's end only the slow ones have more room.
    limit.release(0)
    limit.release(2)
    with trio.fail_after(0):
        await limit.acquire(3)


async def test_the_end_of_a_slow_one_lets_another_become_slow(autojump_clock: MockClock) -> None:
    limit = Limit[int](1, most_slow=1, patience=PATIENCE)
    for holder in (0, 1):
        await limit.acquire(holder)
        limit.waits(holder)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(limit.acquire, 2)
        await trio.sleep(10)
        assert limit.queued == 1
        limit.release(0)
        await trio.testing.wait_all_tasks_blocked()
        assert limit.queued == 0


async def test_no_checkpoint_when_there_is_room() -> None:
    limit = Limit[int](2, most_slow=0, patience=PATIENCE)
    with trio.testing.assert_no_checkpoints():
        await limit.acquire(0)
        await limit.acquire(1)


async def test_who_waits_sleeps_and_a_step_costs_the_same_however_many_wait(autojump_clock: MockClock) -> None:
    """Each of them runs a few times in all, and never in turns of their own."""

    class Steps(trio.abc.Instrument):
        count = 0

        def before_task_step(self, task: trio.lowlevel.Task) -> None:
            self.count += 1

    async def hold(number: int) -> None:
        await limit.acquire(number)
        limit.waits(number)
        await trio.sleep(100)
        limit.release(number)

    per_holder = []
    for many in (40, 400):
        limit = Limit[int](4, most_slow=16, patience=PATIENCE)
        steps = Steps()
        trio.lowlevel.add_instrument(steps)
        async with trio.open_nursery() as nursery:
            for number in range(many):
                nursery.start_soon(hold, number)
        trio.lowlevel.remove_instrument(steps)
        per_holder.append(steps.count / many)
    assert max(per_holder) < 8
