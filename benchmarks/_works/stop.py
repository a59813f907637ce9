"""``stop``: how long a stop takes, what it asks of the node, and whether something is left there.

What is left, the node itself says. A DELETE takes it 10 ms.
"""

from __future__ import annotations

import tempfile
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks._case import Case, Figure, Promise, Sample, Settings, SkippedError, Work
from benchmarks._meter import need_files, used
from benchmarks._node import bare_node, simulated_node
from benchmarks._works.scale import open_all
from trio_sessions import DedicatedAddress, Hoprd, PoolOptions, PortRange, Shared, open_pool

__all__ = ["WORK"]

_NAMESPACES: dict[str, DedicatedAddress | PortRange | Shared] = {
    "dedicated": DedicatedAddress(),
    "range": PortRange(20_000, 31_999),
    "shared": Shared(),
}
_SIZES = (200, 1_000, 10_000)
_LATENCY = 0.01
#: Seconds of a stop by default, and what a busy machine may add.
_DEADLINE = 10.0
_SLACK = 0.5
#: A tenth of the DELETEs fails, a twentieth is never answered.
_FAULTS = ("status:close:status=500:p=0.1", "hang:close:p=0.05")
_FAULTY = 200


def _options(kind: str, folder: str, destination: str) -> PoolOptions:
    journal = None if kind == "dedicated" else Path(folder) / "journal"
    # One destination, since choosing is no part of what is measured.
    return PoolOptions(namespace=_NAMESPACES[kind], journal=journal, opens_per_second=1e5, destinations=(destination,))


async def _stop(settings: Settings, kind: str, sessions: int, *, faulty: bool = False) -> Sample:
    need_files(sessions + 1000)
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        if faulty:
            config: dict[str, Any] = {"relayers": sessions, "max_sessions": sessions + 100, "open_latency": 0.0}
            node = simulated_node(faults=_FAULTS, delete_latency=_LATENCY, seed=settings.seed, **config)
        else:
            node = bare_node(sessions, seed=settings.seed, latency=_LATENCY)
        bench = await stack.enter_async_context(node)
        options = _options(kind, folder, bench.destination)
        async with Hoprd(bench.url, token=bench.token) as hoprd, open_pool(hoprd, options) as pool:
            await open_all(pool, bench.relayers)
            before, began = bench.load(), used()
        span, after = used() - began, bench.load()
        report = pool.report
        if report.sessions.opened != sessions or report.stop_duration is None:
            raise SkippedError(f"only {report.sessions.opened} of {sessions} sessions could be opened")
        named = {left.listener for left in report.left}
        values = {
            "stop": report.stop_duration,
            "cpu": span.cpu / sessions * 1e6,
            "calls": sum(after.calls.values()) - sum(before.calls.values()),
            "left": len(after.listeners),
            "unnamed": len(after.listeners - named),
            "node_busy": (after.seconds - before.seconds) / span.wall,
        }
        if faulty:
            # The next start has to close what this one left and named.
            async with Hoprd(bench.url, token=bench.token) as hoprd, open_pool(hoprd, options):
                pass
            values["left_after"] = len(bench.load().listeners)
    return Sample(values)


_FIGURES = {
    "stop": Figure("stop", "s", "lower"),
    "cpu": Figure("CPU a session", "µs", "lower"),
    "calls": Figure("calls", "", "lower"),
    "left": Figure("left", "", "lower"),
    "unnamed": Figure("left and not named", "", "lower"),
    "node_busy": Figure("node busy", "%"),
}

WORK = Work(
    name="stop",
    title="stops of many sessions in each namespace, from the stop to the end of the pool's block",
    cases=(
        *(
            Case(
                name=f"{kind}-{size}",
                title=f"{size:,} sessions, {kind}",
                measure=partial(_stop, kind=kind, sessions=size),
                figures=_FIGURES,
                quick=size == _SIZES[0] and kind != "range",
                limit=300.0,
            )
            for kind in _NAMESPACES
            for size in _SIZES
        ),
        *(
            Case(
                name=f"{kind}-faults",
                title=f"{_FAULTY} sessions, {kind}; of the DELETEs 10 % fail and 5 % hang",
                measure=partial(_stop, kind=kind, sessions=_FAULTY, faulty=True),
                figures=_FIGURES | {"left_after": Figure("left after the next start", "", "lower")},
                quick=False,
                once=True,
            )
            for kind in _NAMESPACES
        ),
    ),
    promises=(
        Promise("stop: 10,000 sessions, dedicated, under 2 s", "stop/dedicated-10000:stop", 2.0, at_least=False),
        *(
            Promise(
                f"stop: within its deadline, {kind}, {what}",
                f"stop/{kind}-{what}:stop",
                _DEADLINE + _SLACK,
                at_least=False,
            )
            for kind in ("range", "shared")
            for what in (10_000, "faults")
        ),
        *(
            Promise(f"stop: nothing left unnamed, {kind}, {size:,}", f"stop/{kind}-{size}:unnamed", 1.0, at_least=False)
            for kind in _NAMESPACES
            for size in _SIZES
        ),
    ),
)
