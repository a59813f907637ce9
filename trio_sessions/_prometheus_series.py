"""Counters and histograms with labels, fed a batch at a time, for a collector of Prometheus.

Those of prometheus_client take a lock for each value, and time stamps of the wall clock: too much for each message.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import accumulate

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily

__all__ = ["Counts", "Durations"]


class Counts:
    """A counter: one number for each combination of label values. Those that are named stand at 0 from the start.

    It may be read in any thread.
    """

    def __init__(
        self, name: str, text: str, labels: Sequence[str] = (), start: Iterable[tuple[str, ...]] = ((),)
    ) -> None:
        self._name = name
        self._text = text
        self._labels = labels
        self._numbers = Counter(dict.fromkeys(start, 0))

    def add(self, *values: str, by: int = 1) -> None:
        """Count ``by`` more for these label values."""
        self._numbers[values] += by

    def total(self) -> int:
        """The sum over all label values."""
        return sum(tuple(self._numbers.values()))

    def family(self) -> CounterMetricFamily:
        """The numbers now."""
        family = CounterMetricFamily(self._name, self._text, labels=self._labels)
        for values, number in tuple(self._numbers.items()):
            family.add_metric(values, number)
        return family


class Durations:
    """A histogram of seconds: how many did not exceed each of the ``bounds``, for each combination of label values.

    It may be read in any thread.
    """

    def __init__(self, name: str, text: str, bounds: Sequence[float], labels: Sequence[str] = ()) -> None:
        self._name = name
        self._text = text
        self._bounds = bounds
        self._labels = labels
        #: By label values: the number in each bucket, the last one without a bound; and the sum.
        self._buckets: dict[tuple[str, ...], list[int]] = {}
        self._sums: dict[tuple[str, ...], float] = {}
        if not labels:
            self._start(())

    def add(self, seconds: float, *values: str) -> None:
        """Count one duration."""
        self.add_all((seconds,), *values)

    def add_all(self, durations: Sequence[float], *values: str) -> None:
        """Count several; those of a batch that came back in one piece are all the same."""
        if not durations:
            return
        buckets = self._buckets.get(values) or self._start(values)
        self._sums[values] += sum(durations)
        first = durations[0]
        if durations.count(first) == len(durations):
            buckets[bisect_left(self._bounds, first)] += len(durations)
            return
        for seconds in durations:
            buckets[bisect_left(self._bounds, seconds)] += 1

    def _start(self, values: tuple[str, ...]) -> list[int]:
        self._sums[values] = 0.0
        buckets = self._buckets[values] = [0] * (len(self._bounds) + 1)
        return buckets

    def family(self) -> HistogramMetricFamily:
        """The numbers now."""
        family = HistogramMetricFamily(self._name, self._text, labels=self._labels)
        names = [*map(str, self._bounds), "+Inf"]
        for values, buckets in tuple(self._buckets.items()):
            family.add_metric(values, list(zip(names, accumulate(buckets), strict=True)), self._sums[values])
        return family
