"""``python -m tests.mutants``: small faults put into the library one at a time, each to be caught by a test."""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter
from pathlib import Path

from tests.mutants.change import Mutant
from tests.mutants.examine import Fate, Verdict, examine
from tests.mutants.finder import find_mutants
from tests.mutants.project import DEFAULT, Project
from tests.mutants.reach import find_reach
from tests.mutants.report import Report
from tests.mutants.survivors import load_survivors
from tests.proof import add_record_option, commit, record

_EPILOG = """
A mutant is a copy of the library with one small change. The tests that reach the changed line run on it, quick ones
first, until one fails: then it is killed. A survivor shows what no test would notice. Those that are accepted stand in
survivors.toml, each with the reason; they are no better for the rate.

exit status: 0 when enough of each group is killed and each survivor has a reason, 1 otherwise, 2 for wrong usage
"""


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\r{text}\x1b[K")
    else:
        sys.stderr.write(text + "\n")
    sys.stderr.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.mutants",
        description=__doc__,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", metavar="FILE[:LINE]", action="append", help="mutants of this file; may be repeated")
    parser.add_argument("--id", action="append", help="the mutant of this name; may be repeated")
    parser.add_argument("--sample", type=int, metavar="N", help="so many, chosen by chance")
    parser.add_argument("--seed", type=int, default=0, help="of the choice (0)")
    parser.add_argument("--jobs", type=int, default=2, help="mutants at a time (2)")
    parser.add_argument(
        "--budget", type=float, default=30, help="seconds of tests that one mutant is put before, at most (30)"
    )
    parser.add_argument("--list", action="store_true", help="show the mutants, and run nothing")
    parser.add_argument("--project", type=Path, default=DEFAULT, metavar="FILE", help="what is mutated (project.toml)")
    add_record_option(parser)
    return parser


def _is_wanted(mutant: Mutant, only: list[str]) -> bool:
    for each in only:
        file, _, line = each.partition(":")
        if mutant.file.endswith(file) and (not line or mutant.lines[0] <= int(line) <= mutant.lines[1]):
            return True
    return False


def _choose(mutants: list[Mutant], options: argparse.Namespace) -> list[Mutant]:
    if options.only:
        mutants = [mutant for mutant in mutants if _is_wanted(mutant, options.only)]
    if options.id:
        mutants = [mutant for mutant in mutants if mutant.id in options.id]
    if options.sample is not None:
        chosen = random.Random(options.seed).sample(mutants, min(options.sample, len(mutants)))
        mutants = [mutant for mutant in mutants if mutant in chosen]
    return mutants


def main() -> int:
    """Examine the mutants that the command line asks for."""
    parser = _parser()
    options = parser.parse_args()
    is_whole = not (options.only or options.id or options.sample is not None)
    if options.record and not is_whole:
        parser.error("--record needs all mutants: without --only, --id and --sample")
    try:
        project = Project.load(options.project)
        reasons = load_survivors(project.survivors)
    except (OSError, ValueError, KeyError) as error:
        parser.error(f"{options.project}: {error}")
    sources = {file: (project.root / file).read_bytes() for file in project.files}
    everything = [mutant for file, source in sources.items() for mutant in find_mutants(file, source)]
    mutants = _choose(everything, options)
    if not mutants:
        parser.error("no mutant is like that; --list shows them")
    report = Report(project, sources, reasons)
    if options.list:
        for mutant in mutants:
            sys.stdout.write(report.line(mutant) + "\n")
        return 0

    at, began = (commit(project.root) if options.record else ""), time.monotonic()
    reach = find_reach(project, options.jobs, _progress)
    for test in reach.failed:
        sys.stderr.write(f"\njudges nothing, as it fails or takes long without any change: {test}\n")
    fates: Counter[Fate] = Counter()

    def tell(verdict: Verdict) -> None:
        report.add(verdict)
        fates[verdict.fate] += 1
        if sys.stderr.isatty() or fates.total() % 50 == 0:
            seconds = time.monotonic() - began
            _progress(f"{fates.total()} of {len(mutants)}, {fates[Fate.SURVIVED]} survived, {seconds:.0f} s")

    examine(project, mutants, reach, tell, jobs=options.jobs, budget=options.budget)
    sys.stderr.write("\n")
    stale = sorted(reasons.keys() - {mutant.id for mutant in everything}) if is_whole else []
    for line in report.lines(is_whole=is_whole, stale=stale):
        sys.stdout.write(line + "\n")
    if options.record:
        record(
            "mutants",
            command=f"python -m tests.mutants --jobs {options.jobs} --record",
            facts=report.facts(),
            seconds=time.monotonic() - began,
            lines=report.markdown(),
            at=at,
        )
    return 0 if report.holds(is_whole=is_whole) and not stale else 1


if __name__ == "__main__":
    sys.exit(main())
