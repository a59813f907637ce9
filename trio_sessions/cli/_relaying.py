"""What ``relay`` does: a session of its own, batches through it, and a summary like ping's."""

from __future__ import annotations

import json
import random
from contextlib import AbstractAsyncContextManager
from math import ceil
from typing import Any

import attrs
import trio

from trio_sessions import (
    BatchOutcome,
    Hoprd,
    Messages,
    PoolOptions,
    PoolReport,
    PoolStoppedError,
    Session,
    SessionEndedError,
    SessionOpenError,
    SessionPool,
    open_pool,
)
from trio_sessions._budget import open_budget
from trio_sessions._destinations import Destinations
from trio_sessions._route import Route
from trio_sessions.cli._access import Access
from trio_sessions.cli._at_node import explained, open_node
from trio_sessions.cli._relay import RelayPlan
from trio_sessions.cli._status import CLEAN, FAILED, LEFT
from trio_sessions.cli._streams import say, write_stdout
from trio_sessions.cli._temporary import check_relayer, names, temporary_instance

__all__ = ["Relaying", "Summary"]

_QUANTILES = (0.5, 0.9, 0.99)


@attrs.frozen
class Summary:
    """What became of all messages; round trips in seconds, in order of size."""

    route: str
    destination: str | None
    messages: Messages
    duplicates: int
    rtts: tuple[float, ...]

    @property
    def sent(self) -> int:
        """Messages that left."""
        return self.messages.answered + self.messages.unanswered

    @property
    def loss(self) -> float | None:
        """The share of these that was not answered; ``None`` where none left."""
        return self.messages.unanswered / self.sent if self.sent else None

    @property
    def rtt(self) -> dict[str, float]:
        """Smallest, quantiles and largest; empty where nothing was answered."""
        if not self.rtts:
            return {}
        # The nearest rank: each is a round trip that was measured.
        ranks = {f"p{q * 100:.0f}": self.rtts[max(0, ceil(q * len(self.rtts)) - 1)] for q in _QUANTILES}
        return {"min": self.rtts[0], **ranks, "max": self.rtts[-1]}

    def as_text(self) -> str:
        """One line, as ping has it."""
        undelivered = sum(self.messages.undelivered.values())
        parts = [f"{self.sent} sent", f"{self.messages.answered} answered"]
        if self.loss is not None:
            parts.append(f"{100 * self.loss:.1f} % loss".replace(".0 %", " %"))
        if undelivered:
            parts.append(f"{undelivered} not sent")
        if self.duplicates:
            parts.append(f"{self.duplicates} answered twice")
        if rtt := self.rtt:
            parts.append(f"rtt {'/'.join(rtt)} {'/'.join(f'{1000 * each:.1f}' for each in rtt.values())} ms")
        return ", ".join(parts)


