"""The results of a run as data, and as a file of JSON."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import attrs

__all__ = ["SCHEMA", "Measurement", "Problem", "Results", "ResultsError", "load_results"]

#: Changes whenever an older reader would misread the file.
SCHEMA = "trio_sessions.benchmarks/1"


class ResultsError(ValueError):
    """A file that holds no results; its message is one line."""


@attrs.frozen
class Measurement:
    """One run of one case.

    Attributes:
        case: ``"work/case"``.
        round: from 0.
        values: by the name of the figure.
        series: points for plots, by name.
        remarks: whatever has to be known to read the numbers.
        seconds: that the run took in all.
    """

    case: str
    round: int
    values: dict[str, float]
    series: dict[str, list[dict[str, float]]] = attrs.field(factory=dict)
    remarks: list[str] = attrs.field(factory=list)
    seconds: float = 0.0


@attrs.frozen
class Problem:
    """A run of a case that yielded nothing.

    Attributes:
        case: ``"work/case"``.
        round: from 0.
        reason: in one line.
        failed: whether it should have worked; otherwise something is missing on this machine.
    """

    case: str
    round: int
    reason: str
    failed: bool


@attrs.frozen
class Results:
    """A whole run.

    Attributes:
        date: of its begin, in UTC, as ISO 8601 has it.
        machine: what it ran on.
        versions: of Python and of what is measured.
        git: commit, and whether files differed from it.
        parameters: how it was called.
        measurements: every single one.
        problems: what could not be measured.
    """

    date: str
    machine: dict[str, Any]
    versions: dict[str, str]
    git: dict[str, Any]
    parameters: dict[str, Any]
    measurements: list[Measurement] = attrs.field(factory=list)
    problems: list[Problem] = attrs.field(factory=list)

    @property
    def cases(self) -> frozenset[str]:
        """Those that were run, or tried."""
        return frozenset(each.case for each in self.measurements) | {each.case for each in self.problems}

    def values(self, key: str) -> dict[int, float]:
        """The values of ``"work/case:figure"``, by round; those that are no numbers are left out."""
        case, _, figure = key.partition(":")
        return {
            each.round: each.values[figure]
            for each in self.measurements
            if each.case == case and math.isfinite(each.values.get(figure, math.nan))
        }

    def save(self, path: Path, **derived: Any) -> None:
        """Write all of it to ``path``, with ``derived`` data beside it that readers may do without.

        Raises:
            OSError: it cannot be written.
        """
        data = {"schema": SCHEMA, **attrs.asdict(self), **derived}
        path.write_text(json.dumps(data, indent=1) + "\n")


def load_results(path: Path) -> Results:
    """What :meth:`Results.save` wrote.

    Raises:
        ResultsError: there is no such file, or it holds something else.
    """
    try:
        data = json.loads(path.read_text())
    except OSError as error:
        raise ResultsError(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise ResultsError(f"{path} holds no JSON: {' '.join(str(error).split())}") from None
    schema = data.get("schema") if isinstance(data, dict) else None
    if schema != SCHEMA:
        raise ResultsError(f"{path} holds no results of {SCHEMA}: its schema is {schema!r}")
    try:
        names = [field.name for field in attrs.fields(Results)]
        given = {name: data[name] for name in names}
        given["measurements"] = [_measurement(each) for each in given["measurements"]]
        given["problems"] = [Problem(**each) for each in given["problems"]]
        return Results(**given)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ResultsError(f"{path} is damaged: {type(error).__name__}: {error}") from None


def _measurement(data: dict[str, Any]) -> Measurement:
    found = Measurement(**data)
    if not all(isinstance(value, int | float) for value in found.values.values()):
        raise ValueError(f"a value of {found.case} is no number")
    return found
