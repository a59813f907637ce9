"""Messages for every relayer of a run, at a steady pace, each in a task of its own."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection

import trio

from trio_sessions import (
    CannotPinRelayerError,
    InvalidInputError,
    Node,
    SessionEndedError,
    SessionOpenError,
    SessionsError,
    UnauthorizedError,
)
from trio_sessions._gate import is_final, is_outage
from trio_sessions._log_fields import OUTAGE, about
from trio_sessions.cli._plan import Plan
from trio_sessions.cli._status import CommandError

__all__ = ["Traffic", "choose"]

_log = logging.getLogger("trio_sessions.cli")

#: Seconds between two batches at the slowest: as good as never, and finite, whatever the rate.
_LONGEST_GAP = 1e9
#: Seconds between looks at which relayers there are.
_FOLLOW_INTERVAL = 1.0
#: Seconds before a session that could not be opened is asked for again, at least: the pool's own backoff comes on top.
_PAUSE = 1.0


class Traffic:
    """Feeds the chosen relayers (or, by hops, destinations) of a node that is up.

    A relayer gets ``batch`` messages at a time, all relayers together ``rate`` a second, one after the other. A
    relayer that is slow to take them costs the others nothing, and what it could not take is not made up for later.

    Args:
        give_up: called, once, with the reason for which it makes no sense to go on.

    Raises:
        InvalidInputError: the node has not the relayers that the plan names, or not so many.
        CommandError: it has none at all.
    """

    def __init__(self, node: Node, plan: Plan, give_up: Callable[[SessionsError], None]) -> None:
        self._node = node
        self._plan = plan
        self._give_up = give_up
        self._chosen = choose(node, plan)
        self._began = trio.current_time()
        #: By the relayer in lower case, what ends its feed.
        self._feeds: dict[str, trio.CancelScope] = {}
        #: Set, and replaced, when the plan changes.
        self._changed = trio.Event()
        #: The last failure of relayers without a session, where trying again won't help.
        self._final: dict[str, SessionsError] = {}
        #: Why the last session that could not be opened could not be; ``None`` when one could.
        self.failure: SessionsError | None = None

    async def run(self) -> None:
        """Feed until cancelled, following the node as channels open and close."""
        async with trio.open_nursery() as nursery:
            while True:
                for relayer in self._usable():
                    if relayer.lower() not in self._feeds:
                        start_at = self._began + len(self._feeds) * self._gap
                        self._feeds[relayer.lower()] = trio.CancelScope()
                        nursery.start_soon(self._feed, relayer, start_at)
                await trio.sleep(_FOLLOW_INTERVAL)

    @property
    def chosen(self) -> frozenset[str] | None:
        """The relayers to use, in lower case; ``None``: every one that there is at any time."""
        return self._chosen

    def set_plan(self, plan: Plan, chosen: frozenset[str] | None) -> None:
        """Go on with another batch, rate or choice of relayers, made by :func:`choose`. Never waits."""
        has_new_pace = (plan.batch, plan.rate) != (self._plan.batch, self._plan.rate)
        self._plan, self._chosen = plan, chosen
        for relayer, feed in self._feeds.items():
            if chosen is not None and relayer not in chosen:
                feed.cancel()
        if has_new_pace:
            self._began = trio.current_time()
            self._changed.set()
            self._changed = trio.Event()

    @property
    def _gap(self) -> float:
        """Seconds between two batches, whosever they are."""
        return min(self._plan.batch / self._plan.rate, _LONGEST_GAP)

    def _usable(self) -> list[str]:
        relayers = [relayer for relayer in self._node.relayers if self._plan.has_destination(relayer)]
        if self._chosen is None:
            return relayers
        return [relayer for relayer in relayers if relayer.lower() in self._chosen]

    async def _feed(self, relayer: str, next_at: float) -> None:
        """Hand in batches for one relayer until it can't be used any more; the session is opened first of all."""
        try:
            with self._feeds[relayer.lower()]:
                await self._feed_on(relayer, next_at)
        except (SessionEndedError, InvalidInputError) as error:
            # Stopped, not wanted, or its channel is open no more; in that case it comes back when the channel does.
            _log.info("no more messages for %s: %s", relayer, error, extra=about(error=error, relayer=relayer))
        finally:
            del self._feeds[relayer.lower()]
            self._final.pop(relayer.lower(), None)

    async def _feed_on(self, relayer: str, next_at: float) -> None:
        while True:
            if await self._open(relayer):
                next_at = await self._wait_for_turn(relayer, next_at)
                await self._node.submit(relayer, self._plan.batch)
                next_at = max(next_at + len(self._feeds) * self._gap, trio.current_time())

    async def _wait_for_turn(self, relayer: str, at: float) -> float:
        """Wait until ``at``, or if the pace changes meanwhile, until its turn by the new one; returns when that was."""
        while True:
            changed = self._changed
            with trio.move_on_at(at):
                await changed.wait()
            if not changed.is_set():
                return at
            at = self._began + list(self._feeds).index(relayer.lower()) * self._gap

    async def _open(self, relayer: str) -> bool:
        """Whether there is a session for the next batch, opened if need be."""
        try:
            if self._plan.hops is None:
                await self._node.pool.session(relayer)
            else:
                await self._node.pool.session(destination=relayer, hops=self._plan.hops)
        except SessionOpenError as error:
            self._failed(relayer, error)
            await trio.sleep(_PAUSE)
            return False
        self._final.pop(relayer.lower(), None)
        self.failure = None
        return True

    def _failed(self, relayer: str, error: SessionOpenError) -> None:
        cause = error.__cause__
        self.failure = cause if isinstance(cause, CannotPinRelayerError | UnauthorizedError) else error
        if isinstance(cause, SessionsError) and is_final(cause):
            self._final[relayer.lower()] = error
        else:
            self._final.pop(relayer.lower(), None)
        # What is wrong with the node is wrong for every relayer.
        if self.failure is cause or self._final.keys() >= self._feeds.keys():
            self._give_up(self.failure)
        else:
            outage = OUTAGE if isinstance(cause, SessionsError) and is_outage(cause) else None
            fields = about(error=cause or error, fault=outage, relayer=relayer, attempts=error.attempts)
            _log.warning("%s; trying on", error, extra=fields)
            for step in error.advice[1:]:
                _log.info("  or %s", step.removeprefix("or "), extra=fields)


