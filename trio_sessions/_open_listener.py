"""One listener without a socket of ours, for another program's use: opened, kept from its idle end, closed or left."""

from __future__ import annotations

import logging
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from math import inf

import attrs
import trio

from trio_sessions._destinations import Destinations
from trio_sessions._errors import (
    InvalidInputError,
    ListenHostInUseError,
    NodeError,
    SessionEndedError,
    SessionOpenError,
    SessionsError,
)
from trio_sessions._grounds import make_request, open_janitor, touch
from trio_sessions._hoprd import Hoprd
from trio_sessions._janitor import Janitor
from trio_sessions._journal import InThread
from trio_sessions._leaf import open_leaf_nursery
from trio_sessions._lifecycle import EndReason
from trio_sessions._listeners import Claim, ListenerState
from trio_sessions._listing import Lookup
from trio_sessions._log_fields import about
from trio_sessions._model import Listener, Path
from trio_sessions._options import PoolOptions
from trio_sessions._report import LeftListener
from trio_sessions._route import Route

__all__ = ["OpenListener", "open_listener"]

_log = logging.getLogger("trio_sessions.listener")

#: Seconds between the two looks at the list that it takes to believe that a listener is gone.
_SECOND_LOOK = 1.0


class OpenListener:
    """A listener that another program uses; get it from :func:`open_listener`.

    The node takes datagrams of the first address that sends it one, and of no other (contract §3.6). So nothing is
    ever sent from here: it is the other program that has the session.

    Attributes:
        listener: the node's side.
        route: the relayer, or destination and hops.
        left: what could not be closed; known once the block was left.
    """

    def __init__(self, hoprd: Hoprd, options: PoolOptions, janitor: Janitor, lookup: Lookup, claim: Claim) -> None:
        assert claim.listener is not None
        self.listener: Listener = claim.listener
        self.route = claim.route
        self.left: tuple[LeftListener, ...] = ()
        self._hoprd = hoprd
        self._options = options
        self._janitor = janitor
        self._lookup = lookup
        self._claim = claim
        self._gone = trio.Event()

    @property
    def is_detached(self) -> bool:
        """Whether it stays at the node."""
        return self._claim.state is ListenerState.DETACHED

    async def wait_gone(self) -> None:
        """Wait until the node has the listener no more, though nobody here closed it: an idle end, or a restart."""
        await self._gone.wait()

    async def detach(self) -> None:
        """Leave the listener at the node when the block is left. It ends there when nothing came back for 180 to 203 s.

        The journal remembers it; what opens that journal next closes the listener.

        Raises:
            InvalidInputError: there is no journal, so nobody would know of it.
            SessionEndedError: it is gone.
            JournalError: it could not be written down; the listener is closed with the block.
        """
        if self._options.journal is None:
            raise InvalidInputError("journal", None, "is missing", "only with one can a listener be left at the node")
        if self.is_detached:
            return
        if self._gone.is_set():
            raise SessionEndedError(self.route, EndReason.LISTENER_GONE.value)
        await self._janitor.hand_over(self._claim)

    async def _keep(self) -> None:
        """Keep the listener from its idle end until it is gone."""
        touched_at = -inf
        while True:
            if trio.current_time() >= touched_at + self._options.keepalive_interval and not self.is_detached:
                touched_at = trio.current_time()
                if (error := await touch(self._hoprd, self.listener)) is not None:
                    _log.debug(
                        "kept %s alive: %s",
                        self.listener.key,
                        error,
                        extra=about(error=error, listener=self.listener.key),
                    )
            if await self._is_gone():
                self._gone.set()
                return
            await trio.sleep(min(self._options.reconcile_interval, self._options.keepalive_interval))

    async def _is_gone(self) -> bool:
        """Whether two looks in a row don't find it: a list can be empty, or old, for a moment."""
        for pause in (_SECOND_LOOK, 0.0):
            try:
                listing = await self._lookup.since(trio.current_time())
            except NodeError as error:
                _log.info("no list of the node's listeners: %s", error, extra=about(error=error))
                return False
            if listing.has(self.listener):
                return False
            await trio.sleep(pause)
        return True


