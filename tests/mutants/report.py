"""What came of the mutants: a table by file, the survivors, and whether it is good enough."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from tests.mutants.change import Mutant
from tests.mutants.examine import Fate, Verdict
from tests.mutants.project import Project

__all__ = ["Report"]


class Report:
    """Takes in verdicts, and tells what they come to."""

    def __init__(self, project: Project, sources: Mapping[str, bytes], reasons: Mapping[str, str]) -> None:
        self._project = project
        self._sources = sources
        self._reasons = reasons
        self._fates: dict[str, Counter[Fate]] = {file: Counter() for file in project.files}
        self._survivors: list[Mutant] = []
        #: Accepted, and killed all the same.
        self._killed_after_all: list[Mutant] = []

    def add(self, verdict: Verdict) -> None:
        """Take in one more."""
        mutant = verdict.mutant
        self._fates[mutant.file][verdict.fate] += 1
        if verdict.fate is Fate.SURVIVED:
            self._survivors.append(mutant)
        elif mutant.id in self._reasons:
            self._killed_after_all.append(mutant)

    def line(self, mutant: Mutant) -> str:
        """A mutant in one line."""
        source = self._sources[mutant.file]
        end = mutant.start + len(mutant.before.encode())
        head = source[: mutant.start].rpartition(b"\n")[2].decode().lstrip()
        tail = source[end:].partition(b"\n")[0].decode()
        before, after = (" ".join(f"{head}{text}{tail}".split()) for text in (mutant.before, mutant.after))
        line = source[: mutant.start].count(b"\n") + 1
        return f"{mutant.id}  {mutant.file}:{line} {mutant.scope or '-'}: {before}  ==>  {after}"

    def _without_reason(self) -> list[Mutant]:
        return [mutant for mutant in self._survivors if mutant.id not in self._reasons]

    def holds(self, *, is_whole: bool) -> bool:
        """Whether every survivor has its reason and, of a whole run, whether enough were killed in each group."""
        rates = [_rate(self._sum(files)) for files in self._project.groups.values()] if is_whole else []
        return not self._without_reason() and all(rate >= self._project.rate for rate in rates)

    def _sum(self, files: Iterable[str]) -> Counter[Fate]:
        return sum((self._fates[file] for file in files), Counter[Fate]())

    def lines(self, *, is_whole: bool, stale: Iterable[str]) -> list[str]:
        """The whole of it, for a terminal."""
        name_width = max(len(name) for name in (*self._project.files, *self._project.groups))
        lines = [f"{'':<{name_width}}{'mutants':>9}{'killed':>9}{'timed out':>11}{'survived':>10}{'rate':>9}"]
        for group, files in self._project.groups.items():
            lines += [_row(file, self._fates[file], name_width) for file in files if self._fates[file]]
            if is_whole:
                lines.append(_row(group, self._sum(files), name_width))
        lines.append(_row("total", self._sum(self._project.files), name_width))
        accepted = [mutant for mutant in self._survivors if mutant.id in self._reasons]
        if accepted:
            lines += ["", "Survived, and accepted:"]
            lines += [f"{self.line(mutant)}\n    {self._reasons[mutant.id]}" for mutant in accepted]
        unexplained = self._without_reason()
        if unexplained:
            lines += ["", "SURVIVED, without a reason:", *(self.line(mutant) for mutant in unexplained)]
        if self._killed_after_all:
            lines += ["", "Accepted, but killed:", *(self.line(mutant) for mutant in self._killed_after_all)]
        lines += [f"accepted, but there is no such mutant any more: {name}" for name in stale]
        return lines

    def facts(self) -> dict[str, object]:
        """The numbers, for the page of results."""
        total = self._sum(self._project.files)
        facts: dict[str, object] = {
            "mutants": total.total(),
            "killed by a test": total[Fate.KILLED],
            "killed by a time-out": total[Fate.TIMED_OUT],
            "survived, each with its reason": total[Fate.SURVIVED] - len(self._without_reason()),
            "survived without a reason": len(self._without_reason()),
        }
        for group, files in self._project.groups.items():
            counted = self._sum(files)
            facts[group] = f"{_rate(counted):.1%} of {counted.total():,} killed"
        return facts

    def markdown(self) -> list[str]:
        """The survivors by reason, for the page of results."""
        by_reason: dict[str, list[str]] = {}
        for mutant in self._survivors:
            reason = self._reasons.get(mutant.id, "without a reason")
            by_reason.setdefault(reason, []).append(mutant.id)
        return ["Survivors:", "", *(f"- {reason} ({', '.join(names)})" for reason, names in by_reason.items())]


def _rate(fates: Counter[Fate]) -> float:
    return 1 - fates[Fate.SURVIVED] / fates.total() if fates else 1.0


def _row(name: str, fates: Counter[Fate], width: int) -> str:
    numbers = f"{fates.total():>9,}{fates[Fate.KILLED]:>9,}{fates[Fate.TIMED_OUT]:>11,}{fates[Fate.SURVIVED]:>10,}"
    return f"{name:<{width}}{numbers}{_rate(fates):>9.1%}"
