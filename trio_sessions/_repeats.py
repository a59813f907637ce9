"""How often a fault that goes on is worth a line in the log."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final

import attrs

__all__ = ["REPEAT_INTERVAL", "Repeats"]

#: Seconds between two lines about the same fault.
REPEAT_INTERVAL: Final = 60.0
#: Faults that are remembered; the one that was said longest ago is forgotten first.
_MOST_FAULTS: Final = 256


@attrs.define
class _Said:
    at: float
    held_back: int = 0


class Repeats:
    """Lets the first line about a fault through at once, and then one in each interval. No clock: times are passed in.

    Args:
        interval: in seconds.
        most: faults that are remembered at a time.
    """

    def __init__(self, interval: float = REPEAT_INTERVAL, *, most: int = _MOST_FAULTS) -> None:
        self._interval = interval
        self._most = most
        #: In the order of their last lines.
        self._faults: dict[Hashable, _Said] = {}

    def take(self, fault: Hashable, now: float) -> int | None:
        """A line about ``fault`` would be due: how many were held back since the last; ``None``: hold it back, too."""
        said = self._faults.get(fault)
        if said is not None and now < said.at + self._interval:
            said.held_back += 1
            return None
        self._faults.pop(fault, None)
        if len(self._faults) >= self._most:
            del self._faults[next(iter(self._faults))]
        self._faults[fault] = _Said(now)
        return 0 if said is None else said.held_back

    def allows(self, fault: Hashable, now: float) -> bool:
        """The same, where nobody wants to know how many were held back."""
        return self.take(fault, now) is not None

    @property
    def held_back(self) -> dict[Hashable, int]:
        """How many lines about each fault were held back since its last one, where any were."""
        return {fault: said.held_back for fault, said in self._faults.items() if said.held_back}
