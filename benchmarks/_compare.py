"""What has changed since an earlier run, and whether it is more than the rounds differ by anyway."""

from __future__ import annotations

from math import comb

import attrs

from benchmarks._case import Quotient
from benchmarks._catalogue import WORKS
from benchmarks._figures import FAR_END
from benchmarks._results import Results
from benchmarks._statistics import Spread, quotient_values, spread_of

__all__ = ["Change", "compare", "differences"]

#: The ranges of two sets of rounds that are alike don't overlap with this probability at most, to call it a change.
_CHANCE = 0.11


@attrs.frozen
class Change:
    """One figure, then and now.

    Attributes:
        key: ``"work/case:figure"``, or the name of a quotient.
        unit: of the figure.
        better: the direction of an improvement.
        before: then.
        after: now.
    """

    key: str
    unit: str
    better: str | None
    before: Spread
    after: Spread

    @property
    def share(self) -> float | None:
        """The change of the median as a share of what it was; ``None`` when that was 0."""
        return (self.after.median - self.before.median) / self.before.median if self.before.median else None

    @property
    def outside(self) -> bool | None:
        """Whether the ranges of the rounds don't overlap; ``None`` when there are too few rounds for that to say much.

        Of two samples of n and m values from the same distribution, the ranges are apart with probability
        2 / C(n + m, n): a tenth for three and three.
        """
        before, after = self.before, self.after
        if 2 / comb(before.rounds + after.rounds, before.rounds) > _CHANCE:
            return None
        return after.lowest > before.highest or after.highest < before.lowest

    @property
    def word(self) -> str:
        """``better``, ``worse``, ``changed``, ``within noise`` or ``too few rounds``."""
        if self.outside is None:
            return "too few rounds"
        if not self.outside:
            return "within noise"
        if self.better is None:
            return "changed"
        grown = self.after.median > self.before.median
        return "better" if grown == (self.better == "higher") else "worse"


def compare(before: Results, after: Results) -> list[Change]:
    """All figures and quotients that both runs have, but for those of the far ends, in the order of the catalogue."""
    changes: list[Change] = []
    for work in WORKS.values():
        for case in work.cases:
            for name, figure in case.figures.items():
                if name in FAR_END:
                    continue
                key = f"{work.name}/{case.name}:{name}"
                spreads = spread_of(list(before.values(key).values())), spread_of(list(after.values(key).values()))
                _add(changes, key, figure.unit, figure.better, *spreads)
        for quotient in work.quotients:
            _add(changes, quotient.name, "", quotient.better, *(_spread(each, quotient) for each in (before, after)))
    return changes


def differences(before: Results, after: Results) -> list[str]:
    """Why the figures of the two runs may not be comparable, a line each."""
    found = []
    for name in ("quick", "duration"):
        then, now = before.parameters.get(name), after.parameters.get(name)
        if then != now:
            found.append(f"{name} was {then}, and is {now}")
    for name in ("processor", "cores"):
        then, now = before.machine.get(name), after.machine.get(name)
        if then != now:
            found.append(f"another machine: {name} was {then}, and is {now}")
    then, now = before.versions.get("python"), after.versions.get("python")
    if then != now:
        found.append(f"Python was {then}, and is {now}")
    return found


def _spread(results: Results, quotient: Quotient) -> Spread | None:
    return spread_of(quotient_values(results, quotient))


def _add(
    changes: list[Change], key: str, unit: str, better: str | None, before: Spread | None, after: Spread | None
) -> None:
    if before is not None and after is not None:
        changes.append(Change(key, unit, better, before, after))