class Relaying:
    """One session, and the batches that go through it."""

    def __init__(self, access: Access, plan: RelayPlan) -> None:
        self._access = access
        self._plan = plan
        self._pool: SessionPool | None = None
        self._session: Session | None = None
        self._outcomes: list[BatchOutcome] = []
        self._ended: SessionEndedError | None = None
        self._interrupted = trio.Event()

    def interrupt(self) -> bool:
        """Send and wait no more; False before there is a session."""
        self._interrupted.set()
        if self._pool is None or self._session is None:
            return False
        self._pool.stop(drain=False)
        return True

    async def run(self) -> int | None:
        """Relay, close, and say how it went; the exit status, none when a signal ended it."""
        async with open_node(self._access, self._plan.wait) as hoprd:
            if self._plan.relayer is not None:
                await check_relayer(hoprd, self._plan.relayer)

            def enter(options: PoolOptions) -> AbstractAsyncContextManager[SessionPool]:
                # Like ping: what does not work is told, and not tried again.
                return open_pool(hoprd, attrs.evolve(options, open_attempts=1))

            failure: SessionOpenError | None = None
            try:
                instance = temporary_instance(self._access, names("relay"), enter, self._plan.destinations)
                async with instance as (_, self._pool):
                    try:
                        self._session = await self._open(hoprd, self._pool)
                        await self._send(self._session)
                    except SessionOpenError as error:
                        failure = error
            finally:
                # Cancelled or not, and whatever failed: what is left is told.
                is_left = self._pool is not None and self._tell_left(self._pool.report)
        if failure is not None and not is_left:
            raise failure
        if self._session is not None:
            self._tell_summary(self._session, self._pool.report)
        return self._status(is_left=is_left)

    async def _open(self, hoprd: Hoprd, pool: SessionPool) -> Session:
        plan = self._plan
        hops = 1 if plan.hops is None else plan.hops
        seconds = plan.timeout or open_budget(hops, hops, balancer=False)
        with trio.move_on_after(seconds):
            if plan.hops is None:
                return await pool.session(plan.relayer)
            destination = await Destinations(hoprd, plan.destinations, random.Random()).choose(Route(hops=plan.hops))
            return await pool.session(destination=destination, hops=plan.hops)
        route = str(Route(plan.relayer, None, plan.hops))
        raise SessionOpenError(route, f"was not open within {seconds:g} s", attempts=1, retry_in=0.0)

    async def _send(self, session: Session) -> None:
        next_at = trio.current_time()
        for number in range(self._plan.batches):
            if number and not self._interrupted.is_set():
                await self._pause(next_at)
            if self._interrupted.is_set():
                return
            next_at = trio.current_time() + self._plan.interval
            try:
                outcome = await session.relay(self._plan.count)
            except PoolStoppedError:
                return
            except SessionEndedError as error:
                self._ended = None if self._interrupted.is_set() else error
                return
            self._outcomes.append(outcome)
            if not self._plan.wants_json:
                self._tell_batch(number, outcome)

    async def _pause(self, until: float) -> None:
        """Wait for the next batch's time, or until interrupted."""
        async with trio.open_nursery() as nursery:

            async def wait_for_end() -> None:
                assert self._session is not None
                await self._session.wait_closed()
                nursery.cancel_scope.cancel()

            nursery.start_soon(wait_for_end)
            await trio.sleep_until(until)
            nursery.cancel_scope.cancel()

    def _tell_batch(self, number: int, outcome: BatchOutcome) -> None:
        """A line for each message: answered ones in the order of their answers, then the others."""
        first = number * self._plan.count + 1
        lines = [f"{first + place}: {1000 * rtt:.1f} ms" for place, rtt in enumerate(outcome.rtts)]
        lines += [f"{first + outcome.answered + place}: lost" for place in range(outcome.unanswered)]
        if outcome.undelivered:
            lines.append(f"{outcome.undelivered} not sent: {outcome.reason}")
        write_stdout("\n".join(lines))

    def _tell_summary(self, session: Session, report: PoolReport) -> None:
        info = session.info
        summary = Summary(
            str(Route(info.relayer, None, info.hops)),
            info.destination,
            report.messages,
            sum(outcome.duplicates for outcome in self._outcomes),
            tuple(sorted(rtt for outcome in self._outcomes for rtt in outcome.rtts)),
        )
        if not self._plan.wants_json:
            write_stdout(summary.as_text())
            return
        data: dict[str, Any] = {
            "schema": 1,
            "route": summary.route,
            "destination": summary.destination,
            "sent": summary.sent,
            "answered": summary.messages.answered,
            "lost": summary.messages.unanswered,
            "undelivered": sum(summary.messages.undelivered.values()),
            "duplicates": summary.duplicates,
            "loss": summary.loss,
            "rtt": summary.rtt,
            "interrupted": self._interrupted.is_set(),
            "clean": report.clean,
        }
        write_stdout(json.dumps(data, allow_nan=False))

    def _tell_left(self, report: PoolReport) -> bool:
        for left in report.left:
            what = left.listener or "perhaps one of an unknown port"
            say(f"trio-sessions: error: left at the node: {what} via {left.route}: {left.reason}")
        return bool(report.left)

    def _status(self, *, is_left: bool) -> int | None:
        if is_left:
            return LEFT
        if self._interrupted.is_set():
            return None
        if self._ended is not None:
            say(f"trio-sessions: error: {explained(self._ended)}")
        return CLEAN if any(outcome.answered for outcome in self._outcomes) else FAILED
