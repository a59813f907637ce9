"""The victim and the next starts of it, as processes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import trio

from tests.cli.support import COMMAND, Running, environment
from tests.crash.victim import Orders
from trio_sessions._leaf import open_leaf_nursery

__all__ = ["command", "script", "started"]


def script(orders: Orders) -> list[str]:
    """The command line of the script."""
    return [sys.executable, "-m", "tests.crash.victim", json.dumps(attrs.asdict(orders))]


def command(orders: Orders) -> list[str]:
    """The command line of ``trio-sessions run`` that does much the same."""
    journal = [] if orders.journal is None else ["--journal", orders.journal]
    settings = {
        "url": orders.url,
        "relayers": ",".join(orders.relayers),
        "destination": orders.destination,
        "namespace": orders.namespace,
        "instance": orders.instance,
        "batch": "3",
        "rate": "200",
        "seed": str(orders.seed),
        "stop-timeout": str(orders.stop_timeout),
    }
    options = [part for name, value in settings.items() for part in (f"--{name}", value)]
    return [*COMMAND, "run", *options, *journal, "--json", "-v"]


@asynccontextmanager
async def started(arguments: list[str]) -> AsyncIterator[Running]:
    """A process of it, killed at the end of the block if it still runs."""
    async with open_leaf_nursery() as nursery:
        process = await trio.lowlevel.open_process(
            arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()
        )
        it = Running(process)
        nursery.start_soon(it.collect, "out")
        nursery.start_soon(it.collect, "err")
        try:
            yield it
        finally:
            process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()
            nursery.cancel_scope.cancel()
