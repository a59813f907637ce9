"""What a work of the benchmarks is made of: cases that yield samples, quotients of them, and promises about both."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal

import attrs

__all__ = ["Case", "FailedError", "Figure", "Promise", "Quotient", "Sample", "Settings", "SkippedError", "Work"]


class SkippedError(Exception):
    """A case cannot be measured here, which is no fault: its message says in one line what is missing."""


class FailedError(Exception):
    """A case could not be measured: its message says why in one line."""


@attrs.frozen(kw_only=True)
class Settings:
    """How large and how long.

    Attributes:
        quick: whether all shall end within a minute.
        duration: seconds for which messages are relayed.
        seed: of the simulated node's random choices.
    """

    quick: bool = False
    duration: float = 10.0
    seed: int = 0

    @property
    def short(self) -> float:
        """Seconds for what is steady enough to be measured in less time: the bare loops."""
        return min(self.duration, 3.0)


@attrs.frozen
class Figure:
    """What a number of a sample is.

    Attributes:
        title: the head of its column.
        unit: appended to the number; ``"%"`` shows a share of 1 in per cent.
        better: the direction of an improvement; ``None`` when it is neither, e.g. how busy the echo was.
    """

    title: str
    unit: str = ""
    better: Literal["higher", "lower"] | None = None


@attrs.define
class Sample:
    """What one run of a case yields.

    Attributes:
        values: by the name of the figure.
        series: lists of points for plots, by name; each point is an object of numbers.
        remarks: whatever has to be known to read the numbers, a line each.
    """

    values: dict[str, float]
    series: dict[str, list[dict[str, float]]] = attrs.field(factory=dict)
    remarks: list[str] = attrs.field(factory=list)


@attrs.frozen(kw_only=True)
class Case:
    """One thing to measure, in a process of its own.

    Attributes:
        name: within the work.
        title: what is measured, in a few words.
        measure: measures it once.
        figures: what it yields.
        once: whether the first round is enough, for what takes long and varies little.
        quick: whether it belongs to a quick run.
        limit: seconds after which it is given up, besides the settings' duration.
    """

    name: str
    title: str
    measure: Callable[[Settings], Awaitable[Sample]]
    figures: Mapping[str, Figure]
    once: bool = False
    quick: bool = True
    limit: float = 120.0


@attrs.frozen
class Quotient:
    """A figure of one case against one of another case (or the same), always of the same round.

    Attributes:
        name: of the quotient, as it is shown.
        over: ``"work/case:figure"``.
        under: likewise.
        share: the part of ``under`` that is compared with.
        better: the direction of an improvement.
    """

    name: str
    over: str
    under: str
    share: float = 1.0
    better: Literal["higher", "lower"] = "higher"


@attrs.frozen
class Promise:
    """What must hold.

    Attributes:
        claim: in words, with the budget.
        about: ``"work/case:figure"``, or the name of a quotient.
        limit: the budget.
        at_least: whether the figure must not be below the limit; otherwise it must be below it.
    """

    claim: str
    about: str
    limit: float
    at_least: bool = True

    def holds(self, value: float) -> bool:
        """Whether ``value`` keeps it."""
        return value >= self.limit if self.at_least else value < self.limit


@attrs.frozen(kw_only=True)
class Work:
    """Cases that belong together.

    Attributes:
        name: to choose it by.
        title: one line of what it measures.
        cases: in the order in which they run.
        needs: cases of other works that its quotients refer to: ``"work/case"``.
        quotients: see there.
        promises: see there.
    """

    name: str
    title: str
    cases: tuple[Case, ...]
    needs: tuple[str, ...] = ()
    quotients: tuple[Quotient, ...] = ()
    promises: tuple[Promise, ...] = ()

    def case(self, name: str) -> Case:
        """The case of that name."""
        found: Any = {case.name: case for case in self.cases}
        case: Case = found[name]
        return case
