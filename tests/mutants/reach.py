"""Which tests reach which lines, and how long they take: found out by running them once, and kept for the next time."""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import attrs

from tests.mutants.crew import in_forks
from tests.mutants.project import Project
from tests.mutants.pytest_runs import Collected, with_items

__all__ = ["Reach", "Test", "find_reach"]

#: Seconds: tests that take longer judge no mutants.
_LONGEST = 20.0


@attrs.frozen
class Test:
    """One test.

    Attributes:
        name: pytest's name of it.
        seconds: how long it took.
        lines: what it ran, by file.
    """

    __test__ = False

    name: str
    seconds: float
    lines: dict[str, frozenset[int]]

    @property
    def file(self) -> str:
        """The file that it stands in."""
        return self.name.partition("::")[0]


@attrs.frozen
class Reach:
    """What all tests reach.

    Attributes:
        tests: by name.
        failed: those that fail without any change, or take too long: they judge nothing.
    """

    tests: dict[str, Test]
    failed: tuple[str, ...]

    def of(self, file: str, lines: tuple[int, int] | None) -> list[Test]:
        """The tests that run one of these lines (any line without ``lines``), the quick ones first."""
        wanted = None if lines is None else frozenset(range(lines[0], lines[1] + 1))
        found = [test for test in self.tests.values() if _meets(test.lines.get(file), wanted)]
        return sorted(found, key=lambda test: (test.seconds, test.name))

    def focus(self, file: str) -> list[str]:
        """The files of tests that reach ``file``, those first that are about it more than about all the others."""
        ours: Counter[str] = Counter()
        all_of_them: Counter[str] = Counter()
        for test in self.tests.values():
            ours[test.file] += len(test.lines.get(file, ()))
            all_of_them[test.file] += sum(map(len, test.lines.values()))
        return sorted((each for each in ours if ours[each]), key=lambda each: -ours[each] / all_of_them[each])


def _meets(lines: frozenset[int] | None, wanted: frozenset[int] | None) -> bool:
    return bool(lines) and (wanted is None or not wanted.isdisjoint(lines or ()))


def find_reach(project: Project, jobs: int, say: Callable[[str], None]) -> Reach:
    """Run all tests that were not run in their present form before."""
    cache = Path(project.root) / ".pytest_cache" / "mutants-reach.json"
    known = json.loads(cache.read_text()) if cache.exists() else {}
    common = _digest(project, (*project.files, *_helpers(project)))
    stamps = {file: common + _digest(project, (file,)) for file in project.tests}
    kept = {file: known[file] for file in stamps if file in known and known[file]["stamp"] == stamps[file]}
    missing = [file for file in project.tests if file not in kept]
    with tempfile.TemporaryDirectory() as folder:

        def work(file: str, send: Callable[[object], None]) -> None:
            _record(project, file, Path(folder) / file.replace("/", "-"), send)

        for number, (file, ended) in enumerate(in_forks(missing, work, jobs), 1):
            say(f"tests once without any change: {number} of {len(missing)} files")
            if ended.signal or not ended.messages or not isinstance(ended.messages[-1], dict):
                sys.stderr.write(f"\n{file} cannot be run: {ended.messages[-1:] or ended.signal}\n")
                continue
            kept[file] = {"stamp": stamps[file], **ended.messages[-1]}
    cache.parent.mkdir(exist_ok=True)
    cache.write_text(json.dumps(kept))
    return _read(kept.values())


def _helpers(project: Project) -> Iterable[str]:
    """What tests share."""
    folder = project.root / "tests"
    return sorted(
        path.relative_to(project.root).as_posix()
        for path in folder.rglob("*.py")
        if not path.name.startswith("test_") and "mutants" not in path.parts
    )


def _digest(project: Project, files: Iterable[str]) -> str:
    return hashlib.sha256(b"\0".join((project.root / file).read_bytes() for file in files)).hexdigest()[:16]


def _record(project: Project, file: str, temporary: Path, send: Callable[[object], None]) -> None:
    import coverage

    counted = coverage.Coverage(
        data_file=None, config_file=False, include=[str(project.root / each) for each in project.files]
    )
    seconds: dict[str, float] = {}
    failed: list[str] = []

    def run(collected: Collected) -> None:
        names = list(collected.by_id)
        for test, following in zip(names, [*names[1:], None], strict=True):
            counted.switch_context(test)
            began = time.perf_counter()
            if not collected.run(test, following):
                failed.append(test)
            seconds[test] = time.perf_counter() - began

    counted.start()
    is_collected = with_items(project.root, [file], temporary, run)
    counted.stop()
    lines: dict[str, dict[str, list[int]]] = {test: {} for test in seconds}
    data = counted.get_data()
    for each in project.files:
        for line, tests in data.contexts_by_lineno(str(project.root / each)).items():
            for test in tests:
                if test in lines:
                    lines[test].setdefault(each, []).append(line)
    send({"collected": is_collected, "seconds": seconds, "lines": lines, "failed": failed})


def _read(records: Iterable[dict[str, object]]) -> Reach:
    tests, failed = {}, []
    for record in records:
        seconds, lines, bad = record["seconds"], record["lines"], record["failed"]
        assert isinstance(seconds, dict)
        assert isinstance(lines, dict)
        assert isinstance(bad, list)
        for name, took in seconds.items():
            if name in bad or took > _LONGEST:
                failed.append(name)
            else:
                tests[name] = Test(name, took, {file: frozenset(those) for file, those in lines[name].items()})
    return Reach(tests, tuple(failed))
