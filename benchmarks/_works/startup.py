"""``startup``: how long it takes until the library is imported and the command line answers, in fresh processes."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from functools import partial

from benchmarks._case import Case, Figure, Quotient, Sample, Settings, Work

__all__ = ["WORK"]

_FIGURES = {"time": Figure("median", "ms", "lower"), "fastest": Figure("fastest", "ms", "lower")}


async def _run(settings: Settings, arguments: tuple[str, ...]) -> Sample:
    taken = []
    for _ in range(3 if settings.quick else 7):
        started = time.perf_counter()
        subprocess.run(  # noqa: ASYNC221 - nothing else runs here
            [sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL
        )
        taken.append((time.perf_counter() - started) * 1000)
    return Sample({"time": statistics.median(taken), "fastest": min(taken)})


def _case(name: str, title: str, *arguments: str) -> Case:
    return Case(name=name, title=title, measure=partial(_run, arguments=arguments), figures=_FIGURES, quick=False)


WORK = Work(
    name="startup",
    title="a Python that imports the library, beside its floors",
    cases=(
        _case("python", "python -c pass", "-c", "pass"),
        _case("parts", "import trio, attrs", "-c", "import trio, attrs"),
        _case("library", "import trio_sessions", "-c", "import trio_sessions"),
        _case("help", "trio-sessions --help", "-m", "trio_sessions", "--help"),
    ),
    quotients=(Quotient("import of trio and attrs alone", "startup/library:time", "startup/parts:time", 1, "lower"),),
)
