"""One run of a sweep: a whole ``trio.run`` in virtual time, with its world, its cancels and what it found."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from functools import partial
from math import inf
from pathlib import Path
from typing import Generic, NoReturn, TypeVar

import attrs
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from trio_sessions.testing._abandon import abandon
from trio_sessions.testing._deterministic import deterministic_schedule
from trio_sessions.testing._sweep_result import Found, Plan, Point, Violation, When, label_of
from trio_sessions.testing._sweep_watch import REASON, Step, Watch

__all__ = ["Run", "Scenario", "play"]

W = TypeVar("W")

_TRIO = str(Path(trio.__file__).parent)


@attrs.frozen
class Scenario(Generic[W]):
    """What is swept, and how each run is bounded; see :func:`trio_sessions.testing.sweep`."""

    operation: Callable[[W], Awaitable[object]]
    setup: Callable[[], AbstractAsyncContextManager[W]]
    invariant: Callable[[W], Awaitable[object] | object] | None
    first: Callable[[W], object] | None
    whole_world: bool
    seed: int | str
    max_seconds: float
    max_steps: int


@attrs.frozen
class Run:
    """What one run was like, as its :class:`Watch` saw it, and what was found."""

    plan: Plan
    trace: tuple[Step, ...]
    moments: tuple[Point, ...]
    checkpoints: int
    cancels: int
    delivered: bool
    violations: tuple[Violation, ...]


class _GivenUp(BaseException):
    """Ends a run from within Trio's own loop: nothing else ends tasks that are shielded, or swallow Cancelled."""


def play(scenario: Scenario[W], plan: Plan) -> Run:
    """Run the scenario once, with a cancel at each point of the plan.

    What the setup raises on the way in comes out as it is: that is the caller's mistake, and no finding.
    """
    return _Player(scenario, plan).play()


class _Player(Generic[W]):
    def __init__(self, scenario: Scenario[W], plan: Plan) -> None:
        self._scenario = scenario
        self._plan = plan
        self._label = label_of(plan)
        self._outer, self._inner = trio.CancelScope(), trio.CancelScope()
        #: Its deadline is the run's bound.
        self._bound = trio.CancelScope(deadline=scenario.max_seconds)
        self._watch = Watch(
            plan,
            self._cancel,
            whole_world=scenario.whole_world,
            max_steps=scenario.max_steps,
            give_up=self._give_up,
        )
        self._violations: list[Violation] = []
        #: Trio's own tasks, and ours.
        self._surroundings: frozenset[trio.lowlevel.Task] = frozenset()
        self._entered = False
        self._first: Callable[[], object] | None = None

    def play(self) -> Run:
        clock = MockClock(autojump_threshold=0)
        try:
            with deterministic_schedule(self._scenario.seed):
                trio.run(self._main, clock=clock, instruments=[self._watch])
        except trio.TrioInternalError as error:
            if not isinstance(error.__cause__, _GivenUp):
                raise
            self._hung()
        watch = self._watch
        return Run(
            self._plan,
            tuple(watch.trace),
            tuple(watch.moments),
            watch.checkpoints,
            watch.cancels,
            watch.delivered,
            tuple(self._violations),
        )

    # -- the run

    async def _main(self) -> None:
        self._surroundings = frozenset(self._watch.alive)
        with await _watchdog(self._bound, self._watch):
            with self._finding(Found.INVARIANT):
                async with self._scenario.setup() as world:
                    self._entered = True
                    self._first = partial(self._scenario.first, world) if self._scenario.first else None
                    await self._operate(world)
                    # What does not hold must not look to the setup like an error of its block.
                    with self._finding(Found.INVARIANT):
                        await self._hold(world)
            # What only has to take its last step is not left behind.
            await wait_all_tasks_blocked()
            for task in self._others():
                self._found(Found.LEFT_BEHIND, _whereabouts(task))

    async def _operate(self, world: W) -> None:
        # In a task of its own, so that the setup's tasks are none of the operation's descendants.
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._operation, world, name=_name_of(self._scenario.operation))
            (task,) = nursery.child_tasks
            self._watch.open(task)

    async def _operation(self, world: W) -> None:
        returned = False
        with self._finding(Found.ERROR):
            try:
                with self._outer, self._inner:
                    await self._scenario.operation(world)
                    returned = True
            finally:
                self._watch.close()
        if returned and self._watch.is_cancelled:
            self._found(Found.SWALLOWED, "the operation returned as if it had not been cancelled")

    def _cancel(self, number: int) -> None:
        """Called at the points of the plan, between two steps."""
        if number == 0 and self._first is not None:
            with self._finding(Found.ERROR):
                self._first()
        elif self._plan[number].when is When.DEADLINE:
            self._outer.deadline = trio.current_time()
        else:
            (self._inner, self._outer)[number].cancel(reason=REASON)

    async def _hold(self, world: W) -> None:
        invariant = self._scenario.invariant
        if invariant is not None:
            held = invariant(world)
            if inspect.isawaitable(held):
                await held

    def _others(self) -> list[trio.lowlevel.Task]:
        """The tasks that setup and operation have begun and that have not ended."""
        return [task for task in self._watch.alive if task not in self._surroundings]

    # -- what is found

    @contextmanager
    def _finding(self, found: Found) -> Iterator[None]:
        """Take what is raised for a finding, and go on."""
        try:
            yield
        except BaseException as error:
            # Not only an Exception: what pytest's own helpers raise is none.
            if not self._entered or _concerns_all(error):
                raise
            self._found(found, _in_a_line(error), error)

    def _found(self, found: Found, problem: str, error: BaseException | None = None) -> None:
        self._violations.append(Violation(self._label, found, problem, error))

    def _give_up(self) -> None:
        # The deadline is over: Trio looks at it before the next steps.
        self._bound.deadline = -inf

    def _hung(self) -> None:
        bound = f"{self._scenario.max_steps} steps"
        if self._bound.deadline > -inf:
            bound = f"{self._scenario.max_seconds:g} s of virtual time"
        tasks = self._others() or list(self._watch.alive)
        self._found(Found.HANG, f"not within {bound}: {'; '.join(map(_whereabouts, tasks))}")
        for task in self._watch.unfinished():
            abandon(task)


