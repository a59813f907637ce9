"""The command: its arguments, and the run."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import attrs
import click
from rich.console import Console
from rich.text import Text

from benchmarks._case import Settings
from benchmarks._catalogue import WORKS, Plan, UnknownWorkError, make_plan
from benchmarks._compare import compare, differences
from benchmarks._machine import git_state, machine, versions
from benchmarks._plots import PlotsUnavailableError, draw_plots
from benchmarks._progress import show_progress
from benchmarks._results import Results, ResultsError, load_results
from benchmarks._runner import run_plan
from benchmarks._statistics import judge, quotient_values, spread_of
from benchmarks._table import print_changes, print_header, print_promises, print_quotients, print_works

__all__ = ["command", "main"]

#: Exit statuses.
_OK, _MISSED, _USAGE, _INTERRUPTED = 0, 1, 2, 130
#: Seconds of relaying and rounds, of a whole and of a quick run.
_DURATION, _QUICK_DURATION = 10.0, 0.7
_ROUNDS, _QUICK_ROUNDS = 3, 1
#: Columns of a table that nobody looks at on a terminal.
_WIDTH = 150


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.argument("works", nargs=-1, metavar="[WORK | WORK/CASE]...")
@click.option("--list", "lists", is_flag=True, help="List the works and their cases, and end.")
@click.option("--quick", is_flag=True, help="All that matters within a minute: small, short, one round.")
@click.option("--rounds", type=click.IntRange(1), metavar="N", help="Runs of each case.  [default: 3; quick: 1]")
@click.option(
    "--duration",
    type=click.FloatRange(0.1),
    metavar="S",
    help="Seconds for which messages are relayed.  [default: 10; quick: 0.7]",
)
@click.option("--seed", type=int, default=0, show_default=True, metavar="N", help="Of the simulated nodes.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Folder for results.json and plots.  [default: a new one in benchmarks/results]",
)
@click.option(
    "--compare",
    "earlier",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="results.json of an earlier run to compare with; its folder does, too.",
)
@click.option(
    "--show", "shown", type=click.Path(path_type=Path), metavar="FILE", help="Show a results.json, and measure nothing."
)
@click.option("--check", is_flag=True, help="End with status 1 if a promise is missed.")
@click.option("--plots", type=click.Choice(["svg", "png", "none"]), default="svg", show_default=True, help="Draw them.")
def command(
    *,
    works: tuple[str, ...],
    lists: bool,
    quick: bool,
    rounds: int | None,
    duration: float | None,
    seed: int,
    out: Path | None,
    earlier: Path | None,
    shown: Path | None,
    check: bool,
    plots: str,
) -> int:
    """Measure trio_sessions beside its floors: all works, or those that are named.

    Prints medians of the rounds, ratios to the floor of the same round, and whether what must hold does; writes all
    single measurements to results.json.

    Exit status: 0; 1 if a case failed, or with --check if a promise is missed; 2 for bad usage or input; 130 after an
    interrupt.
    """
    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDTH)
    if lists:
        _list(console)
        return _OK
    # What may be wrong is looked at before the minutes of measuring.
    before = None if earlier is None else load_results(_file(earlier))
    if shown is not None:
        results = load_results(_file(shown))
        plan = make_plan(works, quick=False).restricted_to(results.cases)
        return _report(console, plan, results, before, earlier, check=check)
    plan = make_plan(works, quick=quick)
    settings = Settings(quick=quick, duration=duration or (_QUICK_DURATION if quick else _DURATION), seed=seed)
    rounds = rounds or (_QUICK_ROUNDS if quick else _ROUNDS)
    results = Results(
        date=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        machine=machine(),
        versions=versions(),
        git=git_state(),
        parameters={"works": list(works), "rounds": rounds, **attrs.asdict(settings)},
    )
    folder = _make_folder(out, results.date)
    interrupted = _measure(plan, settings, rounds, results)
    if interrupted:
        console.print(Text("interrupted: what follows is a part of it", "yellow"))
    status = _report(console, plan, results, before, earlier, check=check)
    _write(console, plan, results, folder, plots)
    return _INTERRUPTED if interrupted else status


def _file(path: Path) -> Path:
    return path / "results.json" if path.is_dir() else path


def _list(console: Console) -> None:
    for work in WORKS.values():
        console.print(Text.assemble((work.name, "bold"), f": {work.title}"))
        for case in work.cases:
            rest = "" if case.quick else "  (not in a quick run)"
            console.print(Text(f"  {work.name}/{case.name}: {case.title}{rest}"), soft_wrap=True)


def _make_folder(out: Path | None, date: str) -> Path:
    folder = Path(__file__).parent / "results" / date.replace(":", "") if out is None else out
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "results.json").touch()
    except OSError as error:
        raise click.UsageError(f"cannot write into {folder}: {error.strerror or error}") from error
    return folder


def _measure(plan: Plan, settings: Settings, rounds: int, results: Results) -> bool:
    """Whether it was interrupted."""
    with show_progress(Console(stderr=True), plan, rounds) as tell:
        try:
            run_plan(plan, settings, rounds, results, tell)
        except KeyboardInterrupt:
            return True
    return False


def _report(
    console: Console, plan: Plan, results: Results, before: Results | None, earlier: Path | None, *, check: bool
) -> int:
    print_header(console, results)
    print_works(console, plan, results)
    print_quotients(console, plan, results)
    verdicts = judge(results, plan.promises, plan.quotients)
    print_promises(console, verdicts)
    if before is not None:
        print_changes(console, compare(before, results), differences(before, results), str(earlier))
    missed = check and any(verdict.word == "MISSED" for verdict in verdicts)
    return _MISSED if missed or any(problem.failed for problem in results.problems) else _OK


def _write(console: Console, plan: Plan, results: Results, folder: Path, plots: str) -> None:
    path = folder / "results.json"
    verdicts = judge(results, plan.promises, plan.quotients)
    derived: dict[str, Any] = {
        "ratios": {
            quotient.name: attrs.asdict(spread)
            for quotient in plan.quotients
            if (spread := spread_of(quotient_values(results, quotient))) is not None
        },
        "promises": [
            {"claim": each.promise.claim, "limit": each.promise.limit, "value": each.value, "verdict": each.word}
            for each in verdicts
        ],
    }
    results.save(path, **derived)
    console.print(f"written: {path}", soft_wrap=True)
    if plots == "none":
        return
    try:
        for drawn in draw_plots(results, folder, plots):
            console.print(f"drawn: {drawn}", soft_wrap=True)
    except PlotsUnavailableError as error:
        console.print(str(error))


def main(arguments: list[str] | None = None) -> int:
    """Run the command; what is wrong with its arguments, or with the files they name, is told in one line."""
    problem = ""
    try:
        status = command.main(arguments, prog_name="python -m benchmarks", standalone_mode=False)
        return status if isinstance(status, int) else _OK
    except click.ClickException as error:
        problem = error.format_message()
    except (ResultsError, UnknownWorkError) as error:
        problem = str(error)
    except (click.Abort, KeyboardInterrupt):
        return _INTERRUPTED
    click.echo(f"python -m benchmarks: {problem}", err=True)
    return _USAGE
