"""When a POST may go out: the backoff of its route, the pool's brake while the node is down, and a steady pace.

The gate holds up only sessions that are being opened; an open one never meets it.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Awaitable, Callable, Hashable
from math import inf

import trio

from trio_sessions._backoff import Backoff
from trio_sessions._descriptors import out_of_descriptors
from trio_sessions._errors import (
    CannotPinRelayerError,
    InvalidInputError,
    NodeError,
    NodeUnavailableError,
    NotReadyError,
    OutcomeUnknownError,
    RejectedError,
    ServerFailureError,
    SessionsError,
    UnauthorizedError,
)
from trio_sessions._log_fields import OUTAGE, about
from trio_sessions._repeats import Repeats

__all__ = ["Gate", "is_final", "is_outage"]

_log = logging.getLogger("trio_sessions.gate")

#: Waits of one route after a failed open, and of all while the node is down; seconds.
_ROUTE_BACKOFF = (1.0, 60.0)
_BRAKE_BACKOFF = (0.5, 15.0)
#: What a proxy in front of the node answers while there is no node behind it.
_PROXY_OUTAGE = frozenset({502, 503, 504})
#: What the daemon says when it has not come up yet, or never will open such a session (contract §2.1); by substring.
_NOT_READY = "not ready"
_LOOPBACK = "loopback sessions are not allowed"


def is_outage(error: SessionsError) -> bool:
    """Whether ``error`` says that the node as a whole takes no session now, whatever the relayer."""
    if isinstance(error, RejectedError):
        return _NOT_READY in error.text
    if isinstance(error, ServerFailureError):
        return error.status in _PROXY_OUTAGE
    if isinstance(error, NodeUnavailableError):
        # Without a file descriptor for a connection, the trouble is ours.
        return out_of_descriptors(error) is None
    return isinstance(error, NotReadyError)


def is_final(error: SessionsError) -> bool:
    """Whether the same request would fail the same way again, until somebody changes something."""
    if isinstance(error, RejectedError):
        # Without a status word it is the web framework that refused the body: it would again.
        return error.word is None or _LOOPBACK in error.text
    return isinstance(error, UnauthorizedError | CannotPinRelayerError | InvalidInputError)


class Gate:
    """Lets POSTs of sessions through: each route after its backoff, all at a steady pace, none while the node is down.

    While it is down, one of those who wait asks ``check`` again and again, which answers whether the node is up; the
    others wait for that one.
    """

    def __init__(self, check: Callable[[], Awaitable[bool]], *, opens_per_second: float, rng: random.Random) -> None:
        self._check = check
        self._interval = 1 / opens_per_second
        self._rng = rng
        self._next_slot = -inf
        self._turn = trio.StrictFIFOLock()
        #: In which the next in turn waits for his slot.
        self._slot_wait: trio.CancelScope | None = None
        self._backoffs: dict[Hashable, Backoff] = {}
        self._not_before: dict[Hashable, float] = {}
        self._down_since: float | None = None
        self._brake = Backoff(*_BRAKE_BACKOFF, rng)
        self._probing = False
        #: Set when whoever asks on behalf of all has an answer, or was cancelled.
        self._released = trio.Event()
        self._repeats = Repeats()

    def set_pace(self, opens_per_second: float) -> None:
        """Let POSTs through at another pace, from the one on that waits for its slot now."""
        last = self._next_slot - self._interval
        self._interval = 1 / opens_per_second
        self._next_slot = last + self._interval
        if self._slot_wait is not None:
            self._slot_wait.deadline = self._next_slot

    def retry_in(self, key: Hashable) -> float:
        """Seconds until the gate lets a POST of this route through again."""
        return max(0.0, self._not_before.get(key, -inf) - trio.current_time())

    async def wait(self, key: Hashable) -> None:
        """Wait until a POST of this route may go out; always a checkpoint."""
        await _sleep_until(self._not_before.get(key, -inf))
        while True:
            while self._down_since is not None:
                await self._wait_for_node()
            # One waits for the next slot, the others for their turn: so nobody has a slot that he cannot use.
            async with self._turn:
                if self._next_slot > trio.current_time():
                    with trio.CancelScope(deadline=self._next_slot) as self._slot_wait:
                        await trio.sleep_forever()
                if self._down_since is None:
                    self._next_slot = trio.current_time() + self._interval
                    return

    async def _wait_for_node(self) -> None:
        if self._probing:
            await self._released.wait()
            return
        self._probing = True
        self._released = trio.Event()
        try:
            while self._down_since is not None:
                await trio.sleep(self._brake.next())
                await self._probe()
        finally:
            self._probing = False
            self._released.set()

    async def _probe(self) -> None:
        try:
            is_up = await self._check()
        except NodeError as error:
            if is_outage(error) or isinstance(error, OutcomeUnknownError):
                self._node_failed(error)
                return
            # Something answers: what is wrong with it, a POST will tell.
            is_up = True
        if is_up:
            self._node_answered()

    def failed(self, key: Hashable, error: SessionsError) -> None:
        """A POST of this route failed: make the next one wait, or all of them when the node is down."""
        if is_outage(error):
            self._node_failed(error)
            return
        backoff = self._backoffs.setdefault(key, Backoff(*_ROUTE_BACKOFF, self._rng))
        self._not_before[key] = trio.current_time() + backoff.next()

    def opened(self) -> None:
        """A POST worked: the node is up."""
        self._node_answered()
        self._brake.reset()

    def forgive(self, key: Hashable) -> None:
        """A session of this route was of use: its next POST need not wait."""
        self._backoffs.pop(key, None)
        self._not_before.pop(key, None)

    def _node_failed(self, error: SessionsError) -> None:
        now = trio.current_time()
        if self._down_since is None:
            self._down_since = now
        if self._repeats.allows(OUTAGE, now):
            seconds = now - self._down_since
            fields = about(error=error, fault=OUTAGE, seconds=seconds)
            _log.warning("the node takes no sessions since %.0f s, trying on: %s", seconds, error, extra=fields)

    def _node_answered(self) -> None:
        if self._down_since is not None:
            seconds = trio.current_time() - self._down_since
            _log.info("the node is back after %.0f s", seconds, extra=about(seconds=seconds))
        self._down_since = None


async def _sleep_until(moment: float) -> None:
    """Trio's, without the cancel that a moment in the past costs there; no checkpoint then."""
    if moment > trio.current_time():
        await trio.sleep_until(moment)
