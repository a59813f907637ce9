"""How long a stop takes, in each namespace: ``python -m benchmarks.stop``.

Opens sessions on a simulated node in a process of its own, stops, and asks the node itself what is left and how many
calls the stop made. The floor is what the node alone needs: a DELETE takes it ``--delete-latency``, and a stop has 256
of them in flight; on an address of our own it is one DELETE.

With ``--faults``, 10 % of the DELETEs are answered with 500 and 5 % never: then the stop may leave something, must name
just that, and a next start must close it.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path
from typing import Any

import trio

from benchmarks._simulator import TOKEN, simulated, state
from trio_sessions import DedicatedAddress, Hoprd, PoolOptions, PoolReport, PortRange, Shared, open_pool

NAMESPACES: dict[str, DedicatedAddress | PortRange | Shared] = {
    "dedicated": DedicatedAddress(),
    "range": PortRange(20_000, 31_999),
    "shared": Shared(),
}
FAULTS = ("--fault", "status:close:status=500:p=0.1", "--fault", "hang:close:p=0.05")
IN_FLIGHT = 256


async def run_once(url: str, relayers: list[str], options: PoolOptions) -> tuple[PoolReport, dict[str, Any]]:
    """Open a session through each relayer and stop; the report, and the node's account of before the stop."""
    async with Hoprd(url, token=TOKEN) as hoprd, open_pool(hoprd, options) as pool:
        async with trio.open_nursery() as nursery:
            for relayer in relayers:
                nursery.start_soon(pool.session, relayer)
        before = await state(url)
    return pool.report, before


async def measure(kind: str, sessions: int, latency: float, faults: bool) -> dict[str, Any]:
    """One stop of so many sessions."""
    arguments = ("--relayers", str(sessions), "--max-sessions", str(sessions + 100), "--open-latency", "0")
    # So that the next start, which has no faults, finds the same node.
    arguments += ("--delete-latency", str(latency), *(FAULTS if faults else ()))
    async with simulated(*arguments) as node:
        with tempfile.TemporaryDirectory() as folder:
            options = PoolOptions(
                namespace=NAMESPACES[kind],
                journal=None if kind == "dedicated" else Path(folder) / "journal",
                opens_per_second=2000,
            )
            report, before = await run_once(node["url"], node["relayers"], options)
            after = await state(node["url"])
            there = {f"{each['protocol']}://{each['ip']}:{each['port']}" for each in after["listeners"]}
            named = {left.listener for left in report.left}
            result = {
                "stop": report.stop_duration,
                "calls": sum(after["counters"]["calls"].values()) - sum(before["counters"]["calls"].values()) - 1,
                "left": len(there),
                "named": there <= named,
                "exactly": there == named,
                "opened": report.sessions.opened,
            }
            if faults:
                await run_once(node["url"], [], options)
                result["after next start"] = len((await state(node["url"]))["listeners"])
            return result


def main() -> None:
    """Measure each namespace so many times, and print medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=1000)
    parser.add_argument("--delete-latency", type=float, default=0.01, help="seconds that the node takes for a DELETE")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--faults", action="store_true")
    given = parser.parse_args()
    print(
        f"{'namespace':<12}{'stop, median':>14}{'slowest':>10}{'floor':>8}{'calls':>8}{'left':>6}{'exactly named':>15}"
    )
    for kind in NAMESPACES:
        runs = [
            trio.run(measure, kind, given.sessions, given.delete_latency, given.faults) for _ in range(given.rounds)
        ]
        stops = [run["stop"] for run in runs]
        waves = 1 if kind == "dedicated" else -(-given.sessions // IN_FLIGHT)
        calls, left = (statistics.median(run[key] for run in runs) for key in ("calls", "left"))
        exactly = all(run["exactly"] for run in runs)
        print(
            f"{kind:<12}{statistics.median(stops):>12.3f} s{max(stops):>8.3f} s{waves * given.delete_latency:>6.2f} s"
            f"{calls:>8.0f}{left:>6.0f}{exactly!s:>15}"
            + (f"   {[run['after next start'] for run in runs]} left after the next start" if given.faults else "")
        )
        assert all(run["opened"] == given.sessions for run in runs), runs


if __name__ == "__main__":
    main()
