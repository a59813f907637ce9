"""Many rounds, a few at a time."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import attrs
import trio

from tests.crash.node import Nodes
from tests.crash.plan import Plan, make_plan
from tests.crash.rounds import PATIENCE, Outcome, Place, run_round

__all__ = ["Tally", "play", "run_rounds"]

#: Our ranges of ports: below those that systems give out by themselves, and below what the simulator's low ports are.
_FIRST_PORT = 12_000
_PORTS = 100
_RANGES = 80


def _place(job: int, folder: str) -> Place:
    """What a job has for itself, in all likelihood also beside another run of this program."""
    first = _FIRST_PORT + _PORTS * ((7 * os.getpid() + job) % _RANGES)
    return Place(f"crash-{os.getpid()}-{job}", (first, first + _PORTS - 1), Path(folder))


async def play(nodes: Nodes, plan: Plan, *, job: int = 0, patience: float = PATIENCE, forget: bool = False) -> Outcome:
    """Play one round with a journal, or none, of its own; see :func:`run_round`."""
    with tempfile.TemporaryDirectory(prefix="crash-") as folder:
        async with nodes.one(plan.dialect) as node:
            return await run_round(node, plan, _place(job, folder), patience=patience, forget=forget)


async def run_rounds(numbers: Iterable[int], seed: int, jobs: int, tell: Callable[[Outcome], None]) -> None:
    """Play the rounds of these numbers, ``jobs`` at a time, and tell of each as it ends."""
    coming = iter(numbers)
    async with trio.open_nursery() as nursery:
        nodes = Nodes(nursery)
        async with trio.open_nursery() as working:
            for job in range(jobs):
                working.start_soon(_work, nodes, coming, seed, job, tell)
        nursery.cancel_scope.cancel()


async def _work(nodes: Nodes, coming: Iterator[int], seed: int, job: int, tell: Callable[[Outcome], None]) -> None:
    for number in coming:
        tell(await play(nodes, make_plan(seed, number), job=job))


@attrs.define
class Tally:
    """What came of the rounds of a stage and namespace, or of all.

    Attributes:
        violated: rounds with a violation.
        left, strangers_closed, late, reused: of all rounds; see :class:`Outcome`.
        kills: of the victims and of starts after them.
        settled: how long the next start took, of each round where it settled; seconds.
    """

    rounds: int = 0
    violated: int = 0
    left: int = 0
    strangers_closed: int = 0
    late: int = 0
    reused: int = 0
    kills: int = 0
    settled: list[float] = attrs.field(factory=list)

    def add(self, outcome: Outcome) -> None:
        """Count a round."""
        self.rounds += 1
        self.violated += bool(outcome.violations)
        self.left += outcome.left
        self.strangers_closed += outcome.strangers_closed
        self.late += outcome.late
        self.reused += outcome.reused
        self.kills += 1 + len(outcome.plan.killed_again)
        if outcome.settled_in is not None:
            self.settled.append(outcome.settled_in)
