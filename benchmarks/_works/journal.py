"""``journal``: what the journal costs an open, and messages that go on meanwhile.

The floor of an open is the same open without a journal; of a durable write, an fsync of a block on the same disk.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks._case import Case, Figure, Quotient, Sample, Settings, Work
from benchmarks._load import BATCH
from benchmarks._meter import used
from benchmarks._node import simulated_node
from benchmarks._works.scale import open_all
from trio_sessions import Hoprd, PoolOptions, PortRange, open_pool

__all__ = ["WORK"]

_SESSIONS = 200
_BATCHES = 200
_PORTS = PortRange(20_000, 20_999)


async def _fsync(settings: Settings) -> Sample:
    """One appended and synced block."""
    taken = []
    with tempfile.NamedTemporaryFile(buffering=0) as file:
        for _ in range(20 if settings.quick else 100):
            started = time.perf_counter()
            file.write(bytes(4096))
            os.fsync(file.fileno())
            taken.append(time.perf_counter() - started)
    return Sample({"fsync": statistics.median(taken) * 1000})


async def _open(settings: Settings, *, with_journal: bool) -> Sample:
    config: dict[str, Any] = {"relayers": _SESSIONS, "max_sessions": 2 * _SESSIONS, "open_latency": 0.0}
    with tempfile.TemporaryDirectory() as folder:
        journal = Path(folder) / "journal" if with_journal else None
        options = PoolOptions(namespace=_PORTS, journal=journal, opens_per_second=1e5)
        async with (
            simulated_node(seed=settings.seed, **config) as bench,
            Hoprd(bench.url, token=bench.token) as hoprd,
            open_pool(hoprd, options) as pool,
        ):
            half = _SESSIONS // 2
            alone = []
            for relayer in bench.relayers[:half]:
                started = used()
                await pool.session(relayer)
                alone.append((used() - started).wall)
            started = used()
            await open_all(pool, bench.relayers[half:])
            together = (used() - started).wall / half
            session = await pool.session(bench.relayers[0])
            started = used()
            for _ in range(_BATCHES):
                await session.relay(BATCH)
            rate = _BATCHES * BATCH / (used() - started).wall
    return Sample({"alone": statistics.median(alone) * 1000, "together": together * 1000, "rate": rate})


_FIGURES = {
    "alone": Figure("an open alone", "ms", "lower"),
    "together": Figure("each of 100 at once", "ms", "lower"),
    "rate": Figure("messages", "/s", "higher"),
}

WORK = Work(
    name="journal",
    title="opens with and without a journal",
    cases=(
        Case(
            name="fsync",
            title="fsync of 4 KiB",
            measure=_fsync,
            figures={"fsync": Figure("a block", "ms", "lower")},
            quick=False,
        ),
        Case(
            name="without",
            title="no journal",
            measure=partial(_open, with_journal=False),
            figures=_FIGURES,
            quick=False,
        ),
        Case(name="with", title="a journal", measure=partial(_open, with_journal=True), figures=_FIGURES, quick=False),
    ),
    quotients=(
        Quotient("an open alone, with a journal of without", "journal/with:alone", "journal/without:alone", 1, "lower"),
        Quotient("opens at once, with of without", "journal/with:together", "journal/without:together", 1, "lower"),
        Quotient("messages, with of without", "journal/with:rate", "journal/without:rate"),
    ),
)