@asynccontextmanager
async def open_listener(
    hoprd: Hoprd,
    relayer: str | None = None,
    *,
    destination: str | None = None,
    hops: int | None = None,
    options: PoolOptions | None = None,
    timeout: float | None = None,
    rng: random.Random | None = None,
    in_thread: InThread = trio.to_thread.run_sync,
) -> AsyncIterator[OpenListener]:
    """One listener at the node for another program, as an async context manager.

    It is kept from its idle end until the block is left; then it is closed, unless :meth:`OpenListener.detach` was
    called, with all that a pool does for a listener: a lost reply is settled, a stranger's never touched, and what
    is left after ``options.stop_timeout`` seconds is named. Exceptions of the block come out as they are.

    Args:
        hoprd: an open client; it must stay open until the block is left.
        relayer: the address of the one relayer of both ways.
        destination: the exit node; left out, a random one of ``options.destinations`` that is connected (none
            configured: of all connected peers).
        hops: the number of relayers that the node may pick instead, 0 to 3.
        options: see :class:`PoolOptions`; its settings for sending don't matter.
        timeout: seconds for the opening; ``None``: what the node may need, a minute and a half for one hop.
        rng: the source of all jitter and random choices.
        in_thread: runs the journal's work with its file; another one stands in for threads under a virtual clock.

    Raises:
        InvalidInputError: an address of a wrong form, or not exactly one of relayer and hops.
        SessionOpenError: it could not be opened; ``__cause__`` says why.
        InstanceInUseError, JournalError: as :func:`open_pool`.
    """
    options, rng = options or PoolOptions(), rng or random.Random()
    route = _route(relayer, destination, hops)
    opened = None
    try:
        async with open_janitor(hoprd, options, rng=rng, in_thread=in_thread) as (janitor, lookup):
            destinations = Destinations(hoprd, options.destinations, rng)
            claim = await _open(janitor, options, route, destinations, inf if timeout is None else timeout)
            try:
                opened = OpenListener(hoprd, options, janitor, lookup, claim)
                async with open_leaf_nursery() as nursery:
                    nursery.start_soon(opened._keep)
                    try:
                        yield opened
                    finally:
                        nursery.cancel_scope.cancel()
            finally:
                janitor.release(claim)
    finally:
        if opened is not None:
            opened.left = tuple(LeftListener.of(each) for each in janitor.left)


def _route(relayer: str | None, destination: str | None, hops: int | None) -> Route:
    """As the pool's, but a destination may be left out by hops, too: there it is the session's name."""
    if relayer is None and destination is None and hops is not None:
        Path(hops=hops)
        return Route(hops=hops)
    return Route.of(relayer, destination, hops)


async def _open(
    janitor: Janitor, options: PoolOptions, route: Route, destinations: Destinations, timeout: float
) -> Claim:
    with trio.move_on_after(timeout):
        for attempt in range(1, options.open_attempts + 1):
            try:
                chosen = route.destination or await destinations.choose(route)
                return await _try_to_open(janitor, options, route, chosen)
            except ListenHostInUseError as error:
                # Somebody has that very port: there are others in our namespace.
                if attempt == options.open_attempts:
                    raise _open_error(route, error, attempt) from error
            except SessionsError as error:
                raise _open_error(route, error, attempt) from error
    raise SessionOpenError(str(route), f"was not open within {timeout:g} s", attempts=1, retry_in=0.0)


async def _try_to_open(janitor: Janitor, options: PoolOptions, route: Route, destination: str) -> Claim:
    """The claim of a listener that is open; whatever else comes of the POST is the janitor's to settle."""
    claim = janitor.open(make_request(options, route, destination), str(attrs.evolve(route, destination=destination)))
    try:
        await claim.answered.wait()
        if claim.error is not None or claim.listener is None:
            raise claim.error or SessionEndedError(claim.route, EndReason.STOPPED.value)
    except BaseException:
        janitor.release(claim, alive_at=trio.current_time())
        raise
    return claim


def _open_error(route: Route, error: SessionsError, attempts: int) -> SessionOpenError:
    return SessionOpenError(str(route), f"could not be opened: {error}", attempts=attempts, retry_in=0.0)
