"""Which ports of a range are free: each is in use by one listener, rests after its end, or is free."""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Container

from trio_sessions._errors import PortsUsedUpError

__all__ = ["Ports"]


class Ports:
    """Gives out the ports ``first`` to ``last``, the one that has been free for the longest time first."""

    def __init__(self, first: int, last: int, rng: random.Random) -> None:
        self._range = range(first, last + 1)
        self._free = deque(self._range)
        # Not always from the first on: an earlier run may have left listeners there.
        self._free.rotate(rng.randrange(len(self._range)))
        self._in_use: set[int] = set()
        #: A heap of (until when, port).
        self._resting: list[tuple[float, int]] = []

    def __len__(self) -> int:
        return len(self._range)

    def __contains__(self, port: int) -> bool:
        return port in self._range

    def take(self, now: float, avoid: Container[int] = ()) -> int:
        """A free port, in use from now on; none that is in ``avoid``, if there are others.

        Raises:
            PortsUsedUpError: none is free.
        """
        self._wake(now)
        for _ in range(len(self._free)):
            port = self._free.popleft()
            if port not in avoid:
                self._in_use.add(port)
                return port
            self._free.append(port)
        raise PortsUsedUpError(
            f"{self._range[0]}-{self._range[-1]}",
            in_use=len(self._in_use) + len(self._free),
            resting=len(self._resting),
            free_in=self._resting[0][0] - now if self._resting else None,
        )

    def occupy(self, port: int) -> None:
        """A port that a listener of an earlier run may have; one outside of the range changes nothing."""
        if port in self._free:
            self._free.remove(port)
            self._in_use.add(port)

    def free(self, port: int, until: float) -> None:
        """A port that was in use is not any more; it rests ``until`` then (Trio's clock)."""
        if port in self._in_use:
            self._in_use.remove(port)
            heapq.heappush(self._resting, (until, port))

    def _wake(self, now: float) -> None:
        while self._resting and self._resting[0][0] <= now:
            self._free.append(heapq.heappop(self._resting)[1])
