"""What the rounds say together: medians, how far they spread, quotients round by round, promises."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import attrs

from benchmarks._case import Promise, Quotient
from benchmarks._results import Results

__all__ = ["Spread", "Verdict", "judge", "quotient_values", "spread_of"]


@attrs.frozen
class Spread:
    """The values of the rounds.

    Attributes:
        median: of them.
        lowest: of them.
        highest: of them.
        rounds: how many there are.
    """

    median: float
    lowest: float
    highest: float
    rounds: int

    @property
    def half_range(self) -> float:
        """Half of the distance between the extremes, as a share of the median."""
        return (self.highest - self.lowest) / 2 / abs(self.median) if self.median else 0.0


def spread_of(values: Sequence[float]) -> Spread | None:
    """The spread of ``values``; ``None`` when there are none."""
    if not values:
        return None
    return Spread(statistics.median(values), min(values), max(values), len(values))


def quotient_values(results: Results, quotient: Quotient) -> list[float]:
    """The quotient of each round in which both sides were measured: so a slow moment hits both."""
    under = results.values(quotient.under)
    return [
        value / (under[number] * quotient.share)
        for number, value in results.values(quotient.over).items()
        if under.get(number)
    ]


@attrs.frozen
class Verdict:
    """What became of a promise.

    Attributes:
        promise: the promise.
        value: the median; ``None`` when nothing was measured.
    """

    promise: Promise
    value: float | None

    @property
    def word(self) -> str:
        """``ok``, ``MISSED``, or ``not measured``."""
        if self.value is None:
            return "not measured"
        return "ok" if self.promise.holds(self.value) else "MISSED"


def judge(results: Results, promises: Sequence[Promise], quotients: Sequence[Quotient]) -> list[Verdict]:
    """Compare the medians with the budgets."""
    by_name = {quotient.name: quotient for quotient in quotients}
    verdicts = []
    for promise in promises:
        quotient = by_name.get(promise.about)
        values = (
            list(results.values(promise.about).values()) if quotient is None else quotient_values(results, quotient)
        )
        spread = spread_of(values)
        verdicts.append(Verdict(promise, None if spread is None else spread.median))
    return verdicts
