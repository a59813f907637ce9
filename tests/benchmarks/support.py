"""Results made by hand."""

from __future__ import annotations

from typing import Any

from benchmarks._results import Measurement, Problem, Results


def results(values: dict[str, list[float]], *, problems: tuple[Problem, ...] = (), **parameters: Any) -> Results:
    """Results whose rounds have these values, by ``"work/case:figure"``."""
    runs: dict[tuple[str, int], dict[str, float]] = {}
    for key, rounds in values.items():
        case, _, figure = key.partition(":")
        for number, value in enumerate(rounds):
            runs.setdefault((case, number), {})[figure] = value
    return Results(
        date="2026-01-02T03:04:05Z",
        machine={"processor": "abacus", "cores": 2},
        versions={"python": "CPython 3.11.7"},
        git={"commit": "abc", "changed": False},
        parameters={"quick": False, "duration": 10.0, **parameters},
        measurements=[Measurement(case, number, found) for (case, number), found in runs.items()],
        problems=list(problems),
    )
