"""What the journal costs: ``python -m benchmarks.journal``.

Opens sessions on a simulated node in a process of its own, one after the other and all at once, with the journal and
without, in turn; then relays batches with the journal open. The floor of an open is the same open without a journal; of
a durable write, an fsync of one block on the same disk.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

import trio

from benchmarks._simulator import TOKEN, simulated
from trio_sessions import Hoprd, PoolOptions, PortRange, SessionPool, open_pool


def fsync_floor(folder: Path, rounds: int = 100) -> float:
    """Seconds that one appended and synced block takes, median."""
    taken = []
    with (folder / "floor").open("wb", buffering=0) as file:
        for _ in range(rounds):
            started = time.perf_counter()
            file.write(bytes(4096))
            os.fsync(file.fileno())
            taken.append(time.perf_counter() - started)
    return statistics.median(taken)


async def measure(pool: SessionPool, relayers: list[str]) -> dict[str, float]:
    """Seconds that opening takes, and messages a second there and back."""
    half = len(relayers) // 2
    one_by_one = []
    for relayer in relayers[:half]:
        started = time.perf_counter()
        await pool.session(relayer)
        one_by_one.append(time.perf_counter() - started)
    started = time.perf_counter()
    async with trio.open_nursery() as nursery:
        for relayer in relayers[half:]:
            nursery.start_soon(pool.session, relayer)
    together = (time.perf_counter() - started) / half
    session = await pool.session(relayers[0])
    started = time.perf_counter()
    for _ in range(200):
        await session.relay(10)
    return {
        "one after the other": statistics.median(one_by_one),
        "all at once, each": together,
        "messages/s": 2000 / (time.perf_counter() - started),
    }


async def run(rounds: int, relayers: int) -> None:
    """Measure with and without a journal in turn, and print medians."""
    results: dict[bool, list[dict[str, float]]] = {False: [], True: []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        print(f"floor: fsync of 4 KiB {fsync_floor(folder) * 1000:.2f} ms")
        arguments = ("--relayers", str(relayers), "--max-sessions", str(10 * relayers), "--open-latency", "0")
        async with simulated(*arguments, "--echo-latency", "0") as node, Hoprd(node["url"], token=TOKEN) as hoprd:
            for number in range(2 * rounds):
                journal = folder / "journal" if number % 2 else None
                # Each with ports of its own: those of the one before rest.
                ports = PortRange(20_000 + 1000 * (number % 30), 20_999 + 1000 * (number % 30))
                options = PoolOptions(namespace=ports, journal=journal, opens_per_second=5000)
                async with open_pool(hoprd, options) as pool:
                    results[journal is not None].append(await measure(pool, node["relayers"]))
    print(
        f"{'work':<24}{'without':>12}{'with':>12}{'difference':>12}   medians of {rounds} runs of {relayers} sessions"
    )
    for work in results[True][0]:
        without, with_ = (statistics.median(each[work] for each in results[kind]) for kind in (False, True))
        if work == "messages/s":
            print(f"{work:<24}{without:>12.0f}{with_:>12.0f}{with_ / without:>11.2f}x")
        else:
            difference = (with_ - without) * 1000
            print(f"{work:<24}{without * 1000:>9.2f} ms{with_ * 1000:>9.2f} ms{difference:>9.2f} ms")


def main() -> None:
    """Parse the arguments, and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sessions", type=int, default=100)
    given = parser.parse_args()
    trio.run(run, given.rounds, given.sessions)


if __name__ == "__main__":
    main()
