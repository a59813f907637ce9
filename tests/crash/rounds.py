"""One round: a victim, SIGKILL, the next start, and the simulator's verdict."""

from __future__ import annotations

import random
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import trio

from tests.cli.support import Running
from tests.crash.node import Node, Table, closed_strangers, shown
from tests.crash.plan import Plan, Stranger
from tests.crash.processes import command, script, started
from tests.crash.victim import Orders
from trio_sessions._namespaces import derive_address, node_key

__all__ = ["PATIENCE", "Outcome", "Place", "run_round"]

#: Seconds that the next start has to settle what the victim left.
PATIENCE = 30.0
#: Seconds within which a victim reaches its moment, and a start that was told to stop its end.
_LONGEST = 40.0
#: Seconds between looks at the simulator: until a moment is there, and until a start has settled.
_LOOK_INTERVAL = 0.015
_SLOW_INTERVAL = 0.05
#: Of the starts that come to their end: a POST that never became a listener may take all of it.
_STOP_TIMEOUT = 2.0
#: Of the victims: long enough that the kill comes first.
_VICTIMS_STOP_TIMEOUT = 10.0
#: The exit statuses of a start that stopped: all clean, or something named in the report.
_ENDED = (0, 3)

_LINES = frozenset({"held", "opened"})


@attrs.frozen
class Place:
    """What belongs to one round at a time.

    Attributes:
        instance: our name at the node.
        ports: our range of them.
        folder: an empty one.
    """

    instance: str
    ports: tuple[int, int]
    folder: Path


@attrs.frozen(kw_only=True)
class Outcome:
    """What came of a round.

    Attributes:
        violations: empty when all is well.
        left: listeners of ours at the end.
        strangers_closed: strangers' listeners that somebody closed.
        late: opens of ours that were committed after their client was dead.
        reused: ports of ours that strangers took.
        settled_in: seconds from the start of the last start until nothing of the victim was left; ``None``: never.
        story: what happened at the node, and what the processes said, for people.
    """

    plan: Plan
    violations: tuple[str, ...]
    left: int
    strangers_closed: int
    late: int
    reused: int
    settled_in: float | None
    story: str


class _Broken(Exception):  # noqa: N818 - it ends a round, and is told as a violation
    """The round could not be played as planned."""


async def run_round(
    node: Node, plan: Plan, place: Place, *, patience: float = PATIENCE, forget: bool = False
) -> Outcome:
    """Play a round.

    Args:
        node: nobody else uses it meanwhile.
        patience: seconds that the next start has to settle.
        forget: give the next start another name and another journal, so that it cannot know what it has to close:
            to see that the verdict can be a bad one.
    """
    return await _Round(node, plan, place, patience, forget=forget).play()


