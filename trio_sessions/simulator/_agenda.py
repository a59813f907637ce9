"""What the model will do later: one heap of timers, which the front runs."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from typing import Any

__all__ = ["Agenda"]

#: Actions until others get their turn: a burst of echoes longer than this would overrun a client's receive buffer.
BATCH = 64


def _nobody() -> None:
    """No front waits yet."""


class Agenda:
    """Actions by time; those of the same time run in the order of their entry.

    Attributes:
        wake: called when an entry becomes the earliest; the front that sleeps until :attr:`next_time` sets it.
    """

    __slots__ = ("_entries", "_serial", "wake")

    def __init__(self) -> None:
        self._entries: list[tuple[float, int, Callable[[Any, float], object], Any]] = []
        self._serial = 0
        self.wake: Callable[[], None] = _nobody

    @property
    def next_time(self) -> float:
        """The time of the earliest entry; infinite when there is none."""
        return self._entries[0][0] if self._entries else math.inf

    def at(self, when: float, action: Callable[[Any, float], object], argument: Any = None) -> None:
        """Call ``action(argument, now)`` as soon as it is ``when``; ``now`` may be later."""
        entries = self._entries
        earliest = not entries or when < entries[0][0]
        self._serial += 1
        heapq.heappush(entries, (when, self._serial, action, argument))
        if earliest:
            self.wake()

    def run_due(self, now: float) -> None:
        """Do what is due at ``now``, up to :data:`BATCH` actions; the front comes again for the rest."""
        entries = self._entries
        for _ in range(BATCH):
            if not entries or entries[0][0] > now:
                return
            _, _, action, argument = heapq.heappop(entries)
            action(argument, now)
