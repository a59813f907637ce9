"""Every exception that this library raises on purpose.

::

    SessionsError
    ├── InvalidInputError (also ValueError)     a caller's mistake: nothing was sent, nothing changed
    ├── NodeError                               a call to the node's REST API failed
    │   ├── NodeUnavailableError                no connection: the call cannot have had an effect
    │   ├── OutcomeUnknownError                 the request was sent, the reply never came: it may have had its effect
    │   │   ├── NodeTimeoutError                ... within the time-out
    │   │   └── ConnectionLostError             ... since the connection died
    │   ├── MalformedReplyError                 the reply breaks the contract
    │   └── StatusError                         the node answered with an error
    │       ├── UnauthorizedError               401
    │       ├── NotFoundError                   404
    │       ├── NotAcceptableError              406
    │       ├── ListenHostInUseError            409
    │       ├── NotReadyError                   412
    │       ├── RejectedError                   422, and other 4xx
    │       └── ServerFailureError              5xx
    ├── CannotPinRelayerError                   this node opens no session through a chosen relayer
    ├── NoDestinationError                      no destination to choose for a session
    ├── InstanceInUseError                      another process has this instance's address or journal
    ├── JournalError                            the journal cannot be used
    ├── PortsUsedUpError                        no port of our range is free
    └── SessionError                            about one session
        ├── SessionOpenError                    it could not be opened
        └── SessionEndedError                   it was used after its end
            └── PoolStoppedError                ... or asked of a pool that has stopped

Errors are leaves: none of them is, or travels in, an exception group of ours. Each carries its facts as attributes,
and none ever holds the API token.
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "CannotPinRelayerError",
    "ConnectionLostError",
    "InstanceInUseError",
    "InvalidInputError",
    "JournalError",
    "ListenHostInUseError",
    "MalformedReplyError",
    "NoDestinationError",
    "NodeError",
    "NodeTimeoutError",
    "NodeUnavailableError",
    "NotAcceptableError",
    "NotFoundError",
    "NotReadyError",
    "OutcomeUnknownError",
    "PoolStoppedError",
    "PortsUsedUpError",
    "RejectedError",
    "ServerFailureError",
    "SessionEndedError",
    "SessionError",
    "SessionOpenError",
    "SessionsError",
    "StatusError",
    "UnauthorizedError",
]


class SessionsError(Exception):
    """Base class of every exception of this library.

    Attributes:
        advice: what to check, likeliest first, one line each; empty unless a session could not be opened for it.
    """

    advice: tuple[str, ...] = ()


class InvalidInputError(SessionsError, ValueError):
    """A value that a caller, an option or a file gave breaks a rule; nothing was done.

    Attributes:
        what: the name of the value, e.g. ``"relayer"``.
        value: the value as given, shortened; ``None`` where showing it would show a secret.
        rule: what was expected.
        remedy: what to do, or ``""`` where the rule says it all.
    """

    def __init__(self, what: str, value: object, rule: str, remedy: str = "") -> None:
        self.what = what
        self.value = value
        self.rule = rule
        self.remedy = remedy
        super().__init__(what, value, rule, remedy)

    def __str__(self) -> str:
        shown = "" if self.value is None else f" {_shorten(repr(self.value))}"
        return f"{self.what}{shown}: {self.rule}" + (f"; {self.remedy}" if self.remedy else "")


class NodeError(SessionsError):
    """A call to the node failed.

    Attributes:
        method: the HTTP method, e.g. ``"POST"``.
        path: the path of the URL, without host and query.
        detail: what went wrong, in one line.
    """

    def __init__(self, method: str, path: str, detail: str) -> None:
        self.method = method
        self.path = path
        self.detail = detail
        super().__init__(method, path, detail)

    def __str__(self) -> str:
        return f"{self.method} {self.path}: {self.detail}"


class NodeUnavailableError(NodeError):
    """No connection to the node could be made (refused, no route, no such host, connect time-out).

    Also when a POST was not sent because the probe before it failed. The call had no effect and may be repeated.
    """


class OutcomeUnknownError(NodeError):
    """The request was sent, or may have been, and no reply came: its effect is unknown."""


class NodeTimeoutError(OutcomeUnknownError):
    """No reply within the time-out. A POST of a session may still complete at the node (contract §3.3)."""


class ConnectionLostError(OutcomeUnknownError):
    """The connection died while the request was sent or its reply awaited."""


class MalformedReplyError(NodeError):
    """The reply is not what the contract promises: no JSON, another shape, an impossible port or address.

    Attributes:
        where: the place in the body, e.g. ``"$[3].port"``.
        status: the HTTP status of the reply.
    """

    def __init__(self, method: str, path: str, detail: str, *, where: str = "$", status: int = 200) -> None:
        super().__init__(method, path, detail)
        self.where = where
        self.status = status

    def __str__(self) -> str:
        return f"{self.method} {self.path}: malformed reply at {self.where}: {self.detail}"


class StatusError(NodeError):
    """The node answered with an error.

    Attributes:
        status: the HTTP status. 3.x and early 4.0 answer some errors with 200 (contract §1.4).
        word: the daemon's status word, e.g. ``"UNKNOWN_FAILURE"``; ``None`` where the web framework answered.
        text: the error text of the daemon or of the framework; may be empty.
    """

    remedy: ClassVar[str] = ""

    def __init__(self, method: str, path: str, *, status: int, word: str | None = None, text: str = "") -> None:
        self.status = status
        self.word = word
        self.text = text
        said = " ".join(part for part in (word, _shorten(_cause(text), 300)) if part)
        super().__init__(method, path, f"HTTP {status}" + (f" {said}" if said else ""))

    def __str__(self) -> str:
        return super().__str__() + (f"; {self.remedy}" if self.remedy else "")


class UnauthorizedError(StatusError):
    """401: the token is missing or wrong. Repeating the call is useless until the token is changed."""

    remedy = "check the API token"


class NotFoundError(StatusError):
    """404: no such listener, session, peer, channel or route."""


class NotAcceptableError(StatusError):
    """406: no route of this dialect, or a call that the session's settings do not allow (contract §1.5, §2.5)."""


