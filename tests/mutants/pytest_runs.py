"""Pytest in this process: its items collected once, and run as somebody else decides."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

__all__ = ["Collected", "with_items"]

#: No other processes, no files left behind, and nothing of the project's own choice of options.
_OPTIONS = (
    *("-o", "addopts=", "-o", "tmp_path_retention_policy=none", "-o", "faulthandler_timeout=0"),
    *("-p", "no:xdist", "-p", "no:cov", "-p", "no:cacheprovider", "-s", "-q"),
    # Hypothesis is, as it has to be told what to do first.
    *("-W", "ignore:Module already imported:pytest.PytestAssertRewriteWarning"),
)


class Collected:
    """The items of a run, and whether one fails."""

    def __init__(self, items: Sequence[pytest.Item]) -> None:
        self.by_id = {item.nodeid: item for item in items}
        self._failed = False
        #: What was raised in the last failure, in one line.
        self.failure = ""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Called by pytest for each part of each test."""
        if report.failed:
            self._failed = True
            # Within a group it is the last one.
            raised = re.findall(r"^[ |E]*((?:\w+\.)*\w+(?<!Group): .*)$", report.longreprtext, flags=re.MULTILINE)
            self.failure = (raised or ["failed"])[-1]

    def run(self, test: str, following: str | None = None) -> bool:
        """Run one test, before the ``following`` one; whether it passed."""
        item = self.by_id[test]
        self._failed = False
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=self.by_id[following] if following else None)
        return not self._failed

    def run_all(self, tests: Sequence[str], before: Callable[[str], None]) -> str | None:
        """Run tests one after the other, calling ``before`` with the name of each; the first one that fails, if any."""
        for test, following in zip(tests, [*tests[1:], None], strict=True):
            before(test)
            if not self.run(test, following):
                return test
        return None


class _Loop:
    def __init__(self, work: Callable[[Collected], None]) -> None:
        self._work = work

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        collected = Collected(session.items)
        session.config.pluginmanager.register(collected)
        if not session.testsfailed:
            self._work(collected)
        return True


def with_items(root: Path, files: Sequence[str], temporary: Path, work: Callable[[Collected], None]) -> bool:
    """Collect the tests of these files, and call ``work`` with them; False when they cannot be collected.

    Hypothesis tries the same examples each time, looks for no smaller ones, and keeps none.
    """
    from hypothesis import Phase, settings

    settings.register_profile("mutants", derandomize=True, database=None, phases=(Phase.explicit, Phase.generate))
    settings.load_profile("mutants")
    called = False

    def once(collected: Collected) -> None:
        nonlocal called
        called = True
        work(collected)

    arguments = [*_OPTIONS, f"--rootdir={root}", f"--basetemp={temporary}", *(str(root / file) for file in files)]
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        pytest.main(arguments, plugins=[_Loop(once)])
    return called
