"""Runs the cases of a plan, round by round, each run in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import attrs

from benchmarks._case import FailedError, Settings
from benchmarks._catalogue import Plan, find_case
from benchmarks._echo import ECHO_PATH, compile_echo
from benchmarks._machine import ROOT
from benchmarks._results import Measurement, Problem, Results

__all__ = ["run_plan"]

#: Is told what begins: the case and the round; and how it ended.
Listener = Callable[[str, int, Measurement | Problem | None], None]


def run_plan(plan: Plan, settings: Settings, rounds: int, results: Results, tell: Listener) -> None:
    """Measure all into ``results``. A round has each case once, so that a slow moment of the machine hits all alike.

    What was skipped or has failed in one round is not tried again in the next. A KeyboardInterrupt goes through; what
    was measured before is in ``results`` then.
    """
    hopeless: set[str] = set()
    with tempfile.TemporaryDirectory() as folder:
        environment = dict(os.environ)
        try:
            # Once for all; without a compiler each case that needs the echo says so itself.
            environment[ECHO_PATH] = compile_echo(folder)
        except FailedError:
            environment.pop(ECHO_PATH, None)
        for number in range(rounds):
            for key in plan.round(number):
                if key in hopeless:
                    continue
                tell(key, number, None)
                outcome = _run_case(key, settings, number, environment)
                if isinstance(outcome, Problem):
                    hopeless.add(key)
                    results.problems.append(outcome)
                else:
                    results.measurements.append(outcome)
                tell(key, number, outcome)


def _run_case(key: str, settings: Settings, number: int, environment: dict[str, str]) -> Measurement | Problem:
    # Each round with another seed, but the same ones in each run.
    given = attrs.evolve(settings, seed=settings.seed + number)
    command = [sys.executable, "-m", "benchmarks._child", json.dumps({"case": key, "settings": attrs.asdict(given)})]
    limit = find_case(key).limit + 3 * settings.duration
    began = time.perf_counter()
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, cwd=ROOT, env=environment, timeout=limit
        )
    except subprocess.TimeoutExpired:
        return Problem(key, number, f"not done after {limit:.0f} s", failed=True)
    seconds = time.perf_counter() - began
    try:
        found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    except (IndexError, ValueError):
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        return Problem(key, number, f"its process ended with status {done.returncode}: {last}", failed=True)
    for word in ("skipped", "failed"):
        if word in found:
            return Problem(key, number, found[word], failed=word == "failed")
    return Measurement(key, number, **found, seconds=seconds)
