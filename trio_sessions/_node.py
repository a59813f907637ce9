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
from trio_sessions._errors import (
    InvalidInputError,
    NodeError,
    PoolStoppedError,
    SessionEndedError,
    SessionsError,
    StatusError,
)
from trio_sessions._hoprd import Hoprd
from trio_sessions._journal import InThread
from trio_sessions._lane import Lane
from trio_sessions._leaf import open_leaf_nursery
from trio_sessions._ledger import Entry
from trio_sessions._lifecycle import EndReason
from trio_sessions._model import Path
from trio_sessions._namespaces import PortRange
from trio_sessions._options import PoolOptions, duration, whole
from trio_sessions._pool import SessionPool, open_pool
from trio_sessions._report import PoolReport
from trio_sessions._session import MAX_BATCH, Session, check_count

__all__ = ["Node", "NodeOptions"]

_log = logging.getLogger("trio_sessions.node")

#: Waits between polls of a node that does not answer, seconds.
_OUTAGE_BACKOFF = (0.5, 15.0)
#: A node that stays away costs one log line in this time, seconds.
_LOG_INTERVAL = 60.0


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
    """

    relayers: tuple[str, ...] | None = attrs.field(default=None, converter=_addresses)
    hops: int | None = None
    poll_interval: float = attrs.field(default=10.0, validator=duration(positive=True))
    intake: int = attrs.field(default=MAX_BATCH, validator=whole(MAX_BATCH))

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


class Node:
    """Relays batches through the relayers of one hoprd node, for as long as :meth:`run` runs.

    A relayer is used while our node has an open outgoing channel to it. Destinations are chosen as the pool's options
    say. A node that isn't up is waited for.
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
    ) -> None:
        self._hoprd = hoprd
        self._options = options or NodeOptions()
        self._pool_options = pool_options or PoolOptions()
        _check_room(self._options, self._pool_options)
        self._rng = rng or random.Random()
        self._connect = connect
        self._in_thread = in_thread
        self._pool: SessionPool | None = None
        self._nursery: trio.Nursery | None = None
        self._polling = trio.CancelScope()
        self._started = False
        self._stopped = False
        self._healthy: bool | None = None
        #: By lower-case address, as the node prints it.
        self._relayers: dict[str, str] = {}
        self._connected: frozenset[str] = frozenset()
        self._lanes: dict[str, Lane] = {}

    # -- what users call

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Poll and relay until :meth:`stop`, or until cancelled; then return when nothing is left, or the time is over.

        ``task_status.started()`` comes when the node was reached and its relayers are known. A node that isn't up yet,
        or goes away later, is waited for, with a log line a minute; a :meth:`stop` ends that, and counts as a start.
        After a :meth:`stop` before the start it returns at once.

        Raises:
            StatusError: the node's first answer was a refusal, e.g. :class:`UnauthorizedError`: waiting would not help.
            RuntimeError: it runs, or ran, already.
        """
        if self._started:
            raise RuntimeError("a Node runs once: make another one")
        self._started = True
        if self._stopped:
            task_status.started()
            return
        async with open_leaf_nursery() as nursery:
            # Around the pool, so that batches which nobody waits for live to be counted when the pool has ended.
            self._nursery = nursery
            try:
                async with open_pool(
                    self._hoprd, self._pool_options, rng=self._rng, connect=self._connect, in_thread=self._in_thread
                ) as pool:
                    self._pool = pool
                    with self._polling:
                        try:
                            await self._poll_until_up()
                        except trio.Cancelled:
                            # Stopped before it was up: whoever waits for the start shall not get a RuntimeError.
                            task_status.started()
                            raise
                        task_status.started()
                        await self._poll_on()
            finally:
                self._nursery = None

    def stop(self, *, drain: bool = True) -> None:
        """End the node: no more messages are taken; :meth:`run` returns when all is over. Never waits; idempotent.

        With ``drain=False``, at once or in a second call, answers are not waited for.
        """
        self._stopped = True
        self._polling.cancel()
        if self._pool is not None:
            self._pool.stop(drain=drain)

    async def relay(self, relayer: str, count: int = 1) -> BatchOutcome:
        """Relay a batch of ``count`` messages through ``relayer``, and wait for the outcome.

        Waits first while the relayer's intake is full. When cancelled before the batch was taken, nothing is counted;
        afterwards every message is.

        Raises:
            InvalidInputError: ``relayer`` is not among :attr:`relayers`, or ``count`` is not 1 to 1000.
            SessionOpenError: no session through the relayer could be opened; the messages count as undelivered.
            PoolStoppedError: the node does not run, or stops before the batch left.
        """
        entry = await self._accept(relayer, count)
        return await self._carry(relayer, entry)

    async def submit(self, relayer: str, count: int = 1) -> None:
        """Hand in a batch and don't wait for its outcome: the report counts it. Otherwise like :meth:`relay`."""
        entry = await self._accept(relayer, count)
        if self._nursery is None:
            self._leave(relayer, entry, EndReason.STOPPED.value)
            raise PoolStoppedError(relayer, EndReason.STOPPED.value)
        self._nursery.start_soon(self._carry_quietly, relayer, entry)

    @property
    def relayers(self) -> tuple[str, ...]:
        """The relayers that can be used now, those in sight first, else by address."""
        return tuple(sorted(self._relayers.values(), key=lambda a: (a.lower() not in self._connected, a.lower())))

    @property
    def healthy(self) -> bool | None:
        """What the node's own check said last; ``None`` when it did not answer."""
        return self._healthy

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
        """The pool's account, final once :meth:`run` has returned."""
        return self.pool.report

    # -- intake

    async def _accept(self, relayer: str, count: int) -> Entry:
        check_address(relayer, "relayer")
        check_count(count)
        await trio.lowlevel.checkpoint_if_cancelled()
        self._check_running(relayer)
        if relayer.lower() not in self._relayers:
            if self._options.hops is not None:
                rule = "is no destination that the node is connected to"
                raise InvalidInputError("destination", relayer, rule, "choose another one")
            rule = "is no relayer of this node with an open outgoing channel"
            raise InvalidInputError("relayer", relayer, rule, "open a channel to it, or choose another one")
        await self._lane(relayer).enter(count)
        try:
            await trio.lowlevel.checkpoint_if_cancelled()
            self._check_running(relayer)
        except BaseException:
            self._lane(relayer).leave(count)
            raise
        return self.pool._ledger.accept(self._relayers.get(relayer.lower(), relayer), count)

    async def _carry(self, relayer: str, entry: Entry) -> BatchOutcome:
        reason = "cancelled"
        try:
            while True:
                session = await self._session(relayer)
                try:
                    return await session._relay(entry)
                except SessionEndedError as error:
                    # It ended before anything of the batch was sent: the next session will do, unless all are ending.
                    reason = error.reason
        except SessionEndedError as error:
            reason = error.reason
            raise
        except SessionsError:
            reason = EndReason.OPEN_FAILED.value
            raise
        finally:
            self._leave(relayer, entry, reason)

    async def _session(self, address: str) -> Session:
        hops = self._options.hops
        if hops is None:
            return await self.pool.session(address)
        return await self.pool.session(destination=address, hops=hops)

    async def _carry_quietly(self, relayer: str, entry: Entry) -> None:
        try:
            await self._carry(relayer, entry)
        except SessionsError as error:
            # The ledger has it, and session and gate have logged what matters.
            _log.debug("batch for %s not delivered: %s", relayer, error)
        except Exception:  # noqa: BLE001 - a crash costs this batch, which is counted, and no other
            _log.exception("batch for %s crashed", relayer)

    def _leave(self, relayer: str, entry: Entry, reason: str) -> None:
        if not entry.settled:
            entry.settle(undelivered=entry.count, reason=reason)
        self._lane(relayer).leave(entry.count)

    def _lane(self, relayer: str) -> Lane:
        return self._lanes.setdefault(relayer.lower(), Lane(self._options.intake))

    def _check_running(self, relayer: str) -> None:
        if self._stopped or self._nursery is None or self._pool is None:
            reason = EndReason.STOPPED.value if self._started else "the node was not started"
            raise PoolStoppedError(relayer, reason)

    # -- polling

    async def _poll_until_up(self) -> None:
        backoff = Backoff(*_OUTAGE_BACKOFF, self._rng)
        logged_at = -inf
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
            if trio.current_time() >= logged_at + _LOG_INTERVAL:
                logged_at = trio.current_time()
                _log.warning("waiting for the node: %s", problem)
            await trio.sleep(backoff.next())

    async def _poll_on(self) -> None:
        logged_at = -inf
        while True:
            await trio.sleep(self._options.poll_interval)
            try:
                await self._poll()
            except NodeError as error:
                # What was known before goes on to hold: an outage of the node is not one of its peers.
                self._healthy = None
                if trio.current_time() >= logged_at + _LOG_INTERVAL:
                    logged_at = trio.current_time()
                    _log.warning("the node does not answer: %s", error)

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
            wanted = self._options.relayers
        else:
            usable = [peer.address for peer in peers]
            wanted = self._pool_options.destinations or None
        allowed = None if wanted is None else {address.lower() for address in wanted}
        self._healthy = healthy
        self._relayers = {a.lower(): a for a in usable if allowed is None or a.lower() in allowed}
        self._connected = frozenset(peer.address.lower() for peer in peers)
        self.pool.set_connected(peer.address for peer in peers)
