"""Looks at the node's list of listeners, shared by everybody who needs one at the same time."""

from __future__ import annotations

import attrs
import trio

from trio_sessions._flight import SingleFlight
from trio_sessions._hoprd import Hoprd
from trio_sessions._model import Listener, ListenerKey

__all__ = ["Listing", "Lookup"]

#: For so long, seconds, it is remembered what was listed.
_LATELY = 60.0


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
        """Whether the port is listed, but as another listener's; one that names no session may be this or that."""
        found = self.listeners.get(listener.key)
        return found is not None and bool(found.clients) and not found.same_as(listener)


class Lookup:
    """Fetches the list; a hundred who ask at once cost one or two calls."""

    def __init__(self, hoprd: Hoprd, *, timeout: float) -> None:
        self._hoprd = hoprd
        self._timeout = timeout
        self._last: Listing | None = None
        #: What was listed lately, and when last.
        self._lately: dict[ListenerKey, tuple[float, Listener]] = {}
        self._looks = 0
        self._flight = SingleFlight(self._fetch)

    async def since(self, moment: float) -> Listing:
        """A list whose call began at or after ``moment``, so that it knows all that was done before.

        Raises:
            NodeError: the call failed. When cancelled, others who wait go on with a call of their own.
        """
        if self._last is not None and self._last.started_at >= moment:
            await trio.lowlevel.checkpoint()
            return self._last
        return await self._flight.get(moment)

    async def lately(self, moment: float) -> Listing:
        """All that was listed in the last minute, by two lists or more, one of them from ``moment`` or after.

        A single list may be empty or old (contract §5): what is missing in it may have been there nevertheless.

        Raises:
            NodeError: a call failed.
        """
        listing = await self.since(moment)
        if self._looks < 2:
            listing = await self.since(trio.current_time())
        return Listing(listing.started_at, {key: listener for key, (_, listener) in self._lately.items()})

    async def _fetch(self) -> Listing:
        started_at = trio.current_time()
        listeners = await self._hoprd.list_sessions(timeout=self._timeout)
        self._last = Listing(started_at, {listener.key: listener for listener in listeners})
        self._looks += 1
        self._lately = {key: seen for key, seen in self._lately.items() if seen[0] > started_at - _LATELY}
        self._lately.update((listener.key, (started_at, listener)) for listener in listeners)
        return self._last
