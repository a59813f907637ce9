"""The load of the works that relay, in one place, so that their figures can be compared."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Literal

import trio

from benchmarks._node import BenchNode, simulated_node
from trio_sessions import DedicatedAddress, Hoprd, Node, NodeOptions, PoolOptions

__all__ = ["BATCH", "DATAGRAM", "HOPR_MTU", "OUTSTANDING", "RELAYERS", "WARM_UP", "relaying"]

#: Sessions, messages of a batch, and batches outstanding in total.
RELAYERS = 100
BATCH = 10
OUTSTANDING = 200
#: Bytes of a session's packet, and of a message: those of hoprd 4.0 (contract §4.2).
HOPR_MTU = 1002
DATAGRAM = 607
#: Seconds that a load runs before it is measured.
WARM_UP = 0.3
#: Seconds for all sessions to open.
_OPEN_TIMEOUT = 60.0


@asynccontextmanager
async def relaying(
    seed: int, *, echo: Literal["plain", "gso"] = "plain", faults: tuple[str, ...] = (), silent: int = 0
) -> AsyncIterator[tuple[Node, BenchNode, trio.Nursery]]:
    """A node of ours with an open session through every relayer but the first ``silent`` ones.

    The nursery is for whoever makes the load; it is cancelled at the end of the block, and the node stops.
    """
    config: dict[str, Any] = {"relayers": RELAYERS, "max_sessions": 2 * RELAYERS, "hopr_mtu": HOPR_MTU}
    async with (
        simulated_node(echo=echo, faults=faults, seed=seed, open_latency=0.0, **config) as bench,
        Hoprd(bench.url, token=bench.token) as hoprd,
        trio.open_nursery() as nursery,
    ):
        # A stop that waits for opens which hang is not what is measured.
        pool_options = PoolOptions(namespace=DedicatedAddress(), opens_per_second=1e5, stop_timeout=2.0)
        node = Node(hoprd, NodeOptions(), pool_options)
        await nursery.start(node.run)
        async with trio.open_nursery() as load:
            for relayer in bench.relayers[:silent]:
                load.start_soon(node.pool.session, relayer)
            with trio.fail_after(_OPEN_TIMEOUT):
                async with trio.open_nursery() as opening:
                    for relayer in bench.relayers[silent:]:
                        opening.start_soon(node.pool.session, relayer)
            yield node, bench, load
            load.cancel_scope.cancel()
        node.stop(drain=False)
