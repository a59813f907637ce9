"""The pool: all sessions of one node, in one nursery."""

from __future__ import annotations

import logging
import random
from collections import Counter
from collections.abc import Collection, Iterable
from math import inf

import trio

from trio_sessions._address import check_address
from trio_sessions._datagrams import Connect, DatagramSocket
from trio_sessions._descriptors import descriptor_limit, out_of_descriptors
from trio_sessions._destinations import Destinations
from trio_sessions._errors import NodeError, PoolStoppedError
from trio_sessions._gate import Gate
from trio_sessions._grounds import make_request, touch
from trio_sessions._histogram import Histogram
from trio_sessions._hoprd import Hoprd
from trio_sessions._instruments import Instruments
from trio_sessions._janitor import Janitor
from trio_sessions._journal import Journal
from trio_sessions._keeper import Keeper
from trio_sessions._ledger import Ledger
from trio_sessions._lifecycle import ENDED, USABLE, EndReason, Event, State
from trio_sessions._listing import Listing, Lookup
from trio_sessions._log_fields import about
from trio_sessions._model import Listener, SessionRequest
from trio_sessions._options import CHANGEABLE, PoolOptions, check_unchanged
from trio_sessions._record import SessionInfo
from trio_sessions._report import QUANTILES, LeftListener, PoolReport
from trio_sessions._route import Route
from trio_sessions._session import Session
from trio_sessions._statistics import PoolStatistics
from trio_sessions._surroundings import Surroundings
from trio_sessions._tally import Tally
from trio_sessions._territory import Territory

__all__ = ["SessionPool"]

_log = logging.getLogger("trio_sessions.pool")

#: Seconds between the two looks at the list that it takes to believe that a listener is gone.
_SECOND_LOOK = 1.0
#: Calls at a time that keep listeners from their idle end.
_MAX_TOUCHES = 8


