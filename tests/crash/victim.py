"""The program that is killed: it opens sessions, relays through each of them, and goes on until it is told to stop.

``python -m tests.crash.victim ORDERS``, with the orders as JSON. SIGUSR1 closes one session, SIGTERM stops. A line
on stdout says where it stands: ``held``, ``opened`` for each session, and at the end a JSON object with the report.
"""

from __future__ import annotations

import json
import logging
import os
import random
import signal
import sys
from collections.abc import Iterable

import attrs
import trio

from trio_sessions import (
    Hoprd,
    Listener,
    PoolOptions,
    PoolStoppedError,
    Session,
    SessionEndedError,
    SessionOpenError,
    SessionPool,
    SessionRequest,
    open_pool,
    parse_namespace,
)

__all__ = ["Orders"]

_log = logging.getLogger("tests.crash.victim")

#: Seconds between two batches, and before another try after a failure.
_PACE = 0.03
_MESSAGES = 3


def _addresses(value: Iterable[str]) -> tuple[str, ...]:
    return tuple(value)


@attrs.frozen(kw_only=True)
class Orders:
    """What the program is told.

    Attributes:
        hold: where it stands still for ever: at ``posting`` or ``replied``; ``None``: nowhere.
        hold_at: at which of its POSTs, or of the replies, from 1.
    """

    url: str
    namespace: str
    instance: str
    journal: str | None
    relayers: tuple[str, ...] = attrs.field(converter=_addresses)
    destination: str
    stop_timeout: float
    seed: int
    hold: str | None = None
    hold_at: int = 0

    @property
    def options(self) -> PoolOptions:
        """Of its pool."""
        return PoolOptions(
            destinations=(self.destination,),
            namespace=parse_namespace(self.namespace),
            instance=self.instance,
            journal=self.journal,
            stop_timeout=self.stop_timeout,
            # So that the round is short, where the library takes its time: every ten seconds, up to five.
            reconcile_interval=1.0,
            close_timeout=1.0,
        )


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


class _HeldHoprd(Hoprd):
    """A client that stands still at one of its opens."""

    def __init__(self, orders: Orders) -> None:
        super().__init__(orders.url, token=os.environ["TRIO_SESSIONS_TOKEN"])
        self._orders = orders
        self._posts = self._replies = 0

    async def open_session(self, request: SessionRequest, *, timeout: float | None = None) -> Listener:
        self._posts += 1
        await self._stand_still("posting", self._posts)
        listener = await super().open_session(request, timeout=timeout)
        self._replies += 1
        await self._stand_still("replied", self._replies)
        return listener

    async def _stand_still(self, where: str, number: int) -> None:
        if (where, number) == (self._orders.hold, self._orders.hold_at):
            _say("held")
            await trio.sleep_forever()


class _Program:
    """The sessions of a pool, and the signals."""

    def __init__(self, pool: SessionPool) -> None:
        self._pool = pool
        self._sessions: dict[str, Session] = {}
        self._closed: set[str] = set()

    async def relay(self, relayer: str) -> None:
        """Relay until the stop, or until the session was closed on purpose."""
        while relayer not in self._closed:
            try:
                session = await self._pool.session(relayer)
                if self._sessions.get(relayer) is None:
                    _say("opened")
                self._sessions[relayer] = session
                while True:
                    await session.relay(_MESSAGES)
                    await trio.sleep(_PACE)
            except PoolStoppedError:
                return
            except (SessionOpenError, SessionEndedError) as error:
                _log.info("%s", error)
                await trio.sleep(_PACE)

    async def obey(self) -> None:
        """Act on signals until the stop."""
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGUSR1) as signals:
            _say("ready")
            async for number in signals:
                if number == signal.SIGTERM:
                    self._pool.stop()
                    return
                self._close_one()

    def _close_one(self) -> None:
        relayer, session = next(iter(self._sessions.items()))
        self._closed.add(relayer)
        session.close()


async def _main(orders: Orders) -> None:
    async with _HeldHoprd(orders) as hoprd:
        async with open_pool(hoprd, orders.options, rng=random.Random(orders.seed)) as pool:
            program = _Program(pool)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(program.obey)
                for relayer in orders.relayers:
                    nursery.start_soon(program.relay, relayer)
        _say(json.dumps(pool.report.to_json()))


if __name__ == "__main__":
    # httpx's own command line, with rich and pygments, would take a third of the time that each start takes.
    sys.modules["httpx._main"] = None  # type: ignore[assignment]
    logging.basicConfig(level=logging.INFO, format="%(relativeCreated)d %(name)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    trio.run(_main, Orders(**json.loads(sys.argv[1])))
