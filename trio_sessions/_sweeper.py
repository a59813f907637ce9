"""An address of our own, swept as a whole: at the start of what an earlier run left there, at a stop of everything."""

from __future__ import annotations

import logging

import trio

from trio_sessions._address import is_address
from trio_sessions._claims import Claims
from trio_sessions._closer import Closer
from trio_sessions._errors import NodeError
from trio_sessions._hurry import Hurry
from trio_sessions._listeners import Claim, ListenerEvent, ListenerState
from trio_sessions._listing import Listing, Lookup
from trio_sessions._log_fields import about
from trio_sessions._matching import MAY_HAVE_MADE_ONE, fits
from trio_sessions._model import Listener, Path, SessionRequest
from trio_sessions._territory import Territory

__all__ = ["Sweeper", "request_like"]

_log = logging.getLogger("trio_sessions.janitor")

#: How long the first POST waits at most until what an earlier run left is closed; seconds.
_START_TIMEOUT = 5.0
#: How long a stop looks for what nobody knows of; seconds.
_LAST_LOOK_TIMEOUT = 1.0
#: Stands for a destination that the node prints in a form that we don't know.
_NOBODY = "0x" + "00" * 20


class Sweeper:
    """Finds what is on our address and belongs to no session, and closes all of it with one call."""

    def __init__(self, lookup: Lookup, claims: Claims, closer: Closer, territory: Territory, hurry: Hurry) -> None:
        self._lookup = lookup
        self._claims = claims
        self._closer = closer
        self._territory = territory
        self._hurry = hurry
        #: Whether what is on our address is closed one by one, even at a stop.
        self.is_sparing = False
        #: Set when what an earlier run left is closed, or cannot be for now.
        self._swept = trio.Event()
        if territory.own_address is None:
            self._swept.set()

    def spare(self) -> None:
        """Something on our address stays when we go: nothing is swept as a whole any more."""
        self.is_sparing = True

    async def wait_swept(self) -> None:
        """Wait until a POST may go out; no checkpoint when it may."""
        if not self._swept.is_set():
            await self._swept.wait()

    async def sweep_at_start(self) -> list[Claim]:
        """Close what is there before the first POST, if the node lets us; return what is still to be closed."""
        address = self._territory.own_address
        found: list[Claim] = []
        try:
            with trio.move_on_after(_START_TIMEOUT):
                found = await self._look()
                if found:
                    await self._closer.close_all(tries=2)
        except NodeError as error:
            fields = about(error=error, address=address)
            _log.info("what an earlier run left on %s is closed later: %s", address, error, extra=fields)
        finally:
            self._swept.set()
        return [claim for claim in found if not claim.settled.is_set()]

    async def sweep_at_stop(self) -> None:
        """Close all that is there with one call, when nobody uses any of it any more."""
        await self._hurry.wait()
        await self._claims.wait_none_in_use()
        if self.is_sparing:
            return
        try:
            if not self._claims.closing() or len(self._claims.closing()) < len(self._claims):
                # Is there something that no session had? A look is worth no more than a moment.
                with trio.move_on_after(_LAST_LOOK_TIMEOUT):
                    await self._look()
            if self._claims.closing():
                await self._closer.close_all()
        except NodeError:
            for claim in self._claims.closing():
                self._claims.give_up(claim)

    def reclaim(self, listing: Listing) -> list[Claim]:
        """Claims on what is listed on our address and belongs to nobody of us."""
        expected = [claim for claim in self._claims if claim.state in MAY_HAVE_MADE_ONE]
        reclaimed = []
        for listener in listing.listeners.values():
            key = listener.key
            if (
                self._territory.is_ours(key)
                and self._claims.holder(key) is None
                and not self._claims.past.knows(listener, listing)
                and not any(fits(claim, listener) for claim in expected)
            ):
                route, request = f"an earlier run, {key}", request_like(listener)
                orphan = self._claims.reclaim(route, request, listener, "own address")
                self._claims.hold(orphan, listener)
                reclaimed.append(orphan)
        if reclaimed:
            _log.warning(
                "%d listeners on our address that nobody of us holds, as %s",
                len(reclaimed),
                reclaimed[0].route,
                extra=about(listeners=len(reclaimed), address=self._territory.own_address),
            )
        return reclaimed

    async def _look(self) -> list[Claim]:
        """Claims on what is there and nobody holds, those of lost replies among them."""
        listing = await self._lookup.since(trio.current_time())
        found = []
        for claim in [claim for claim in self._claims if claim.state is ListenerState.UNKNOWN]:
            for listener in listing.listeners.values():
                is_free = self._territory.is_ours(listener.key) and self._claims.holder(listener.key) is None
                if is_free and fits(claim, listener):
                    self._claims.hold(claim, listener)
                    self._claims.apply(claim, ListenerEvent.FOUND)
                    found.append(claim)
                    break
        return found + self.reclaim(listing)


def request_like(listener: Listener) -> SessionRequest:
    """What may have been asked for when this listener was made; only for a report."""
    path = listener.forward or Path(hops=0)
    destination = listener.destination if is_address(listener.destination) else _NOBODY
    return SessionRequest(destination=destination, forward=path, back=path)
