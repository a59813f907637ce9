"""Looks at the node's list of listeners, shared by everybody who needs one at the same time."""

from __future__ import annotations

from math import inf

import attrs
import trio

from trio_sessions._errors import NodeError
from trio_sessions._hoprd import Hoprd
from trio_sessions._model import Listener, ListenerKey

__all__ = ["Listing", "Lookup"]


@attrs.frozen
class Listing:
    """The node's UDP listeners at some moment after ``started_at`` (Trio's clock)."""

    started_at: float
    listeners: dict[ListenerKey, Listener]

    def has(self, listener: Listener) -> bool:
        """Whether this very listener is listed, and not just a later one on its port."""
        found = self.listeners.get(listener.key)
        return found is not None and found.same_as(listener)

    def has_another(self, listener: Listener) -> bool:
        """Whether the port is listed, but as another listener's."""
        found = self.listeners.get(listener.key)
        return found is not None and not found.same_as(listener)


class Lookup:
    """Fetches the list; a hundred who ask at once cost one or two calls, and share one failure."""

    def __init__(self, hoprd: Hoprd, *, timeout: float) -> None:
        self._hoprd = hoprd
        self._timeout = timeout
        self._lock = trio.Lock()
        self._last: Listing | None = None
        self._failed_at = -inf
        self._error: NodeError | None = None

    async def since(self, moment: float) -> Listing:
        """A list whose call began at or after ``moment``, so that it knows all that was done before.

        Raises:
            NodeError: the call failed. When cancelled, others who wait go on with a call of their own.
        """
        if (known := self._known(moment)) is not None:
            await trio.lowlevel.checkpoint()
            return known
        async with self._lock:
            if (known := self._known(moment)) is not None:
                return known
            if self._error is not None and self._failed_at >= moment:
                raise self._error
            return await self._fetch()

    def _known(self, moment: float) -> Listing | None:
        return self._last if self._last is not None and self._last.started_at >= moment else None

    async def _fetch(self) -> Listing:
        started_at = trio.current_time()
        try:
            listeners = await self._hoprd.list_sessions(timeout=self._timeout)
        except NodeError as error:
            self._failed_at, self._error = started_at, error
            raise
        self._last = Listing(started_at, {listener.key: listener for listener in listeners})
        return self._last