class ListenHostInUseError(StatusError):
    """409: the asked address is in the node's own table of listeners (contract §2.1)."""


class NotReadyError(StatusError):
    """412: the node, or a health check of it, is not ready (contract §2.7)."""


class RejectedError(StatusError):
    """422 and every other 4xx: the node understood the call and refuses it, or the call took too long inside it."""


class ServerFailureError(StatusError):
    """5xx: the node, or something in front of it, failed."""


class CannotPinRelayerError(SessionsError):
    """This node can open sessions by a number of hops only, not through a chosen relayer.

    Attributes:
        dialect: the dialect as probed.
        remedy: what to switch on at the node, or what to ask for instead.
    """

    def __init__(self, dialect: str, remedy: str) -> None:
        self.dialect = dialect
        self.remedy = remedy
        super().__init__(dialect, remedy)

    def __str__(self) -> str:
        return f"a hoprd node of dialect {self.dialect} cannot pin a relayer: {self.remedy}"


class NoDestinationError(SessionsError):
    """No destination can be chosen: the relayer and the node itself never count.

    Attributes:
        route: the session's relayer.
        configured: how many configured destinations there are, all of them out of reach; ``None``: none configured,
            and the node has no other peer.
    """

    def __init__(self, route: str, configured: int | None) -> None:
        self.route = route
        self.configured = configured
        super().__init__(route, configured)

    def __str__(self) -> str:
        if self.configured is None:
            return f"no destination for a session via {self.route}: the node is connected to no other peer"
        return (
            f"no destination for a session via {self.route}: the node is connected to none of the"
            f" {self.configured} configured ones"
        )


class InstanceInUseError(SessionsError):
    """Another process has what only one instance of a name may have; nothing was opened.

    Attributes:
        what: the address or the file.
        remedy: what to do.
    """

    def __init__(self, what: str, remedy: str) -> None:
        self.what = what
        self.remedy = remedy
        super().__init__(what, remedy)

    def __str__(self) -> str:
        return f"{self.what} is in use by another instance: {self.remedy}"


class JournalError(SessionsError):
    """The journal cannot be read or written: no session is opened without it.

    Attributes:
        path: of the file.
        problem: what is wrong with it, in one line.
        remedy: what to do.
    """

    def __init__(self, path: str, problem: str, remedy: str) -> None:
        self.path = path
        self.problem = problem
        self.remedy = remedy
        super().__init__(path, problem, remedy)

    def __str__(self) -> str:
        return f"journal {self.path}: {self.problem}; {self.remedy}"


class PortsUsedUpError(SessionsError):
    """No port of the namespace is free for another session; some will be when sessions end.

    Attributes:
        ports: the namespace's ports, as text.
        in_use: how many of them belong to sessions.
        resting: how many are in quarantine.
        free_in: seconds until the first of those may be used again; ``None``: none of them rests.
    """

    def __init__(self, ports: str, *, in_use: int, resting: int, free_in: float | None) -> None:
        self.ports = ports
        self.in_use = in_use
        self.resting = resting
        self.free_in = free_in
        super().__init__(ports, in_use, resting, free_in)

    def __str__(self) -> str:
        when = "" if self.free_in is None else f", the next of them is free in {self.free_in:.0f} s"
        return f"no port of {self.ports} is free: {self.in_use} in use, {self.resting} in quarantine{when}"


class SessionError(SessionsError):
    """Something about one session failed.

    Attributes:
        route: the relayer of the session, or its destination and hops, as text.
    """

    def __init__(self, route: str, detail: str) -> None:
        self.route = route
        self.detail = detail
        super().__init__(route, detail)

    def __str__(self) -> str:
        return f"session via {self.route}: {self.detail}"


class SessionOpenError(SessionError):
    """The session could not be opened; ``__cause__`` is the last attempt's error.

    Attributes:
        attempts: how many POSTs were tried.
        retry_in: seconds until the pool tries this route again; a demand before then waits for it.
        advice: what to check, likeliest first; the text ends with the first of it, unless it says that already.
    """

    def __init__(
        self, route: str, detail: str, *, attempts: int, retry_in: float, advice: tuple[str, ...] = ()
    ) -> None:
        super().__init__(route, detail)
        self.attempts = attempts
        self.retry_in = retry_in
        self.advice = advice

    def __str__(self) -> str:
        said = super().__str__()
        return f"{said}; {self.advice[0]}" if self.advice and self.advice[0] not in said else said


class SessionEndedError(SessionError):
    """The session has ended and cannot be used any more; ask the pool for a new one.

    Attributes:
        reason: why it ended, e.g. ``"grace expired"``: the value of an ``EndReason``.
    """

    def __init__(self, route: str, reason: str) -> None:
        super().__init__(route, f"ended: {reason}")
        self.reason = reason


class PoolStoppedError(SessionEndedError):
    """The pool has been stopped, or was never started, and opens no session."""


def _cause(text: str) -> str:
    """``text`` without the words in which 4.x blames its listener, whatever went wrong (contract §2.1)."""
    if not text.startswith("failed to start "):
        return text
    return text.partition(": unknown failure: ")[2] or text


def _shorten(text: str, limit: int = 120) -> str:
    """One line of at most ``limit`` characters."""
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"
