"""The janitor: the one owner of every POST and DELETE of a listener.

Its tasks outlive the sessions by the stop timeout, shielded and with that deadline. A session only waits for what the
janitor does, so it can be cancelled at any checkpoint and nothing is lost: from the moment that a POST may have made a
listener until the node confirms it gone, exactly one of session, janitor and journal answers for it.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Awaitable, Callable
from math import inf

import trio

from trio_sessions._claims import Claims
from trio_sessions._closer import Closer
from trio_sessions._errors import (
    MalformedReplyError,
    NodeError,
    OutcomeUnknownError,
    ServerFailureError,
    SessionsError,
)
from trio_sessions._hoprd import Hoprd
from trio_sessions._hurry import Hurry
from trio_sessions._instruments import Instruments
from trio_sessions._journal import Journal
from trio_sessions._journal_row import JournalRow
from trio_sessions._limit import Limit
from trio_sessions._listeners import Claim, ListenerEvent, ListenerState
from trio_sessions._listing import Listing, Lookup
from trio_sessions._log_fields import about
from trio_sessions._matching import is_where_asked
from trio_sessions._model import Listener, SessionRequest
from trio_sessions._outage import Outage
from trio_sessions._past import MEMORY
from trio_sessions._recovery import adopt_rows
from trio_sessions._settler import Settler
from trio_sessions._sweeper import Sweeper, request_like
from trio_sessions._territory import Territory

__all__ = ["Janitor"]

_log = logging.getLogger("trio_sessions.janitor")

#: How old a list may be, and how long it may take, to be what was there before a POST; seconds.
_BEFORE_AGE = 1.0
_BEFORE_TIMEOUT = 1.0
#: A POST that is under way for longer, seconds, leaves its place to another one: a relayer that never answers holds its
#: own for a minute and a half (contract §3.3). No longer than what the pool's pace needs to fill all places.
_OPEN_PATIENCE = 1.0
#: ... but there may be only so many times as many of these as of the others.
_SLOW_OPENS = 16
#: Of the stop timeout, the share that POSTs under way may take: what is left is for closing what they made.
_POST_SHARE = 0.5
#: What a proxy answers for a node that it lost, or that takes long; the daemon itself never does (contract §1.4).
_PROXY_FAILURES = frozenset({502, 504})


class Janitor:
    """Opens and closes listeners, a bounded number at a time, until :meth:`finish` or the deadline of a stop."""

    def __init__(
        self,
        hoprd: Hoprd,
        lookup: Lookup,
        territory: Territory,
        journal: Journal | None,
        *,
        max_opens: int,
        max_closes: int,
        close_timeout: float,
        on_doubt: Callable[[], None],
        rng: random.Random,
        adopts: Callable[[JournalRow], bool] | None = None,
        instruments: Instruments | None = None,
    ) -> None:
        self._hoprd = hoprd
        self._lookup = lookup
        self._territory = territory
        self._journal = journal
        #: Called when it should be looked soon whether the sessions' listeners are still there.
        self._on_doubt = on_doubt
        #: Which rows of the journal are to be settled; all of them where nobody says.
        self._adopts = adopts
        self._rng = rng
        self._claims = Claims(territory, journal, instruments)
        self._hurry = Hurry()
        outage = Outage(lookup, rng)
        self._closer = Closer(
            hoprd,
            lookup,
            self._claims,
            territory,
            self._hurry,
            outage=outage,
            max_closes=max_closes,
            timeout=close_timeout,
            rng=rng,
        )
        self._settler = Settler(
            lookup,
            self._claims,
            self._hurry,
            outage=outage,
            close=lambda claim: self._start(self._closer.close, claim),
            close_refused=lambda claim: self._start(self._close_refused, claim),
            rng=rng,
        )
        self._sweeper = Sweeper(lookup, self._claims, self._closer, territory, self._hurry)
        #: Of the POSTs in flight.
        self._opens = Limit[Claim](max_opens, most_slow=max_opens * _SLOW_OPENS, patience=_OPEN_PATIENCE)
        self._scope = trio.CancelScope(shield=True)
        self._ready = trio.Event()
        self._finish = trio.Event()
        self._work: trio.Nursery | None = None
        self._posts: trio.Nursery | None = None

    async def run(self) -> None:
        """Work until :meth:`finish` was called and all is settled, or until the deadline of :meth:`stop`."""
        try:
            with self._scope:
                async with trio.open_nursery() as writing:
                    if self._journal is not None:
                        writing.start_soon(self._journal.run)
                    await self._run_work()
                    if self._journal is not None:
                        self._claims.forget_rested()
                        await self._journal.flush()
                    writing.cancel_scope.cancel()
        finally:
            for claim in list(self._claims):
                self._claims.give_up(claim)
            self._ready.set()

    async def _run_work(self) -> None:
        try:
            async with trio.open_nursery() as self._work:
                await self._work.start(self._run_posts)
                self._recover()
                self._ready.set()
                await self._finish.wait()
                await self._look_back()
                while len(self._claims):
                    for claim in list(self._claims):
                        await claim.settled.wait()
                    await self._look_back()
        finally:
            self._work = None

    async def wait_ready(self) -> None:
        """Wait until :meth:`open` works."""
        await self._ready.wait()

    async def _run_posts(self, *, task_status: trio.TaskStatus[None]) -> None:
        # In a nursery of their own, since at a stop POSTs get less time than DELETEs.
        try:
            async with trio.open_nursery() as self._posts:
                task_status.started()
                await self._finish.wait()
        finally:
            self._posts = None

    def stop(self, timeout: float) -> None:
        """Be done in ``timeout`` seconds; what is not settled by then is left, and named."""
        now = trio.current_time()
        self._hurry.begin()
        self._closer.hurry()
        self._scope.deadline = min(self._scope.deadline, now + timeout)
        if self._posts is not None:
            self._posts.cancel_scope.deadline = now + timeout * _POST_SHARE

    def finish(self) -> None:
        """No more claims will come: :meth:`run` may end as soon as all are settled."""
        self._finish.set()

    @property
    def claims(self) -> Claims:
        """All that is, or may be, ours at the node; for others to count alone."""
        return self._claims

    @property
    def left(self) -> tuple[Claim, ...]:
        """What could not be settled: known listeners, and POSTs whose outcome stayed unknown."""
        return self._claims.left

    def is_closing(self, listener: Listener) -> bool:
        """Whether this listener is ours and to be deleted."""
        return self._claims.is_closing(listener)

    @property
    def is_watching(self) -> bool:
        """Whether :meth:`review` has something to look for."""
        # On our own address a commit may come late, of a POST that an earlier run sent and nobody remembers.
        return bool(self._claims.past) or self._territory.own_address is not None

    def open(self, request: SessionRequest, route: str) -> Claim:
        """Begin to open a listener; ``answered`` of the claim is set when the outcome is known.

        Whoever calls this must call :meth:`release` in the end, whatever the outcome.
        """
        claim = self._claims.new(request, route)
        if self._posts is None:
            self._claims.give_up(claim)
        else:
            self._posts.start_soon(self._guard, self._post, claim)
        return claim

    def release(
        self, claim: Claim, *, alive_at: float = -inf, is_delisted: bool = False, is_lost: bool = False
    ) -> None:
        """Nobody wants the claim's listener any more: close it, now or as soon as it is known. Never waits.

        Args:
            claim: from :meth:`open`.
            alive_at: when something came from the listener last, by Trio's clock.
            is_delisted: it answers, and the node doesn't list it any more.
            is_lost: it is gone from the node, as far as we know.
        """
        claim.abandoned = True
        if claim.state is ListenerState.REGISTERED:
            claim.alive_at = -inf if is_lost else alive_at
            claim.delisted = not is_lost and (is_delisted or claim.delisted)
            self._claims.apply(claim, ListenerEvent.RELEASED)
            assert claim.listener is not None
            # At a stop, those on our own address are closed together, by the sweeper.
            is_swept = self._territory.is_ours(claim.listener.key) and not self._sweeper.is_sparing
            if not self._hurry or not is_swept or self._work is None:
                self._start(self._closer.close, claim)

    async def hand_over(self, claim: Claim) -> None:
        """Leave the claim's listener at the node, remembered by the journal alone: nobody of us answers for it then.

        Raises:
            JournalError: that could not be written; the listener is the caller's to release as before.
        """
        await self._claims.record_detached(claim)
        self._sweeper.spare()
        self._claims.apply(claim, ListenerEvent.HANDED_OVER)

    def close_listed(self, listener: Listener, route: str) -> Claim:
        """Close a listener that the node lists and no claim of ours has, on the caller's word that it may be closed."""
        claim = self._claims.reclaim(route, request_like(listener), listener, "asked")
        self._claims.hold(claim, listener)
        self._start(self._closer.close, claim)
        return claim

    def review(self, listing: Listing) -> None:
        """Close every listener of ours that nobody holds: it had vanished and is back, or is on our own address."""
        past = self._claims.past
        for ghost in past.returned(listing):
            assert ghost.listener is not None
            _log.warning(
                "a listener via %s had vanished from the node's list and is back: closing it",
                ghost.route,
                extra=about(route=ghost.route, listener=ghost.listener.key),
            )
            again = self._claims.reclaim(ghost.route, ghost.request, ghost.listener, "vanished")
            self._start(self._close_refused, again)
        past.forget_before(listing.started_at - MEMORY)
        for orphan in self._sweeper.reclaim(listing):
            self._start(self._closer.close, orphan)

    async def _look_back(self) -> None:
        """One last look for what had vanished, before the work ends."""
        if self._claims.past.misses_any:
            try:
                self.review(await self._lookup.since(trio.current_time()))
            except NodeError as error:
                _log.debug("no last look at the node's listeners: %s", error, extra=about(error=error))

    # -- what an earlier run left

    def _recover(self) -> None:
        assert self._work is not None
        if self._journal is not None:
            for claim in adopt_rows(self._journal, self._claims, self._adopts):
                job = self._settler.settle if claim.state is ListenerState.UNKNOWN else self._closer.close
                self._start(job, claim)
        if self._territory.own_address is not None:
            self._work.start_soon(self._sweep_at_start)
            self._work.start_soon(self._sweeper.sweep_at_stop)

    async def _sweep_at_start(self) -> None:
        for claim in await self._sweeper.sweep_at_start():
            self._start(self._closer.close, claim)

    # -- POST

    async def _post(self, claim: Claim) -> None:
        try:
            await self._opens.acquire(claim)
            try:
                await self._sweeper.wait_swept()
                await self._prepare(claim)
                if claim.abandoned:
                    self._claims.give_up(claim)
                    return
                claim.posted_at = trio.current_time()
                self._claims.apply(claim, ListenerEvent.POST)
                self._opens.waits(claim)
                listener = await self._hoprd.open_session(claim.request)
            finally:
                self._opens.release(claim)
        except trio.Cancelled:
            self._post_failed(claim, None, unknown=claim.state is ListenerState.POSTING)
            raise
        except SessionsError as error:
            self._post_failed(claim, error, unknown=claim.state is ListenerState.POSTING and _may_have_worked(error))
        else:
            # No checkpoint between the reply and this: the claim owns the listener from here on.
            self._register(claim, listener)
        finally:
            claim.answered.set()

    async def _prepare(self, claim: Claim) -> None:
        """All that must be known, chosen and written down before a POST.

        Raises:
            PortsUsedUpError: no port is left for it.
            JournalError: it could not be written down.
        """
        if self._territory.own_address is None:
            claim.before = await self._look_before()
        else:
            # Nobody else's listener can be on our address, whatever was there before.
            claim.before = Listing(trio.current_time(), {})
        if not claim.abandoned:
            self._claims.place(claim)
            await self._claims.record_intent(claim)

    async def _look_before(self) -> Listing | None:
        """What is there before a POST, unless that takes long: it serves only to settle a reply that is lost."""
        with trio.move_on_after(_BEFORE_TIMEOUT):
            try:
                return await self._lookup.lately(trio.current_time() - _BEFORE_AGE)
            except NodeError as error:
                _log.debug("no list of the node's listeners before a POST: %s", error, extra=about(error=error))
        return None

    def _register(self, claim: Claim, listener: Listener) -> None:
        holder = self._claims.holder(listener.key)
        if holder is None and is_where_asked(listener.key, claim.request):
            claim.before = None
            claim.listener = listener
            self._claims.apply(claim, ListenerEvent.OPENED)
            self._claims.hold(claim, listener)
            if claim.abandoned:
                self.release(claim, alive_at=trio.current_time())
            return
        # We cannot use it, and do not believe it: what the list shows will be closed.
        claim.refused = listener
        what = f"{listener.key} is not at {claim.request.listen_host} as asked"
        if holder is not None:
            what = f"{listener.key} is in use by the session via {holder.route}"
            # Two sockets share the port, and the older one is not listed any more; or the holder's listener is gone.
            holder.delisted = holder.delisted or holder.state is ListenerState.REGISTERED
        error = MalformedReplyError("POST", "/api/v4/session/udp", what, where="$.port")
        fields = about(error=error, route=claim.route, listener=listener.key)
        _log.error("refused what the node handed out: %s", error, extra=fields)
        self._post_failed(claim, error, unknown=True)

    def _post_failed(self, claim: Claim, error: SessionsError | None, *, unknown: bool) -> None:
        claim.error = error
        if unknown:
            self._claims.apply(claim, ListenerEvent.REPLY_LOST)
            _log.warning(
                "no good reply to a POST of a session via %s: looking for its listener",
                claim.route,
                extra=about(error=error, route=claim.route, destination=claim.request.destination),
            )
            self._start(self._settler.settle, claim)
        elif claim.state is ListenerState.POSTING:
            self._claims.apply(claim, ListenerEvent.REFUSED)
        elif claim.state is ListenerState.INTENT:
            self._claims.apply(claim, ListenerEvent.GIVEN_UP)

    # -- for all of them

    async def _close_refused(self, claim: Claim) -> None:
        """Close a listener whose port an older one of ours may have."""
        assert claim.listener is not None
        while (holder := self._claims.holder(claim.listener.key)) is not None:
            if holder.state is ListenerState.REGISTERED:
                await self._closer.close(claim)
                # Whether the holder's is still there shows only now.
                self._on_doubt()
                return
            # A DELETE of the older one may be under way, and must not hit this one's successor.
            await holder.settled.wait()
        self._claims.hold(claim, claim.listener)
        await self._closer.close(claim)

    def _start(self, job: Callable[[Claim], Awaitable[None]], claim: Claim) -> None:
        if self._work is None:
            self._claims.give_up(claim)
        else:
            self._work.start_soon(self._guard, job, claim)

    async def _guard(self, job: Callable[[Claim], Awaitable[None]], claim: Claim) -> None:
        """Do a job of one claim; a crash leaves that claim, named, and goes no further."""
        try:
            await job(claim)
        except Exception as error:  # noqa: BLE001 - siblings live on
            fields = about(error=error, route=claim.route)
            _log.error("the janitor's work for %s crashed", claim.route, exc_info=error, extra=fields)
            claim.error = SessionsError(f"crashed: {error!r}")
            self._claims.give_up(claim)


def _may_have_worked(error: SessionsError) -> bool:
    """Whether the call that failed like this may have had its effect: it was sent, and the reply says nothing of it."""
    if isinstance(error, ServerFailureError):
        return error.status in _PROXY_FAILURES
    return isinstance(error, OutcomeUnknownError | MalformedReplyError)
