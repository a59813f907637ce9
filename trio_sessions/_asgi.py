"""An ASGI application behind a socket: Hypercorn on Trio, in such a way that a cancel ends it at once."""

from __future__ import annotations

import logging
import socket
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from math import inf
from typing import Any

import trio

__all__ = ["App", "Message", "Receive", "Send", "listen", "serve_app", "url_of"]

#: Connections that may wait to be accepted: a client may open hundreds at once.
BACKLOG = 1024

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


def listen(host: str, port: int) -> socket.socket:
    """A socket at the ip and port, ready for connections; port 0 is any free one.

    Raises:
        OSError: it cannot be bound.
    """
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.bind((host, port))
        sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


def url_of(sock: socket.socket) -> str:
    """The URL of a server on this socket."""
    host, port = sock.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


async def serve_app(
    app: App,
    listening: socket.socket,
    *,
    logger: logging.Logger,
    patience: int | None = None,
    max_connections: float = inf,
) -> None:
    """Answer requests that come in at ``listening``; when cancelled, it is closed and every connection dies.

    ``app`` gets the scopes of requests alone, and of WebSockets. What it raises is logged, and answered by a 500.

    Args:
        app: an ASGI application.
        listening: from :func:`listen`.
        logger: of what goes wrong.
        patience: seconds for which a client may be silent, or not take its answer; ``None``: any time.
        max_connections: at a time; further ones are closed at once.
    """
    from hypercorn.app_wrappers import ASGIWrapper  # noqa: PLC0415
    from hypercorn.config import Config  # noqa: PLC0415
    from hypercorn.trio.tcp_server import TCPServer  # noqa: PLC0415
    from hypercorn.trio.worker_context import WorkerContext  # noqa: PLC0415
    from hypercorn.typing import ConnectionState  # noqa: PLC0415

    config = Config()
    config.include_server_header = False
    config.errorlog = logger
    config.accesslog = None
    config.keep_alive_timeout = inf if patience is None else patience
    config.keep_alive_max_requests = sys.maxsize
    config.read_timeout = patience
    wrapped, context = ASGIWrapper(app), WorkerContext(None)  # type: ignore[arg-type] # its types name each message
    streams: set[trio.SocketStream] = set()

    async def answer(stream: trio.SocketStream) -> None:
        if len(streams) >= max_connections:
            await trio.aclose_forcefully(stream)
            return
        streams.add(stream)
        try:
            await TCPServer(wrapped, config, context, ConnectionState({}), stream)  # type: ignore[arg-type] # TLS or not
        finally:
            streams.discard(stream)

    # Not Hypercorn's own loop: what it sends is shielded, so a client that takes no answer could hold it up for good.
    async with trio.open_nursery() as nursery:
        listener = trio.SocketListener(trio.socket.from_stdlib_socket(listening))
        try:
            await trio.serve_listeners(answer, [listener], handler_nursery=nursery)
        finally:
            for stream in streams:
                stream.socket.close()
