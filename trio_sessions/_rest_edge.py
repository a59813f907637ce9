"""One call to the node over HTTP: sent, timed, read whole, and every failure made one of ours."""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Callable
from typing import TypeVar
from urllib.parse import urlsplit

import httpx
import trio

from trio_sessions._errors import (
    InvalidInputError,
    MalformedReplyError,
    NodeError,
    NodeTimeoutError,
    NodeUnavailableError,
)
from trio_sessions._inputs import check_token, check_url, wrong_url
from trio_sessions._instruments import CallEnded, Instruments
from trio_sessions._log_fields import about
from trio_sessions._replies import Misshapen, daemon_error, decode_json
from trio_sessions._rest_errors import (
    Reply,
    malformed,
    status_error,
    strip_secrets,
    transport_error,
)
from trio_sessions._rest_requests import ANY, JSON, route_of
from trio_sessions._transport import Progress, Transport
from trio_sessions._transport_wire import check_fields, write

__all__ = ["Edge"]

T = TypeVar("T")

#: Bytes of the longest body that we read: ten thousand sessions take a tenth of it.
MAX_BODY = 64 * 1024 * 1024

#: Characters that are kept of a text of the node: its own are shorter, a proxy's page may be of any length.
_LONGEST_TEXT = 4096

#: Seconds for closing idle connections at the end, when nobody waits for an answer any more.
_CLOSE_TIMEOUT = 1.0

#: The part of a call's time that it may wait for a connection: less than all, so that the transport's own time-out,
#: which says for certain that nothing was sent, comes before ours.
_CONNECT_SHARE = 0.9

#: Idle connections that are kept, and for how many seconds; the node itself closes none (contract §1.1).
_KEPT_CONNECTIONS = 256
_KEEP_FOR = 30.0

# What a transport may raise. A cancellation is none of them, nor is an error in our own code.
_FAILURES = (
    httpx.HTTPError,
    httpx.StreamError,
    OSError,
    trio.BrokenResourceError,
    trio.ClosedResourceError,
)

_log = logging.getLogger("trio_sessions.rest")


