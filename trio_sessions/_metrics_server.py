"""The little web server beside a pool: metrics, and whether all is well."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import closing
from functools import partial
from http import HTTPStatus

import attrs
import trio
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from trio_sessions._asgi import Message, Receive, Send, listen, serve_app, url_of

__all__ = ["serve_metrics"]

_log = logging.getLogger("trio_sessions.metrics")

#: Seconds for which a client may be silent: what scrapes once a minute keeps its connection.
_PATIENCE = 75
#: A scraper has one or two; a leak of somebody's must not use up the descriptors that sessions need.
_MAX_CONNECTIONS = 64

_TEXT = "text/plain; charset=utf-8"
_INDEX = """\
trio_sessions
/metrics  for Prometheus
/healthz  whether the process works
/readyz   whether it takes messages
"""


@attrs.frozen
class _Page:
    body: bytes
    status: HTTPStatus = HTTPStatus.OK
    media_type: str = _TEXT
    allow: bytes | None = None


async def serve_metrics(
    registry: CollectorRegistry,
    *,
    ready: Callable[[], str] = str,
    host: str = "127.0.0.1",
    port: int = 0,
    task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve ``/metrics``, ``/healthz`` and ``/readyz`` until cancelled, and end at once then. Reports its URL.

    There is neither encryption nor a password: on another ip than a loopback one, anybody who reaches it can read it.

    Args:
        registry: what ``/metrics`` shows, in the text format or as OpenMetrics, as the client likes.
        ready: why ``/readyz`` answers 503, in a few words; empty: it answers 200. E.g. ``lambda: node.unready``.
        host: the ip to listen on.
        port: the port; 0 is any free one.
        task_status: ``started()`` comes, with the URL, when it listens.

    Raises:
        OSError: it cannot listen there.
    """
    listening = listen(host, port)
    with closing(listening):
        task_status.started(url_of(listening))
        app = partial(_answer, registry, ready)
        await serve_app(app, listening, logger=_log, patience=_PATIENCE, max_connections=_MAX_CONNECTIONS)


async def _answer(
    registry: CollectorRegistry, ready: Callable[[], str], scope: Message, receive: Receive, send: Send
) -> None:
    """One request."""
    if scope["type"] != "http":
        await send({"type": "websocket.close"})
        return
    page = _page(scope, registry, ready)
    headers = [
        (b"content-type", page.media_type.encode("latin-1")),
        (b"content-length", b"%d" % len(page.body)),
    ]
    if page.allow is not None:
        headers.append((b"allow", page.allow))
    await send({"type": "http.response.start", "status": page.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else page.body})


def _page(scope: Message, registry: CollectorRegistry, ready: Callable[[], str]) -> _Page:
    path = scope["path"]
    if path not in ("/", "/metrics", "/healthz", "/readyz"):
        return _Page(b"no such page; / names those that there are\n", HTTPStatus.NOT_FOUND)
    if scope["method"] not in ("GET", "HEAD"):
        return _Page(b"only GET and HEAD\n", HTTPStatus.METHOD_NOT_ALLOWED, allow=b"GET, HEAD")
    if path == "/metrics":
        return _metrics(registry, b",".join(value for name, value in scope["headers"] if name == b"accept"))
    if path == "/readyz" and (problem := ready()):
        return _Page(f"{' '.join(problem.split())}\n".encode(), HTTPStatus.SERVICE_UNAVAILABLE)
    return _Page(_INDEX.encode() if path == "/" else b"ok\n")


def _metrics(registry: CollectorRegistry, accept: bytes) -> _Page:
    try:
        encode, media_type = choose_encoder(accept.decode("latin-1"))
        return _Page(encode(registry), media_type=media_type)
    except (TypeError, ValueError):
        # The client asks for a version that is none; it gets what everybody understands.
        encode, media_type = choose_encoder("")
        return _Page(encode(registry), media_type=media_type)
