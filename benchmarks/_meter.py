"""What this process used, and quantiles of what it saw."""

from __future__ import annotations

import gc
import math
import os
import resource
import time
from collections.abc import Sequence
from pathlib import Path

import attrs

from benchmarks._case import SkippedError

__all__ = ["Used", "need_files", "quantile", "resident", "used"]

_STATM = Path("/proc/self/statm")


@attrs.frozen
class Used:
    """A moment, or by subtraction a span.

    Attributes:
        wall: seconds.
        cpu: seconds of CPU of this process.
    """

    wall: float
    cpu: float

    def __sub__(self, earlier: Used) -> Used:
        return Used(self.wall - earlier.wall, self.cpu - earlier.cpu)


def used() -> Used:
    """Now."""
    return Used(time.perf_counter(), time.process_time())


def resident() -> float:
    """KiB of memory that this process has resident, after a garbage collection.

    Raises:
        SkippedError: the system does not say.
    """
    gc.collect()
    if not _STATM.exists():
        raise SkippedError("resident memory is read from /proc, which this system has not")
    return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / 1024


def need_files(count: int) -> None:
    """Make sure that this process, and those it starts, may have so many files open at once.

    Raises:
        SkippedError: the system's hard limit is lower.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < count:
        if hard != resource.RLIM_INFINITY and hard < count:
            raise SkippedError(f"{count} open files are needed, and the limit is {hard}: raise it with ulimit -Hn")
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


def quantile(values: Sequence[float], q: float) -> float:
    """The value that a share of ``q`` of ``values`` doesn't exceed; not a number when there are none."""
    if not values:
        return math.nan
    return sorted(values)[max(0, math.ceil(q * len(values)) - 1)]
