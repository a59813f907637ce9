"""What most tests need: a simulated node in memory, a client of it, and a pool or a node of ours on top.

The oracle is always the simulator (``world.sim.node``), never our own view.
"""

from __future__ import annotations

import os
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import attrs
import trio

from trio_sessions import (
    DedicatedAddress,
    Hoprd,
    PoolOptions,
    PortRange,
    Session,
    SessionPool,
    Shared,
    State,
    open_pool,
)
from trio_sessions._datagrams import DatagramSocket, send_singly
from trio_sessions.simulator import MemoryNode, SimulatorConfig, open_memory_node, parse_fault

#: A well-formed address that no simulated node has.
NOBODY = "0x" + "ee" * 20

#: One of each kind of namespace, by name.
NAMESPACES = {"dedicated": DedicatedAddress(), "range": PortRange(40_000, 40_999), "shared": Shared()}

T = TypeVar("T")


async def inline(work: Callable[..., T], *args: object, abandon_on_cancel: bool = False) -> T:
    """Stands in for a thread under a virtual clock, which would jump while a real one works."""
    await trio.lowlevel.checkpoint()
    return work(*args)


def in_namespace(kind: str, folder: Path | None = None, **options: object) -> PoolOptions:
    """A pool's options in one of :data:`NAMESPACES`, with a journal in ``folder``.

    The instance has this process's name: another run of the tests on this machine may have the same simulated node.
    """
    given = {"namespace": NAMESPACES[kind], "instance": f"tests-{os.getpid()}", **options}
    if folder is not None:
        given["journal"] = folder / "journal"
    return PoolOptions(**given)  # type: ignore[arg-type]


@attrs.define
class World:
    """A node in memory, a client and, where asked for, a pool."""

    sim: MemoryNode
    hoprd: Hoprd

    @property
    def relayers(self) -> tuple[str, ...]:
        """The node's relayers."""
        return self.sim.node.relayers

    def events(self, *kinds: str) -> list[tuple[float, str]]:
        """When the node saw what, of these kinds; all when none are named."""
        return [(event.time, event.kind) for event in self.sim.node.events if not kinds or event.kind in kinds]

    @asynccontextmanager
    async def pool(self, options: PoolOptions | None = None, seed: int = 0) -> AsyncIterator[SessionPool]:
        """A pool on the node, with a seeded source of jitter."""
        async with open_pool(
            self.hoprd, options, rng=random.Random(seed), connect=self.sim.connect, in_thread=inline
        ) as pool:
            yield pool

    def assert_nothing_left(self, strangers: int = 0) -> None:
        """The node lists no listener of ours, and all strangers'; we hold no socket."""
        assert len(self.sim.node.listeners()) == strangers
        assert self.sim.open_sockets == 0


@asynccontextmanager
async def memory_world(config: SimulatorConfig | None = None, *, send_buffer: int = 256) -> AsyncIterator[World]:
    """A node in memory and a client of it."""
    async with (
        open_memory_node(config, send_buffer=send_buffer) as sim,
        Hoprd(sim.url, token=sim.token, transport=sim.transport) as hoprd,
    ):
        yield World(sim, hoprd)


def state_of(session: Session) -> State:
    """The state now: through a call, since the type checker takes a property to be what it was a line before."""
    return session.info.state


def faulty(*faults: str) -> SimulatorConfig:
    """A node with these faults armed from the start."""
    return SimulatorConfig(faults=tuple(parse_fault(fault) for fault in faults))


class Breakable:
    """A socket that works until it is told to raise: an OSError when it sends, anything else when it receives."""

    def __init__(self, inner: DatagramSocket) -> None:
        self._inner = inner
        self.broken: Exception | None = None

    def send_nowait(self, data: bytes) -> None:
        if isinstance(self.broken, OSError):
            raise self.broken
        self._inner.send_nowait(data)

    def send_stream_nowait(self, stream: bytes, size: int, start: int, stop: int) -> int:
        return send_singly(self, stream, size, start, stop)

    def receive_nowait(self) -> bytes:
        if self.broken is not None and not isinstance(self.broken, OSError):
            raise self.broken
        return self._inner.receive_nowait()

    async def wait_writable(self) -> None:
        await self._inner.wait_writable()

    async def wait_readable(self) -> None:
        await self._inner.wait_readable()

    def close(self) -> None:
        self._inner.close()
