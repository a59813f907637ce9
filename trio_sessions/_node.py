"""The node's side of cover traffic: which relayers can be used, and a bounded intake of messages for each."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterable
from math import inf

import attrs
import trio

from trio_sessions._address import check_address
from trio_sessions._backoff import Backoff
from trio_sessions._batches import BatchOutcome
from trio_sessions._datagrams import Connect, connect_udp
from trio_sessions._errors import InvalidInputError, NodeError, PoolStoppedError, SessionEndedError, StatusError
from trio_sessions._hoprd import Hoprd
from trio_sessions._instruments import Instruments, NodePolled, guarded
from trio_sessions._intake import Intake
from trio_sessions._journal import InThread
from trio_sessions._lane import Bounds
from trio_sessions._leaf import open_leaf_nursery
from trio_sessions._lifecycle import EndReason
from trio_sessions._log_fields import OUTAGE, about
from trio_sessions._model import Path
from trio_sessions._namespaces import PortRange
from trio_sessions._open_pool import open_pool
from trio_sessions._options import CHANGEABLE, PoolOptions, check_unchanged, duration, whole
from trio_sessions._pool import SessionPool
from trio_sessions._repeats import Repeats
from trio_sessions._report import PoolReport
from trio_sessions._session import MAX_BATCH, Session, check_count

__all__ = ["Node", "NodeOptions"]

_log = logging.getLogger("trio_sessions.node")

#: Waits between polls of a node that does not answer, seconds.
_OUTAGE_BACKOFF = (0.5, 15.0)
#: The options that a node may be given anew while it runs.
_CHANGEABLE = frozenset({"poll_interval", "relayers"})


def _addresses(value: Iterable[str] | None) -> tuple[str, ...] | None:
    return None if value is None else tuple(check_address(address, "relayer") for address in value)


@attrs.frozen(kw_only=True)
class NodeOptions:
    """How a :class:`Node` behaves. Durations in seconds.

    Attributes:
        relayers: the relayers that may be used; None: all with an open outgoing channel.
        hops: open sessions by this number of hops instead, one for each connected destination; no relayer is chosen
            then, and wherever a relayer is asked for, the destination is meant.
        poll_interval: between polls of health, peers and channels.
        intake: messages of one relayer that may be in hand, waiting or under way; whoever brings more waits.
        intake_total: messages of all relayers together. Each has the same share of it, which the others cannot use up;
            a batch that is larger than the share is taken when nothing else of its relayer is in hand.
    """

    relayers: tuple[str, ...] | None = attrs.field(default=None, converter=_addresses)
    hops: int | None = None
    poll_interval: float = attrs.field(default=10.0, validator=duration(positive=True))
    intake: int = attrs.field(default=MAX_BATCH, validator=whole(MAX_BATCH))
    intake_total: int = attrs.field(default=100 * MAX_BATCH, validator=whole(MAX_BATCH))

    def __attrs_post_init__(self) -> None:
        if self.hops is not None:
            Path(hops=self.hops)
            if self.relayers is not None:
                raise InvalidInputError("hops", self.hops, "cannot be given together with relayers", "leave one out")


def _check_room(options: NodeOptions, pool_options: PoolOptions) -> None:
    """Refuse a range of ports that cannot hold a session for each of the relayers that are named."""
    namespace, wanted = pool_options.namespace, len(options.relayers or ())
    if isinstance(namespace, PortRange) and len(namespace) < wanted:
        rule = f"has {len(namespace)} ports for {wanted} sessions"
        raise InvalidInputError("port range", str(namespace), rule, "widen it, to twice as many at best")


def _wanted(options: NodeOptions, pool_options: PoolOptions) -> frozenset[str] | None:
    """The relayers (by hops: destinations) to use, in lower case; ``None``: all there are."""
    wanted = options.relayers if options.hops is None else pool_options.destinations or None
    return None if wanted is None else frozenset(address.lower() for address in wanted)


class Node:
    """Relays batches through the relayers of one hoprd node, for as long as :meth:`run` runs.

    A relayer is used while our node has an open outgoing channel to it. Destinations are chosen as the pool's options
    say. A node that isn't up is waited for. ``instruments`` hear of the node and its pool; of the calls they hear when
    the client has them, too.
    """

    def __init__(
        self,
        hoprd: Hoprd,
        options: NodeOptions | None = None,
        pool_options: PoolOptions | None = None,
        *,
        rng: random.Random | None = None,
        connect: Connect = connect_udp,
        in_thread: InThread = trio.to_thread.run_sync,
        instruments: Instruments | None = None,
    ) -> None:
        self._hoprd = hoprd
        self._options = options or NodeOptions()
        self._pool_options = pool_options or PoolOptions()
        _check_room(self._options, self._pool_options)
        self._rng = rng or random.Random()
        self._connect = connect
        self._in_thread = in_thread
        self._instruments = guarded(instruments)
        self._pool: SessionPool | None = None
        self._intake: Intake | None = None
        self._polling = trio.CancelScope()
        #: In which it waits for the time of the next poll, and when that wait began.
        self._pause = trio.CancelScope()
        self._polled_at = -inf
        self._draining = trio.CancelScope()
        self._started = False
        self._stopped_at: float | None = None
        self._was_up = False
        self._healthy: bool | None = None
        self._repeats = Repeats()
        #: The relayers (by hops: destinations) to use, in lower case; ``None``: all there are.
        self._wanted = _wanted(self._options, self._pool_options)
        #: All that there are, and those of them that are wanted by lower-case address; as the node prints them.
        self._available: tuple[str, ...] = ()
        self._relayers: dict[str, str] = {}
        self._connected: frozenset[str] = frozenset()

    # -- what users call

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Poll and relay until :meth:`stop`, or until cancelled; then return when nothing is left, or the time is over.

        ``task_status.started()`` comes when the node was reached and its relayers are known. A node that isn't up yet,
        or goes away later, is waited for, with a log line a minute; a :meth:`stop` ends that, and counts as a start.
        After a :meth:`stop` before the start it returns at once.

        Raises:
            StatusError: the node's first answer was a refusal, e.g. :class:`UnauthorizedError`: waiting would not help.
            InstanceInUseError, JournalError, InvalidInputError: what :func:`open_pool` raises at its start.
            RuntimeError: it runs, or ran, already.
        """
        if self._started:
            raise RuntimeError("a Node runs once: make another one")
        self._started = True
        if self._stopped_at is not None:
            task_status.started()
            return
        async with open_leaf_nursery() as nursery:
            # Around the pool, so that batches which nobody waits for live to be counted when the pool has ended.
            try:
                async with open_pool(
                    self._hoprd,
                    self._pool_options,
                    rng=self._rng,
                    connect=self._connect,
                    in_thread=self._in_thread,
                    instruments=self._instruments,
                ) as pool:
                    self._pool = pool
                    bounds = Bounds(self._options.intake, self._options.intake_total)
                    self._intake = Intake(pool._ledger, nursery, bounds, self._session)
                    with self._polling:
                        try:
                            await self._poll_until_up()
                        except trio.Cancelled:
                            # Stopped before it was up: whoever waits for the start shall not get a RuntimeError.
                            task_status.started()
                            raise
                        task_status.started()
                        await self._poll_on()
                    await self._drain(pool, self._intake)
            finally:
                if self._intake is not None:
                    self._intake.end()

    def stop(self, *, drain: bool = True) -> None:
        """End the node: no more messages are taken; :meth:`run` returns when all is over. Never waits; idempotent.

        What was taken goes on, within the pool's drain timeout: batches wait for their sessions to open, are sent, and
        wait for their answers; then the pool stops. With ``drain=False``, at once or in a second call, nothing is
        waited for.
        """
        if self._stopped_at is None:
            self._stopped_at = trio.current_time()
        self._polling.cancel()
        if self._intake is not None:
            self._intake.close()
        if self._pool is not None:
            # Whatever stops the pool meanwhile, a cancel or its user, gives it no more time.
            self._pool._stop_since(self._stopped_at)
        if not drain:
            self._draining.cancel()
            if self._pool is not None:
                self._pool._stop(self._stopped_at, drain=False)

    def set_options(self, options: NodeOptions | None = None, pool_options: PoolOptions | None = None) -> None:
        """Go on with other options, of the node or its pool, or both. Never waits; after a stop it changes nothing.

        Of the node's own, ``relayers`` and ``poll_interval`` can change; of the pool's, what
        :meth:`SessionPool.set_options` says. Relayers (by hops: destinations) that are no longer wanted are used no
        more from now on: their sessions end, drained, and batches of theirs that wait for a session are undelivered.
        The wait for the next poll is measured by the new interval at once.

        Raises:
            InvalidInputError: another option differs, which cannot change while the node runs, or the two don't go
                together; nothing has changed.
        """
        options, pool_options = options or self._options, pool_options or self._pool_options
        check_unchanged(self._options, options, _CHANGEABLE)
        check_unchanged(self._pool_options, pool_options, CHANGEABLE)
        _check_room(options, pool_options)
        if self._stopped_at is not None:
            return
        if self._pool is not None:
            self._pool.set_options(pool_options)
        self._options, self._pool_options = options, pool_options
        self._pause.deadline = self._polled_at + options.poll_interval
        before, self._wanted = self._wanted, _wanted(options, pool_options)
        self._choose_relayers()
        if self._wanted is not None and self._wanted != before and self._pool is not None:
            self._pool._end_others(options.hops, self._wanted)

    async def relay(self, relayer: str, count: int = 1) -> BatchOutcome:
        """Relay a batch of ``count`` messages through ``relayer``, and wait for the outcome.

        Waits first while the relayer's intake is full. When cancelled before the batch was taken, nothing is counted;
        afterwards every message is.

        Raises:
            InvalidInputError: ``relayer`` is not among :attr:`relayers`, or ``count`` is not 1 to 1000.
            SessionOpenError: no session through the relayer could be opened; the messages count as undelivered.
            PoolStoppedError: the node does not run, or stops before the batch left.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        return await self._open_intake(relayer, count).relay(self._known(relayer), count)

    async def submit(self, relayer: str, count: int = 1) -> None:
        """Hand in a batch and don't wait for its outcome: the report counts it. Otherwise like :meth:`relay`.

        A session that is open sends it before this returns, as far as its socket has room.
        """
        await trio.lowlevel.checkpoint()
        await self._open_intake(relayer, count).submit(self._known(relayer), count)

    @property
    def relayers(self) -> tuple[str, ...]:
        """The relayers that can be used now, those in sight first, else by address."""
        return self._in_order(self._relayers.values())

    @property
    def available(self) -> tuple[str, ...]:
        """All relayers with an open channel (by hops: connected destinations), wanted or not; in the same order."""
        return self._in_order(self._available)

    @property
    def healthy(self) -> bool | None:
        """What the node's own check said last; ``None`` when it did not answer."""
        return self._healthy

    @property
    def dialect(self) -> str | None:
        """The hoprd that the node speaks like, e.g. ``"4.1"``; ``None`` before somebody had to know."""
        dialect = self._hoprd.dialect
        return None if dialect is None else str(dialect.name)

    @property
    def unready(self) -> str:
        """Why it takes no messages now, in a few words; empty when it does."""
        if self._stopped_at is not None or (self._pool is not None and self._pool.stopped):
            return "stopping, or stopped"
        if self._pool is None or not self._was_up:
            return "waiting for the node" if self._started else "not started"
        return "the node does not answer" if self._healthy is None else ""

    @property
    def pool(self) -> SessionPool:
        """The pool, once :meth:`run` has begun.

        Raises:
            PoolStoppedError: it has not.
        """
        if self._pool is None:
            raise PoolStoppedError("any relayer", "the node was not started")
        return self._pool

    @property
    def report(self) -> PoolReport:
        """The pool's account, final once :meth:`run` has returned; its stop began with :meth:`stop`."""
        report = self.pool.report
        if report.stop_duration is None and self._stopped_at is not None:
            # What was taken comes to its end; after that the pool stops.
            return attrs.evolve(report, stop_duration=trio.current_time() - self._stopped_at)
        return report

    # -- intake

    def _open_intake(self, relayer: str, count: int) -> Intake:
        check_count(count)
        if self._intake is None or self._stopped_at is not None:
            check_address(relayer, "relayer")
            reason = EndReason.STOPPED.value if self._started else "the node was not started"
            raise PoolStoppedError(relayer, reason)
        return self._intake

    def _known(self, relayer: str) -> str:
        """The relayer as the node prints it."""
        given: object = relayer
        known = self._relayers.get(given.lower()) if isinstance(given, str) else None
        if known is not None:
            return known
        check_address(relayer, "relayer")
        if self._options.hops is not None:
            rule = "is no destination that the node is connected to"
            raise InvalidInputError("destination", relayer, rule, "choose another one")
        rule = "is no relayer of this node with an open outgoing channel"
        raise InvalidInputError("relayer", relayer, rule, "open a channel to it, or choose another one")

    async def _session(self, address: str) -> Session:
        hops = self._options.hops
        if self._wanted is not None and address.lower() not in self._wanted:
            # What waited for a session when it was no longer wanted gets none.
            raise SessionEndedError(address, EndReason.UNWANTED.value)
        if hops is None:
            return await self.pool.session(address)
        return await self.pool.session(destination=address, hops=hops)

    async def _drain(self, pool: SessionPool, intake: Intake) -> None:
        """After a stop, let what was taken come to its end, within the time that draining has; then stop the pool."""
        assert self._stopped_at is not None
        self._draining.deadline = self._stopped_at + self._pool_options.drain_time
        with self._draining:
            await intake.wait_empty()
        pool._stop(self._stopped_at)

    # -- polling

    async def _poll_until_up(self) -> None:
        backoff = Backoff(*_OUTAGE_BACKOFF, self._rng)
        while True:
            try:
                await self._poll()
            except StatusError as error:
                if error.status == 401:
                    raise
                problem: NodeError = error
            except NodeError as error:
                problem = error
            else:
                return
            self._tell()
            self._complain("waiting for the node: %s", problem)
            await trio.sleep(backoff.next())

    async def _poll_on(self) -> None:
        while True:
            self._polled_at = trio.current_time()
            with trio.CancelScope(deadline=self._polled_at + self._options.poll_interval) as self._pause:
                await trio.sleep_forever()
            try:
                await self._poll()
            except NodeError as error:
                # What was known before goes on to hold: an outage of the node is not one of its peers.
                self._healthy = None
                self._tell()
                self._complain("the node does not answer: %s", error)

    def _complain(self, text: str, error: NodeError) -> None:
        if self._repeats.allows(text, trio.current_time()):
            _log.warning(text, error, extra=about(error=error, fault=OUTAGE))

    async def _poll(self) -> None:
        """Ask for health, channels and peers, and take all over at once.

        Raises:
            NodeError: one of the calls failed; nothing was changed.
        """
        healthy = await self._hoprd.check("healthyz")
        peers = await self._hoprd.peers()
        if self._options.hops is None:
            channels = await self._hoprd.channels()
            usable = [channel.peer for channel in channels.outgoing if channel.is_open]
        else:
            usable = [peer.address for peer in peers]
        self._was_up = True
        self._healthy = healthy
        self._available = tuple(usable)
        self._choose_relayers()
        self._connected = frozenset(peer.address.lower() for peer in peers)
        self.pool.set_connected(peer.address for peer in peers)
        if self._intake is not None:
            self._intake.forget_idle(self._relayers)
        self._tell()

    def _tell(self) -> None:
        if self._instruments is not None:
            url, relayers, connected = self._hoprd.url, len(self._relayers), len(self._connected)
            self._instruments(NodePolled(url, self._healthy, relayers, connected))

    def _choose_relayers(self) -> None:
        """Work out anew which of the available relayers are wanted."""
        wanted = self._wanted
        self._relayers = {a.lower(): a for a in self._available if wanted is None or a.lower() in wanted}

    def _in_order(self, addresses: Iterable[str]) -> tuple[str, ...]:
        return tuple(sorted(addresses, key=lambda a: (a.lower() not in self._connected, a.lower())))