async def _watchdog(bound: trio.CancelScope, watch: Watch) -> _Stopping:
    """Begin to give up the run when ``bound`` is cancelled, until the given back context is left."""
    waits = trio.Event()

    def give_up(_: object) -> NoReturn:
        # Trio calls this from its own loop, where an error ends the run as a whole.
        raise _GivenUp

    async def wait() -> None:
        waits.set()
        with bound:
            await trio.lowlevel.wait_task_rescheduled(give_up)

    task = trio.lowlevel.spawn_system_task(wait, name="the sweep's watchdog")
    watch.ignore(task)
    await waits.wait()
    return _Stopping(task)


@attrs.frozen
class _Stopping:
    """Ends the watchdog, which cannot be cancelled."""

    _task: trio.lowlevel.Task

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        trio.lowlevel.reschedule(self._task)


def _concerns_all(error: BaseException) -> bool:
    """Whether an error is no finding, but the end of all, or Trio's own business."""
    kinds = (KeyboardInterrupt, SystemExit, GeneratorExit, trio.Cancelled)
    if isinstance(error, BaseExceptionGroup):
        return error.subgroup(kinds) is not None
    return isinstance(error, kinds)


# -- in words


def _name_of(function: object) -> str:
    return str(getattr(function, "__qualname__", None) or getattr(function, "__name__", None) or function)


def _in_a_line(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    text = str(error).strip().partition("\n")[0] or (frames[-1].line if frames else "")
    where = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {text}{where}"


def _whereabouts(task: trio.lowlevel.Task) -> str:
    """Where a task waits, as far out of Trio as possible."""
    frames = [(frame.f_code.co_filename, line) for frame, line in task.iter_await_frames()]
    own = [frame for frame in frames if not frame[0].startswith(_TRIO)] or frames
    if not own:
        return f"{task.name} has not begun"
    file, line = own[-1]
    return f"{task.name} waits at {Path(file).name}:{line}"
