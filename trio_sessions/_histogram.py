"""Quantiles of any number of durations in a fixed amount of memory."""

from __future__ import annotations

import math
from collections.abc import Sequence

__all__ = ["Histogram"]

#: Bounds of the buckets, in seconds: below a microsecond nothing is measured, above a quarter of an hour nobody waits.
_LOWEST = 1e-6
_HIGHEST = 1000.0
#: Each bucket is this much wider than the one before, so a quantile is right within half of it.
_GROWTH = 1.02
_LOG_GROWTH = math.log(_GROWTH)
_BUCKETS = math.ceil(math.log(_HIGHEST / _LOWEST) / _LOG_GROWTH) + 1


def _bucket(seconds: float) -> int:
    clamped = min(max(seconds, _LOWEST), _HIGHEST)
    return round(math.log(clamped / _LOWEST) / _LOG_GROWTH)


class Histogram:
    """Counts durations in logarithmic buckets: quantiles are exact within one per cent, from 1 µs to 1000 s."""

    __slots__ = ("_counts", "_total")

    def __init__(self) -> None:
        self._counts = [0] * _BUCKETS
        self._total = 0

    def __len__(self) -> int:
        return self._total

    def add(self, seconds: float) -> None:
        """Count one duration; what lies outside of the bounds counts as the bound."""
        self.add_all((seconds,))

    def add_all(self, durations: Sequence[float]) -> None:
        """Count several; those of a batch that came back in one piece are all the same."""
        if not durations:
            return
        self._total += len(durations)
        first = durations[0]
        if durations.count(first) == len(durations):
            self._counts[_bucket(first)] += len(durations)
            return
        for seconds in durations:
            self._counts[_bucket(seconds)] += 1

    def quantile(self, q: float) -> float | None:
        """The duration that a share of ``q`` (0 to 1) doesn't exceed, in seconds; ``None`` when empty."""
        if not self._total:
            return None
        rank = max(1, math.ceil(q * self._total))
        seen = 0
        bucket = 0
        for bucket, count in enumerate(self._counts):  # noqa: B007 - the bucket where it stops is the result
            seen += count
            if seen >= rank:
                break
        return float(_LOWEST * _GROWTH**bucket)
