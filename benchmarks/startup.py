"""How long it takes until the library is imported and the command line answers: ``python -m benchmarks.startup``.

Prints medians of fresh processes, each beside its floor: a Python that does nothing, and one that imports only what
the library is made of.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time

WORKS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "import trio, attrs": [sys.executable, "-c", "import trio, attrs"],
    "import trio_sessions": [sys.executable, "-c", "import trio_sessions"],
    "trio-sessions --help": [sys.executable, "-m", "trio_sessions", "--help"],
}


def measure(command: list[str]) -> float:
    """Seconds that one run of ``command`` takes."""
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def main() -> None:
    """Measure all works in turn, round by round, so that a slow moment hits all alike."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=11, help="fresh processes of each work (default: 11)")
    rounds = parser.parse_args().rounds
    times: dict[str, list[float]] = {name: [] for name in WORKS}
    for _ in range(rounds):
        for name, command in WORKS.items():
            times[name].append(measure(command))
    floor = statistics.median(times["python -c pass"])
    print(f"{'work':<24}{'median':>10}{'less floor':>12}{'fastest':>10}{'slowest':>10}   of {rounds} runs")
    for name, taken in times.items():
        median = statistics.median(taken)
        columns = (f"{value * 1000:.0f} ms" for value in (median, median - floor, min(taken), max(taken)))
        print(
            f"{name:<24}" + "".join(f"{text:>{width}}" for text, width in zip(columns, (10, 12, 10, 10), strict=True))
        )


if __name__ == "__main__":
    main()
