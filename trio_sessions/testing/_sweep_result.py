"""What a sweep visits and what it finds, as frozen records; and the labels by which one point is visited again."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import Self

import attrs

from trio_sessions._errors import InvalidInputError

__all__ = ["Found", "Plan", "Point", "SweepResult", "Violation", "Visited", "When", "label_of", "read_label"]

#: The label of the run in which nothing is cancelled.
UNCANCELLED = "none"

#: Violations that a result shows in full when it is printed.
_SHOWN = 10


class When(enum.Enum):
    """How a cancel comes, seen from the task whose step has the number."""

    #: At the end of the step: the task waits, and its wait is aborted.
    PARKED = "parked"
    #: Just before the step: what the task waited for has happened, and its next checkpoint raises.
    RUNNABLE = "runnable"
    #: By a deadline that is over just before the step: the task still has its step, then Trio delivers the cancel.
    DEADLINE = "deadline"


class Found(enum.Enum):
    """What kind of violation was found."""

    #: The invariant, or the way out of the setup, raised.
    INVARIANT = "the invariant does not hold"
    #: The operation raised, though it was only cancelled.
    ERROR = "the operation raised"
    #: A task of the operation got the sweep's :class:`trio.Cancelled`, and the operation returned nevertheless.
    SWALLOWED = "Cancelled was swallowed"
    #: A task lives on after the setup was left.
    LEFT_BEHIND = "a task was left behind"
    #: The bound on virtual time or on steps was reached.
    HANG = "it does not end"
    #: The run differed from the one that counted before anything was cancelled: the point was not what it should be.
    NOT_DETERMINISTIC = "the run does not repeat itself"


@attrs.frozen
class Point:
    """A moment for a cancel: relative to a step, counted from 1 over all watched tasks."""

    when: When
    step: int

    def __str__(self) -> str:
        return f"{self.when.value}:{self.step}"


#: The cancels of one run in their order: none, one or two.
Plan = tuple[Point, ...]


def label_of(plan: Plan) -> str:
    """E.g. ``"parked:12+deadline:17"``."""
    return "+".join(map(str, plan)) or UNCANCELLED


def read_label(label: str) -> Plan:
    """The plan of a label.

    Raises:
        InvalidInputError: it is not of the form that :func:`label_of` gives.
    """
    if label == UNCANCELLED:
        return ()
    try:
        pairs = [part.split(":") for part in label.split("+")]
        plan = tuple(Point(When(when), int(step)) for when, step in pairs)
    except ValueError:
        plan = ()
    if len(plan) not in (1, 2) or plan[0].when is When.DEADLINE or plan[-1].step < plan[0].step or plan[0].step < 1:
        rule = "is no point of a sweep"
        raise InvalidInputError("only", label, rule, "give one as a violation shows it, e.g. parked:3+runnable:5")
    return plan


@attrs.frozen
class Visited:
    """How many points were visited, by the way in which the (last) cancel came.

    Attributes:
        parked: while the task waited.
        runnable: before its step.
        deadline: by a deadline; of pairs alone.
        left_out: points that there are and that were not visited.
    """

    parked: int = 0
    runnable: int = 0
    deadline: int = 0
    left_out: int = 0

    @classmethod
    def of(cls, points: Iterable[Point], left_out: int) -> Self:
        """Of the last points of all plans that were visited."""
        ways = [point.when for point in points]
        parked, runnable, deadline = (ways.count(when) for when in When)
        return cls(parked, runnable, deadline, left_out)

    @property
    def total(self) -> int:
        """All that were visited."""
        return self.parked + self.runnable + self.deadline

    def __add__(self, other: Visited) -> Visited:
        numbers = zip(attrs.astuple(self), attrs.astuple(other), strict=True)
        return Visited(*(a + b for a, b in numbers))


@attrs.frozen
class Violation:
    """Something that does not hold when a cancel comes at one point.

    Attributes:
        label: visits this point again: ``sweep(..., only=label)`` with the same seed.
        found: what kind it is.
        problem: what was seen, in a line.
        error: the exception behind it, with its traceback, where there was one.
    """

    label: str
    found: Found
    problem: str
    error: BaseException | None = attrs.field(default=None, repr=False)

    def __str__(self) -> str:
        return f"{self.label}: {self.found.value}: {self.problem}"


@attrs.frozen
class SweepResult:
    """What a sweep did and found.

    Attributes:
        name: of the operation.
        checkpoints: that its watched tasks pass when nothing is cancelled.
        singles: points with one cancel.
        pairs: points with a second one, after the first.
        delivered: visits in which a watched task got the cancel; it finished before the cancel could reach it in the
            others.
        violations: in the order of the visits.
    """

    name: str
    checkpoints: int
    singles: Visited
    pairs: Visited
    delivered: int
    violations: tuple[Violation, ...]

    def check(self) -> None:
        """Raise an :class:`AssertionError` that names what was found, if anything was."""
        if self.violations:
            raise AssertionError(str(self)) from self.violations[0].error

    def __str__(self) -> str:
        left_out = self.singles.left_out + self.pairs.left_out
        visited = f"{self.singles.total} single points and {self.pairs.total} pairs visited, {left_out} left out"
        lines = [f"{self.name}: {self.checkpoints} checkpoints, {visited}, {len(self.violations)} violations"]
        lines += [f"  {violation}" for violation in self.violations[:_SHOWN]]
        if len(self.violations) > _SHOWN:
            lines.append(f"  and {len(self.violations) - _SHOWN} more")
        return "\n".join(lines)
