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
#: A list that was fetched for another one may be so old for each of its listeners, seconds, and so old at most.
_AGE_EACH = 50e-6
_FRESH = 1.0


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
        #: What was listed lately and is not any more, and when it last was.
        self._gone: dict[ListenerKey, tuple[float, Listener]] = {}
        #: That and the last list as one list, made once for all who ask after the same look.
        self._union: Listing | None = None
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

    def saw(self, listener: Listener, after: float) -> bool:
        """Whether a list that is at hand, and whose call began after ``after``, has this very listener.

        The longer the list, the older it may be, up to a second: so looks before each of ten thousand DELETEs cost no
        more than the DELETEs do. No node restarts and gives the port to another so fast.
        """
        last = self._last
        if last is None or last.started_at <= after:
            return False
        age = min(_FRESH, len(last.listeners) * _AGE_EACH)
        return last.started_at >= trio.current_time() - age and last.has(listener)

    async def lately(self, moment: float) -> Listing:
        """All that was listed in the last minute, by two lists or more, one of them from ``moment`` or after.

        A single list may be empty or old (contract §5): what is missing in it may have been there nevertheless.

        Raises:
            NodeError: a call failed.
        """
        listing = await self.since(moment)
        if self._looks < 2:
            listing = await self.since(trio.current_time())
        if self._union is None:
            gone = {key: listener for key, (_, listener) in self._gone.items()}
            last = self._last or listing
            self._union = Listing(listing.started_at, gone | last.listeners) if gone else last
        return self._union

    async def _fetch(self) -> Listing:
        started_at = trio.current_time()
        listeners = await self._hoprd.list_sessions(timeout=self._timeout)
        previous = self._last
        last = self._last = Listing(started_at, {listener.key: listener for listener in listeners})
        self._looks += 1
        self._union = None
        if previous is not None:
            # As sets of keys whose hashes are known: nearly all of ten thousand are in both.
            missing = set(previous.listeners).difference(last.listeners)
            if missing:
                gone = {key: each for key, each in previous.listeners.items() if key in missing}
                self._gone.update((key, (previous.started_at, each)) for key, each in gone.items())
        self._gone = {key: seen for key, seen in self._gone.items() if seen[0] > started_at - _LATELY}
        return last
