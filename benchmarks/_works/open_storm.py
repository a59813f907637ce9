"""``open-storm``: many callers want sessions through many relayers in the same moment."""

from __future__ import annotations

from functools import partial

import trio

from benchmarks._case import Case, FailedError, Figure, Quotient, Sample, Settings, Work
from benchmarks._meter import need_files, quantile, used
from benchmarks._node import bare_node
from trio_sessions import DedicatedAddress, Hoprd, PoolOptions, SessionPool, open_pool

__all__ = ["WORK"]

_RELAYERS = 1_000
_QUICK_RELAYERS = 200
_CALLERS = 10
#: Seconds of a handshake.
_HANDSHAKE = 0.05


async def _storm(settings: Settings, latency: float = 0.0, most: int = _RELAYERS, callers: int = _CALLERS) -> Sample:
    relayers = _QUICK_RELAYERS if settings.quick else most
    need_files(relayers + 1000)
    waits: list[float] = []

    async def caller(pool: SessionPool, relayer: str) -> None:
        asked = trio.current_time()
        await pool.session(relayer)
        waits.append(trio.current_time() - asked)

    async with (
        bare_node(relayers, seed=settings.seed, latency=latency) as bench,
        Hoprd(bench.url, token=bench.token) as hoprd,
        open_pool(hoprd, PoolOptions(namespace=DedicatedAddress(), opens_per_second=1e5)) as pool,
    ):
        load, began = bench.load(), used()
        async with trio.open_nursery() as nursery:
            for relayer in bench.relayers:
                for _ in range(callers):
                    nursery.start_soon(caller, pool, relayer)
        span, after = used() - began, bench.load()
        posts = after.calls["open"]
        if len(after.listeners) != relayers:
            raise FailedError(f"{relayers} relayers, and {len(after.listeners)} listeners")
    return Sample(
        {
            "open_rate": relayers / span.wall,
            "open_cpu": span.cpu / relayers * 1e6,
            "p50": quantile(waits, 0.5) * 1000,
            "p99": quantile(waits, 0.99) * 1000,
            "posts": posts / relayers,
            "node_busy": (after.seconds - load.seconds) / span.wall,
        }
    )


_FIGURES = {
    "open_rate": Figure("opens", "/s", "higher"),
    "open_cpu": Figure("CPU an open", "µs", "lower"),
    "p50": Figure("p50 of a caller", "ms", "lower"),
    "p99": Figure("p99", "ms", "lower"),
    "posts": Figure("POSTs a session", "", "lower"),
    "node_busy": Figure("node busy", "%"),
}

WORK = Work(
    name="open-storm",
    title=f"{_CALLERS} callers for each of {_RELAYERS:,} relayers ({_QUICK_RELAYERS} in a quick run) at once",
    cases=(
        Case(name="at-once", title="a node that opens at once", measure=_storm, figures=_FIGURES),
        Case(
            name="handshake",
            title=f"a node that takes {_HANDSHAKE * 1000:.0f} ms for an open",
            measure=partial(_storm, latency=_HANDSHAKE),
            figures=_FIGURES,
            quick=False,
        ),
        Case(
            name="10000",
            title="10,000 relayers, one caller each",
            measure=partial(_storm, most=10_000, callers=1),
            figures=_FIGURES,
            quick=False,
            limit=300.0,
        ),
    ),
    needs=("floor/opens",),
    quotients=(Quotient("open-storm of raw POSTs", "open-storm/at-once:open_rate", "floor/opens:rate"),),
)
