"""The end of a task whose run was given up: it is closed, whatever it does against that."""

from __future__ import annotations

import sys
from contextlib import suppress
from types import FrameType
from typing import Any, cast

import trio

__all__ = ["abandon"]

#: How often a coroutine that awaits in its clean-up is closed anew.
_CLOSINGS = 100
#: Lines that its clean-up may take; Trio raises at most of them, since it does not run any more.
_LINES = 5_000


class _EnoughError(BaseException):
    pass


def abandon(task: trio.lowlevel.Task) -> None:
    """Close the coroutine of a task of a run that is over.

    Code that swallows every exception would go on for ever, here or whenever Python drops it: so when it has had its
    lines, each further line raises, those of its handlers too.
    """
    lines = 0

    def count(_frame: FrameType, event: str, _argument: object) -> Any:
        nonlocal lines
        lines += event == "line"
        if lines > _LINES:
            raise _EnoughError
        return count

    for frame, _ in task.iter_await_frames():
        frame.f_trace = count
    before = sys.gettrace()
    sys.settrace(count)
    try:
        for _ in range(_CLOSINGS):
            with suppress(BaseException):
                task.coro.close()
                return
    finally:
        sys.settrace(before)
        if task.parent_nursery is not None:
            # Trio does this when a task ends, and has no public name for it: a nursery that goes with tasks complains.
            cast("Any", task.parent_nursery)._children.discard(task)
