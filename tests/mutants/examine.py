"""Puts each mutant before the tests that reach it, quick ones first, until one fails."""

from __future__ import annotations

import signal
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from enum import Enum
from pathlib import Path

import attrs

from tests.mutants.change import Mutant
from tests.mutants.crew import Ended, in_forks
from tests.mutants.inject import Functions, import_instead
from tests.mutants.project import Project
from tests.mutants.pytest_runs import Collected, with_items
from tests.mutants.reach import Reach

__all__ = ["Fate", "Verdict", "examine"]

#: A test may take so many times as long as without a change, and so many seconds more.
_TIMES = 10.0
_SECONDS_MORE = 5.0
#: Of the tests that caught others in the same function, so many come first.
_FAMILIAR = 8

#: Seconds that the collection of all tests may take.
_COLLECTING = 120.0
#: Files of tests that are collected first.
_FOCUSED = 2

_PASSED = "all passed"
_NOT_COLLECTED = "the import"


class Fate(Enum):
    """What became of a mutant."""

    KILLED = "killed"
    TIMED_OUT = "timed out"
    SURVIVED = "survived"


@attrs.frozen
class Verdict:
    """What became of a mutant.

    Attributes:
        mutant: which.
        fate: what.
        test: the test that killed it, or that did not end.
    """

    mutant: Mutant
    fate: Fate
    test: str = ""


@attrs.frozen
class _Task:
    mutant: Mutant
    tests: tuple[str, ...]


@attrs.define
class _Examiner:
    project: Project
    reach: Reach
    jobs: int
    budget: float
    temporary: Path
    tell: Callable[[Verdict], None]
    killers: defaultdict[tuple[str, str], list[str]] = attrs.field(factory=lambda: defaultdict(list))

    def tasks(self, mutants: Sequence[Mutant]) -> Iterator[_Task]:
        for mutant in mutants:
            tests = self.choose(mutant)
            if tests:
                yield _Task(mutant, tests)
            else:
                self.tell(Verdict(mutant, Fate.SURVIVED))

    def is_cold(self, mutant: Mutant) -> bool:
        """Whether it shows only in a process that imports the module anew: a function may run at the import alone."""
        return not mutant.is_inside or not self.reach.of(mutant.file, mutant.lines)

    def choose(self, mutant: Mutant) -> tuple[str, ...]:
        reaching = self.reach.of(mutant.file, None if self.is_cold(mutant) else mutant.lines)
        if self.is_cold(mutant):
            # What only looks at a constant reaches no line.
            about_it = self.reach.focus(mutant.file)[:_FOCUSED]
            reaching = [*(test for test in self.reach.tests.values() if test.file in about_it), *reaching]
        names = {test.name for test in reaching}
        familiar = [test for test in self.killers[mutant.file, mutant.scope] if test in names][:_FAMILIAR]
        chosen, left = list(familiar), self.budget
        for test in reaching:
            left -= test.seconds
            if left < 0:
                break
            if test.name not in chosen:
                chosen.append(test.name)
        return tuple(chosen)

    def source(self, mutant: Mutant) -> bytes:
        return mutant.apply((self.project.root / mutant.file).read_bytes())

    def run(self, mutants: Sequence[Mutant], work: Callable[[_Task, Callable[[object], None]], None]) -> None:
        for task, ended in in_forks(self.tasks(mutants), work, self.jobs):
            verdict = _verdict(task, ended)
            if verdict.test:
                killers = self.killers[task.mutant.file, task.mutant.scope]
                if verdict.test in killers:
                    killers.remove(verdict.test)
                killers.insert(0, verdict.test)
            self.tell(verdict)

    def judge(self, task: _Task, collected: Collected, send: Callable[[object], None]) -> bool:
        def before(test: str) -> None:
            send(test)
            # The signal's default ends the process: nothing that the mutant does can catch it.
            signal.setitimer(signal.ITIMER_REAL, _SECONDS_MORE + _TIMES * self.reach.tests[test].seconds)

        killer = collected.run_all([test for test in task.tests if test in collected.by_id], before)
        send(_PASSED if killer is None else killer)
        return killer is None

    def cold(self, task: _Task, send: Callable[[object], None]) -> None:
        """For what shows only when the module is imported: in a process that has not."""
        import_instead(self.project.root, task.mutant.file, self.source(task.mutant))
        # To collect tests takes longer than to run them: at first those alone that are about this very file.
        files = [file for file in self.reach.focus(task.mutant.file) if any(_is_in(file, test) for test in task.tests)]
        for number, some in enumerate((files[:_FOCUSED], files[_FOCUSED:])):
            tests = tuple(test for test in task.tests if any(_is_in(file, test) for file in some))
            passed = not tests
            part, folder = _Task(task.mutant, tests), self.temporary / f"{task.mutant.id}-{number}"

            def judge(collected: Collected, part: _Task = part) -> None:
                nonlocal passed
                passed = self.judge(part, collected, send)

            if tests:
                send(_NOT_COLLECTED)
                signal.setitimer(signal.ITIMER_REAL, _COLLECTING)
                with_items(self.project.root, some, folder, judge)
            if not passed:
                return

    def warm(self, collected: Collected, mutants: Sequence[Mutant]) -> None:
        functions = Functions(self.project.root, self.project.files)

        def work(task: _Task, send: Callable[[object], None]) -> None:
            if not functions.exchange(task.mutant.file, self.source(task.mutant)):
                raise RuntimeError(f"{task.mutant.id}: the change changes nothing")
            self.judge(task, collected, send)

        self.run(mutants, work)


def examine(
    project: Project,
    mutants: Sequence[Mutant],
    reach: Reach,
    tell: Callable[[Verdict], None],
    *,
    jobs: int,
    budget: float,
) -> None:
    """Have all mutants judged; ``tell`` is called with each verdict as it comes.

    Args:
        project: what is mutated.
        mutants: those to be judged.
        reach: which tests reach what.
        tell: told each verdict.
        jobs: how many at a time.
        budget: seconds that the tests of one mutant take without it, at most: who is not caught in that survives.
    """
    with tempfile.TemporaryDirectory() as folder:
        examiner = _Examiner(project, reach, jobs, budget, Path(folder), tell)
        # First those that need a process without the library in it: afterwards this one has it.
        cold = [mutant for mutant in mutants if examiner.is_cold(mutant)]
        examiner.run(cold, examiner.cold)
        warm = [mutant for mutant in mutants if mutant not in cold]
        if warm:
            with_items(
                project.root, project.tests, Path(folder) / "warm", lambda collected: examiner.warm(collected, warm)
            )


def _is_in(file: str, test: str) -> bool:
    return test.startswith(f"{file}::")


def _verdict(task: _Task, ended: Ended) -> Verdict:
    last = ended.messages[-1] if ended.messages else None
    if ended.signal:
        fate = Fate.TIMED_OUT if ended.signal == signal.SIGALRM else Fate.KILLED
        return Verdict(task.mutant, fate, str(last))
    if last == _PASSED:
        return Verdict(task.mutant, Fate.SURVIVED)
    if not isinstance(last, str) or last.startswith("Traceback"):
        raise RuntimeError(f"{task.mutant.id} {task.mutant.text} could not be examined: {last}")
    return Verdict(task.mutant, Fate.KILLED, last)
