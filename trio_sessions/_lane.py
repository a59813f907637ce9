"""How much one relayer may have in hand, and who waits for room."""

from __future__ import annotations

from collections import deque

import attrs
import trio

__all__ = ["Bounds", "Lane", "LaneClosedError"]


class LaneClosedError(Exception):
    """Nothing is admitted any more; never seen outside of the intake."""


@attrs.define
class Bounds:
    """How many messages may be in hand: ``each`` in one lane, ``total`` in all of them together.

    Every lane has the same share of the total, whatever the others do with theirs: so none holds up another.
    """

    each: int
    total: int
    #: How many lanes there are.
    lanes: int = 0

    @property
    def share(self) -> int:
        """What one lane may hold now."""
        return min(self.each, self.total // max(1, self.lanes))


@attrs.define(eq=False)
class _Place:
    """One who waits for room."""

    count: int
    granted: bool = False
    decided: trio.Event = attrs.field(factory=trio.Event)


class Lane:
    """Admits messages within its share of ``bounds``, first come, first served; who comes next waits.

    An empty lane admits any batch, however small the share is.
    """

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._used = 0
        self._closed = False
        self._waiting: deque[_Place] = deque()

    @property
    def used(self) -> int:
        """Messages in hand."""
        return self._used

    @property
    def is_idle(self) -> bool:
        """Whether nothing is in hand, and nobody waits."""
        return not self._used and not self._waiting

    def enter_nowait(self, count: int) -> bool:
        """Take room for ``count`` messages; False when there is none now, or others wait for it.

        Raises:
            LaneClosedError: closed.
        """
        if self._closed:
            raise LaneClosedError
        if self._waiting or not self._has_room(count):
            return False
        self._used += count
        return True

    async def enter(self, count: int) -> None:
        """Wait for room for ``count`` messages, and take it; nothing is taken when cancelled. Always a checkpoint.

        Raises:
            LaneClosedError: closed, before or meanwhile.
        """
        if self.enter_nowait(count):
            try:
                await trio.lowlevel.checkpoint()
            except BaseException:
                self.leave(count)
                raise
            return
        place = _Place(count)
        self._waiting.append(place)
        try:
            await place.decided.wait()
        except BaseException:
            if place.granted:
                # By one who was cancelled together with us, and ran before us.
                self.leave(count)
            elif not place.decided.is_set():
                self._waiting.remove(place)
                self._grant()
            raise
        if not place.granted:
            raise LaneClosedError

    def leave(self, count: int) -> None:
        """Give the room of ``count`` messages back."""
        self._used -= count
        self._grant()

    def close(self) -> None:
        """Admit nobody any more; who waits hears of it. Idempotent."""
        self._closed = True
        while self._waiting:
            self._waiting.popleft().decided.set()

    def _has_room(self, count: int) -> bool:
        return not self._used or self._used + count <= self._bounds.share

    def _grant(self) -> None:
        while self._waiting and self._has_room(self._waiting[0].count):
            place = self._waiting.popleft()
            self._used += place.count
            place.granted = True
            place.decided.set()