def choose(node: Node, plan: Plan, kept: Collection[str] = ()) -> frozenset[str] | None:
    """The relayers to use, in lower case; ``None`` for every one that there is at any time.

    Args:
        kept: if only some are wanted, these come first.

    Raises:
        InvalidInputError: the node has not the relayers that the plan names, or not so many.
        CommandError: it has none at all.
    """
    usable = [relayer for relayer in node.available if plan.has_destination(relayer)]
    if plan.named_relayers is not None:
        there = {relayer.lower() for relayer in usable}
        for relayer in plan.named_relayers:
            if relayer.lower() not in there:
                rule = "is no relayer of this node with an open outgoing channel"
                raise InvalidInputError("--relayers", relayer, rule, "open a channel to it, or choose another one")
        return frozenset(relayer.lower() for relayer in plan.named_relayers)
    if isinstance(plan.relayers, int):
        if len(usable) < plan.relayers:
            rule = f"the node has {len(usable)} relayer{'' if len(usable) == 1 else 's'} with an open channel"
            raise InvalidInputError("--relayers", plan.relayers, rule, "ask for fewer, or open more channels")
        usable.sort(key=lambda relayer: relayer.lower() not in kept)
        return frozenset(relayer.lower() for relayer in usable[: plan.relayers])
    if not usable and plan.hops is None:
        raise CommandError("the node has no relayer with an open outgoing channel: open one, or use --hops")
    if not usable:
        raise CommandError("the node is connected to no destination: check --destination, or wait for its peers")
    return None
