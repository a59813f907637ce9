"""One case, measured once: ``python -m benchmarks._child JSON`` prints a JSON object.

A process of its own, so that neither memory nor caches nor warmed-up code of one case are found by the next.
"""

from __future__ import annotations

import json
import logging
import sys
import traceback
from typing import Any

import attrs
import trio

from benchmarks._case import FailedError, Settings, SkippedError
from benchmarks._catalogue import find_case

__all__ = ["measure"]


def measure(key: str, settings: Settings) -> dict[str, Any]:
    """What came of the case: a sample, or ``skipped`` or ``failed`` with a reason in one line."""
    try:
        return attrs.asdict(trio.run(find_case(key).measure, settings))
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is told
        cause: BaseException = error
        while isinstance(cause, BaseExceptionGroup):
            cause = cause.exceptions[0]
        if isinstance(cause, SkippedError):
            return {"skipped": str(cause)}
        if isinstance(cause, FailedError):
            return {"failed": str(cause)}
        traceback.print_exception(error)
        text = " ".join(str(cause).split())
        return {"failed": f"{type(cause).__name__}: {text}" if text else type(cause).__name__}


def main() -> None:
    """Measure what the argument says."""
    # What the library has to say of single sessions would be a line for each of thousands.
    logging.disable()
    given = json.loads(sys.argv[1])
    print(json.dumps(measure(given["case"], Settings(**given["settings"]))))


if __name__ == "__main__":
    main()