class Edge:
    """The way to one node: base URL, headers and transport, in use from :meth:`open` to :meth:`aclose`.

    It speaks to the transport without an :class:`httpx.AsyncClient` between: that would keep cookies, log each URL
    and take longer than all of ours.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None,
        timeout: float,
        transport: httpx.AsyncBaseTransport | None,
        max_connections: int,
        instruments: Instruments | None = None,
    ) -> None:
        self.url = _check_url(url)
        self.timeout = _check_timeout(timeout)
        self._hidden = _check_token(token)
        self._headers = _headers(self.url, token)
        #: For a transport of our own: the same, and the path of the URL, as they go over the wire.
        self._fields = {kind: check_fields(fields) for kind, fields in self._headers.items()}
        self._base = httpx.URL(self.url).raw_path.decode("ascii").rstrip("/")
        if max_connections < 1:
            raise InvalidInputError("max_connections", max_connections, "must be 1 or more")
        self._given = transport
        self._max_connections = max_connections
        self._instruments = instruments
        self._transport: httpx.AsyncBaseTransport | None = None

    async def open(self) -> None:
        """Make the transport ready; connects nowhere."""
        if self._transport is not None:
            raise InvalidInputError("Hoprd", self.url, "is in use already", "enter it once, or make another one")
        transport = self._given or self._own_transport()
        self._transport = await transport.__aenter__()

    async def aclose(self) -> None:
        """Close all connections, also when cancelled, but not for longer than a second. Idempotent."""
        transport, self._transport = self._transport, None
        if transport is not None:
            with trio.move_on_after(_CLOSE_TIMEOUT, shield=True), contextlib.suppress(*_FAILURES):
                await transport.__aexit__(None, None, None)

    def close_idle(self) -> None:
        """Give back most of the file descriptors that no call uses now, where the transport is our own."""
        if isinstance(self._transport, Transport):
            self._transport.close_idle()

    async def call(
        self,
        method: str,
        path: str,
        *,
        accept: str = JSON,
        query: str = "",
        body: bytes | None = None,
        timeout: float | None = None,
    ) -> Reply:
        """Make one call, of ``timeout`` seconds at most, and give back its reply, whatever its status.

        A cancelled call gives up its connection; the node may act on it nevertheless.

        Raises:
            NodeUnavailableError: surely nothing was sent.
            OutcomeUnknownError: the request was sent, or may have been: :class:`NodeTimeoutError` when the time was
                up, :class:`ConnectionLostError` when the connection died.
            MalformedReplyError: the body is too long or badly encoded.
            InvalidInputError: the edge is not in use, or the time-out is none.
        """
        transport = self._transport
        if transport is None:
            raise InvalidInputError("Hoprd", self.url, "is not in use", "enter it: async with Hoprd(...) as hoprd:")
        total = self.timeout if timeout is None else _check_timeout(timeout)
        progress = Progress()
        began = trio.current_time()
        error: NodeError
        cause = None
        try:
            with trio.move_on_after(total):
                if isinstance(transport, Transport):
                    reply = await self._ask(
                        transport,
                        progress,
                        method=method,
                        path=path,
                        accept=accept,
                        query=query,
                        body=body,
                        total=total,
                    )
                else:
                    pool_timeout, connect_timeout = self._phases(total)
                    timeouts = {"pool": pool_timeout, "connect": connect_timeout, "read": None, "write": None}
                    request = httpx.Request(
                        method,
                        f"{self.url}{path}{query}",
                        headers=self._headers[accept, body is not None],
                        content=body,
                        extensions={"timeout": timeouts, "trace": progress.note},
                    )
                    reply = await _exchange(transport, request, method, path)
                seconds = trio.current_time() - began
                if _log.isEnabledFor(logging.DEBUG):
                    fields = about(method=method, path=path, status=reply.status, seconds=seconds)
                    _log.debug("%s %s: %d in %.4f s", method, path, reply.status, seconds, extra=fields)
                if self._instruments is not None:
                    self._tell(self._instruments, method, path, began, status=reply.status)
                return reply
            # Only our own deadline leads here: the scope lets every other cancellation pass.
            if progress.unsent:
                error = NodeUnavailableError(method, path, f"no connection within {total:g} s")
            else:
                error = NodeTimeoutError(method, path, f"no reply within {total:g} s")
        except _FAILURES as failure:
            error = transport_error(method, path, failure, self.clean)
            cause = failure if strip_secrets(failure, self._hidden) else None
        except (NodeError, trio.Cancelled) as over:
            if self._instruments is not None:
                self._tell(self._instruments, method, path, began, error=over)
            raise
        if self._instruments is not None:
            self._tell(self._instruments, method, path, began, error=error)
        seconds = trio.current_time() - began
        fields = about(error=error, method=method, path=path, seconds=seconds)
        _log.debug("%s in %.4f s", error, seconds, extra=fields)
        raise error from cause

    def _tell(
        self,
        instruments: Instruments,
        method: str,
        path: str,
        began: float,
        *,
        status: int | None = None,
        error: BaseException | None = None,
    ) -> None:
        name = None if error is None else type(error).__name__
        instruments(CallEnded(method, route_of(path), status, name, trio.current_time() - began))

    def error(self, reply: Reply) -> NodeError:
        """The error that a reply of an unexpected status stands for."""
        return status_error(reply, self.clean)

    def parse(self, reply: Reply, read: Callable[[object], T]) -> T:
        """What ``read`` makes of the JSON body.

        Raises:
            StatusError: the body is the daemon's error object (contract §1.4).
            MalformedReplyError: the body is no JSON, or ``read`` found it misshapen.
        """
        try:
            if not reply.is_json:
                raise Misshapen("", "is not JSON by its content type", reply.media_type)
            value = decode_json(reply.body)
            if daemon_error(value) is None:
                return read(value)
            error = self.error(reply)
        except Misshapen as problem:
            error = malformed(reply, problem, self.clean)
        # Not out of the except block: the body, uncleaned, would hang on the error as its context.
        raise error

    def clean(self, text: str) -> str:
        """``text`` of the node, fit to show: without the token, of bounded length, without control characters."""
        for form in self._hidden:
            text = text.replace(form, "<token>")
        kept = text[:_LONGEST_TEXT]
        if kept.isprintable():
            return kept
        return "".join(
            char if char.isprintable() else " " if char.isspace() else "\N{REPLACEMENT CHARACTER}" for char in kept
        )

    def _own_transport(self) -> httpx.AsyncBaseTransport:
        most, kept = self._max_connections, min(_KEPT_CONNECTIONS, self._max_connections)
        # Nothing from the environment in either: a proxy named there would see the token.
        if self.url.lower().startswith("http:"):
            return Transport(self.url, max_connections=most, max_kept=kept, keep_for=_KEEP_FOR)
        limits = httpx.Limits(max_connections=most, max_keepalive_connections=kept, keepalive_expiry=_KEEP_FOR)
        return httpx.AsyncHTTPTransport(limits=limits, trust_env=False)

    async def _ask(
        self,
        transport: Transport,
        progress: Progress,
        *,
        method: str,
        path: str,
        accept: str,
        query: str,
        body: bytes | None,
        total: float,
    ) -> Reply:
        """The exchange over a transport of our own, which needs no request and response of httpx's."""
        message = write(method, f"{self._base}{path}{query}", self._fields[accept, body is not None], body)
        pool_timeout, connect_timeout = self._phases(total)
        head, content = await transport.call(
            method,
            message,
            progress,
            pool_timeout=pool_timeout,
            connect_timeout=connect_timeout,
            max_body=MAX_BODY,
        )
        encoding, media_type = head.value(b"content-encoding"), head.value(b"content-type")
        return _reply(method, path, head.status, content, encoding=encoding, media_type=media_type)

    def _phases(self, total: float) -> tuple[float, float]:
        """httpx's time-outs of its phases before sending, pool and connect; the rest is under the total."""
        wait = total * _CONNECT_SHARE
        # A call of ninety seconds does not wait ninety seconds for a host that is not there.
        return wait, min(wait, self.timeout)


