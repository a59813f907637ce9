"""Nodes in processes of their own, and what they say of themselves."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import IO, Any, Literal

import attrs
import trio

from benchmarks._case import FailedError
from benchmarks._echo import EchoLoad, compile_echo

__all__ = ["BenchNode", "NodeLoad", "bare_node", "simulated_node"]


@attrs.frozen
class NodeLoad:
    """What a node did so far, by its own account.

    Attributes:
        echo: what its echo did.
        seconds: of CPU of the node itself, without the echo.
        listeners: that it has open, as ``"udp://ip:port"``.
        calls: that it was asked, by kind.
    """

    echo: EchoLoad
    seconds: float
    listeners: frozenset[str]
    calls: dict[str, int]


@attrs.frozen
class BenchNode:
    """A node that runs.

    Attributes:
        url: of the API.
        token: of the API.
        relayers: with an open channel, by number.
        destination: an exit.
    """

    url: str
    token: str
    relayers: tuple[str, ...]
    destination: str
    _stdin: IO[str]
    _stdout: IO[str]

    def load(self) -> NodeLoad:
        """What it did so far; blocks for as long as the node takes to answer."""
        self._stdin.write("\n")
        self._stdin.flush()
        echo, seconds, listeners, calls = json.loads(self._stdout.readline())
        return NodeLoad(EchoLoad(*echo), seconds, frozenset(listeners), calls)


@asynccontextmanager
async def simulated_node(
    *, echo: Literal["plain", "gso"] = "plain", faults: tuple[str, ...] = (), **config: Any
) -> AsyncIterator[BenchNode]:
    """The simulator, as users have it, but its listeners echo in C; it runs until the block is left.

    Args:
        echo: datagram by datagram, as the daemon does it, or in trains, as a peer does that offloads as we do.
        faults: as for ``trio-sessions simulate --fault``.
        config: of :class:`trio_sessions.simulator.SimulatorConfig`.

    Raises:
        FailedError: it does not start, e.g. since the echo needs a C compiler.
    """
    with tempfile.TemporaryDirectory() as folder:
        given = {"path": compile_echo(folder), "gso": echo == "gso", "faults": faults, "config": config}
        async with _process("benchmarks._simulated", given) as node:
            yield node


@asynccontextmanager
async def bare_node(relayers: int, *, seed: int = 0, latency: float = 0.0) -> AsyncIterator[BenchNode]:
    """A node that opens, lists and closes as quickly as it can, for what must not be held up by the node.

    Args:
        relayers: with an open channel.
        seed: of the addresses.
        latency: seconds that an open or a close takes it.

    Raises:
        FailedError: it does not start.
    """
    given = {"relayers": relayers, "seed": seed, "latency": latency}
    async with _process("benchmarks._bare", given) as node:
        yield node


@asynccontextmanager
async def _process(module: str, given: dict[str, Any]) -> AsyncIterator[BenchNode]:
    command = [sys.executable, "-m", module, json.dumps(given)]
    # Not Trio's, which would make its pipes non-blocking: it is asked one thing at a time, and answers at once.
    process = subprocess.Popen(  # noqa: ASYNC220
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    stdin, stdout = process.stdin, process.stdout
    try:
        line = await trio.to_thread.run_sync(stdout.readline, abandon_on_cancel=True)
        if not line:
            raise FailedError("the node of the benchmark does not start")
        ready = json.loads(line)
        yield BenchNode(ready["url"], ready["token"], tuple(ready["relayers"]), ready["destination"], stdin, stdout)
    finally:
        process.kill()
        process.wait()
        stdin.close()
        stdout.close()
