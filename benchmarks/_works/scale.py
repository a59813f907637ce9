"""``scale``: what many sessions cost to open, to have and to keep."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

import trio

from benchmarks._case import Case, FailedError, Figure, Promise, Quotient, Sample, Settings, Work
from benchmarks._meter import need_files, resident, used
from benchmarks._node import bare_node
from trio_sessions import DedicatedAddress, Hoprd, PoolOptions, SessionPool, open_pool

__all__ = ["WORK", "open_all"]

_SIZES = (100, 1_000, 10_000)
#: Seconds that the sessions idle: two passes of reconciling.
_IDLE = 20.0
_QUICK_IDLE = 1.0
#: Files besides a socket for each session.
_OTHER_FILES = 1000
#: As many as the pool has POSTs in flight at most.
_CALLERS = 256


async def open_all(pool: SessionPool, relayers: Iterable[str]) -> None:
    """Open a session through every relayer; so many callers at a time that the pool is never without demand.

    ``open-storm`` is for more: here their own memory would be taken for that of the sessions.
    """
    left = iter(relayers)

    async def call() -> None:
        for relayer in left:
            await pool.session(relayer)

    async with trio.open_nursery() as nursery:
        for _ in range(_CALLERS):
            nursery.start_soon(call)


async def _scale(settings: Settings, sessions: int) -> Sample:
    need_files(sessions + _OTHER_FILES)
    idle = _QUICK_IDLE if settings.quick else _IDLE
    async with bare_node(sessions, seed=settings.seed) as bench, Hoprd(bench.url, token=bench.token) as hoprd:
        options = PoolOptions(
            namespace=DedicatedAddress(),
            opens_per_second=1e5,
            # In a quick run as many passes in a twentieth of the time, so the share of a core is that much larger.
            reconcile_interval=idle / 2,
        )
        async with open_pool(hoprd, options) as pool:
            # One, so that what is imported or cached on first use isn't counted with the sessions.
            await pool.session(bench.relayers[0])
            memory, load, began = resident(), bench.load(), used()
            await open_all(pool, bench.relayers[1:])
            opening, opened = used() - began, bench.load()
            grown = resident() - memory
            rested, asked = used(), opened.calls.get("list", 0)
            await trio.sleep(idle)
            resting, after = used() - rested, bench.load()
            idling = resident() - memory
            pool.stop()
        if pool.report.sessions.opened != sessions:
            raise FailedError(f"{pool.report.sessions.opened} of {sessions} sessions were opened")
    count = sessions - 1
    return Sample(
        {
            "memory": grown / count,
            "memory_idle": idling / count,
            "open_rate": count / opening.wall,
            "open_cpu": opening.cpu / count * 1e6,
            "node_busy": (opened.seconds - load.seconds) / opening.wall,
            "idle": resting.cpu / resting.wall,
            "passes": after.calls.get("list", 0) - asked,
        }
    )


_FIGURES = {
    "memory": Figure("resident each", "KiB", "lower"),
    "memory_idle": Figure("after idling", "KiB", "lower"),
    "open_rate": Figure("opens", "/s", "higher"),
    "open_cpu": Figure("CPU an open", "µs", "lower"),
    "node_busy": Figure("node busy", "%"),
    "idle": Figure("idle, of a core", "%", "lower"),
    "passes": Figure("looks at the list"),
}

WORK = Work(
    name="scale",
    title="many sessions in one process: memory, opening, idling with a look at the list every 10 s",
    cases=tuple(
        Case(
            name=str(size),
            title=f"{size:,} sessions",
            measure=partial(_scale, sessions=size),
            figures=_FIGURES,
            quick=size == 1_000,
            limit=300.0,
        )
        for size in _SIZES
    ),
    needs=("rest/client", "floor/opens"),
    quotients=tuple(
        quotient
        for size in _SIZES
        for quotient in (
            Quotient(f"opening {size:,} sessions, of rest's rate", f"scale/{size}:open_rate", "rest/client:rate"),
            Quotient(f"opening {size:,} sessions, of raw POSTs", f"scale/{size}:open_rate", "floor/opens:rate"),
        )
    ),
    promises=(
        Promise("scale: below 16 KiB resident a session at 10,000", "scale/10000:memory_idle", 16.0, at_least=False),
        Promise("scale: below 0.02 of a core idle at 10,000", "scale/10000:idle", 0.02, at_least=False),
        Promise("scale: 10,000 opened at half of rest's rate", "opening 10,000 sessions, of rest's rate", 0.5),
    ),
)
