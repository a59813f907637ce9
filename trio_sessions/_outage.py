"""A node that is out, as the janitor sees it: one asks whether it answers again, and all others wait for that."""

from __future__ import annotations

import random

import trio

from trio_sessions._backoff import Backoff
from trio_sessions._errors import NodeError, NodeUnavailableError, OutcomeUnknownError
from trio_sessions._gate import is_outage
from trio_sessions._listing import Lookup

__all__ = ["Outage"]

#: Waits between two times that the node is asked; seconds.
_ASK_AGAIN = (0.5, 15.0)


class Outage:
    """Where those wait who have something to do at a node that is out: a day of that costs as much as of one of them.

    One of those who wait asks for the list of listeners, which most of them need next, again and again until the node
    answers, whatever it says.
    """

    def __init__(self, lookup: Lookup, rng: random.Random) -> None:
        self._lookup = lookup
        self._backoff = Backoff(*_ASK_AGAIN, rng)
        self._is_out = False
        self._is_ignored = False
        #: In which one of them asks.
        self._asking: trio.CancelScope | None = None
        #: Set when that one has an answer, or was cancelled.
        self._released = trio.Event()

    async def wait_after(self, error: NodeError) -> None:
        """A call has failed like this: if the node is out, wait until it answers; no checkpoint otherwise."""
        if self._is_ignored or not _is_out_of_reach(error):
            return
        self._is_out = True
        while self._is_out:
            if self._asking is not None:
                await self._released.wait()
                continue
            self._released = trio.Event()
            try:
                with trio.CancelScope() as self._asking:
                    await self._ask_on()
            finally:
                self._asking = None
                self._released.set()

    def ignore(self) -> None:
        """A stop has no time for that: nobody waits any more, and each tries on by itself."""
        self._is_ignored = True
        self._is_out = False
        if self._asking is not None:
            self._asking.cancel()

    async def _ask_on(self) -> None:
        while self._is_out:
            await trio.sleep(self._backoff.next())
            try:
                await self._lookup.since(trio.current_time())
            except NodeError as error:
                self._is_out = not self._is_ignored and (
                    _is_out_of_reach(error) or isinstance(error, OutcomeUnknownError)
                )
            else:
                self._is_out = False
        self._backoff.reset()


def _is_out_of_reach(error: NodeError) -> bool:
    """Whether there was no connection, and not for want of our own: a status may concern this one call alone."""
    return isinstance(error, NodeUnavailableError) and is_outage(error)