class SessionPool:
    """Keeps one session a relayer (or a destination and hops), opened on demand; see :func:`open_pool`."""

    def __init__(
        self,
        hoprd: Hoprd,
        options: PoolOptions,
        *,
        territory: Territory,
        journal: Journal | None,
        rng: random.Random,
        connect: Connect,
        instruments: Instruments | None,
    ) -> None:
        self._hoprd = hoprd
        self._options = options
        self._territory = territory
        self._started_at = trio.current_time()
        self._stopped_at: float | None = None
        self._stop_asked_at = inf
        self._ended_at: float | None = None
        #: What stop() cancels, and all that it cancels: every session's task, and the reconciling.
        self._scope = trio.CancelScope()
        self._drains = True
        self._nursery: trio.Nursery | None = None
        self._lookup = Lookup(hoprd, timeout=options.close_timeout)
        self._janitor = Janitor(
            hoprd,
            self._lookup,
            territory,
            journal,
            max_opens=options.max_opens,
            max_closes=options.max_closes,
            close_timeout=options.close_timeout,
            on_doubt=self._compare_soon,
            rng=rng,
            instruments=instruments,
        )
        self._connect_udp = connect
        self._doubt = trio.Event()
        self._touches = trio.CapacityLimiter(_MAX_TOUCHES)
        self._ledger = Ledger(instruments)
        self._tally = Tally(instruments)
        self._rtt = Histogram()
        self._destinations = Destinations(hoprd, options.destinations, rng)
        self._gate = Gate(self._is_up, opens_per_second=options.opens_per_second, rng=rng)
        self._around = Surroundings(
            janitor=self._janitor,
            gate=self._gate,
            connect=self._connect,
            connect_host=options.connect_host,
            grace_period=options.grace_period,
            keepalive_interval=options.keepalive_interval,
            touch=self._touch,
            reply_timeout=options.reply_timeout,
            open_attempts=options.open_attempts,
            wait_for_node=options.wait_for_node,
            request=self._request,
            own_address=self._destinations.own_address,
            drain_deadline=self._drain_deadline,
            on_event=self._session_event,
        )
        #: The session that a demand for the key gets: usable, or being opened.
        self._current: dict[tuple[str, int | None], Keeper] = {}
        #: All that are not over, in the order of their demand: a set's order would differ from run to run.
        self._keepers: dict[Keeper, None] = {}
        #: What the user said of relayers, by address in lower case.
        self._reachable: dict[str, bool] = {}

    # -- what users call

    async def session(
        self, relayer: str | None = None, *, destination: str | None = None, hops: int | None = None
    ) -> Session:
        """The session through ``relayer``, or by ``hops`` to ``destination``; opened if there is none.

        However many ask at once, one POST is sent. It waits while the node is down, and for the backoff after an
        earlier failure. When cancelled, the opening goes on for whoever asks next.

        Args:
            relayer: the address of the one relayer of both ways.
            destination: the exit node; left out, a random one of the configured destinations that are connected
                (none configured: of all connected peers).
            hops: the number of relayers that the node may pick instead, 0 to 3.

        Raises:
            InvalidInputError: an address of a wrong form, a destination that is the relayer or differs from that of
                the relayer's open session, or not exactly one of relayer and hops.
            SessionOpenError: it could not be opened; ``__cause__`` says why.
            PoolStoppedError: the pool has stopped, or stops meanwhile.
            SessionEndedError: a :class:`Node` to which the pool belongs does not want the session any more.
        """
        route = Route.of(relayer, destination, hops)
        with self._tally.demand(route):
            keeper = await self._usable(route)
        session = Session(keeper, self._ledger, self._rtt)
        session._check_destination(destination)
        return session

    def sessions(self) -> tuple[SessionInfo, ...]:
        """Snapshots of all sessions that are not over."""
        return tuple(keeper.info for keeper in self._keepers)

    def set_reachable(self, relayer: str, reachable: bool) -> None:
        """Say whether ``relayer`` is in sight; while it is not, its session's grace period runs. Never waits."""
        key = check_address(relayer, "relayer").lower()
        self._reachable[key] = reachable
        keeper = self._current.get((key, None))
        if keeper is not None:
            keeper.set_reachable(reachable)

    def set_connected(self, peers: Iterable[str]) -> None:
        """Say which peers the node is connected to: relayers among them are in sight, all others are not.

        Destinations are chosen from them, too. Without this call the pool takes every relayer for reachable and asks
        the node for its peers when it has to choose a destination.
        """
        self._destinations.set_connected(peers)
        self._reachable.clear()
        for keeper in self._keepers:
            keeper.set_reachable(self._is_reachable(keeper.route.relayer))

    def set_options(self, options: PoolOptions) -> None:
        """Go on with other options. Never waits; after :meth:`stop` it changes nothing.

        Other destinations count for the choices to come, and sessions whose destination was chosen and is no longer
        among them end, drained. A grace period that runs keeps its end; the next one is as long as the new one. Calls
        that keep listeners alive, and batches, follow from the next one on; a wait for the next look at the node's
        list, and for the turn to open a session, at once. The time-outs of a stop count for those that come.

        Raises:
            InvalidInputError: another option differs, which cannot change while the pool runs; nothing has changed.
        """
        check_unchanged(self._options, options, CHANGEABLE)
        if self._stopped_at is not None:
            return
        before, self._options = self._options, options
        self._around.grace_period = options.grace_period
        self._around.keepalive_interval = options.keepalive_interval
        self._around.reply_timeout = options.reply_timeout
        for keeper in self._keepers:
            keeper.follow_reply_timeout()
        if options.opens_per_second != before.opens_per_second:
            self._gate.set_pace(options.opens_per_second)
        if options.reconcile_interval != before.reconcile_interval:
            self._compare_soon()
        if options.destinations != before.destinations:
            self._destinations.set_configured(options.destinations)
            self._end_elsewhere({address.lower() for address in options.destinations})

    def _end_elsewhere(self, destinations: Collection[str]) -> None:
        """End the sessions whose destination we chose, and would not choose any more."""
        for keeper in self._keepers:
            chosen = keeper.info.destination if keeper.route.destination is None else None
            if destinations and chosen is not None and chosen.lower() not in destinations:
                keeper.tell(EndReason.DESTINATION_UNWANTED)

    def _end_others(self, hops: int | None, wanted: Collection[str]) -> None:
        """End the sessions of so many hops whose relayer, or by hops destination, is none of these, in lower case."""
        for keeper in self._keepers:
            if keeper.route.hops == hops and keeper.route.key[0] not in wanted:
                keeper.tell(EndReason.UNWANTED)

    def stop(self, *, drain: bool = True) -> None:
        """End every session; returns at once. Leaving the pool's block waits for it, up to the stop timeout.

        Sessions take no new messages from now on and wait for the answers of those under way, within the drain
        timeout; with ``drain=False`` they don't wait. The code of the block goes on. Calling it again changes nothing,
        except that ``drain=False`` cuts the waiting short.
        """
        self._stop(trio.current_time(), drain=drain)

    def _stop_since(self, moment: float) -> None:
        """From ``moment`` on a stop's timeouts run, though the stop itself is yet to come."""
        self._stop_asked_at = min(self._stop_asked_at, moment)

    def _stop(self, since: float, *, drain: bool = True) -> None:
        """The same, with timeouts that began to run at ``since``."""
        if self._stopped_at is None:
            self._stopped_at = since = min(since, self._stop_asked_at)
            self._janitor.stop(since + self._options.stop_timeout - trio.current_time())
            self._scope.cancel()
        self._drains = self._drains and drain
        for keeper in self._keepers:
            # Those that drain already may have been given more time than a stop has.
            keeper.limit_draining(self._drain_deadline())

    @property
    def stopped(self) -> bool:
        """Whether :meth:`stop` was called."""
        return self._stopped_at is not None

    @property
    def report(self) -> PoolReport:
        """The account so far; final once the block was left."""
        end = trio.current_time() if self._ended_at is None else self._ended_at
        quantiles = {f"p{str(q * 100).removesuffix('.0')}".replace(".", ""): self._rtt.quantile(q) for q in QUANTILES}
        return PoolReport(
            sessions=self._tally.sessions,
            left=tuple(LeftListener.of(claim) for claim in self._janitor.left),
            messages=self._ledger.total(),
            by_relayer=self._ledger.by_relayer(),
            rtt={name: value for name, value in quantiles.items() if value is not None},
            duration=end - self._started_at,
            stop_duration=None if self._stopped_at is None else end - self._stopped_at,
            open_sessions=len(self._keepers),
        )

    def statistics(self) -> PoolStatistics:
        """How the pool stands now, in numbers: much cheaper than :attr:`report`, and of any thread."""
        # At once, as far as other threads can tell.
        states = Counter(keeper.state for keeper in tuple(self._keepers))
        claims = self._janitor.claims
        limits = [limit for limit in (self._territory.room, descriptor_limit()) if limit is not None]
        return PoolStatistics(
            sessions={state: states[state] for state in State if state not in ENDED},
            limit=min(limits, default=None),
            demands_waiting=self._tally.waiting,
            janitor_backlog=claims.backlog,
            orphans=claims.orphans,
            left=len(claims.left),
            messages_pending=self._ledger.total().pending,
            stopped=self.stopped,
        )

    # -- the tasks

    async def _run(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Run janitor and sessions until stopped, and wait until nothing is left or the time is over."""
        try:
            async with trio.open_nursery() as nursery:
                # Not ``start``: that would wait for the janitor's shield when it is cancelled.
                nursery.start_soon(self._janitor.run)
                try:
                    await self._janitor.wait_ready()
                    with self._scope:
                        await self._run_sessions(task_status)
                finally:
                    self.stop()
                    self._janitor.finish()
        finally:
            self._ended_at = trio.current_time()

    async def _run_sessions(self, task_status: trio.TaskStatus[None]) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._reconcile)
            self._nursery = nursery
            task_status.started()
            try:
                await trio.sleep_forever()
            finally:
                # A cancelled block, or a crash, stops the pool just as its user would; and no session is started any
                # more, before the nursery could be closed to it.
                self.stop()
                self._nursery = None

    async def _reconcile(self) -> None:
        while True:
            with trio.move_on_after(self._options.reconcile_interval):
                await self._doubt.wait()
            self._doubt = trio.Event()
            try:
                await self._compare()
            except NodeError as error:
                # Opens and closes report an outage; here it only means that nothing was learnt.
                _log.debug("no list of the node's listeners: %s", error, extra=about(error=error))
            except Exception:  # noqa: BLE001 - a crash here must not end the sessions
                _log.exception("comparing the node's list with the sessions crashed")

    def _compare_soon(self) -> None:
        self._doubt.set()

    async def _compare(self) -> None:
        """Compare the node's list with the sessions, and end those whose listener is gone.

        Gone is what two looks in a row don't find, and what gave no sign of life since the first: a list can be empty,
        or old, for a moment. One that is gone after all refuses the probe's datagram, where the system tells us so.
        """
        # Who is there before the look: the list says nothing of one that opens meanwhile.
        watched = self._listening()
        if not watched and not self._janitor.is_watching:
            return
        looked_at = trio.current_time()
        listing = await self._lookup.since(looked_at)
        self._janitor.review(listing)
        missing = self._missing(watched, listing)
        if not missing:
            return
        for keeper, listener in missing.items():
            if not listing.has_another(listener):
                keeper.probe()
        await trio.sleep(_SECOND_LOOK)
        listing = await self._lookup.since(trio.current_time())
        still = self._listening()
        for keeper, listener in missing.items():
            if still.get(keeper) != listener or listing.has(listener):
                continue
            # On another's port an echo proves nothing: it may be the other's.
            if listing.has_another(listener) or keeper.last_received < looked_at:
                fields = about(route=keeper.route, listener=listener.key)
                _log.info("session via %s: the node no longer lists %s", keeper.route, listener.key, extra=fields)
                keeper.tell(EndReason.LISTENER_GONE)
            else:
                keeper.note_delisted()

    def _missing(self, watched: dict[Keeper, Listener], listing: Listing) -> dict[Keeper, Listener]:
        """Those whose listener is not listed."""
        missing = {}
        for keeper, listener in watched.items():
            other = listing.listeners.get(listener.key)
            if other is not None and other.same_as(listener):
                keeper.note_listed()
            elif other is None or not self._janitor.is_closing(other):
                # Else one of ours has its port, which we have refused and are closing: we shall see after that.
                missing[keeper] = listener
        return missing

    def _listening(self) -> dict[Keeper, Listener]:
        return {keeper: keeper.listener for keeper in self._keepers if keeper.usable and keeper.listener is not None}

    async def _usable(self, route: Route) -> Keeper:
        """The route's session, once it can be used."""
        while True:
            # Who is cancelled hears of that, and not of the stop that the same cancel may have brought.
            await trio.lowlevel.checkpoint_if_cancelled()
            self._check_running(route)
            keeper = self._current.get(route.key) or self._start(route)
            await keeper.wait_ready()
            if keeper.usable:
                return keeper
            if keeper.reason is EndReason.UNWANTED:
                raise keeper.ended()
            # It opened and ended before we were scheduled: that answers nobody's demand.

    def _start(self, route: Route) -> Keeper:
        assert self._nursery is not None
        keeper = Keeper(route, self._around, reachable=self._is_reachable(route.relayer))
        self._current[route.key] = keeper
        self._keepers[keeper] = None
        self._tally.asked(keeper)
        self._nursery.start_soon(keeper.run)
        return keeper

    def _is_reachable(self, relayer: str | None) -> bool:
        if relayer is None:
            # By hops: no relayer is ours to watch.
            return True
        # The user's word on a relayer counts until the next list of peers; without either it is in sight.
        said = self._reachable.get(relayer.lower())
        return self._destinations.is_connected(relayer) is not False if said is None else said

    def _session_event(self, keeper: Keeper, event: Event) -> None:
        """Called by a session's task after each event of its life."""
        self._tally.event(keeper, event)
        key = keeper.route.key
        if keeper.state not in USABLE and self._current.get(key) is keeper:
            del self._current[key]
        if keeper.state in ENDED:
            self._keepers.pop(keeper, None)

    async def _request(self, route: Route) -> SessionRequest:
        return make_request(self._options, route, route.destination or await self._destinations.choose(route))

    def _connect(self, ip: str, port: int) -> DatagramSocket:
        try:
            return self._connect_udp(ip, port)
        except OSError as error:
            if out_of_descriptors(error) is None:
                raise
            # A session is worth more than a connection that no call uses now.
            self._hoprd._close_idle()
        return self._connect_udp(ip, port)

    async def _is_up(self) -> bool:
        return await self._hoprd.check("startedz")

    async def _touch(self, listener: Listener) -> None:
        """Reset the listener's idle timer, if the node lets us; otherwise it ends when it ends."""
        async with self._touches:
            error = await touch(self._hoprd, listener)
        if error is not None:
            _log.debug("kept %s alive: %s", listener.key, error, extra=about(error=error, listener=listener.key))

    def _drain_deadline(self) -> float:
        now = trio.current_time()
        if not self._drains:
            return now
        if self._stopped_at is None:
            return now + self._options.drain_timeout
        return self._stopped_at + self._options.drain_time

    def _check_running(self, route: Route) -> None:
        if self._nursery is None or self._stopped_at is not None:
            raise PoolStoppedError(str(route), EndReason.STOPPED.value)
