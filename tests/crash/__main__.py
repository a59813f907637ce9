"""``python -m tests.crash``: SIGKILL at every stage of a real process, in every namespace, and nothing is left."""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from itertools import count, islice

import trio

from tests.crash.campaign import Tally, run_rounds
from tests.crash.plan import COMBINATIONS, NAMESPACES, STAGES, combination
from tests.crash.rounds import Outcome

_STAGES = "\n".join(f"  {name:<11}{meaning}" for name, meaning in STAGES.items())
_EPILOG = f"""stages:
{_STAGES}

Rounds are spread evenly over stages x namespaces. The seed and a round's number decide all of its plan: the exact
moment of the kill, how many relayers, what goes wrong at the node, the strangers. --round N plays that one again.
The whole story of such a round, and of one with a violation, goes to stderr.

exit status: 0 when nothing was violated, 1 otherwise
"""


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


class _Report:
    """Says what came of the rounds, as it goes."""

    def __init__(self, numbers: list[int], seed: int, *, tells_all: bool) -> None:
        self._seed = seed
        self._tells_all = tells_all
        self._missing = {pair: sum(combination(number) == pair for number in numbers) for pair in COMBINATIONS}
        self._tallies = {pair: Tally() for pair in COMBINATIONS}
        self.total = Tally()
        _say(f"{'stage':<11}{'namespace':<11}{'rounds':>7}{'left':>6}{'strangers closed':>18}{'median settle':>15}")

    def tell(self, outcome: Outcome) -> None:
        """Take in a round."""
        pair = combination(outcome.plan.number)
        self._tallies[pair].add(outcome)
        self.total.add(outcome)
        if self._tells_all or outcome.violations:
            sys.stderr.write(outcome.story + "\n")
        for violation in outcome.violations:
            _say(f"VIOLATED in {', '.join(pair)}: {violation}")
        if outcome.violations:
            _say(f"  again: python -m tests.crash --seed {self._seed} --round {outcome.plan.number}")
        if self._tallies[pair].rounds == self._missing[pair]:
            self._line(*pair, self._tallies[pair])

    def end(self, seconds: float) -> None:
        """Say what came of all."""
        self._line("total", "", self.total)
        late, reused, kills = self.total.late, self.total.reused, self.total.kills
        _say(f"{kills} kills, {late} listeners made after their client was dead, {reused} ports reused by strangers")
        _say(f"{self.total.violated} rounds violated, {seconds:.0f} s, seed {self._seed}")

    def _line(self, stage: str, namespace: str, tally: Tally) -> None:
        settled = f"{statistics.median(tally.settled):.2f} s" if tally.settled else "never"
        _say(f"{stage:<11}{namespace:<11}{tally.rounds:>7}{tally.left:>6}{tally.strangers_closed:>18}{settled:>15}")


def _numbers(options: argparse.Namespace) -> list[int]:
    """The numbers of the rounds to play, one combination after the other."""
    if options.round is not None:
        return [options.round]
    stages, namespaces = options.stage or list(STAGES), options.namespace or NAMESPACES
    wanted = {pair for pair in COMBINATIONS if pair[0] in stages and pair[1] in namespaces}
    numbers = islice((number for number in count() if combination(number) in wanted), options.rounds)
    return sorted(numbers, key=lambda number: (number % len(COMBINATIONS), number))


def main() -> int:
    """Play the rounds that the command line asks for."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.crash",
        description=__doc__,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rounds", type=int, default=210, help="in total, over all stages and namespaces (210)")
    parser.add_argument("--seed", type=int, default=0, help="of every choice (0)")
    parser.add_argument("--jobs", type=int, default=2, help="rounds at a time (2)")
    parser.add_argument("--stage", action="append", choices=STAGES, help="only this one; may be repeated")
    parser.add_argument("--namespace", action="append", choices=NAMESPACES, help="only this one; may be repeated")
    parser.add_argument("--round", type=int, help="only the round of this number")
    options = parser.parse_args()
    numbers = _numbers(options)
    report = _Report(numbers, options.seed, tells_all=options.round is not None)
    began = time.monotonic()
    trio.run(run_rounds, numbers, options.seed, options.jobs, report.tell)
    report.end(time.monotonic() - began)
    return 1 if report.total.violated else 0


if __name__ == "__main__":
    sys.exit(main())
