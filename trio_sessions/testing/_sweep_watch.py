"""The instrument of a sweep: it counts the steps of the tasks that it watches, and cancels at the points of a plan."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import trio

from trio_sessions.testing._sweep_result import Plan, Point, When

__all__ = ["REASON", "Step", "Watch"]

#: By this a Cancelled of ours is told from those of the operation's own scopes.
REASON = "a point of the sweep"

#: Which task, by the order of their beginnings and by its name, makes a step, and when.
Step = tuple[int, str, float]


class Watch(trio.abc.Instrument):
    """Watches one run, from its first task on; the steps between :meth:`open` and :meth:`close` count.

    Args:
        plan: where to cancel.
        cancel: called at each point of the plan, with its place in the plan.
        whole_world: count the steps of all tasks, and not only those of the operation's and its descendants.
        max_steps: of all tasks together, counted or not.
        give_up: called when there are more.

    Attributes:
        trace: the steps that counted.
        moments: all points of this run, in their order. Where nothing at all happens between the end of a step and the
            next one, both are the same moment, which is there once.
        checkpoints: steps at whose end the task waited for something.
        cancels: how many points of the plan have come.
        delivered: whether a task that counts was resumed with a Cancelled after the first point.
        is_cancelled: whether a task of the operation got the Cancelled of the sweep's own scopes.
        alive: tasks that have begun and not ended, with their number.
    """

    def __init__(
        self,
        plan: Plan,
        cancel: Callable[[int], None],
        *,
        whole_world: bool,
        max_steps: int,
        give_up: Callable[[], None],
    ) -> None:
        self.trace: list[Step] = []
        self.moments: list[Point] = []
        self.checkpoints = 0
        self.cancels = 0
        self.delivered = False
        self.is_cancelled = False
        self.alive: dict[trio.lowlevel.Task, int] = {}
        self._plan = plan
        self._cancel = cancel
        self._whole_world = whole_world
        self._max_steps = max_steps
        self._give_up = give_up
        self._begun = 0
        self._steps = 0
        self._is_open = False
        self._own: set[trio.lowlevel.Task] = set()
        self._ignored: trio.lowlevel.Task | None = None
        #: The end of the latest step, while nothing has happened since.
        self._fresh_end: Point | None = None

    def ignore(self, task: trio.lowlevel.Task) -> None:
        """Take this task for no part of the run."""
        self._ignored = task
        self.alive.pop(task, None)

    def open(self, operation: trio.lowlevel.Task) -> None:
        """Begin to count, before the first step of the operation's task."""
        self._is_open = True
        self._own.add(operation)

    def close(self) -> None:
        """Count no more: the operation is over."""
        self._is_open = False
        self._settle_end()

    def unfinished(self) -> list[trio.lowlevel.Task]:
        """All tasks that have not ended, the ignored one too, the youngest first."""
        ignored = [] if self._ignored is None else [self._ignored]
        return [*reversed(self.alive), *ignored]

    # -- what Trio tells

    def task_spawned(self, task: trio.lowlevel.Task) -> None:
        self._begun += 1
        self.alive[task] = self._begun
        nursery = task.parent_nursery
        if nursery is not None and nursery.parent_task in self._own:
            self._own.add(task)

    def task_exited(self, task: trio.lowlevel.Task) -> None:
        self.alive.pop(task, None)
        self._own.discard(task)

    def before_io_wait(self, timeout: float) -> None:
        self._settle_end()

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self._steps += 1
        if self._steps > self._max_steps:
            self._give_up()
        if not self._counts(task):
            self._settle_end()
            return
        self._fresh_end = None
        # Trio has no public name for what a task is about to be resumed with.
        error = getattr(cast("Any", task)._next_send, "error", None)
        if isinstance(error, trio.Cancelled) and self.cancels:
            self.delivered = True
            self.is_cancelled |= task in self._own and error.reason == REASON
        self.trace.append((self.alive.get(task, 0), task.name, trio.current_time()))
        self.moments.append(Point(When.RUNNABLE, len(self.trace)))
        self._come(When.RUNNABLE, When.DEADLINE)

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if not self._counts(task) or not self.trace:
            return
        if task in self.alive:
            self.checkpoints += 1
        self._fresh_end = Point(When.PARKED, len(self.trace))
        self._come(When.PARKED)

    # -- what follows from it

    def _counts(self, task: trio.lowlevel.Task) -> bool:
        return self._is_open and task is not self._ignored and (self._whole_world or task in self._own)

    def _settle_end(self) -> None:
        if self._fresh_end is not None:
            self.moments.append(self._fresh_end)
            self._fresh_end = None

    def _come(self, *ways: When) -> None:
        """Cancel, if this is a point of the plan."""
        while self.cancels < len(self._plan):
            point = self._plan[self.cancels]
            if point.step != len(self.trace) or point.when not in ways:
                return
            self.cancels += 1
            self._cancel(self.cancels - 1)
