"""Every DELETE of a listener: of one, after a look that it is still the one, or of all on an address of our own."""

from __future__ import annotations

import logging
import random
from enum import Enum
from math import inf

import trio

from trio_sessions._backoff import Backoff
from trio_sessions._claims import Claims
from trio_sessions._errors import MalformedReplyError, NodeError, SessionsError, StatusError, UnauthorizedError
from trio_sessions._hoprd import Hoprd
from trio_sessions._hurry import Hurry
from trio_sessions._listeners import Claim, ListenerEvent
from trio_sessions._listing import Listing, Lookup
from trio_sessions._log_fields import about
from trio_sessions._model import Listener
from trio_sessions._outage import Outage
from trio_sessions._territory import Territory

__all__ = ["Closer"]

_log = logging.getLogger("trio_sessions.janitor")

#: Waits between tries of a DELETE, seconds.
_RETRY = (0.2, 30.0)
#: Seconds from a look that does not find a listener to the one that is believed: a list can be empty for a moment.
_SECOND_LOOK = 0.5
#: How many times as many DELETEs a stop may have in flight.
_HURRIED_CLOSES = 16
_DELISTED = "the node does not list it any more, though it answered: it ends by itself when it is idle (180 to 203 s)"


class _Seen(Enum):
    """What a look before a DELETE found."""

    THERE = "listed, or on our own address"
    HARMLESS = "not listed, but a DELETE can hurt nobody"
    NOT_YET = "not listed, or another is: a second look is needed"
    GONE = "not listed for the second time"


