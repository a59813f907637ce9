"""How the node feels: its own health checks, and how fast it answers."""

from __future__ import annotations

from statistics import median

import trio

from trio_sessions import Connectivity
from trio_sessions.cli.doctor._case import Case
from trio_sessions.cli.doctor._finding import Finding, fail, ok, warn

__all__ = ["check_latency", "check_node"]

#: Calls that are timed, one after the other.
_CALLS = 3
#: Seconds that a call may take: a node of this machine needs some milliseconds, and a stop of ours only has ten
#: seconds for all that is open.
_SLOW = 0.5

_READY = "Ready"


async def check_node(case: Case) -> Finding:
    """The node runs, is ready and healthy by its own checks, and so are its parts (contract §2.7, §2.6)."""
    passes = {name: await case.hoprd.check(name) for name in ("startedz", "readyz", "healthyz")}
    status = await case.hoprd.status()
    parts: dict[str, str] = {}
    if status is not None:
        parts = {
            name: f"{state} ({status.details[name]})" if name in status.details else state
            for name, state in status.components.items()
            if state != _READY
        }
    amiss = "".join(f"; {name}: {state}" for name, state in parts.items())
    facts = {**passes, "parts": parts}
    if not passes["startedz"]:
        remedy = ("wait until it has started", "read the daemon's log: the chain, funds or the safe may be missing")
        return fail(f"the node does not run yet: GET /startedz says 412{amiss}", *remedy, **facts)
    failing = [f"/{name}" for name, passed in passes.items() if not passed]
    if failing:
        remedy = ("wait until it is connected to peers and to the chain", "check its announced address and firewall")
        return fail(f"the node runs, but is not ready: GET {', '.join(failing)} says 412{amiss}", *remedy, **facts)
    if parts:
        return warn(f"the node runs{amiss}", "read the daemon's log about it", **facts)
    connectivity = (await case.hoprd.info()).connectivity
    facts["connectivity"] = connectivity.value
    if connectivity not in (Connectivity.GREEN, Connectivity.YELLOW):
        return warn(
            f"the node is ready, though its connectivity is {connectivity.value}",
            "check its announced address, its firewall, and how many peers it sees",
            **facts,
        )
    return ok(f"started, ready and healthy; connectivity {connectivity.value}", **facts)


async def check_latency(case: Case) -> Finding:
    """REST calls are answered fast."""
    took = []
    for _ in range(_CALLS):
        began = trio.current_time()
        await case.hoprd.version()
        took.append(trio.current_time() - began)
    middle, slowest = median(took), max(took)
    facts = {"median": round(middle, 6), "slowest": round(slowest, 6), "calls": _CALLS}
    found = f"a call takes {_milliseconds(middle)}, the slowest of {_CALLS} {_milliseconds(slowest)}"
    if middle > _SLOW:
        return warn(
            f"the API is slow: {found}",
            "check the load of the node's machine, and its disk",
            "check the way there: run this on the node's own machine to compare",
            "give stops more time: --stop-timeout",
            **facts,
        )
    return ok(found, **facts)


def _milliseconds(seconds: float) -> str:
    return f"{1000 * seconds:.1f} ms" if seconds < 1 else f"{seconds:.2f} s"
