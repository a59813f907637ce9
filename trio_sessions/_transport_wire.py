"""HTTP/1.1 as a client needs it, without I/O: a request to bytes, and bytes to a response, strictly read.

Not by h11, which took a third of a call's time (``benchmarks/rest.py``).
"""

from __future__ import annotations

import re
from typing import NoReturn

import attrs
import httpx

__all__ = ["Head", "Reader", "check_fields", "encode", "write"]

#: Bytes that an unfinished head of a response may have, or of a chunk; the node's own has some hundred.
MAX_HEAD = 64 * 1024

_START = b"HTTP/1."
_END = b"\r\n\r\n"

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_TEXT = rb"[^\x00-\x08\x0a-\x1f\x7f]*"
_REQUEST = re.compile(rb"[A-Z]+ [!-~]+ HTTP/1\.1\r\n(?:" + _TOKEN + rb": " + _TEXT + rb"\r\n)*\r\n")
_NAME = re.compile(_TOKEN)
_VALUE = re.compile(_TEXT)
_TARGET = re.compile(rb"[!-~]+")
_STATUS = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: (" + _TEXT + rb"))?")
_FIELD = re.compile(rb"(" + _TOKEN + rb"):(" + _TEXT + rb")")
# Not a digit more than a signed number of 64 bits has for sure.
_LENGTH = re.compile(rb"[0-9]{1,18}")
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;" + _TEXT + rb")?")


def encode(request: httpx.Request, body: bytes) -> bytes:
    """The request as it goes over the wire.

    Raises:
        httpx.LocalProtocolError: a header would break the head, or is not true of the body.
    """
    fields = request.headers.raw
    declared = b"0"
    lines = [b"%b %b HTTP/1.1" % (request.method.encode("ascii", "replace"), request.url.raw_path)]
    for name, value in fields:
        lines.append(b"%b: %b" % (name, value))
        lowered = name.lower()
        if lowered == b"content-length":
            declared = value
        elif lowered == b"transfer-encoding":
            raise httpx.LocalProtocolError("a body of unknown length cannot be sent")
    lines.append(_END)
    head = b"\r\n".join(lines)[:-2]
    # What is in a value must not become a line of its own. The error shows none: one of them is the token.
    if _REQUEST.fullmatch(head) is None or head.count(b"\r\n") != len(fields) + 2:
        raise httpx.LocalProtocolError("a method, target or header is not fit to be sent")
    if declared != b"%d" % len(body):
        raise httpx.LocalProtocolError("the body has not the length that the headers declare")
    return head + body


def check_fields(fields: list[tuple[bytes, bytes]]) -> bytes:
    """Headers as they go over the wire, for :func:`write`; any number of requests may begin with them.

    Raises:
        httpx.LocalProtocolError: one would break the head.
    """
    # The error shows none: one of them is the token.
    if any(_NAME.fullmatch(name) is None or _VALUE.fullmatch(value) is None for name, value in fields):
        raise httpx.LocalProtocolError("a header is not fit to be sent")
    return b"".join(b"%b: %b\r\n" % field for field in fields)


def write(method: str, target: str, fields: bytes, body: bytes | None) -> bytes:
    """A request as it goes over the wire, with ``fields`` of :func:`check_fields`: what :func:`encode` makes, sooner.

    Raises:
        httpx.LocalProtocolError: the target would break the head.
    """
    # Not ASCII is not fit; to replace what is not could make another target of it.
    shown = target.encode("utf-8", "surrogatepass")
    if _TARGET.fullmatch(shown) is None:
        raise httpx.LocalProtocolError("a target is not fit to be sent")
    if body is None:
        return b"%b %b HTTP/1.1\r\n%b\r\n" % (method.encode("ascii"), shown, fields)
    length = b"Content-Length: %d\r\n\r\n" % len(body)
    return b"%b %b HTTP/1.1\r\n%b%b%b" % (method.encode("ascii"), shown, fields, length, body)


@attrs.define
class Head:
    """The head of a response."""

    status: int
    reason: bytes
    headers: list[tuple[bytes, bytes]]
    #: Whether the connection may carry a next call.
    lasting: bool
    #: Of the body: ``None`` if it does not say, and then it is chunked or ends with the connection.
    length: int | None
    chunked: bool

    def value(self, name: bytes) -> str:
        """The values of a header, by its name in lower case; ``""`` where there is none."""
        return ", ".join(value.decode("latin-1") for found, value in self.headers if found.lower() == name)


