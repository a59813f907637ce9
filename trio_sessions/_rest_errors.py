"""From what went wrong to our exceptions: the one place where HTTP and httpx turn into the tree of ``_errors``."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection

import attrs
import httpx

from trio_sessions._errors import (
    ConnectionLostError,
    ListenHostInUseError,
    MalformedReplyError,
    NodeError,
    NodeTimeoutError,
    NodeUnavailableError,
    NotAcceptableError,
    NotFoundError,
    NotReadyError,
    RejectedError,
    ServerFailureError,
    StatusError,
    UnauthorizedError,
)
from trio_sessions._replies import MISSING, Misshapen, daemon_error, decode_json

__all__ = [
    "Clean",
    "Reply",
    "malformed",
    "status_error",
    "strip_secrets",
    "transport_error",
]

#: Makes a text of the node fit to show: short, without our token and without control characters.
Clean = Callable[[str], str]

_BY_STATUS: dict[int, type[StatusError]] = {
    401: UnauthorizedError,
    404: NotFoundError,
    406: NotAcceptableError,
    409: ListenHostInUseError,
    412: NotReadyError,
}

# For an error that 3.x and early 4.0 send as HTTP 200 (contract §1.4); words that are not here are a rejection.
_BY_WORD: dict[str, type[StatusError]] = {
    "UNAUTHORIZED": UnauthorizedError,
    "CHANNEL_NOT_FOUND": NotFoundError,
    "PEER_NOT_FOUND": NotFoundError,
    "SESSION_NOT_FOUND": NotFoundError,
    "TICKETS_NOT_FOUND": NotFoundError,
    "LISTEN_HOST_ALREADY_USED": ListenHostInUseError,
    "NOT_READY": NotReadyError,
}

# What a transport raises: the first that fits counts. Whatever is not here came when the connection was there and
# the request may have been sent, in part or whole.
_BY_FAILURE: tuple[tuple[type[Exception], type[NodeError], str], ...] = (
    (httpx.ConnectError, NodeUnavailableError, "no connection"),
    (httpx.ConnectTimeout, NodeUnavailableError, "no connection in time"),
    (httpx.PoolTimeout, NodeUnavailableError, "all connections are in use"),
    (httpx.UnsupportedProtocol, NodeUnavailableError, "no connection"),
    (httpx.TimeoutException, NodeTimeoutError, "no reply in time"),
)


#: Characters that are shown of a value in a malformed reply.
_LONGEST_VALUE = 80
#: ... and kept of a status word: the daemon's longest has 42.
_LONGEST_WORD = 64


@attrs.frozen
class Reply:
    """A reply with its body read, and the call that it answers.

    Attributes:
        status: the HTTP status.
        media_type: the content type without parameters, in lower case; ``""`` where there is none.
    """

    method: str
    path: str
    status: int
    media_type: str
    body: bytes = attrs.field(repr=False)

    @property
    def is_json(self) -> bool:
        """Whether the body says to be JSON, which tells the daemon's errors from the framework's (contract §1.5)."""
        return self.media_type == "application/json"


def status_error(reply: Reply, clean: Clean) -> NodeError:
    """The error for a reply whose status is not the expected one."""
    status = reply.status
    said = None
    if reply.is_json:
        with contextlib.suppress(Misshapen):  # if it is no JSON after all, it is shown as it is
            said = daemon_error(decode_json(reply.body))
    if status == 200 and said is not None:
        return _build(_BY_WORD.get(said[0], RejectedError), reply, *said, clean)
    if not 400 <= status <= 599:
        kind = "a redirect" if 300 <= status <= 399 else "an unexpected status"
        return MalformedReplyError(reply.method, reply.path, f"{kind}, HTTP {status}", status=status)
    word, text = said or (None, reply.body.decode("utf-8", "replace"))
    cls = _BY_STATUS.get(status, ServerFailureError if status >= 500 else RejectedError)
    return _build(cls, reply, word, text, clean)


def malformed(reply: Reply, problem: Misshapen, clean: Clean) -> MalformedReplyError:
    """The error for a body that breaks the contract."""
    shown = _show(problem.value, clean)
    detail = f"{clean(problem.rule)}: {shown}" if shown else clean(problem.rule)
    return MalformedReplyError(reply.method, reply.path, detail, where="$" + clean(problem.where), status=reply.status)


def transport_error(method: str, path: str, error: Exception, clean: Clean) -> NodeError:
    """The error for what a transport raised instead of a reply.

    The transport's own time-outs end up here as well; the total time-out is the edge's matter.
    """
    said = clean(str(error)) or type(error).__name__
    for kind, cls, what in _BY_FAILURE:
        if isinstance(error, kind):
            return cls(method, path, f"{what}: {said}")
    return ConnectionLostError(method, path, f"connection lost: {said}")


def strip_secrets(error: BaseException, secrets: Collection[str]) -> bool:
    """Take from a transport's error, and from those it was made of, what leads to the token.

    httpx errors carry the request with its headers, and the frames below us hold the headers as text, which a report
    that prints local variables would show.

    Returns:
        Whether it can be shown now: ``False`` if one of ``secrets`` is in a text, as when a node sends it back.
    """
    clean = True
    chain: BaseException | None = error
    while chain is not None:
        text = str(chain)
        clean = clean and not any(secret in text for secret in secrets)
        chain.__traceback__ = None
        if isinstance(chain, httpx.RequestError):
            chain._request = None
        chain = chain.__cause__ or chain.__context__
    return clean


def _build(cls: type[StatusError], reply: Reply, word: str | None, text: str, clean: Clean) -> StatusError:
    return cls(
        reply.method,
        reply.path,
        status=reply.status,
        word=None if word is None else clean(word)[:_LONGEST_WORD],
        text=clean(text),
    )


def _show(value: object, clean: Clean) -> str:
    """A value of a reply, short; of lists and objects only the kind, as they may be huge."""
    if value is MISSING:
        return ""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    text = clean(value) if isinstance(value, str) else repr(value)
    return text if len(text) <= _LONGEST_VALUE else text[:_LONGEST_VALUE] + "…"
