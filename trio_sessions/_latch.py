"""An event that is light while nobody waits for it."""

from __future__ import annotations

import trio

__all__ = ["Latch"]


class Latch:
    """Like :class:`trio.Event`, which has a set of its own: ten thousand sessions have four each, and wait for none."""

    __slots__ = ("_event", "_is_set", "_shielded")

    def __init__(self) -> None:
        self._event: trio.Event | None = None
        #: The task in :meth:`wait_shielded`.
        self._shielded: trio.lowlevel.Task | None = None
        self._is_set = False

    def is_set(self) -> bool:
        """Whether :meth:`set` was called."""
        return self._is_set

    def set(self) -> None:
        """Let everybody through who waits, and who comes later."""
        self._is_set = True
        if self._event is not None:
            self._event.set()
            self._event = None
        if self._shielded is not None:
            trio.lowlevel.reschedule(self._shielded)
            self._shielded = None

    async def wait(self) -> None:
        """Wait until :meth:`set` was called; always a checkpoint."""
        if self._is_set:
            await trio.lowlevel.checkpoint()
            return
        if self._event is None:
            self._event = trio.Event()
        await self._event.wait()

    async def wait_shielded(self) -> None:
        """The same, whatever is cancelled meanwhile; for one task. No checkpoint when it is set already.

        As a wait in a shielded scope, but ten thousand that end together need ten thousand scopes less.
        """
        if not self._is_set:
            assert self._shielded is None
            self._shielded = trio.lowlevel.current_task()
            await trio.lowlevel.wait_task_rescheduled(lambda _: trio.lowlevel.Abort.FAILED)
