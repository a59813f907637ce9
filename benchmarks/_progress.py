"""What a run says while it runs: a bar on a terminal, a line for each case elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from benchmarks._catalogue import Plan, find_case
from benchmarks._numbers import value_text
from benchmarks._results import Measurement, Problem
from benchmarks._runner import Listener

__all__ = ["show_progress"]


@contextmanager
def show_progress(console: Console, plan: Plan, rounds: int) -> Iterator[Listener]:
    """The listener for :func:`benchmarks._runner.run_plan` within the block."""
    total = sum(len(plan.round(number)) for number in range(rounds))
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task("starting", total=total)

        def tell(key: str, number: int, outcome: Measurement | Problem | None) -> None:
            if outcome is None:
                progress.update(bar, description=f"round {number + 1} of {rounds}: {key}")
                return
            progress.advance(bar)
            console.print(f"round {number + 1} of {rounds}: {key}: {_first_figure(key, outcome)}", highlight=False)

        yield tell


def _first_figure(key: str, outcome: Measurement | Problem) -> str:
    if isinstance(outcome, Problem):
        return f"{'FAILED' if outcome.failed else 'skipped'}: {outcome.reason}"
    name, figure = next(iter(find_case(key).figures.items()))
    return f"{figure.title} {value_text(outcome.values[name], figure)}"
