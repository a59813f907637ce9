"""One request made by hand: what, if anything, answers at a URL, before anybody supposes that it is a hoprd."""

from __future__ import annotations

import errno
import math
import socket
import ssl
import time
from collections.abc import Mapping
from urllib.parse import urlsplit

import attrs
import trio

__all__ = ["Look", "NoAnswerError", "look"]

#: Bytes of a reply that are looked at: its head, and the beginning of an error page.
_ENOUGH = 16 * 1024
#: Seconds that the rest of a reply is waited for once its head is there: who keeps the connection open, ends it never.
_LINGER = 0.2
#: How an alert of TLS begins: what a TLS server answers to plain text.
_TLS_ALERT = b"\x15\x03"

_IS_DAEMON_UP = (
    "start the daemon, with its API switched on: it is off by default",
    "check host and port of the URL: the default is http://127.0.0.1:3001",
    "or wait: hoprd 4.x answers nothing until it has started",
)
_IS_IT_THERE = ("check host and port of the URL", "check firewalls, and the published ports of a container")
_SAY_HTTPS = ("write https:// in the URL",)
_SAY_HTTP = ("write http:// in the URL",)
_ANOTHER = ("check host and port of the URL: something else listens there",)
_HANGS = (
    "restart the daemon if it hangs: its log tells what it last did",
    "check host and port of the URL: it may be something else",
)


@attrs.frozen
class Look:
    """A reply in HTTP.

    Attributes:
        headers: by name in lower case.
        seconds: from the connecting to the reply.
        at: when it came, by the wall clock.
    """

    status: int
    headers: Mapping[str, str]
    seconds: float
    at: float


class NoAnswerError(Exception):
    """No reply in HTTP; ``problem`` says what there was instead, ``remedy`` what to do, in order."""

    def __init__(self, problem: str, remedy: tuple[str, ...]) -> None:
        super().__init__(problem)
        self.problem = problem
        self.remedy = remedy


async def look(url: str, *, timeout: float) -> Look:
    """Ask ``url`` for hoprd's public health check, without a token.

    Args:
        url: as the client takes it.
        timeout: seconds for each of connecting and answering.

    Raises:
        NoAnswerError: nobody answers, or not in HTTP.
    """
    parts = urlsplit(url)
    host, is_tls = parts.hostname or "", parts.scheme.lower() == "https"
    port = parts.port or (443 if is_tls else 80)
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    began = trio.current_time()
    stream: trio.abc.Stream = await _connect(host, port, where, timeout)
    async with stream:
        reply = b""
        with trio.move_on_after(timeout) as patience:
            if is_tls:
                stream = await _secure(stream, host, where)
            request = f"GET {parts.path.rstrip('/')}/startedz HTTP/1.1\r\nHost: {parts.netloc}\r\n"
            reply = await _exchange(stream, f"{request}Accept: */*\r\nConnection: close\r\n\r\n".encode())
        if patience.cancelled_caught:
            raise NoAnswerError(f"{where} takes the connection, and does not answer within {timeout:g} s", _HANGS)
    return _read(reply, where, trio.current_time() - began)


async def _connect(host: str, port: int, where: str, timeout: float) -> trio.SocketStream:
    try:
        with trio.fail_after(timeout):
            return await trio.open_tcp_stream(host, port)
    except trio.TooSlowError:
        raise NoAnswerError(f"no connection to {where} within {timeout:g} s", _IS_IT_THERE) from None
    except OSError as error:
        raise _no_connection(error, host, where) from error


def _no_connection(error: OSError, host: str, where: str) -> NoAnswerError:
    if isinstance(error, socket.gaierror):
        return NoAnswerError(f"there is no host {host}: {error.strerror}", ("check the host name of the URL",))
    # Trio puts what went wrong with each address of the host below an error of its own.
    below: BaseException = error.__cause__ or error
    while isinstance(below, BaseExceptionGroup):
        below = below.exceptions[0]
    if isinstance(below, OSError) and below.errno == errno.ECONNREFUSED:
        return NoAnswerError(f"nothing listens at {where}", _IS_DAEMON_UP)
    why = (below.strerror if isinstance(below, OSError) else None) or str(below)
    return NoAnswerError(f"no connection to {where}: {why}", _IS_IT_THERE)


async def _secure(stream: trio.abc.Stream, host: str, where: str) -> trio.abc.Stream:
    secure = trio.SSLStream(stream, ssl.create_default_context(), server_hostname=host, https_compatible=True)
    try:
        await secure.do_handshake()
    except trio.BrokenResourceError as broken:
        error = broken.__cause__
        if isinstance(error, ssl.SSLCertVerificationError):
            remedy = ("have the system trust the certificate's issuer, and use the name that it is for",)
            raise NoAnswerError(f"the certificate of {where} is not valid: {error.verify_message}", remedy) from broken
        raise NoAnswerError(f"{where} does not speak TLS", _SAY_HTTP) from broken
    return secure


async def _exchange(stream: trio.abc.Stream, request: bytes) -> bytes:
    """What came back until its end, or until it is enough to tell."""
    reply = b""
    try:
        await stream.send_all(request)
        while len(reply) < _ENOUGH:
            chunk = b""
            with trio.move_on_after(_LINGER if b"\r\n\r\n" in reply else math.inf):
                chunk = bytes(await stream.receive_some())
            if not chunk:
                break
            reply += chunk
    except trio.BrokenResourceError:
        pass  # What came before that counts.
    return reply


def _read(reply: bytes, where: str, seconds: float) -> Look:
    head, _, body = reply.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    version, _, rest = first.partition(" ")
    status = rest[:3]
    # The last one is how nginx, Go and others tell a client in plain text.
    if reply.startswith(_TLS_ALERT) or (status == "400" and b"HTTPS" in body):
        raise NoAnswerError(f"{where} speaks TLS", _SAY_HTTPS)
    if not reply:
        raise NoAnswerError(f"{where} closes the connection without an answer", (*_ANOTHER, "try https://"))
    if not version.startswith("HTTP/") or not status.isdecimal():
        raise NoAnswerError(f"{where} answers, but not in HTTP", _ANOTHER)
    pairs = (line.partition(":") for line in lines)
    headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
    return Look(int(status), headers, seconds, time.time())
