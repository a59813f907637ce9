"""So many at a time, where one that takes long must not hold up the others."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from math import inf
from typing import Generic, TypeVar

import trio

__all__ = ["Limit"]

H = TypeVar("H", bound=Hashable)


def _nothing(_: object) -> None:
    pass


class Limit(Generic[H]):
    """Room for so many holders at a time; others wait, first come, first served.

    A holder that waits for somebody else says so by :meth:`waits`. Once it has waited for longer than ``patience``
    seconds, it needs no room any more, unless ``most_slow`` others wait as long as that: so those that hang cost the
    others nothing, and there is a bound on them nevertheless. A step costs the same however many hold or wait.

    Args:
        most: holders, without the slow ones.
        most_slow: slow holders.
        patience: seconds.
        on_slow: called when a holder becomes a slow one; only when somebody wants its room.
    """

    def __init__(
        self, most: int, *, most_slow: int, patience: float, on_slow: Callable[[H], None] | None = None
    ) -> None:
        self._most = most
        self._most_slow = most_slow
        self._patience = patience
        self._on_slow = on_slow or _nothing
        self._busy: set[H] = set()
        #: Since when they wait, the one that has waited for the longest time first.
        self._waiting: dict[H, float] = {}
        self._slow: set[H] = set()
        # One waits for room, the others for their turn.
        self._turn = trio.StrictFIFOLock()
        self._freed = trio.Event()

    @property
    def queued(self) -> int:
        """How many wait for room."""
        return self._turn.statistics().tasks_waiting + self._turn.locked()

    async def acquire(self, holder: H) -> None:
        """Wait until there is room; no checkpoint when there is. Whoever comes out of this must :meth:`release`."""
        if self.acquire_nowait(holder):
            return
        async with self._turn:
            while not self._has_room():
                self._freed = trio.Event()
                with trio.move_on_at(self._next_slow()):
                    await self._freed.wait()
        self._busy.add(holder)

    def acquire_nowait(self, holder: H) -> bool:
        """The same where there is room and nobody waits for it; else False."""
        if self._turn.locked() or not self._has_room():
            return False
        self._busy.add(holder)
        return True

    def waits(self, holder: H) -> None:
        """From now on the holder only waits for somebody else."""
        self._busy.remove(holder)
        self._waiting[holder] = trio.current_time()
        if len(self._waiting) == 1:
            # Until now there was nobody of whom the next in turn could tell when he becomes slow.
            self._freed.set()

    def release(self, holder: H) -> None:
        """Make room for another one."""
        self._busy.discard(holder)
        self._waiting.pop(holder, None)
        self._slow.discard(holder)
        self._freed.set()

    def _has_room(self) -> bool:
        if len(self._busy) + len(self._waiting) < self._most:
            return True
        now = trio.current_time()
        while self._next_slow() <= now:
            holder = next(iter(self._waiting))
            del self._waiting[holder]
            self._slow.add(holder)
            self._on_slow(holder)
        return len(self._busy) + len(self._waiting) < self._most

    def _next_slow(self) -> float:
        """When the next holder becomes a slow one."""
        if not self._waiting or len(self._slow) >= self._most_slow:
            return inf
        return next(iter(self._waiting.values())) + self._patience
