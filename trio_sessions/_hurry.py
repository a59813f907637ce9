"""Waits that become shorter once the pool stops."""

from __future__ import annotations

import trio

__all__ = ["Hurry"]

#: The longest wait between two tries once the pool stops, seconds.
_HURRIED = 2.0


class Hurry:
    """Whether there is little time left; shared by all who wait between tries."""

    def __init__(self) -> None:
        self._event = trio.Event()

    def begin(self) -> None:
        """From now on waits are short; those under way are cut."""
        self._event.set()

    def __bool__(self) -> bool:
        return self._event.is_set()

    async def wait(self) -> None:
        """Wait until the hurry begins."""
        await self._event.wait()

    async def pause(self, seconds: float) -> None:
        """Sleep, for a shorter time in a hurry."""
        with trio.move_on_after(seconds):
            await self._event.wait()
            await trio.sleep(min(seconds, _HURRIED))