class Reader:
    """Reads one response from the bytes that :meth:`feed` gets.

    Every method raises :class:`httpx.RemoteProtocolError` for what is no HTTP/1.1, and is not to be called after.

    Attributes:
        heard: whether anything came at all.
        whole: whether the body is at its end.
    """

    __slots__ = ("_bodiless", "_buffer", "_closed", "_head", "_in_trailer", "_left", "heard", "whole")

    def __init__(self, method: str) -> None:
        self._bodiless = method == "HEAD"
        self._buffer = bytearray()
        self._closed = False
        self._head: Head | None = None
        # Of the body, or of the chunk with its line end; 0 is before a chunk.
        self._left = 0
        self._in_trailer = False
        self.heard = False
        self.whole = False

    @property
    def lasting(self) -> bool:
        """Whether the connection may carry a next call: the response said so, is whole, and nothing came after it."""
        return self.whole and self._head is not None and self._head.lasting and not self._buffer and not self._closed

    def feed(self, data: bytes) -> None:
        """Take what was received; ``b""`` is the end of the connection."""
        if data:
            self.heard = True
            self._buffer += data
        else:
            self._closed = True

    def head(self) -> Head | None:
        """The head of the response, heads of 1xx skipped; ``None`` if it has not come whole."""
        buffer = self._buffer
        while (end := buffer.find(_END)) >= 0:
            head = _read_head(bytes(buffer[:end]), self._bodiless)
            del buffer[: end + len(_END)]
            if head.status >= 200:
                self._head = head
                self._left = head.length or 0
                return head
            if head.status == 101:
                _refuse("a change of protocol that nobody asked for")
        if not _START.startswith(buffer[: len(_START)]):
            _refuse("no HTTP response")
        if self._closed:
            _refuse("the connection was closed before the response")
        self._check_unfinished()
        return None

    def body(self) -> bytes:
        """What has come of the body since the last time; see :attr:`whole`."""
        head = self._head
        assert head is not None
        if head.chunked:
            data = self._chunks()
        elif head.length is None:
            data = self._take(len(self._buffer))
            self.whole = self._closed
        else:
            data = self._take(self._left)
            self._left -= len(data)
            self.whole = not self._left
        if self._closed and not self.whole:
            _refuse("the connection was closed before the end of the body")
        return data

    def _chunks(self) -> bytes:
        parts = []
        while not self._in_trailer and self._in_chunk():
            part = self._take(max(0, self._left - 2))
            parts.append(part)
            self._left -= len(part)
            if self._left > 2 or not self._end_of_chunk():
                break
        while self._in_trailer and not self.whole and (line := self._line()) is not None:
            if not line:
                self.whole = True
            elif _FIELD.fullmatch(line) is None:
                _refuse("a malformed trailer")
        return b"".join(parts)

    def _in_chunk(self) -> bool:
        """Whether a chunk began and is not over; begins the next one if it can."""
        if not self._left and (line := self._line()) is not None:
            match = _CHUNK.fullmatch(line)
            if match is None:
                _refuse("no size of a chunk")
            size = int(match[1], 16)
            self._left = size + 2 if size else 0
            self._in_trailer = not size
        return self._left > 0

    def _end_of_chunk(self) -> bool:
        """Whether the line end after a chunk was there, and was taken."""
        end = self._buffer[:2]
        if not b"\r\n".startswith(end):
            _refuse("a chunk that is longer than it says")
        if len(end) == 2:
            del self._buffer[:2]
            self._left = 0
        return not self._left

    def _line(self) -> bytes | None:
        end = self._buffer.find(b"\r\n")
        if end < 0:
            self._check_unfinished()
            return None
        line = self._take(end)
        del self._buffer[:2]
        return line

    def _take(self, most: int) -> bytes:
        data = bytes(self._buffer[:most])
        del self._buffer[:most]
        return data

    def _check_unfinished(self) -> None:
        if len(self._buffer) > MAX_HEAD:
            _refuse("a head that is too long")


def _read_head(block: bytes, bodiless: bool) -> Head:
    first, *lines = block.split(b"\r\n")
    match = _STATUS.fullmatch(first)
    if match is None:
        _refuse("no HTTP status line")
    status = int(match[2])
    headers = []
    framing: dict[bytes, list[bytes]] = {b"content-length": [], b"transfer-encoding": [], b"connection": []}
    for line in lines:
        field = _FIELD.fullmatch(line)
        if field is None:
            _refuse("a malformed header")
        name, value = field[1], field[2].strip(b" \t")
        headers.append((name, value))
        if (lowered := name.lower()) in framing:
            framing[lowered].append(value.lower())
    lengths, codings, options = framing.values()
    # Whoever could read these in two ways could take a part of the body for the next response.
    if codings and (codings != [b"chunked"] or lengths or match[1] == b"0"):
        _refuse("an unknown transfer encoding")
    if len(set(lengths)) > 1 or not all(map(_LENGTH.fullmatch, lengths)):
        _refuse("no length of a body")
    length = int(lengths[0]) if lengths else None
    if bodiless or status < 200 or status in (204, 304):
        codings, length = [], 0
    lasting = match[1] == b"1" and not any(b"close" in each for each in options)
    return Head(status, match[3] or b"", headers, lasting, length, chunked=bool(codings))


def _refuse(problem: str) -> NoReturn:
    raise httpx.RemoteProtocolError(problem)
