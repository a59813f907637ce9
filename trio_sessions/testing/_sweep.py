"""The cancellation sweep: an operation is run once for each moment at which it can be cancelled, and then for pairs."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Generic, Literal, TypeVar

import trio

from trio_sessions.testing._sweep_result import (
    Found,
    Plan,
    Point,
    SweepResult,
    Violation,
    Visited,
    When,
    label_of,
    read_label,
)
from trio_sessions.testing._sweep_run import Run, Scenario, play
from trio_sessions.testing._sweep_watch import Step

__all__ = ["Sweeper", "sweep"]

W = TypeVar("W")
T = TypeVar("T")


def sweep(
    operation: Callable[[W], Awaitable[object]],
    *,
    setup: Callable[[], AbstractAsyncContextManager[W]],
    invariant: Callable[[W], Awaitable[object] | object] | None = None,
    first: Callable[[W], object] | None = None,
    tasks: Literal["own", "all"] = "own",
    singles: int | None = None,
    pairs: int | None = 200,
    seed: int | str = 0,
    max_seconds: float = 3600.0,
    max_steps: int = 50_000,
    only: str | None = None,
    name: str | None = None,
) -> SweepResult:
    """Cancel ``operation`` at each of its checkpoints, and see whether ``invariant`` holds every time.

    The operation runs once to count its steps, then once for each point: with a cancel while the task waits after the
    step, whose wait is then aborted, and with a cancel just before the next one, when what it waited for has happened.
    Then pairs: the first cancel is that of a scope around the operation, the second one that of a scope around that, at
    any later step of the clean-up, shielded or not; or the deadline of that scope is over.

    Each run is a :func:`trio.run` of its own in virtual time, with Trio's order of tasks from ``seed``: so call it from
    a plain function, not from an async test. It enters ``setup``, runs the operation in a task of its own inside of
    the scopes, calls ``invariant``, which the cancel does not reach, leaves the setup, and looks for tasks that are
    left behind. What is found is one of :class:`Found`::

        from contextlib import asynccontextmanager

        import trio
        from trio_sessions.testing import sweep

        @asynccontextmanager
        async def one_connection():
            yield trio.CapacityLimiter(1)

        async def call(connections):
            async with connections:
                await trio.sleep(1)

        def is_given_back(connections):
            assert connections.borrowed_tokens == 0

        def test_a_cancelled_call_gives_its_connection_back():
            sweep(call, setup=one_connection, invariant=is_given_back).check()

    What runs must repeat itself: no real sockets, threads or clocks, no random numbers but seeded ones. A run that
    differs from the counting one before its cancel is reported, never passed over.

    Args:
        operation: is given what the setup gives. Uncancelled it must return, and not raise.
        setup: makes a new world for each run, as an async context manager. It may check something after its ``yield``.
        invariant: raises if something does not hold; a plain function or an async one.
        first: what happens at each point, instead of the cancel of a scope around the whole operation: it may cancel a
            scope inside of it, or stop what it uses. Then pairs show what a cancel does to the clean-up after that.
        tasks: whose steps count: ``"own"``, those of the operation's task and its descendants; or ``"all"``, so that a
            cancel also comes at any moment of what works for the operation in nurseries of the setup or of the system.
        singles: at most so many points with one cancel, drawn by ``seed``; ``None`` is all.
        pairs: at most so many pairs, likewise; 0 is none. The result says how many were left out.
        seed: of Trio's order of tasks, and of what is drawn.
        max_seconds: of virtual time for a whole run; whatever is not over by then hangs.
        max_steps: of all tasks for a whole run; the same.
        only: the label of a violation: only this point is visited.
        name: in the result; the operation's own one otherwise.

    Raises:
        InvalidInputError: ``only`` is no label.
        RuntimeError: called from within Trio.
    """
    scenario = Scenario(operation, setup, invariant, first, tasks == "all", seed, max_seconds, max_steps)
    sweeper = Sweeper(scenario, name or str(getattr(operation, "__qualname__", operation)))
    if only is not None:
        return sweeper.visit(read_label(only))
    return sweeper.sweep(singles=singles, pairs=pairs)


class Sweeper(Generic[W]):
    """Plans the runs of a scenario, and sums them up.

    With ``share``, e.g. ``(0, 4)``, it visits every fourth point with one cancel, from the first one on, and their
    pairs: so several processes can divide the work, and their results can be added up.
    """

    def __init__(self, scenario: Scenario[W], name: str, share: tuple[int, int] = (0, 1)) -> None:
        if trio.lowlevel.in_trio_run():
            raise RuntimeError("a sweep runs Trio itself: call it from a plain function, not from an async one")
        self._scenario = scenario
        self._name = name
        self._share = share
        self._violations: list[Violation] = []
        self._delivered = 0

    def sweep(self, *, singles: int | None, pairs: int | None) -> SweepResult:
        """Visit all points, or as many as are wanted."""
        counting = self._play((), None)
        if counting.violations:
            # What does not hold uncancelled would be found at every point again.
            return self._result(counting, [], 0, [], 0)
        number, of = self._share
        firsts = [(point,) for point in counting.moments][number::of]
        chosen = self._draw(firsts, singles)
        followed: list[Run] = []
        for plan in chosen:
            run = self._play(plan, counting)
            if pairs != 0 and not run.violations:
                followed.append(run)
        seconds = [(run, point) for run in followed for point in _later(run)]
        drawn = self._draw(seconds, pairs)
        for run, point in drawn:
            self._play((*run.plan, point), run)
        left_out = len(seconds) - len(drawn)
        return self._result(counting, chosen, len(firsts) - len(chosen), [point for _, point in drawn], left_out)

    def visit(self, plan: Plan) -> SweepResult:
        """Visit one point alone, after the runs that it is compared with."""
        reference = counting = self._play((), None)
        if plan and not counting.violations:
            for number in range(1, len(plan)):
                reference = play(self._scenario, plan[:number])
            self._play(plan, reference)
        singles, pairs = ([plan], []) if len(plan) == 1 else ([], list(plan[1:]))
        return self._result(counting, singles, 0, pairs, 0)

    def _play(self, plan: Plan, reference: Run | None) -> Run:
        run = play(self._scenario, plan)
        self._violations += run.violations
        self._delivered += run.delivered
        if reference is not None and (difference := _difference(run, reference)):
            self._violations.append(Violation(label_of(plan), Found.NOT_DETERMINISTIC, difference))
        return run

    def _draw(self, things: Sequence[T], most: int | None) -> Sequence[T]:
        """At most so many of them, by the seed, in their order."""
        if most is None or len(things) <= most:
            return things
        chosen = random.Random(f"{self._scenario.seed}:{self._share}").sample(range(len(things)), most)
        return [things[number] for number in sorted(chosen)]

    def _result(
        self, counting: Run, singles: Sequence[Plan], singles_left: int, pairs: Sequence[Point], pairs_left: int
    ) -> SweepResult:
        return SweepResult(
            name=self._name,
            checkpoints=counting.checkpoints,
            singles=Visited.of((plan[0] for plan in singles), singles_left),
            pairs=Visited.of(pairs, pairs_left),
            delivered=self._delivered,
            violations=tuple(self._violations),
        )


def _later(run: Run) -> Iterator[Point]:
    """The points after the cancel of a run, for another one."""
    (first,) = run.plan
    for point in run.moments:
        if (point.step, point.when is When.PARKED) > (first.step, first.when is When.PARKED):
            yield point
            if point.when is When.RUNNABLE:
                yield Point(When.DEADLINE, point.step)


def _difference(run: Run, reference: Run) -> str:
    """How a run differs from another one before its last cancel; empty if it does not."""
    last = run.plan[-1].step
    steps, expected = run.trace[:last], reference.trace[:last]
    for number, (step, other) in enumerate(zip(steps, expected, strict=False), 1):
        if step != other:
            return f"step {number} was of {_in_words(step)}, and before of {_in_words(other)}"
    if run.cancels < len(run.plan):
        return f"it was over after {len(steps)} steps, before its point"
    return ""


def _in_words(step: Step) -> str:
    number, name, time = step
    return f"task {number}, {name}, at {time:g} s"
