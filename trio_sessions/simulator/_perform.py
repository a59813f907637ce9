"""What both fronts share: performing what the model decided, and running its agenda."""

from __future__ import annotations

import trio

from trio_sessions.simulator._agenda import Agenda
from trio_sessions.simulator._http import Reply, Steps

__all__ = ["begin", "perform", "proceed", "run_agenda"]


def begin(steps: Steps) -> Reply | float:
    """Take the first step: the reply, if that is all, or else the time until which to wait."""
    try:
        return next(steps)
    except StopIteration as end:
        reply: Reply = end.value
        return reply


async def proceed(steps: Steps, deadline: float) -> Reply:
    """Wait where the model waits, and return its reply.

    When cancelled, which is to say that the client has gone, the model is told and rolls back.
    """
    try:
        while True:
            await trio.sleep_until(deadline)
            deadline = steps.send(trio.current_time())
    except StopIteration as end:
        reply: Reply = end.value
        return reply
    finally:
        steps.close()


async def perform(steps: Steps) -> Reply:
    """Begin and proceed; no checkpoint when nothing has to be waited for."""
    begun = begin(steps)
    return await proceed(steps, begun) if isinstance(begun, float) else begun


async def run_agenda(agenda: Agenda) -> None:
    """Run the timers of the model, for ever."""
    while True:
        agenda.run_due(trio.current_time())
        changed = trio.Event()
        agenda.wake = changed.set
        with trio.move_on_at(agenda.next_time):
            await changed.wait()
