"""The front with real sockets: the API over Hypercorn, every listener a socket of its own."""

from __future__ import annotations

import logging
from contextlib import closing
from functools import partial

import attrs
import trio

from trio_sessions._asgi import Message, Receive, Send, listen, serve_app, url_of
from trio_sessions.simulator._config import SimulatorConfig
from trio_sessions.simulator._http import BODY_LIMIT, ConnectionDies, Reply, Request, Response
from trio_sessions.simulator._kernel import Kernel
from trio_sessions.simulator._node import SimulatedNode
from trio_sessions.simulator._perform import begin, proceed, run_agenda
from trio_sessions.simulator._sockets import SystemKernel

__all__ = ["ServedNode", "serve_node"]

_LOGGER = logging.getLogger(__name__)


@attrs.frozen
class ServedNode:
    """Where a served node is.

    Attributes:
        url: the base URL.
        token: of the API; ``None`` when it needs none.
        node: the model with its controls.
    """

    url: str
    token: str | None = attrs.field(repr=False)
    node: SimulatedNode


async def serve_node(
    node: SimulatedNode | SimulatorConfig | None = None,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    kernel: Kernel | None = None,
    task_status: trio.TaskStatus[ServedNode] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve a node until cancelled; then everything is closed at once. Reports a :class:`ServedNode` when it listens.

    It needs the extra ``simulator``.

    Args:
        node: a node that no front has served yet, or what to make one of.
        host: the ip that the API listens on.
        port: its port; 0 is any free one.
        kernel: gives out the listeners' sockets, and outlives the call; the system's own, unless another is given.

    Raises:
        OSError: the address cannot be bound.
    """
    model = node if isinstance(node, SimulatedNode) else SimulatedNode(node)
    listening = listen(host, port)
    url = url_of(listening)
    async with trio.open_nursery() as nursery:
        system = SystemKernel(nursery)
        model.world.start(kernel or system, trio.current_time)
        nursery.start_soon(run_agenda, model.agenda)
        task_status.started(ServedNode(url, model.config.token, model))
        try:
            while True:
                with trio.CancelScope() as boot, closing(listening):
                    model.world.on_restart = boot.cancel
                    # The daemon has neither an idle time-out nor a limit of requests (contract §1.1).
                    await serve_app(partial(_answer, model), listening, logger=_LOGGER)
                while model.world.refuses(trio.current_time()):
                    with trio.CancelScope() as outage:
                        model.world.on_restart = outage.cancel
                        await trio.sleep_until(model.world.up_at)
                listening = listen(host, int(url.rpartition(":")[2]))
        finally:
            model.world.stop()
            system.close()


async def _answer(node: SimulatedNode, scope: Message, receive: Receive, send: Send) -> None:
    """One request; dropped when its client disconnects, as the daemon does it (contract §3.3)."""
    body = await _read_body(receive)
    if body is None:
        return
    request = Request(
        method=scope["method"],
        path=scope["raw_path"].decode("latin-1"),
        query=scope["query_string"].decode("latin-1"),
        headers=tuple((name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in scope["headers"]),
        body=body,
    )
    reply = await _perform_while_connected(node, request, receive)
    if isinstance(reply, Response):
        headers = [(name.encode(), value.encode()) for name, value in reply.wire_headers]
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        await send({"type": "http.response.body", "body": reply.body})
    elif isinstance(reply, ConnectionDies):
        # A body that is announced and never comes: Hypercorn closes the connection in the middle of the reply.
        headers = [(b"content-type", b"application/json"), (b"content-length", b"1")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})


async def _read_body(receive: Receive) -> bytes | None:
    """The body, as far as anybody looks at it; ``None`` when the client has gone."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        if len(body) <= BODY_LIMIT:
            body += message.get("body", b"")
        if not message.get("more_body", False):
            return bytes(body)


async def _perform_while_connected(node: SimulatedNode, request: Request, receive: Receive) -> Reply | None:
    """The model's reply, or ``None`` when the client goes before it comes."""
    steps = node.handle(request, trio.current_time())
    begun = begin(steps)
    if not isinstance(begun, float):
        return begun
    reply: Reply | None = None

    async def watch(connected: trio.CancelScope) -> None:
        # After the body there is only one thing left to hear: that the client has disconnected.
        await receive()
        connected.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch, nursery.cancel_scope)
        reply = await proceed(steps, begun)
        nursery.cancel_scope.cancel()
    return reply