async def _exchange(transport: httpx.AsyncBaseTransport, request: httpx.Request, method: str, path: str) -> Reply:
    response = await transport.handle_async_request(request)
    status = response.status_code
    try:
        # Some transports give replies that are read already.
        body = response.content if response.is_stream_consumed else await _read(response)
    finally:
        await response.aclose()
    encoding, media_type = (response.headers.get(name, "") for name in ("content-encoding", "content-type"))
    return _reply(method, path, status, body, encoding=encoding, media_type=media_type)


def _reply(method: str, path: str, status: int, body: bytes | None, *, encoding: str, media_type: str) -> Reply:
    if body is None:
        raise MalformedReplyError(method, path, f"a body of more than {MAX_BODY} bytes", status=status)
    if body and encoding.lower() not in ("", "identity"):
        raise MalformedReplyError(method, path, "a compressed body, which was not asked for", status=status)
    return Reply(method, path, status, media_type.partition(";")[0].strip().lower(), body)


async def _read(response: httpx.Response) -> bytes | None:
    """The body as it came over the wire; ``None`` if it is too long."""
    body = bytearray()
    too_long = False
    try:
        async for chunk in response.aiter_raw():
            body += chunk
            if len(body) > MAX_BODY:
                too_long = True
                body.clear()
                # The read after this one fails, and that ends the generators below; to leave the loop would not.
                await response.aclose()
    except _FAILURES:
        if not too_long:
            raise
    return None if too_long else bytes(body)


def _headers(url: str, token: str | None) -> dict[tuple[str, bool], list[tuple[bytes, bytes]]]:
    """The headers of a call, ready made, by what it accepts and whether it has a body."""
    common = [(b"Host", urlsplit(url).netloc.encode()), (b"Accept-Encoding", b"identity")]
    if token is not None:
        # Exactly so: 3.x compares the whole value (contract §1.2).
        common.append((b"Authorization", b"Bearer " + token.encode()))
    json_body = [(b"Content-Type", JSON.encode())]
    return {
        (accept, has_body): [*common, (b"Accept", accept.encode()), *(json_body if has_body else ())]
        for accept in (JSON, ANY)
        for has_body in (False, True)
    }


def _check_url(url: str) -> str:
    checked = check_url(url)
    try:
        httpx.URL(checked)
    except httpx.InvalidURL:
        raise wrong_url(checked) from None
    return checked


def _check_token(token: str | None) -> tuple[str, ...]:
    """The forms of ``token`` that must not be shown: as it is, and as JSON and Python write it between quotes.

    The error never shows the token, and a token that the node would never accept never reaches it: a byte that is no
    visible ASCII may end a daemon of 3.x (contract §1.2).
    """
    if token is None:
        return ()
    check_token(token)
    inner = token.replace("\\", "\\\\")
    return tuple({token, inner, inner.replace('"', '\\"'), inner.replace("'", "\\'")})


def _check_timeout(timeout: float) -> float:
    if not math.isfinite(timeout) or timeout <= 0:
        raise InvalidInputError("timeout", timeout, "must be a finite number of seconds above 0")
    return timeout
