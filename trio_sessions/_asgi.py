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
#: Seconds that a client that says nothing more has for taking its answer.
_LINGER = 1.0

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
    patience: float = inf,
    max_connections: float = inf,
) -> None:
    """Answer requests that come in at ``listening``; when cancelled, it is closed and every connection dies.

    ``app`` gets the scopes of requests alone, and of WebSockets. What it raises is logged, and answered by a 500.

    Args:
        app: an ASGI application.
        listening: from :func:`listen`.
        logger: of what goes wrong.
        patience: seconds for which a client may be silent, or not take its answer.
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
    config.keep_alive_timeout = patience
    config.keep_alive_max_requests = sys.maxsize
    wrapped, context = ASGIWrapper(app), WorkerContext(None)  # type: ignore[arg-type] # its types name each message
    streams: set[trio.SocketStream] = set()

    async def answer(stream: trio.SocketStream) -> None:
        if len(streams) >= max_connections:
            await trio.aclose_forcefully(stream)
            return
        streams.add(stream)
        try:
            with trio.CancelScope() as scope:
                connection = _Connection(stream, scope, patience)
                await TCPServer(wrapped, config, context, ConnectionState({}), connection)  # type: ignore[arg-type]
        except Exception:
            # One connection's trouble is not that of the others.
            logger.exception("a connection crashed")
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


class _Connection:
    """What Hypercorn needs of a stream; one whose client has gone, or takes nothing, does not live on."""

    def __init__(self, stream: trio.SocketStream, scope: trio.CancelScope, patience: float) -> None:
        self._stream = stream
        self._scope = scope
        self._patience = patience
        self.socket = stream.socket

    async def receive_some(self, max_bytes: int) -> bytes:
        data = await self._stream.receive_some(max_bytes)
        if not data:
            # Hypercorn would wait for another request as long as it waits for any.
            self._scope.deadline = trio.current_time() + _LINGER
        return data

    async def send_all(self, data: bytes) -> None:
        try:
            with trio.fail_after(self._patience):
                await self._stream.send_all(data)
        except trio.TooSlowError:
            raise trio.BrokenResourceError("the client takes nothing") from None

    async def send_eof(self) -> None:
        await self._stream.send_eof()

    async def aclose(self) -> None:
        await self._stream.aclose()
