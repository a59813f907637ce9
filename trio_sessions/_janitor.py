"""The janitor: the one owner of every POST and DELETE of a listener.

Its tasks outlive the sessions by the stop timeout, shielded and with that deadline. A session only waits for what the
janitor does, so it can be cancelled at any checkpoint and nothing is lost: from the moment that a POST may have made a
listener until the node confirms it gone, exactly one of session and janitor answers for it.
"""

from __future__ import annotations

import logging
import random
from collections import deque
from collections.abc import Awaitable, Callable
from math import inf

import trio

from trio_sessions._backoff import Backoff
from trio_sessions._budget import open_budget
from trio_sessions._errors import (
    MalformedReplyError,
    NodeError,
    OutcomeUnknownError,
    ServerFailureError,
    SessionsError,
    StatusError,
    UnauthorizedError,
)
from trio_sessions._hoprd import Hoprd
from trio_sessions._listeners import Claim, ListenerEvent, ListenerState
from trio_sessions._listing import Listing, Lookup
from trio_sessions._matching import fits, is_certain, recognise
from trio_sessions._model import Listener, ListenerKey, SessionRequest
from trio_sessions._past import MEMORY, Past

__all__ = ["Janitor"]

_log = logging.getLogger("trio_sessions.janitor")

#: Waits between tries of a DELETE, and between looks for a listener whose POST had no reply; seconds.
_CLOSE_RETRY = (0.2, 30.0)
_LOOK_AGAIN = (0.5, 10.0)
#: ... and the longest of them once the pool stops.
_HURRIED = 2.0
#: Seconds from a look that does not find a listener to the one that is believed: a list can be empty for a moment.
_SECOND_LOOK = 0.5
#: How old a list may be, and how long it may take, to be what was there before a POST; seconds.
_BEFORE_AGE = 1.0
_BEFORE_TIMEOUT = 1.0
#: Names of what was left that are kept: more of them no report needs.
_MAX_LEFT = 10_000
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
        *,
        max_opens: int,
        max_closes: int,
        close_timeout: float,
        rng: random.Random,
    ) -> None:
        self._hoprd = hoprd
        self._lookup = lookup
        self._close_timeout = close_timeout
        self._rng = rng
        self._open_slots = trio.CapacityLimiter(max_opens)
        self._close_slots = trio.CapacityLimiter(max_closes)
        #: Every claim that is neither gone nor left, in the order of their making.
        self._claims: dict[Claim, None] = {}
        #: The claims that have a listener: registered ones and those being closed.
        self._held: dict[ListenerKey, Claim] = {}
        self._past = Past()
        self._left: deque[Claim] = deque(maxlen=_MAX_LEFT)
        self._hurry = trio.Event()
        self._scope = trio.CancelScope(shield=True)
        self._ready = trio.Event()
        self._finish = trio.Event()
        self._work: trio.Nursery | None = None
        self._posts: trio.Nursery | None = None

    async def run(self) -> None:
        """Work until :meth:`finish` was called and all is settled, or until the deadline of :meth:`stop`."""
        try:
            with self._scope:
                async with trio.open_nursery() as self._work:
                    await self._work.start(self._run_posts)
                    self._ready.set()
                    await self._finish.wait()
                    await self._look_back()
        finally:
            self._work = None
            for claim in list(self._claims):
                self._give_up(claim)
            self._ready.set()

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
        self._hurry.set()
        self._scope.deadline = min(self._scope.deadline, now + timeout)
        if self._posts is not None:
            self._posts.cancel_scope.deadline = now + timeout * _POST_SHARE

    def finish(self) -> None:
        """No more claims will come: :meth:`run` may end as soon as all are settled."""
        self._finish.set()

    @property
    def left(self) -> tuple[Claim, ...]:
        """What could not be settled: known listeners, and POSTs whose outcome stayed unknown."""
        return tuple(self._left)

    @property
    def is_watching(self) -> bool:
        """Whether :meth:`review` has something to look for."""
        return bool(self._past)

    def open(self, request: SessionRequest, route: str) -> Claim:
        """Begin to open a listener; ``answered`` of the claim is set when the outcome is known.

        Whoever calls this must call :meth:`release` in the end, whatever the outcome.
        """
        claim = Claim(request, route)
        self._claims[claim] = None
        if self._posts is None:
            self._give_up(claim)
        else:
            self._posts.start_soon(self._guard, self._post, claim)
        return claim

    def release(self, claim: Claim, *, alive_at: float = -inf) -> None:
        """Nobody wants the claim's listener any more: close it, now or as soon as it is known. Never waits.

        Args:
            claim: from :meth:`open`.
            alive_at: when something came from the listener last, by Trio's clock.
        """
        claim.abandoned = True
        if claim.state is ListenerState.REGISTERED:
            claim.alive_at = alive_at
            claim.apply(ListenerEvent.RELEASED)
            self._start(self._delete, claim)

    def review(self, listing: Listing) -> None:
        """Close every listener that had vanished and is there again; forget what is too old to matter."""
        for claim in self._past.returned(listing):
            _log.warning("a listener via %s had vanished from the node's list and is back: closing it", claim.route)
            again = Claim(claim.request, claim.route, ListenerState.CLOSING, listener=claim.listener)
            again.answered.set()
            self._claims[again] = None
            self._start(self._delete_after, again)
        self._past.forget_before(listing.started_at - MEMORY)

    async def _look_back(self) -> None:
        """One last look for what had vanished, before the work ends."""
        if self._past.misses_any:
            try:
                self.review(await self._lookup.since(trio.current_time()))
            except NodeError as error:
                _log.debug("no last look at the node's listeners: %s", error)

    # -- POST

    async def _post(self, claim: Claim) -> None:
        try:
            async with self._open_slots:
                claim.before = await self._look_before()
                if claim.abandoned:
                    self._give_up(claim)
                    return
                claim.posted_at = trio.current_time()
                claim.apply(ListenerEvent.POST)
                listener = await self._hoprd.open_session(claim.request)
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

    async def _look_before(self) -> Listing | None:
        """What is there before a POST, unless that takes long: it serves only to settle a reply that is lost."""
        with trio.move_on_after(_BEFORE_TIMEOUT):
            try:
                return await self._lookup.since(trio.current_time() - _BEFORE_AGE)
            except NodeError as error:
                _log.debug("no list of the node's listeners before a POST: %s", error)
        return None

    def _register(self, claim: Claim, listener: Listener) -> None:
        claim.before = None
        claim.listener = listener
        claim.apply(ListenerEvent.OPENED)
        holder = self._held.get(listener.key)
        if holder is not None:
            self._refuse(claim, listener, holder)
            return
        self._hold(claim, listener)
        if claim.abandoned:
            self.release(claim, alive_at=trio.current_time())

    def _refuse(self, claim: Claim, listener: Listener, holder: Claim) -> None:
        """The node handed out a port that we hold: two sockets share it, or the holder's listener is gone."""
        what = f"{listener.key} belongs to the session via {holder.route}"
        claim.error = MalformedReplyError("POST", "/api/v4/session/udp", what, where="$.port")
        _log.error("the node handed out a listener that is in use: %s", claim.error)
        claim.apply(ListenerEvent.RELEASED)
        # A DELETE now would hit the holder.
        self._start(self._delete_after, claim)

    def _hold(self, claim: Claim, listener: Listener) -> None:
        self._held[listener.key] = claim
        self._past.changed(listener.key, trio.current_time())

    def _post_failed(self, claim: Claim, error: SessionsError | None, *, unknown: bool) -> None:
        claim.error = error
        if unknown:
            claim.apply(ListenerEvent.REPLY_LOST)
            _log.warning("the reply to a POST of a session via %s is lost: looking for its listener", claim.route)
            self._start(self._settle, claim)
            return
        if claim.state is ListenerState.POSTING:
            claim.apply(ListenerEvent.REFUSED)
        elif claim.state is ListenerState.INTENT:
            claim.apply(ListenerEvent.GIVEN_UP)
        self._claims.pop(claim, None)

    async def _settle(self, claim: Claim) -> None:
        """Find out what became of a POST without a reply: look until it is known or cannot happen any more."""
        request = claim.request
        # The node cannot complete it later than that; and what nobody uses has ended by itself some time after.
        latest = claim.posted_at + open_budget(request.forward.length, request.back.length, balancer=True)
        pause = Backoff(*_LOOK_AGAIN, self._rng)
        while True:
            await self._pause(pause.next())
            looked_at = trio.current_time()
            try:
                listing = await self._lookup.since(looked_at)
            except NodeError as error:
                claim.error = claim.error or error
                if isinstance(error, UnauthorizedError) or looked_at > latest + MEMORY:
                    self._give_up(claim)
                    return
                continue
            if self._judge(claim, listing, latest):
                return

    def _judge(self, claim: Claim, listing: Listing, latest: float) -> bool:
        """Settle the claim by this look, if it can be; False to look again."""
        unclaimed = [
            listener
            for key, listener in listing.listeners.items()
            if key not in self._held and not self._past.knows(listener, listing)
        ]
        found = recognise(claim, self._claims, unclaimed)
        if found is not None:
            _log.warning("found the listener of the lost reply: %s, closing it", found.key)
            claim.listener = found
            claim.missed = False
            claim.apply(ListenerEvent.FOUND)
            self._hold(claim, found)
            self._start(self._delete, claim)
            return True
        alike = [listener for listener in unclaimed if fits(claim, listener)]
        if alike:
            names = ", ".join(str(listener.key) for listener in alike)
            claim.error = SessionsError(f"its reply was lost, and it cannot be told from a stranger's: perhaps {names}")
            if self._hurry.is_set() and not any(is_certain(claim, listener) for listener in alike):
                # No further look would tell more, and there is no time for the idle end.
                self._give_up(claim)
                return True
        if listing.started_at < latest:
            return False
        if alike:
            # It may be a stranger's, so it isn't touched; ours would end by itself, since nobody uses it.
            if listing.started_at > latest + MEMORY:
                self._give_up(claim)
                return True
        elif claim.missed:
            claim.apply(ListenerEvent.NOT_FOUND)
            self._claims.pop(claim, None)
            return True
        else:
            claim.missed = True
        return False

    # -- DELETE

    async def _delete_after(self, claim: Claim) -> None:
        """Close a listener whose port an older one of ours still has, when that is settled."""
        assert claim.listener is not None
        while (holder := self._held.get(claim.listener.key)) is not None:
            await holder.settled.wait()
        self._hold(claim, claim.listener)
        await self._delete(claim)

    async def _delete(self, claim: Claim) -> None:
        assert claim.listener is not None
        pause = Backoff(*_CLOSE_RETRY, self._rng)
        while True:
            try:
                async with self._close_slots:
                    is_gone = await self._try_to_delete(claim, claim.listener)
            except UnauthorizedError as error:
                claim.error = error
                self._give_up(claim)
                return
            except NodeError as error:
                claim.error = error
                await self._pause(pause.next())
            else:
                if is_gone:
                    claim.apply(ListenerEvent.CONFIRMED)
                    self._let_go(claim)
                    return
                await trio.sleep(_SECOND_LOOK)

    async def _try_to_delete(self, claim: Claim, listener: Listener) -> bool:
        """Delete the listener, if it is there for certain; False when another look is needed to know.

        After an idle end, a restart of the node, or an earlier try whose reply was lost, the port may be a stranger's.
        So there is a look before each try. Something that came from the listener just now counts where the look says
        nothing: where the node cannot list, or where the list has nobody on that port, whom a DELETE could hurt.
        """
        try:
            listing = await self._lookup.since(trio.current_time())
        except NodeError as error:
            # A connection that died, or is refused, is what a restart looks like: then nothing is proof.
            is_up = isinstance(error, StatusError | MalformedReplyError) and not isinstance(error, UnauthorizedError)
            if not is_up or not claim.is_alive(trio.current_time()):
                raise
        else:
            if listing.has_another(listener):
                self._past.vanished(claim, listener, trio.current_time())
                return True
            if not listing.has(listener) and not claim.is_alive(trio.current_time()):
                if claim.missed:
                    self._past.vanished(claim, listener, trio.current_time())
                    return True
                claim.missed = True
                return False
        # What came in before this call proves nothing for another try after it.
        claim.alive_at = -inf
        claim.missed = False
        await self._hoprd.close_session(listener.key, timeout=self._close_timeout)
        return True

    # -- for all of them

    async def _pause(self, seconds: float) -> None:
        """Sleep, for a shorter time when the pool stops."""
        with trio.move_on_after(seconds):
            await self._hurry.wait()
            await trio.sleep(min(seconds, _HURRIED))

    def _start(self, job: Callable[[Claim], Awaitable[None]], claim: Claim) -> None:
        if self._work is None:
            self._give_up(claim)
        else:
            self._work.start_soon(self._guard, job, claim)

    async def _guard(self, job: Callable[[Claim], Awaitable[None]], claim: Claim) -> None:
        """Do a job of one claim; a crash leaves that claim, named, and goes no further."""
        try:
            await job(claim)
        except Exception as error:  # noqa: BLE001 - siblings live on
            _log.error("the janitor's work for %s crashed", claim.route, exc_info=error)
            claim.error = SessionsError(f"crashed: {error!r}")
            self._give_up(claim)

    def _let_go(self, claim: Claim) -> None:
        assert claim.listener is not None
        self._claims.pop(claim, None)
        if self._held.get(claim.listener.key) is claim:
            del self._held[claim.listener.key]
            self._past.changed(claim.listener.key, trio.current_time())

    def _give_up(self, claim: Claim) -> None:
        """Settle a claim that cannot be settled well, from whatever state; it is named if a listener may be left."""
        if claim.settled.is_set():
            return
        if claim.state is ListenerState.REGISTERED:
            claim.apply(ListenerEvent.RELEASED)
        elif claim.state is ListenerState.POSTING:
            claim.apply(ListenerEvent.REPLY_LOST)
        claim.apply(ListenerEvent.GIVEN_UP)
        claim.answered.set()
        if claim.state is ListenerState.LEFT:
            self._left.append(claim)
        self._claims.pop(claim, None)
        if claim.listener is not None:
            self._let_go(claim)


def _may_have_worked(error: SessionsError) -> bool:
    """Whether the call that failed like this may have had its effect: it was sent, and the reply says nothing of it."""
    if isinstance(error, ServerFailureError):
        return error.status in _PROXY_FAILURES
    return isinstance(error, OutcomeUnknownError | MalformedReplyError)
