"""A run of Trio that can be repeated: the same seed gives the same order of tasks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import trio

__all__ = ["deterministic_schedule"]


@contextmanager
def deterministic_schedule(seed: int | str) -> Iterator[None]:
    """Trio orders the tasks that can run by ``seed`` alone, for as long as the block lasts.

    Trio runs in turn whatever is ready, in an order that it draws anew each time, so that nobody relies on one. Within
    this block the order is drawn from ``seed``, and what it is drawn for is sorted by age: a run without real sockets,
    threads or a real clock repeats itself exactly, as far as the code that it runs does. To be put around
    :func:`trio.run` (with a :class:`trio.testing.MockClock`), or into a task that is the only one so far.

    Trio has no public name for this. It does the same when Hypothesis runs tests with pytest-trio; what is set here is
    what ``trio._core._run`` sets then, and all of it is put back at the end.
    """
    scheduler = cast("Any", trio)._core._run
    was_sorted, state = scheduler._ALLOW_DETERMINISTIC_SCHEDULING, scheduler._r.getstate()
    scheduler._ALLOW_DETERMINISTIC_SCHEDULING = True
    scheduler._r.seed(seed)
    try:
        yield
    finally:
        scheduler._ALLOW_DETERMINISTIC_SCHEDULING = was_sorted
        scheduler._r.setstate(state)
