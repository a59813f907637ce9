"""The front in memory: a node inside the test's own process and clock, ideally trio's ``MockClock``."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import trio

from trio_sessions.simulator._config import SimulatorConfig
from trio_sessions.simulator._http import ConnectionDies, Reply, Request
from trio_sessions.simulator._memory_net import MemoryNet, MemorySocket
from trio_sessions.simulator._node import SimulatedNode
from trio_sessions.simulator._perform import perform, run_agenda

__all__ = ["MemoryNode", "open_memory_node"]

#: The address of every node in memory; ``.invalid`` can never be resolved by mistake.
HOST = "node.invalid"
PORT = 3001

#: Datagrams that a client socket takes before it reports a full send buffer.
SEND_BUFFER = 256


class _MemoryTransport(httpx.AsyncBaseTransport):
    """httpx's requests, answered by the model; a cancelled one is a client that has gone."""

    def __init__(self, node: SimulatedNode) -> None:
        self._node = node
        self._in_flight: set[trio.CancelScope] = set()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        body = await request.aread()
        timeout = request.extensions.get("timeout", {}).get("read")
        await trio.lowlevel.checkpoint()
        if (request.url.host, request.url.port) != (HOST, PORT) or self._node.world.refuses(trio.current_time()):
            raise httpx.ConnectError("All connection attempts failed", request=request)
        raw = Request(
            method=request.method,
            path=request.url.raw_path.partition(b"?")[0].decode("ascii"),
            query=request.url.query.decode("ascii"),
            headers=tuple(
                (name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in request.headers.raw
            ),
            body=body,
        )
        with trio.move_on_after(math.inf if timeout is None else timeout) as waiting:
            reply = await self._exchange(raw, request)
        if waiting.cancelled_caught:
            raise httpx.ReadTimeout("no reply in time", request=request)
        if isinstance(reply, ConnectionDies):
            raise httpx.ReadError("the connection was reset", request=request)
        headers = [(name.encode(), value.encode()) for name, value in reply.wire_headers]
        content = b"" if request.method == "HEAD" else reply.body
        return httpx.Response(reply.status, headers=headers, stream=httpx.ByteStream(content), request=request)

    async def _exchange(self, raw: Request, request: httpx.Request) -> Reply:
        with trio.CancelScope() as connection:
            self._in_flight.add(connection)
            try:
                reply = await perform(self._node.handle(raw, trio.current_time()))
                # The reply travels: who is cancelled now never hears of what the node has done.
                await trio.lowlevel.checkpoint()
            finally:
                self._in_flight.discard(connection)
            return reply
        raise httpx.RemoteProtocolError("Server disconnected without sending a response.", request=request)

    def kill_connections(self) -> None:
        """The node goes down: whoever waits for a reply hears that its connection has ended."""
        for connection in self._in_flight:
            connection.cancel()


class MemoryNode:
    """A node in memory, and the two ways to reach it.

    Attributes:
        url: the base URL.
        token: of the API; ``None`` when it needs none.
        transport: for httpx.
        node: the model with its controls.
    """

    def __init__(self, node: SimulatedNode, net: MemoryNet, transport: httpx.AsyncBaseTransport) -> None:
        self._net = net
        self.node = node
        self.transport = transport
        self.url = f"http://{HOST}:{PORT}"
        self.token = node.config.token

    @property
    def open_sockets(self) -> int:
        """Sockets from :meth:`connect` that are not closed: the oracle for leaks."""
        return self._net.open_sockets

    @property
    def socket_limit(self) -> int | None:
        """How many sockets there may be at once before :meth:`connect` has none to give; ``None`` is any number."""
        return self._net.socket_limit

    @socket_limit.setter
    def socket_limit(self, limit: int | None) -> None:
        self._net.socket_limit = limit

    def connect(self, ip: str, port: int) -> MemorySocket:
        """A datagram socket connected to a listener; a :data:`trio_sessions._datagrams.Connect`.

        Raises:
            OSError: the limit of sockets is reached.
        """
        return self._net.connect(ip, port)


@asynccontextmanager
async def open_memory_node(
    config: SimulatorConfig | SimulatedNode | None = None, *, send_buffer: int = SEND_BUFFER
) -> AsyncIterator[MemoryNode]:
    """Run a node in memory; leaving the block takes it down with everything in it.

    Args:
        config: what the node is made of, or a node that no front has served yet.
        send_buffer: datagrams that a socket takes at once before it would block.
    """
    node = config if isinstance(config, SimulatedNode) else SimulatedNode(config)
    net = MemoryNet(node.agenda, trio.current_time, seed=node.config.seed, send_buffer=send_buffer)
    transport = _MemoryTransport(node)
    node.world.on_restart = transport.kill_connections
    failure: BaseException | None = None
    node.world.start(net, trio.current_time)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_agenda, node.agenda)
        try:
            yield MemoryNode(node, net, transport)
        except trio.Cancelled:
            raise
        except BaseException as error:  # noqa: BLE001 - raised below, without the nursery's group around it
            failure = error
        finally:
            node.world.stop()
            transport.kill_connections()
            nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure
