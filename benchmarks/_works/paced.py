"""``sustained`` and ``ramp``: messages come at a rate of their own, and not when the last ones are answered.

So a batch that has to wait for its turn is late, and that counts: its time runs from when it was due.
"""

from __future__ import annotations

import math

import attrs
import trio

from benchmarks._case import Case, Figure, Sample, Settings, Work
from benchmarks._echo import EchoLoad
from benchmarks._figures import MESSAGES, message_sample
from benchmarks._load import BATCH, RELAYERS, WARM_UP, relaying
from benchmarks._meter import Used, quantile, used
from benchmarks._node import BenchNode
from trio_sessions import Node

__all__ = ["RAMP", "SUSTAINED"]

#: Messages a second that ``sustained`` holds, and that ``ramp`` begins with.
_HELD = 20_000
_FIRST = 10_000
#: A rate is held while so much of it is answered until the last answer, and a batch in a hundred is no later than so
#: many seconds.
_ENOUGH = 0.95
_LATE = 0.25
#: Batches of one relayer that may be under way: what is due beyond them waits, and is late.
_WORKERS = 4

_DUE = {
    "p50": Figure("p50 since due", "ms", "lower"),
    "p99": Figure("p99", "ms", "lower"),
    "p999": Figure("p99.9", "ms", "lower"),
}


@attrs.define
class _Pace:
    """What was due, and what became of it."""

    period: float
    answered: int = 0
    sent: int = 0
    #: Seconds from when a batch was due until it was answered.
    times: list[float] = attrs.field(factory=list)

    async def work(self, node: Node, relayer: str, first: float, ends: float) -> None:
        """A relayer's batches: a few tasks take them from one schedule."""
        due = first

        async def take() -> None:
            nonlocal due
            while due < ends:
                mine, due = due, due + self.period
                await trio.sleep_until(mine)
                outcome = await node.relay(relayer, BATCH)
                self.times.append(trio.current_time() - mine)
                self.answered += outcome.answered
                self.sent += BATCH

        async with trio.open_nursery() as nursery:
            for _ in range(_WORKERS):
                nursery.start_soon(take)


@attrs.frozen
class _Held:
    """One rate for a while."""

    offered: float
    pace: _Pace
    span: Used
    echo: EchoLoad

    @property
    def achieved(self) -> float:
        """Messages answered a second."""
        return self.pace.answered / self.span.wall

    @property
    def held(self) -> bool:
        """Whether the queue did not grow."""
        return self.achieved >= _ENOUGH * self.offered and self.late(0.99) <= _LATE

    def late(self, q: float) -> float:
        """Seconds from due to answered."""
        return quantile(self.pace.times, q)


async def _hold(node: Node, bench: BenchNode, rate: float, seconds: float) -> _Held:
    """Offer ``rate`` messages a second for so long; give up on what is not answered half as much later."""
    pace = _Pace(period=RELAYERS * BATCH / rate)
    echoed, began = bench.load().echo, used()
    start = trio.current_time()
    with trio.move_on_at(start + 1.5 * seconds):
        async with trio.open_nursery() as nursery:
            for number, relayer in enumerate(bench.relayers):
                first = start + pace.period * number / RELAYERS
                nursery.start_soon(pace.work, node, relayer, first, start + seconds)
    return _Held(rate, pace, used() - began, bench.load().echo - echoed)


async def _sustained(settings: Settings) -> Sample:
    async with relaying(settings.seed) as (node, bench, _):
        await _hold(node, bench, _HELD, WARM_UP)
        held = await _hold(node, bench, _HELD, settings.duration)
    sample = message_sample(held.pace.answered, held.span, held.echo)
    sample.values["unanswered"] = 1 - held.pace.answered / max(1, held.pace.sent)
    sample.values |= {name: held.late(q) * 1000 for name, q in (("p50", 0.5), ("p99", 0.99), ("p999", 0.999))}
    if not held.held:
        sample.remarks.append(
            f"the rate of {_HELD:,} messages a second was not held: {held.achieved:,.0f} were answered"
        )
    return sample


async def _ramp(settings: Settings) -> Sample:
    factor, seconds = (1.5, 0.6) if settings.quick else (1.2, min(2.0, settings.duration))
    points = []
    ceiling = 0.0
    async with relaying(settings.seed) as (node, bench, _):
        await _hold(node, bench, _FIRST, WARM_UP)
        rate = float(_FIRST)
        while True:
            step = await _hold(node, bench, rate, seconds)
            points.append(
                {
                    "offered": rate,
                    "answered": step.achieved,
                    "p50": step.late(0.5) * 1000,
                    "p99": step.late(0.99) * 1000,
                    "busy": step.span.cpu / step.span.wall,
                }
            )
            if not step.held:
                break
            ceiling = rate
            rate *= factor
    best = max(point["answered"] for point in points)
    return Sample({"ceiling": ceiling, "best": best, "steps": len(points)}, {"ramp": _finite(points)})


def _finite(points: list[dict[str, float]]) -> list[dict[str, float]]:
    """Without what is no number, which JSON does not have."""
    return [{name: value for name, value in point.items() if math.isfinite(value)} for point in points]


SUSTAINED = Work(
    name="sustained",
    title=f"{_HELD:,} messages a second through {RELAYERS} relayers, whatever comes back",
    cases=(
        Case(
            name="plain",
            title=f"{_HELD:,} a second held",
            measure=_sustained,
            figures=MESSAGES | {"unanswered": Figure("unanswered", "%", "lower")} | _DUE,
        ),
    ),
)

RAMP = Work(
    name="ramp",
    title=f"from {_FIRST:,} messages a second up, until the queue grows",
    cases=(
        Case(
            name="plain",
            title="raised step by step",
            measure=_ramp,
            figures={
                "ceiling": Figure("highest rate held", "/s", "higher"),
                "best": Figure("most answered", "/s", "higher"),
                "steps": Figure("steps"),
            },
        ),
    ),
)
