"""What the janitor remembers of listeners that it does not hold any more."""

from __future__ import annotations

from math import inf

from trio_sessions._listeners import Claim
from trio_sessions._listing import Listing
from trio_sessions._model import Listener, ListenerKey

__all__ = ["MEMORY", "Past"]

#: For so long, seconds, something is remembered: the node ends a listener that nobody uses within 203 s (contract
#: §3.5), so one that a lying list had hidden cannot come back later.
MEMORY = 210.0


class Past:
    """Remembers which keys changed hands, and which listeners vanished; forgets both after :data:`MEMORY`."""

    def __init__(self) -> None:
        self._changed: dict[ListenerKey, float] = {}
        self._vanished: dict[ListenerKey, tuple[float, Claim]] = {}

    def __bool__(self) -> bool:
        return bool(self._changed or self._vanished)

    @property
    def misses_any(self) -> bool:
        """Whether a listener had vanished."""
        return bool(self._vanished)

    def changed(self, key: ListenerKey, now: float) -> None:
        """A key of ours was registered or let go now: a list from before says nothing of it."""
        # In the order of their times, so that forgetting looks at no others.
        self._changed.pop(key, None)
        self._changed[key] = now

    def changed_at(self, key: ListenerKey) -> float:
        """When the key changed hands last, as far as that is remembered."""
        return self._changed.get(key, -inf)

    def vanished(self, claim: Claim, listener: Listener, now: float) -> None:
        """The claim's listener was gone when it was to be closed."""
        self._vanished[listener.key] = (now, claim)

    def knows(self, listener: Listener, listing: Listing) -> bool:
        """Whether ``listener``, as listed, was or may have been ours and is accounted for."""
        if self._changed.get(listener.key, -inf) >= listing.started_at:
            return True
        _, ghost = self._vanished.get(listener.key, (0.0, None))
        return ghost is not None and ghost.listener is not None and ghost.listener.same_as(listener)

    def returned(self, listing: Listing) -> list[Claim]:
        """The claims whose listeners had vanished and are listed again; they are forgotten here."""
        back = [claim for _, claim in self._vanished.values() if claim.listener and listing.has(claim.listener)]
        for claim in back:
            assert claim.listener is not None
            del self._vanished[claim.listener.key]
        return back

    def forget_before(self, moment: float) -> None:
        """Forget what happened before ``moment``."""
        while self._changed and self._changed[oldest := next(iter(self._changed))] < moment:
            del self._changed[oldest]
        self._vanished = {key: (at, claim) for key, (at, claim) in self._vanished.items() if at >= moment}