class Closer:
    """Deletes listeners, a bounded number at a time, until the node confirms that they are gone."""

    def __init__(
        self,
        hoprd: Hoprd,
        lookup: Lookup,
        claims: Claims,
        territory: Territory,
        hurry: Hurry,
        *,
        outage: Outage,
        max_closes: int,
        timeout: float,
        rng: random.Random,
    ) -> None:
        self._hoprd = hoprd
        self._lookup = lookup
        self._claims = claims
        self._territory = territory
        self._hurry = hurry
        self._outage = outage
        self._timeout = timeout
        self._rng = rng
        self._slots = trio.CapacityLimiter(max_closes)

    def hurry(self) -> None:
        """A stop has little time: more at once, and no waiting for a node that is out."""
        self._outage.ignore()
        self._slots.total_tokens *= _HURRIED_CLOSES

    async def close(self, claim: Claim) -> None:
        """Delete the claim's listener, and settle the claim."""
        assert claim.listener is not None
        pause = Backoff(*_RETRY, self._rng)
        # Somebody else, who closes all at once, may settle it meanwhile.
        while not claim.settled.is_set():
            try:
                async with self._slots:
                    is_gone = await self._try_to_close(claim, claim.listener)
            except UnauthorizedError as error:
                claim.error = error
                self._claims.give_up(claim)
                return
            except NodeError as error:
                claim.error = error
                await self._hurry.pause(pause.next())
                await self._outage.wait_after(error)
            else:
                if is_gone:
                    self._gone(claim)
                else:
                    await trio.sleep(_SECOND_LOOK)

    async def _try_to_close(self, claim: Claim, listener: Listener) -> bool:
        """Delete the listener, if that can hurt nobody; False when another look is needed to know."""
        seen = await self._look(claim, listener)
        if seen is _Seen.NOT_YET:
            claim.missed = True
            return False
        if seen is _Seen.GONE:
            self._claims.past.vanished(claim, listener, trio.current_time())
            return True
        was_alive = claim.is_alive(trio.current_time())
        # What came in before this call proves nothing for another try after it.
        claim.alive_at = -inf
        claim.missed = False
        try:
            was_there = await self._hoprd.close_session(listener.key, timeout=self._timeout)
        finally:
            claim.tried_at = trio.current_time()
        if was_there or seen is _Seen.THERE:
            claim.delisted = False
        elif was_alive:
            claim.delisted = True
        return True

    async def _look(self, claim: Claim, listener: Listener) -> _Seen:
        """Look whether the listener is there.

        After an idle end, a restart of the node, or an earlier try whose reply was lost, the port may be a stranger's,
        unless the address is ours. So there is a look before each try. Something that came from the listener just now
        counts where the look says nothing: where the node cannot list, or where the list has nobody on that port, whom
        a DELETE could hurt.
        """
        is_ours = self._territory.is_ours(listener.key) and self._claims.holder(listener.key) is claim
        # A list from before an earlier try, or from before the port changed hands, says nothing.
        if is_ours or self._lookup.saw(listener, max(claim.tried_at, self._claims.past.changed_at(listener.key))):
            return _Seen.THERE
        try:
            listing = await self._lookup.since(trio.current_time())
        except NodeError as error:
            # A connection that died, or is refused, is what a restart looks like: then nothing is proof.
            is_up = isinstance(error, StatusError | MalformedReplyError) and not isinstance(error, UnauthorizedError)
            if not is_up:
                claim.alive_at = -inf
            if not claim.is_alive(trio.current_time()):
                raise
            return _Seen.HARMLESS
        if listing.has(listener):
            return _Seen.THERE
        if listing.has_another(listener):
            return _Seen.GONE if claim.missed else _Seen.NOT_YET
        # On a port of ours the node's own word is to be had, and worth more than a list's silence.
        if claim.is_alive(trio.current_time()) or (claim.missed and self._territory.has(listener.key)):
            return _Seen.HARMLESS
        return _Seen.GONE if claim.missed else _Seen.NOT_YET

    def _gone(self, claim: Claim) -> None:
        if claim.settled.is_set():
            return
        if claim.delisted:
            claim.error = SessionsError(_DELISTED)
            key = claim.listener and claim.listener.key
            _log.warning("%s cannot be closed: %s", key, _DELISTED, extra=about(route=claim.route, listener=key))
            self._claims.give_up(claim)
        else:
            self._claims.apply(claim, ListenerEvent.CONFIRMED)

    async def close_all(self, *, tries: float = inf) -> None:
        """Close everything on the address of our own with one call, and look that nothing is there.

        Raises:
            NodeError: of the last of the ``tries``.
        """
        address = self._territory.own_address
        assert address is not None
        pause = Backoff(*_RETRY, self._rng)
        is_closed = False
        while True:
            try:
                if not is_closed:
                    await self._find_delisted()
                    await self._hoprd.close_address(address, timeout=self._timeout)
                    is_closed = True
                if self._is_empty(await self._lookup.since(trio.current_time()), sure=is_closed):
                    return
                is_closed = False
            except NodeError as error:
                for claim in self._closing_here():
                    claim.error = error
                if isinstance(error, UnauthorizedError) or (tries := tries - 1) <= 0:
                    raise
                if not is_closed and await self._look_twice():
                    return
            await self._hurry.pause(pause.next())

    async def _look_twice(self) -> bool:
        """Whether all is gone although the call that closes it failed: its reply may have been lost alone."""
        try:
            self._is_empty(await self._lookup.since(trio.current_time()), sure=False)
            await trio.sleep(_SECOND_LOOK)
            return self._is_empty(await self._lookup.since(trio.current_time()), sure=False)
        except NodeError:
            return False

    def _is_empty(self, listing: Listing, *, sure: bool) -> bool:
        """Settle the claims on our address that are not listed: at once, or when they weren't the time before."""
        for claim in self._closing_here():
            if claim.listener is not None and listing.has(claim.listener):
                claim.missed = False
            elif sure or claim.missed:
                self._gone(claim)
            else:
                claim.missed = True
        return not any(self._territory.is_ours(key) for key in listing.listeners) and not self._closing_here()

    def _closing_here(self) -> list[Claim]:
        """Those to be deleted on our address; one that the node put elsewhere is closed by itself."""
        closing = self._claims.closing()
        return [claim for claim in closing if claim.listener and self._territory.is_ours(claim.listener.key)]

    async def _find_delisted(self) -> None:
        """Those that were not listed for a while, and are now, can be closed with all the others."""
        delisted = [claim for claim in self._closing_here() if claim.delisted]
        if delisted:
            listing = await self._lookup.since(trio.current_time())
            for claim in delisted:
                claim.delisted = claim.listener is not None and not listing.has(claim.listener)
