"""The simulator with an echo in C at its listeners: ``python -m benchmarks._simulated JSON``.

Prints a JSON object when it is ready, and answers every line on stdin by what it did so far; it ends when stdin does.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import attrs
import trio

from benchmarks._echo import EchoKernel
from trio_sessions.simulator import SimulatedNode, SimulatorConfig, parse_fault, serve_node


async def _serve(path: str, gso: bool, faults: list[str], config: dict[str, Any]) -> None:
    kernel = EchoKernel(path, gso=gso)
    model = SimulatedNode(SimulatorConfig(faults=tuple(parse_fault(fault) for fault in faults), **config))
    async with trio.open_nursery() as nursery:
        server = await nursery.start(lambda task_status: serve_node(model, kernel=kernel, task_status=task_status))
        ready = {
            "url": server.url,
            "token": server.token,
            "relayers": model.relayers,
            "destination": model.destinations[0],
        }
        print(json.dumps(ready), flush=True)
        while await trio.to_thread.run_sync(sys.stdin.readline):
            listeners = [f"{each.protocol}://{each.ip}:{each.port}" for each in model.listeners()]
            calls = dict(model.counters.calls)
            print(json.dumps([attrs.astuple(kernel.load()), time.process_time(), listeners, calls]), flush=True)
        nursery.cancel_scope.cancel()
    kernel.close()


if __name__ == "__main__":
    trio.run(_serve, *json.loads(sys.argv[1]).values())
