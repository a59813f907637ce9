"""How much one relayer may have in hand: the bound of the intake, and the queue in front of it."""

from __future__ import annotations

import trio

__all__ = ["Lane"]


class Lane:
    """Admits up to ``limit`` messages at a time, first come, first served; who comes next waits."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._used = 0
        # Whoever holds the turn waits for room; the others wait for the turn, so nobody overtakes a large batch.
        self._turn = trio.StrictFIFOLock()
        self._freed = trio.Event()

    @property
    def used(self) -> int:
        """Messages in hand."""
        return self._used

    async def enter(self, count: int) -> None:
        """Take room for ``count`` messages, at most the limit; always a checkpoint, nothing taken when cancelled."""
        async with self._turn:
            while self._used + count > self._limit:
                self._freed = trio.Event()
                await self._freed.wait()
            self._used += count

    def leave(self, count: int) -> None:
        """Give the room of ``count`` messages back."""
        self._used -= count
        self._freed.set()
