"""What the rows have in common: a node with strangers beside ours, and what must hold in the node's own table."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from tests.worlds import World, in_namespace, memory_world
from trio_sessions import PoolReport, SessionPool
from trio_sessions.simulator import ListenerRecord, SimulatorConfig, parse_fault

#: Runs a test in each of the namespaces.
in_each_namespace = pytest.mark.parametrize("kind", ["dedicated", "range", "shared"])


@attrs.define
class Matrix:
    """A node in memory with strangers' listeners, and pools of ours in one namespace with one journal."""

    kind: str
    folder: Path
    world: World
    strangers: list[ListenerRecord]

    @property
    def relayers(self) -> tuple[str, ...]:
        """The node's relayers."""
        return self.world.relayers

    @asynccontextmanager
    async def pool(self, seed: int = 0, **options: Any) -> AsyncIterator[SessionPool]:
        """A pool in this namespace; one after the other is one start of our program after the other."""
        async with self.world.pool(in_namespace(self.kind, self.folder, **options), seed=seed) as pool:
            yield pool

    def add_stranger(self, **where: Any) -> ListenerRecord:
        """One more listener of somebody else."""
        record = self.world.sim.node.add_stranger(**where)
        self.strangers.append(record)
        return record

    def ours(self) -> list[ListenerRecord]:
        """The node's own word on what it has of ours, delisted or not."""
        node = self.world.sim.node
        return [record for record in (*node.listeners(), *node.delisted()) if not record.stranger]

    def check_strangers(self) -> None:
        """X: no stranger's listener was closed."""
        there = {record.session_id for record in self.world.sim.node.listeners()}
        assert {record.session_id for record in self.strangers} <= there

    def check(self, report: PoolReport) -> None:
        """L, X, F and M: each of ours that is left is named, no stranger's is gone, no socket is open, all counted."""
        self.check_strangers()
        named = " ".join(f"{left.listener} {left.reason}" for left in report.left)
        for record in self.ours():
            key = f"{record.protocol}://{record.ip}:{record.port}"
            assert key in named or any(left.listener is None for left in report.left), f"{key} is left and not named"
        assert self.world.sim.open_sockets == 0
        assert report.messages.balanced
        assert not report.open_sessions

    def check_nothing_left(self, report: PoolReport) -> None:
        """The same, and nothing is left at all."""
        self.check(report)
        assert not self.ours()
        assert report.clean

    async def settle(self, seconds: float = 400.0, **options: Any) -> PoolReport:
        """One more start, which asks for nothing but has time to settle what earlier ones left."""
        async with self.pool(**options) as pool:
            await trio.sleep(seconds)
        return pool.report


@asynccontextmanager
async def matrix(kind: str, folder: Path, *faults: str, strangers: int = 2, **config: Any) -> AsyncIterator[Matrix]:
    """A node with these faults from the start, and so many strangers: half of them look much like ours."""
    settings = SimulatorConfig(faults=tuple(parse_fault(fault) for fault in faults), **config)
    async with memory_world(settings) as world:
        it = Matrix(kind, folder, world, [])
        for number in range(strangers):
            like_ours = number % 2 == 0
            it.add_stranger(relayer=world.relayers[number % len(world.relayers)] if like_ours else None)
        yield it
