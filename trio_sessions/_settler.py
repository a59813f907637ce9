"""What became of a POST without a reply: looked for, until its listener is found or cannot come any more."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable

import trio

from trio_sessions._backoff import Backoff
from trio_sessions._budget import open_budget
from trio_sessions._claims import Claims
from trio_sessions._errors import NodeError, SessionsError, UnauthorizedError
from trio_sessions._hurry import Hurry
from trio_sessions._listeners import Claim, ListenerEvent, ListenerState
from trio_sessions._listing import Listing, Lookup
from trio_sessions._log_fields import about
from trio_sessions._matching import chose_port, fits, is_ambiguous, is_certain, recognise
from trio_sessions._outage import Outage
from trio_sessions._past import MEMORY

__all__ = ["Settler"]

_log = logging.getLogger("trio_sessions.janitor")

#: Waits between looks for a listener whose POST had no reply; seconds.
_LOOK_AGAIN = (0.5, 10.0)


class Settler:
    """Looks for the listeners of lost replies, and has those found closed.

    Args:
        close: has a claim's listener closed; never waits.
        close_refused: the same for one whose port an older one of ours may have.
    """

    def __init__(
        self,
        lookup: Lookup,
        claims: Claims,
        hurry: Hurry,
        *,
        outage: Outage,
        close: Callable[[Claim], None],
        close_refused: Callable[[Claim], None],
        rng: random.Random,
    ) -> None:
        self._lookup = lookup
        self._claims = claims
        self._hurry = hurry
        self._outage = outage
        self._close = close
        self._close_refused = close_refused
        self._rng = rng

    async def settle(self, claim: Claim) -> None:
        """Find out what became of a POST without a reply: look until it is known or cannot happen any more."""
        request = claim.request
        # The node cannot complete it later than that; and what nobody uses has ended by itself some time after.
        latest = claim.posted_at + open_budget(request.forward.length, request.back.length, balancer=True)
        pause = Backoff(*_LOOK_AGAIN, self._rng)
        # What a reply named is there, if it is, at once.
        wait = 0.0 if claim.refused is not None else pause.next()
        while True:
            await self._hurry.pause(wait)
            wait = pause.next()
            looked_at = trio.current_time()
            try:
                listing = await self._lookup.since(looked_at)
            except NodeError as error:
                # On our own address, a sweep may have found it meanwhile; then it is the closer's.
                if claim.state is not ListenerState.UNKNOWN:
                    return
                claim.error = claim.error or error
                if isinstance(error, UnauthorizedError) or looked_at > latest + MEMORY:
                    self._claims.give_up(claim)
                    return
                with trio.move_on_at(latest + MEMORY):
                    await self._outage.wait_after(error)
                continue
            if claim.state is not ListenerState.UNKNOWN:
                return
            if claim.refused is not None and listing.has(claim.refused):
                claim.listener = claim.refused
                self._claims.apply(claim, ListenerEvent.FOUND)
                self._close_refused(claim)
                return
            if self._judge(claim, listing, latest):
                return

    def _judge(self, claim: Claim, listing: Listing, latest: float) -> bool:
        """Settle the claim by this look, if it can be; False to look again."""
        unclaimed = [
            listener
            for key, listener in listing.listeners.items()
            if self._claims.holder(key) is None and not self._claims.past.knows(listener, listing)
        ]
        if is_ambiguous(claim, self._claims, unclaimed):
            # For good: when one of them is gone, nobody knows which.
            self._claims.note_ambiguous(claim)
        found = recognise(claim, self._claims, unclaimed)
        # What comes to be listed when no POST of ours can be under way any more is a stranger's, unless by its port.
        if found is not None and (listing.started_at <= latest or chose_port(claim.request)):
            fields = about(route=claim.route, listener=found.key)
            _log.warning("found the listener of the lost reply: %s, closing it", found.key, extra=fields)
            claim.missed = False
            self._claims.hold(claim, found)
            self._claims.apply(claim, ListenerEvent.FOUND)
            self._close(claim)
            return True
        alike = [listener for listener in unclaimed if fits(claim, listener)]
        if alike:
            names = ", ".join(str(listener.key) for listener in alike)
            claim.error = SessionsError(f"its reply was lost, and it cannot be told from a stranger's: perhaps {names}")
            if self._hurry and not any(is_certain(claim, listener) for listener in alike):
                # No further look would tell more, and there is no time for the idle end.
                self._claims.give_up(claim)
                return True
        if listing.started_at < latest:
            return False
        if alike:
            # It may be a stranger's, so it isn't touched; ours would end by itself, since nobody uses it.
            if listing.started_at > latest + MEMORY:
                self._claims.give_up(claim)
                return True
        elif claim.missed:
            self._claims.apply(claim, ListenerEvent.NOT_FOUND)
            return True
        else:
            claim.missed = True
        return False
