"""The simulator of a round: its own word on what is open, its faults, and its strangers."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from math import inf
from typing import Any

import attrs
import httpx
import trio

from tests.cli.support import PATIENCE, TOKEN, Simulator, simulator

__all__ = ["Happened", "Node", "Nodes", "Table", "closed_strangers"]

#: Relayers of a simulator: more than any victim uses.
_RELAYERS = 6
#: Events that the simulator's state shows.
_SHOWN = 100

#: An event of the simulator: time, kind, and for a listener its protocol, ip and port.
Happened = tuple[float, str, Any]


@attrs.frozen
class Table:
    """What the simulator said of itself at one moment.

    Attributes:
        ours: the listeners that are no stranger's, delisted ones included.
        strangers: the others.
        opening: POSTs in progress.
        pending: opens that will be committed although their clients have left.
        counters: since the simulator's start.
        address: of the node.
    """

    ours: tuple[dict[str, Any], ...]
    strangers: tuple[dict[str, Any], ...]
    opening: int
    pending: int
    counters: dict[str, Any]

    @classmethod
    def read(cls, state: dict[str, Any]) -> Table:
        """From the reply of the state route."""
        alive = [*state["listeners"], *state["delisted"]]
        return cls(
            tuple(each for each in alive if not each["stranger"]),
            tuple(each for each in state["listeners"] if each["stranger"]),
            state["opening"],
            state["pending"],
            state["counters"],
        )

    @property
    def relaying(self) -> int:
        """How many of ours have sent something back."""
        return sum(each["echoes"] > 0 for each in self.ours)

    @property
    def ids(self) -> set[str]:
        """The sessions of ours."""
        return {each["session_id"] for each in self.ours}


def shown(listener: dict[str, Any]) -> str:
    """A listener, for people."""
    return f"{listener['protocol']}://{listener['ip']}:{listener['port']} via {listener['forward']}"


def closed_strangers(events: Iterable[Happened]) -> list[Happened]:
    """The ends of strangers' listeners: nothing but somebody's mistake ends them."""
    is_strangers: dict[tuple[Any, ...], bool] = {}
    found = []
    for event in events:
        _, kind, key = event
        if kind in ("stranger", "open"):
            is_strangers[tuple(key)] = kind == "stranger"
        elif kind in ("close", "idle_end", "eof_end", "delisted") and is_strangers.pop(tuple(key), False):
            found.append(event)
    return found


class Node:
    """A simulator's process with its controls; used for one round after the other."""

    def __init__(self, process: Simulator, control: httpx.AsyncClient) -> None:
        self._process = process
        self._control = control
        self._events: deque[Happened] = deque()
        #: When the present round began, by the simulator's clock.
        self._since = -inf

    @property
    def url(self) -> str:
        """Of its API."""
        return self._process.url

    @property
    def relayers(self) -> tuple[str, ...]:
        """Peers with open channels."""
        return tuple(self._process.ready["relayers"])

    @property
    def destinations(self) -> tuple[str, ...]:
        """Peers for exits."""
        return tuple(self._process.ready["destinations"])

    @property
    def events(self) -> tuple[Happened, ...]:
        """What happened since :meth:`reset`, as of the last look."""
        return tuple(self._events)

    async def look(self) -> Table:
        """What is there now."""
        reply = await self._control.get("/simulator/state")
        state = reply.raise_for_status().json()
        self._remember([(time, kind, detail) for time, kind, detail in state["events"]])
        return Table.read(state)

    async def reset(self) -> None:
        """Begin anew: a restart forgets every listener, and no fault is armed."""
        await self.arm()
        restarts = (await self.look()).counters["restarts"]
        await self._tell("restart", down_for=0.0)
        with trio.fail_after(PATIENCE):
            await self._wait_for_restart(restarts)
        self._since = max(time for time, kind, _ in self._events if kind == "restart")
        self._events.clear()

    async def arm(self, *faults: str) -> None:
        """Have these faults, and no others."""
        await self._tell("faults", faults=faults, clear=True)

    async def add_stranger(self, **where: object) -> None:
        """Have somebody else open a listener."""
        await self._tell("strangers", **where)

    async def _wait_for_restart(self, restarts: int) -> None:
        while True:
            # Its end takes the connections with it.
            with suppress(httpx.TransportError):
                if (await self.look()).counters["restarts"] > restarts:
                    return
            await trio.sleep(0.01)

    def _remember(self, events: list[Happened]) -> None:
        if self._events and events[-1] == self._events[-1]:
            return
        if self._events and len(events) == _SHOWN and events[0][0] > self._events[-1][0]:
            raise AssertionError("more happened between two looks than the simulator shows")
        known = set(map(repr, self._events))
        self._events.extend(event for event in events if event[0] > self._since and repr(event) not in known)

    async def _tell(self, what: str, **values: object) -> None:
        reply = await self._control.post(f"/simulator/{what}", json=values)
        if reply.status_code != 200:
            raise AssertionError(f"/simulator/{what} {values}: {reply.text}")


class Nodes:
    """Simulators of every dialect, started when they are needed and used again."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._free: dict[str, list[Node]] = {}

    @asynccontextmanager
    async def one(self, dialect: str) -> AsyncIterator[Node]:
        """A simulator for a round."""
        free = self._free.setdefault(dialect, [])
        node = free.pop() if free else await self._nursery.start(self._serve, dialect)
        yield node
        # Not after an error: who knows what state it is in.
        free.append(node)

    async def _serve(self, dialect: str, *, task_status: trio.TaskStatus[Node]) -> None:
        async with simulator("--dialect", dialect, "--relayers", str(_RELAYERS)) as process:
            headers = {"X-Auth-Token": TOKEN}
            async with httpx.AsyncClient(base_url=process.url, headers=headers, trust_env=False) as control:
                task_status.started(Node(process, control))
                await trio.sleep_forever()
