"""The task that owns a session, from its first POST to its end.

It opens the listener through the janitor, connects the one local socket of the session's whole life, watches over the
grace period, and on its way out closes the socket before anything else. Nobody else changes its record: others leave
it a word (:meth:`Keeper.tell`, :meth:`Keeper.set_reachable`) and it acts on that by itself.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from math import inf

import attrs
import trio

from trio_sessions._advice import advise
from trio_sessions._descriptors import why_no_socket
from trio_sessions._errors import SessionEndedError, SessionOpenError, SessionsError
from trio_sessions._gate import is_final, is_outage
from trio_sessions._latch import Latch
from trio_sessions._leaf import leaf
from trio_sessions._lifecycle import USABLE, EndReason, Event, State
from trio_sessions._link import Link
from trio_sessions._listeners import Claim, ListenerState
from trio_sessions._model import Listener
from trio_sessions._record import SessionInfo, SessionRecord
from trio_sessions._route import Route
from trio_sessions._surroundings import Surroundings
from trio_sessions._wire import MAX_INDEX, BatchEncoder

__all__ = ["Keeper"]

_log = logging.getLogger("trio_sessions.session")

#: A timestamp with as many digits as those of the next two centuries.
_LATE = 9_999_999_999_999


class Keeper:
    """One session's task with all that it owns."""

    __slots__ = (
        "_around",
        "_deaf",
        "_delisted",
        "_draining",
        "_ending",
        "_link",
        "_opening",
        "_over",
        "_reachable",
        "_ready",
        "_record",
        "_refused",
        "failure",
        "is_left",
    )

    def __init__(self, route: Route, around: Surroundings, *, reachable: bool) -> None:
        self._around = around
        self._record = SessionRecord(route)
        self._link: Link | None = None
        #: The words for the task: changed by anybody, read by the task.
        self._reachable = reachable
        self._ending: EndReason | None = None
        #: In which it opens, until it is open: an end that comes before cuts that short.
        self._opening: trio.CancelScope | None = None
        #: Holds back a stop while answers are waited for.
        self._draining: trio.CancelScope | None = None
        #: The socket failed, or its reader: nothing can come any more.
        self._deaf = False
        #: The node's system refused a datagram: nobody listens there.
        self._refused = False
        #: The listener answers, but the node does not list it any more.
        self._delisted = False
        #: Whether the listener may still be at the node after the end.
        self.is_left = False
        #: Why it could not be opened, or crashed.
        self.failure: SessionsError | None = None
        #: Set when the session is open, or will never be.
        self._ready = Latch()
        self._over = Latch()

    # -- for everybody

    @property
    def info(self) -> SessionInfo:
        """A frozen snapshot."""
        info = self._record.snapshot()
        if self._link is None:
            return info
        return attrs.evolve(
            info,
            outstanding=self._link.outstanding,
            datagrams_dropped=self._link.datagrams_dropped,
            bytes_unread=self._link.bytes_unread,
            last_rtt=self._link.last_rtt,
            last_answered_at=self._link.last_answered_at,
        )

    @property
    def route(self) -> Route:
        """What the pool keeps this session for."""
        return self._record.route

    @property
    def state(self) -> State:
        """Where the session stands."""
        return self._record.state

    @property
    def listener(self) -> Listener | None:
        """The node's side, once it is known."""
        return self._record.listener

    @property
    def usable(self) -> bool:
        """Whether messages may be sent."""
        return self._record.state in USABLE and self._ending is None

    @property
    def reason(self) -> EndReason:
        """Why the session ended or ends, or would if it were stopped now."""
        return self._ending or EndReason.STOPPED

    @property
    def link(self) -> Link | None:
        """The messages' way; ``None`` before the session is open."""
        return self._link

    @property
    def last_received(self) -> float:
        """When anything came in last, by Trio's clock."""
        return -inf if self._link is None else self._link.last_received

    def probe(self) -> None:
        """Ask the far end for a sign of life. Never waits."""
        if self._link is not None and self.usable:
            self._link.probe()

    def note_listed(self) -> None:
        """The node lists the listener."""
        self._delisted = False

    def note_delisted(self) -> None:
        """The listener answers and is not listed: messages go through, but the node cannot close it any more."""
        if not self._delisted:
            self._delisted = True
            text = "session via %s: the node does not list %s any more, though it answers"
            _log.warning(text, self.route, self.listener and self.listener.key, extra=self._record.about())

    def ended(self) -> SessionEndedError:
        """The error that a use after the end raises."""
        return SessionEndedError(str(self._record.route), self.reason.value)

    def tell(self, reason: EndReason) -> None:
        """Ask the task to end the session; the first reason counts. Never waits."""
        if self._ending is None:
            self._ending = reason
            if self._opening is not None:
                self._opening.cancel()
            self._interrupt()

    def limit_draining(self, deadline: float) -> None:
        """Wait for answers no longer than until then."""
        if self._draining is not None:
            self._draining.deadline = min(self._draining.deadline, deadline)

    def follow_reply_timeout(self) -> None:
        """Let an open session's batches wait for their answers as long as those of later ones."""
        if self._link is not None:
            self._link.set_reply_timeout(self._around.reply_timeout)

    def set_reachable(self, reachable: bool) -> None:
        """Say whether the relayer is in sight. Never waits."""
        if self._reachable != reachable:
            self._reachable = reachable
            if self._ending is None:
                # What reads while answers are still waited for goes on: the word changes nothing any more.
                self._interrupt()

    def _interrupt(self) -> None:
        if self._link is not None:
            self._link.interrupt()

    async def wait_ready(self) -> None:
        """Wait until the session is open, or was and has ended.

        Raises:
            SessionOpenError: it could not be opened.
        """
        await self._ready.wait()
        if self.failure is not None:
            retry_in, advice = self._around.gate.retry_in(self.route.key), advise(self.failure)
            detail, attempts = f"could not be opened: {self.failure}", self._record.attempts
            # An error object for each waiter: a shared one would collect the tracebacks of all.
            error = SessionOpenError(str(self.route), detail, attempts=attempts, retry_in=retry_in, advice=advice)
            raise error from self.failure

    async def wait_over(self) -> None:
        """Wait until the session is over and its listener settled."""
        await self._over.wait()

    # -- the task

    async def run(self) -> None:
        """Own the session from its first POST to its end. An error ends this session alone and is told to its users."""
        self._record.claim()
        opened = None
        try:
            with trio.CancelScope() as self._opening:
                opened = await self._open()
            self._opening = None
            if opened is not None:
                await self._live(*opened)
        except SessionsError as error:
            self.failure = error
        except Exception as error:  # noqa: BLE001 - siblings live on
            self._crashed(error)
        finally:
            self._conclude()

    def _crashed(self, error: BaseException) -> None:
        if isinstance(error, BaseExceptionGroup):
            error = leaf(error)
        _log.error("session via %s crashed", self._record.route, exc_info=error, extra=self._record.about(error))
        self.failure = SessionEndedError(str(self._record.route), EndReason.CRASHED.value)
        self.failure.__cause__ = error
        self.tell(EndReason.CRASHED)
        self._stop_listening()

    async def _open(self) -> tuple[Claim, Link] | None:
        """Open listener and socket, in as many attempts as the pool allows; ``None`` when it has to end before."""
        around, gate, record, key = self._around, self._around.gate, self._record, self._record.route.key
        failures = 0
        while self._ending is None:
            await gate.wait(key)
            try:
                return await self._attempt()
            except SessionsError as error:
                gate.failed(key, error)
                # While the whole node is out, waiting is all there is to do, and no fault of the relayer.
                failures += not (around.wait_for_node and is_outage(error))
                if is_final(error) or failures >= around.open_attempts:
                    raise
                _log.info("session via %s: trying again: %s", record.route, error, extra=record.about(error))
        return None

    async def _attempt(self) -> tuple[Claim, Link]:
        around, record = self._around, self._record
        sender = await around.own_address()
        request = await around.request(record.route)
        record.destination = request.destination
        record.attempts += 1
        claim = around.janitor.open(request, str(record.route))
        try:
            await claim.answered.wait()
            if claim.error is not None or claim.listener is None:
                raise claim.error or self.ended()
            encoder = BatchEncoder(record.route.relayer or request.destination, sender, claim.listener.payload_size)
            # A packet with no room for a message's header is found out here, not by the first batch.
            encoder.check_fit(1, MAX_INDEX, _LATE)
            self._link = self._connect(claim.listener, encoder)
        except BaseException:
            around.janitor.release(claim, alive_at=trio.current_time())
            raise
        return claim, self._link

    def _connect(self, listener: Listener, encoder: BatchEncoder) -> Link:
        around, record = self._around, self._record
        try:
            sock = around.connect(around.connect_host or listener.key.ip, listener.key.port)
        except OSError as error:
            detail = f"no local socket for it: {why_no_socket(error)}"
            raise SessionOpenError(str(record.route), detail, attempts=record.attempts, retry_in=0.0) from error
        record.listener = listener
        record.opened_at = trio.current_time()
        return Link(sock, encoder, reply_timeout=around.reply_timeout, on_failure=self._socket_failed)

    async def _live(self, claim: Claim, link: Link) -> None:
        # No checkpoint between the opening and this ``try``: from here on everything has its owner.
        try:
            try:
                self._apply(Event.OPENED)
                self._around.gate.opened()
                self._ready.set()
                await self._work(link)
            finally:
                # Closes the socket, first of all and without a checkpoint before it.
                link.close()
                self._hand_over(claim, link)
        finally:
            await self._wait_settled(claim)

    async def _work(self, link: Link) -> None:
        """Read and watch until there is a reason to end, then drain."""
        try:
            await self._supervise(link)
        except trio.Cancelled as cancelled:
            # Where it was waiting concerns nobody. Of ten thousand that end together, each would keep its frames until
            # its listener is settled, and set the garbage collector to work.
            cancelled.__traceback__ = None
            raise
        except Exception as error:  # noqa: BLE001 - siblings live on
            self._crashed(error)
        finally:
            await self._drain(link)

    async def _guard(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do a part of the session's work; a crash of it ends the session, which tells so, and no other."""
        try:
            await work()
        except Exception as error:  # noqa: BLE001 - siblings live on
            self._crashed(error)

    async def _supervise(self, link: Link) -> None:
        """Read, and follow the peer's reachability, until there is a reason to end."""
        record = self._record
        while True:
            # In this very task, which a word interrupts: ten thousand readers of their own would double what idle
            # sessions cost.
            while self._ending is None and self._reachable:
                await link.run()
            if self._ending is not None:
                return
            record.grace_ends_at = trio.current_time() + self._around.grace_period
            self._apply(Event.PEER_LOST)
            with trio.move_on_after(self._around.grace_period) as grace:
                await self._wait_for_peer(link)
            record.grace_ends_at = None
            if grace.cancelled_caught:
                self.tell(EndReason.GRACE_EXPIRED)
            elif self._ending is None:
                self._apply(Event.PEER_BACK)

    async def _wait_for_peer(self, link: Link) -> None:
        """Wait until the peer is back, or there is a reason to end, and keep the listener alive meanwhile."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._keep_alive)
            while self._ending is None and not self._reachable:
                await link.run()
            nursery.cancel_scope.cancel()

    async def _keep_alive(self) -> None:
        assert self._record.listener is not None
        while True:
            await self._around.touch(self._record.listener)
            await trio.sleep(self._around.keepalive_interval)

    async def _drain(self, link: Link) -> None:
        """Take no new messages, and wait for the answers of those under way, within the drain timeout."""
        self.tell(EndReason.STOPPED)
        self._record.reason = self.reason
        if self.reason is EndReason.LISTENER_GONE:
            self._apply(Event.LISTENER_GONE)
            return
        self._apply(Event.END)
        if not link.is_idle and not self._deaf:
            self._draining = trio.CancelScope(shield=True, deadline=self._around.drain_deadline())
            # Shielded, so that answers are read while a stop drains.
            with self._draining:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._guard, link.run)
                    await link.wait_idle()
                    nursery.cancel_scope.cancel()

    def _hand_over(self, claim: Claim, link: Link) -> None:
        """Give the listener to the janitor: the session is done with it."""
        is_lost = self._refused or self.reason is EndReason.LISTENER_GONE
        self._around.janitor.release(claim, alive_at=link.last_received, is_delisted=self._delisted, is_lost=is_lost)
        if self._record.state is State.DRAINING:
            self._apply(Event.LISTENER_GONE if self._refused else Event.DRAINED)
        died_young = self.reason in (EndReason.LISTENER_GONE, EndReason.SOCKET_FAILED) and link.last_received == -inf
        if died_young:
            # Opened, and of no use to anybody: the next one waits as after a failure.
            self._around.gate.failed(self._record.route.key, self.ended())
        else:
            self._around.gate.forgive(self._record.route.key)

    async def _wait_settled(self, claim: Claim) -> None:
        if self._record.state is State.CLOSING:
            # This shield has a deadline: the janitor settles every claim by its own.
            await claim.settled.wait_shielded()
            self.is_left = claim.state is ListenerState.LEFT
            self._apply(Event.SETTLED)

    def _conclude(self) -> None:
        """The last thing that the task does, whatever happened."""
        self.tell(EndReason.STOPPED if self.failure is None else EndReason.OPEN_FAILED)
        if self._record.state is State.OPENING:
            self._record.reason = self.reason
            self._apply(Event.OPEN_FAILED if self.failure is not None else Event.END)
        self._ready.set()
        self._over.set()

    def _apply(self, event: Event) -> None:
        self._record.apply(event)
        self._around.on_event(self, event)

    def _socket_failed(self, error: OSError) -> None:
        gone = isinstance(error, ConnectionRefusedError)
        what = "listener gone" if gone else f"socket failed: {error}"
        _log.info("session via %s: %s", self._record.route, what, extra=self._record.about(error))
        self._refused = gone
        self.tell(EndReason.LISTENER_GONE if gone else EndReason.SOCKET_FAILED)
        self._stop_listening()

    def _stop_listening(self) -> None:
        self._deaf = True
        if self._draining is not None:
            self._draining.cancel()
