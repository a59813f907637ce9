"""The results as tables on a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from rich.console import Console
from rich.table import Table
from rich.text import Text

from benchmarks._case import Figure
from benchmarks._catalogue import WORKS, Plan, find_case
from benchmarks._compare import Change
from benchmarks._figures import BUSY, FAR_END
from benchmarks._numbers import change_text, number_text, value_text
from benchmarks._results import Results
from benchmarks._statistics import Spread, Verdict, quotient_values, spread_of

__all__ = ["print_changes", "print_header", "print_promises", "print_quotients", "print_works"]

#: The load for each core above which a machine has other things to do.
_BUSY_MACHINE = 0.5

_STYLES = {"ok": "green", "MISSED": "bold red", "not measured": "yellow", "better": "green", "worse": "bold red"}


def print_header(console: Console, results: Results) -> None:
    """What was measured, on what, and how often."""
    machine, git, given = results.machine, results.git, results.parameters
    commit = f"{str(git.get('commit'))[:12]}{' with changes' if git.get('changed') else ''}"
    versions = ", ".join(f"{name} {text}" for name, text in results.versions.items())
    console.print(Text(f"{results.date}, commit {commit}, {given.get('rounds')} round(s), {versions}", "dim"))
    console.print(Text(f"{machine.get('processor')}, {machine.get('cores')} cores, {machine.get('system')}", "dim"))
    load, cores = machine.get("load", 0.0), machine.get("cores", 1)
    if load > _BUSY_MACHINE * cores:
        console.print(Text(f"warning: the machine was busy before (load {load:.1f}): rates are too low", "yellow"))
    console.print()


def print_works(console: Console, plan: Plan, results: Results) -> None:
    """A table for each work: its cases, and the medians of their figures with half of the rounds' range."""
    for work in WORKS.values():
        cases = [key for key in plan.cases if key.split("/")[0] == work.name]
        measured = [key for key in cases if any(each.case == key for each in results.measurements)]
        if measured:
            console.print(Text(f"{work.name}: {work.title}", "bold"))
        # Cases that yield different things don't share columns.
        for _, group in groupby(measured, lambda key: find_case(key).figures):
            same = list(group)
            console.print(_case_table(same, results))
            for line, warns in _far_ends(same, results):
                console.print(Text(f"  {line}", "yellow" if warns else "dim"))
        for line in _remarks(cases, results):
            console.print(Text(f"  {line}", "yellow"))
        if cases:
            console.print()


def print_quotients(console: Console, plan: Plan, results: Results) -> None:
    """What one figure is of another of the same round."""
    table = Table(title="Ratios, round by round", title_justify="left", title_style="bold")
    table.add_column("ratio")
    for name in ("median", "lowest", "highest"):
        table.add_column(name, justify="right")
    for quotient in plan.quotients:
        spread = spread_of(quotient_values(results, quotient))
        if spread is not None:
            table.add_row(quotient.name, *(f"{each:.2f}" for each in (spread.median, spread.lowest, spread.highest)))
    if table.row_count:
        console.print(table)
        console.print()


def print_promises(console: Console, verdicts: Sequence[Verdict]) -> None:
    """A line for each promise: the budget, the figure, and whether it holds."""
    if not verdicts:
        return
    table = Table(title="Must hold", title_justify="left", title_style="bold")
    table.add_column("promise")
    table.add_column("budget", justify="right")
    table.add_column("measured", justify="right")
    table.add_column("")
    for verdict in verdicts:
        promise = verdict.promise
        budget = f"{'>=' if promise.at_least else '<'} {number_text(promise.limit)}"
        measured = "-" if verdict.value is None else number_text(verdict.value)
        table.add_row(promise.claim, budget, measured, Text(verdict.word, _STYLES[verdict.word]))
    console.print(table)


def print_changes(console: Console, changes: Sequence[Change], differences: Sequence[str], name: str) -> None:
    """Then and now, figure by figure."""
    for line in differences:
        console.print(Text(f"not quite comparable: {line}", "yellow"))
    table = Table(title=f"Compared with {name}", title_justify="left", title_style="bold")
    table.add_column("figure", overflow="fold")
    for column in ("then", "now", "change"):
        table.add_column(column, justify="right")
    table.add_column("")
    for change in changes:
        figure = Figure("", change.unit)
        share = "-" if change.share is None else change_text(change.share)
        texts = (value_text(each.median, figure) for each in (change.before, change.after))
        table.add_row(change.key, *texts, share, Text(change.word, _STYLES.get(change.word, "dim")))
    console.print(table)
    outside = [change for change in changes if change.outside]
    console.print(
        f"{len(outside)} of {len(changes)} figures are outside of the noise: their rounds' ranges are apart, which"
        " happens by chance to one in ten of three rounds, and to one in a hundred of five."
    )


def _case_table(cases: list[str], results: Results) -> Table:
    table = Table()
    table.add_column("case", overflow="fold")
    figures = {name: figure for name, figure in find_case(cases[0]).figures.items() if name not in FAR_END}
    shown = [name for name in figures if any(results.values(f"{key}:{name}") for key in cases)]
    for name in shown:
        table.add_column(figures[name].title, justify="right")
    for key in cases:
        case = find_case(key)
        spreads = (spread_of(list(results.values(f"{key}:{name}").values())) for name in shown)
        cells = (_cell(spread, figures[name]) for name, spread in zip(shown, spreads, strict=True))
        table.add_row(f"{case.name}: {case.title}", *cells)
    return table


def _cell(spread: Spread | None, figure: Figure) -> str:
    if spread is None:
        return ""
    text = value_text(spread.median, figure)
    return text if spread.rounds == 1 or not spread.half_range else f"{text} ±{spread.half_range * 100:.0f}%"


def _far_ends(cases: list[str], results: Results) -> list[tuple[str, bool]]:
    """How busy the other side was, and what it could do with a core of its own; and whether that is a warning."""
    lines = []
    for end, what in (("echo", "datagrams"), ("node", "calls")):
        parts = []
        too_busy = []
        for key in cases:
            busy = spread_of(list(results.values(f"{key}:{end}_busy").values()))
            ceiling = spread_of(list(results.values(f"{key}:{end}_ceiling").values()))
            if busy is None:
                continue
            text = f"{key.split('/')[1]} {busy.highest:.0%}"
            parts.append(text if ceiling is None else f"{text} (can do {number_text(ceiling.highest)} {what}/s)")
            if busy.highest > BUSY:
                too_busy.append(key.split("/")[1])
        if parts:
            lines.append((f"{end} busy at most, of a core: {', '.join(parts)}", False))
        if too_busy:
            text = (
                f"warning: with {', '.join(too_busy)} the {end} was above {BUSY:.0%} busy, and may be what was measured"
            )
            lines.append((text, True))
    return lines


def _remarks(cases: list[str], results: Results) -> list[str]:
    lines = []
    for key in cases:
        remarks = {remark: None for each in results.measurements if each.case == key for remark in each.remarks}
        lines += [f"{key}: {remark}" for remark in remarks]
        lines += [
            f"{key}: {'FAILED' if problem.failed else 'skipped'}: {problem.reason}"
            for problem in results.problems
            if problem.case == key
        ]
    return lines