class _Round:
    def __init__(self, node: Node, plan: Plan, place: Place, patience: float, *, forget: bool) -> None:
        self._node = node
        self._plan = plan
        self._place = place
        self._patience = patience
        self._forget = forget
        self._base: dict[str, Any] = {}
        self._victims: set[str] = set()
        self._violations: list[str] = []
        self._settled_in: float | None = None
        self._said: list[str] = []

    async def play(self) -> Outcome:
        try:
            await self._prepare()
            await self._crash()
            for delay in self._plan.killed_again:
                await self._crash_again(delay)
            await self._start_again()
        except _Broken as error:
            self._violations.append(str(error))
        return await self._judge()

    # -- what happens

    async def _prepare(self) -> None:
        await self._node.reset()
        self._base = (await self._node.look()).counters
        await self._node.arm(*self._plan.faults, *self._plan.always)
        await self._let_come("before")

    async def _crash(self) -> None:
        """Run the victim up to its moment, and kill it."""
        async with self._process("victim", self._orders(is_victim=True)) as victim:
            await self._let_come("with")
            await self._reach_moment(victim)
            await trio.sleep(self._plan.delay)
            await self._kill(victim)
        await self._node.arm(*self._plan.later_faults, *self._plan.always)
        await self._let_come("after")
        await trio.sleep(self._plan.pause)

    async def _crash_again(self, delay: float) -> None:
        """Run the next start for a time, and kill it, wherever it is."""
        async with self._process("killed again", self._orders()) as it:
            await trio.sleep(delay)
            await self._kill(it)

    async def _start_again(self) -> None:
        """Run the next start until it has settled, and stop it."""
        began = trio.current_time()
        async with self._process("next start", self._orders()) as it:
            await self._let_come("next")
            with trio.move_on_after(self._patience):
                await self._wait_until(self._is_settled, it, _SLOW_INTERVAL)
                self._settled_in = trio.current_time() - began
            if self._settled_in is None:
                self._violations.append(f"not settled within {self._patience:g} s: {await self._of_victims()}")
            await self._node.arm(*self._plan.always)
            await self._stop(it)

    async def _kill(self, it: Running) -> None:
        it.process.kill()
        await it.process.wait()
        self._victims |= (await self._node.look()).ids

    async def _stop(self, it: Running) -> None:
        it.process.send_signal(signal.SIGTERM)
        status = None
        with trio.move_on_after(_LONGEST):
            status = await it.process.wait()
        if status not in _ENDED:
            self._violations.append(f"the next start did not end well: its status is {status}")

    # -- the victim's moment

    async def _reach_moment(self, victim: Running) -> None:
        plan = self._plan
        with trio.move_on_after(_LONGEST) as waiting:
            if plan.stage in ("closing", "stop"):
                await self._wait_until(lambda table: table.relaying >= plan.needed, victim)
                victim.process.send_signal(signal.SIGTERM if plan.stage == "stop" else signal.SIGUSR1)
            if plan.moment in _LINES:
                await _wait_for_lines(victim, plan.moment, plan.count)
            elif plan.moment != "told":
                await self._wait_until(self._is_moment, victim)
        if waiting.cancelled_caught:
            raise _Broken(f"the victim did not get to {plan.count} {plan.moment}")

    def _is_moment(self, table: Table) -> bool:
        counters, base = table.counters, self._base
        have: dict[str, Callable[[], int]] = {
            "looks": lambda: counters["calls"].get("list", 0) - base["calls"].get("list", 0),
            "opening": lambda: table.opening,
            "committed": lambda: len(table.ours),
            "relaying": lambda: table.relaying,
            "deletes": lambda: counters["calls"].get("close", 0) - base["calls"].get("close", 0),
            "closed": lambda: counters["closes"] - base["closes"],
        }
        return have[self._plan.moment]() >= self._plan.count

    def _is_settled(self, table: Table) -> bool:
        """Whether nothing is there, or can come, but what the present start has in use."""
        in_use = [each for each in table.ours if each["session_id"] not in self._victims and each["echoes"]]
        may_come = table.opening or table.pending
        return not may_come and len(in_use) == len(table.ours) == self._plan.relayers

    async def _wait_until(
        self, condition: Callable[[Table], bool], it: Running, interval: float = _LOOK_INTERVAL
    ) -> None:
        while not condition(await self._node.look()):
            if it.process.poll() is not None:
                if self._plan.stage == "stop" and self._said[-1].startswith("victim"):
                    # It was faster than the kill.
                    return
                raise _Broken(f"a process ended by itself, with status {it.process.returncode}")
            await trio.sleep(interval)

    async def _of_victims(self) -> str:
        table = await self._node.look()
        old = [shown(each) for each in table.ours if each["session_id"] in self._victims or not each["echoes"]]
        return f"{len(table.ours)} listeners, idle or of the victim {old}, {table.opening + table.pending} may come"

    # -- the verdict

    async def _judge(self) -> Outcome:
        table = await self._node.look()
        left = [shown(each) for each in table.ours]
        left += ["one that is still being opened"] * (table.opening + table.pending)
        closed = closed_strangers(self._node.events)
        if left:
            self._violations.append(f"left: {', '.join(left)}")
        if closed:
            self._violations.append(f"strangers closed: {', '.join(f'{key} at {at:.3f}' for at, _, key in closed)}")
        came = sum(kind == "stranger" for _, kind, _ in self._node.events)
        if came != len(table.strangers) + len(closed):
            self._violations.append(f"of {came} strangers, {len(table.strangers)} are there")
        return Outcome(
            plan=self._plan,
            violations=tuple(self._violations),
            left=len(left),
            strangers_closed=len(closed),
            late=table.counters["opens_late"] - self._base.get("opens_late", 0),
            reused=came - len(self._plan.strangers),
            settled_in=self._settled_in,
            story=self._story(),
        )

    def _story(self) -> str:
        events = [f"{at:.3f} {kind} {detail}" for at, kind, detail in self._node.events]
        return "\n".join([str(self._plan), "-- at the node:", *events, *self._said])

    # -- who takes part

    async def _let_come(self, when: str) -> None:
        for stranger in self._plan.strangers:
            if stranger.when == when:
                await self._node.add_stranger(**self._looks_of(stranger))

    def _looks_of(self, stranger: Stranger) -> dict[str, object]:
        relayer = self._relayers()[stranger.relayer]
        if stranger.like == "other":
            return {}
        if stranger.like == "path":
            return {"relayer": relayer, "destination": self._node.destinations[1]}
        ours: dict[str, object] = {"relayer": relayer, "destination": self._node.destinations[0]}
        if stranger.like == "ours":
            return ours
        own = self._own_address()
        return {**ours, "ip": _next_door(own) if stranger.like == "next door" else own}

    def _relayers(self) -> tuple[str, ...]:
        return self._node.relayers[: self._plan.relayers]

    def _own_address(self) -> str:
        return derive_address(node_key(self._node.url), self._place.instance)

    def _orders(self, *, is_victim: bool = False) -> Orders:
        plan, place = self._plan, self._place
        knows = is_victim or not self._forget
        hold = plan.hold if is_victim else None
        journal = str(place.folder / ("journal" if knows else "another")) if plan.journal else None
        first, last = place.ports
        return Orders(
            url=self._node.url,
            namespace=f"{first}-{last}" if plan.namespace == "range" else plan.namespace,
            instance=place.instance if knows else f"not-{place.instance}",
            journal=journal,
            relayers=self._relayers(),
            destination=self._node.destinations[0],
            stop_timeout=_VICTIMS_STOP_TIMEOUT if is_victim else _STOP_TIMEOUT,
            seed=random.Random(f"{plan}").randrange(1_000_000),
            hold=None if hold is None else hold.where,
            hold_at=0 if hold is None else hold.number,
        )

    @asynccontextmanager
    async def _process(self, name: str, orders: Orders) -> AsyncIterator[Running]:
        arguments = command(orders) if self._plan.by_command else script(orders)
        self._said.append(name)
        async with started(arguments) as it:
            try:
                yield it
            finally:
                self._said[-1] = f"-- {name} said:\n{it.text('err')}{it.text('out')}"


async def _wait_for_lines(it: Running, line: str, count: int) -> None:
    """Wait until the process has said ``line`` so often."""
    while it.text("out").splitlines().count(line) < count:
        if it.process.poll() is not None:
            raise _Broken(f"the victim ended by itself, with status {it.process.returncode}")
        await trio.sleep(_LOOK_INTERVAL / 5)


def _next_door(ip: str) -> str:
    *network, host = ip.split(".")
    return ".".join([*network, str(int(host) - 1 or 2)])
