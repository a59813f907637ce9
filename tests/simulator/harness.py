"""A node in memory with a plain httpx client: the simulator is judged from the outside, by raw HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import trio

from trio_sessions.simulator import (
    Fault,
    MemoryNode,
    MemorySocket,
    ServedNode,
    SimulatedNode,
    SimulatorConfig,
    open_memory_node,
    parse_fault,
)

UNKNOWN = "0x" + "ab" * 20
DIALECTS = ("3", "4.0-rc", "4.0", "4.1")


def faults(*texts: str) -> tuple[Fault, ...]:
    return tuple(parse_fault(text) for text in texts)


def body(node: SimulatedNode, **changes: Any) -> dict[str, Any]:
    """The body of a POST that works in every dialect, changed."""
    return {
        "destination": node.destinations[0],
        "forwardPath": {"Hops": 1},
        "returnPath": {"Hops": 1},
        "target": {"Service": 0},
        "capabilities": ["NoDelay", "NoRateControl"],
        "responseBuffer": "0 KB",
        **changes,
    }


def via(node: SimulatedNode, relayer: int = 0, **changes: Any) -> dict[str, Any]:
    """The body of a POST to the explicit-path route."""
    path = [node.relayers[relayer]]
    return body(node, **{"forwardPath": path, "returnPath": path, **changes})


class Harness:
    """The node behind one of the fronts, and its API."""

    def __init__(self, front: MemoryNode | ServedNode, http: httpx.AsyncClient) -> None:
        self.front = front
        self.node = front.node
        self.http = http

    @property
    def sim(self) -> MemoryNode:
        """The front, where it is the one in memory."""
        assert isinstance(self.front, MemoryNode)
        return self.front

    async def get(self, path: str, **kwargs: Any) -> httpx.Response:
        return await self.http.get("/api/v4" + path, **kwargs)

    async def post(self, path: str, json: Any = None, **kwargs: Any) -> httpx.Response:
        return await self.http.post("/api/v4" + path, json=json, **kwargs)

    async def delete(self, path: str) -> httpx.Response:
        return await self.http.delete("/api/v4" + path)

    async def open(self, protocol: str = "udp", **changes: Any) -> dict[str, Any]:
        reply = await self.post(f"/session/{protocol}", body(self.node, **changes))
        assert reply.status_code == 200, reply.text
        shown: dict[str, Any] = reply.json()
        return shown

    async def close(self, shown: dict[str, Any]) -> httpx.Response:
        return await self.delete(f"/session/{shown['protocol']}/{shown['ip']}/{shown['port']}")

    async def listed(self, protocol: str = "udp") -> list[dict[str, Any]]:
        reply = await self.get(f"/session/{protocol}")
        assert reply.status_code == 200
        shown: list[dict[str, Any]] = reply.json()
        return shown

    async def state(self) -> dict[str, Any]:
        reply = await self.http.get("/simulator/state")
        shown: dict[str, Any] = reply.raise_for_status().json()
        return shown

    def connect(self, shown: dict[str, Any]) -> MemorySocket:
        return self.sim.connect(shown["ip"], shown["port"])

    def kinds(self) -> list[str]:
        return [event.kind for event in self.node.events]


@asynccontextmanager
async def running(**settings: Any) -> AsyncIterator[Harness]:
    """A node with these settings, and a client with its token and without time-outs."""
    async with open_memory_node(SimulatorConfig(**settings)) as sim:
        headers = {} if sim.token is None else {"x-auth-token": sim.token}
        async with httpx.AsyncClient(transport=sim.transport, base_url=sim.url, headers=headers, timeout=None) as http:
            yield Harness(sim, http)


def drain(socket: MemorySocket) -> list[bytes]:
    """What has arrived by now."""
    received = []
    while True:
        try:
            received.append(socket.receive_nowait())
        except BlockingIOError:
            return received


async def echoes(socket: MemorySocket, *datagrams: bytes, wait: float = 1.0) -> list[bytes]:
    """Send, wait, and take what has come back."""
    for datagram in datagrams:
        socket.send_nowait(datagram)
    await trio.sleep(wait)
    return drain(socket)
