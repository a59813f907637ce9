"""HTTP as the daemon's framework speaks it: records, errors, Accept and the token (contract §1.2 to §1.5)."""

from __future__ import annotations

import json
from collections.abc import Generator
from typing import Any
from urllib.parse import parse_qsl

import attrs

from trio_sessions.simulator._dialects import Rules

__all__ = [
    "BODY_LIMIT",
    "JSON_TYPES",
    "TEXT_TYPES",
    "ConnectionDies",
    "Refusal",
    "Reply",
    "Request",
    "Response",
    "Steps",
    "Work",
    "accepts",
    "authorized",
    "empty_reply",
    "error_reply",
    "json_reply",
    "read_flag",
    "read_json",
    "shape_error",
    "text_reply",
]

#: Contract §1.3: a larger body is answered with 413.
BODY_LIMIT = 2 * 1024 * 1024

#: Media ranges that satisfy the API (contract §1.3).
JSON_TYPES = frozenset({"application/json", "application/*", "*/*"})

#: Media ranges that satisfy the metrics, and so the fallback of every unknown route (contract §1.5).
TEXT_TYPES = frozenset({"text/plain", "text/*", "*/*"})

_TEXT = "text/plain; charset=utf-8"


@attrs.frozen
class Request:
    """One request as it came in; header names are lower case, the path is still encoded."""

    method: str
    path: str
    query: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""

    def values(self, name: str) -> list[str]:
        """The values of every header of this (lower-case) ``name``."""
        return [value for key, value in self.headers if key == name]

    @property
    def parameters(self) -> dict[str, str]:
        """The query by name; the last value of a name wins."""
        return dict(parse_qsl(self.query, keep_blank_values=True))


@attrs.frozen
class Response:
    """One reply, without the headers that follow from its body."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""

    @property
    def wire_headers(self) -> tuple[tuple[str, str], ...]:
        """All headers; a 204 has no length."""
        if self.status == 204:
            return self.headers
        return (*self.headers, ("content-length", str(len(self.body))))


@attrs.frozen
class ConnectionDies:
    """No reply: the client sees its connection end."""


Reply = Response | ConnectionDies

#: A call that takes time: yields the times until which to wait, is sent the time it then is, returns the reply.
#: Closed before its end when the client has gone: that is the place of the roll-back.
Steps = Generator[float, float, Reply]

#: The same for the part of it that a route's handler does.
Work = Generator[float, float, Response]


class Refusal(Exception):  # noqa: N818 - it carries a reply, it reports no error of ours
    """A handler's early end with ``response``."""

    def __init__(self, response: Response) -> None:
        super().__init__(response)
        self.response = response


def json_reply(data: Any, status: int = 200) -> Response:
    """A reply in JSON."""
    body = json.dumps(data, separators=(",", ":")).encode()
    return Response(status, (("content-type", "application/json"),), body)


def text_reply(status: int, text: str) -> Response:
    """An error of the web framework, or another plain text."""
    return Response(status, (("content-type", _TEXT),), text.encode())


def empty_reply(status: int, *headers: tuple[str, str]) -> Response:
    """A reply without a body."""
    return Response(status, headers)


def error_reply(status: int, word: str, error: str | None = None) -> Response:
    """The daemon's error object; only some words come with a text (contract §1.4)."""
    return json_reply({"status": word} if error is None else {"status": word, "error": error}, status)


def accepts(request: Request, types: frozenset[str]) -> bool:
    """Whether the Accept headers, if there are any, name one of ``types``."""
    values = request.values("accept")
    if not values:
        return True
    ranges = (part.partition(";")[0].strip().lower() for value in values for part in value.split(","))
    return any(media_range in types for media_range in ranges)


def authorized(request: Request, token: str | None, rules: Rules) -> bool:
    """Whether one of the token headers is right (contract §1.2)."""
    if token is None or token in request.values("x-auth-token"):
        return True
    for value in request.values("authorization"):
        if rules.exact_bearer:
            if value == f"Bearer {token}":
                return True
        else:
            scheme, _, given = value.partition(" ")
            if scheme.lower() == "bearer" and given == token:
                return True
    return False


def read_json(request: Request) -> Any:
    """The body as JSON.

    Raises:
        Refusal: with 415, 413 or 400, in the framework's order (contract §1.5).
    """
    kind = (request.values("content-type") or [""])[0].partition(";")[0].strip().lower()
    is_json = kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json"))
    if not is_json:
        raise Refusal(text_reply(415, "Expected request with `Content-Type: application/json`"))
    if len(request.body) > BODY_LIMIT:
        raise Refusal(text_reply(413, "Failed to buffer the request body: length limit exceeded"))
    try:
        return json.loads(request.body)
    except (ValueError, RecursionError) as error:
        raise Refusal(text_reply(400, f"Failed to parse the request body as JSON: {error}")) from None


def shape_error(problem: str) -> Refusal:
    """The framework's 422, in text: JSON of another shape than the target type (contract §1.5)."""
    return Refusal(text_reply(422, f"Failed to deserialize the JSON body into the target type: {problem}"))


def read_flag(request: Request, name: str) -> bool:
    """A flag of the query, ``False`` when absent.

    Raises:
        Refusal: with 400, unless it is exactly ``true`` or ``false`` (contract §1.5).
    """
    value = request.parameters.get(name, "false")
    if value not in ("true", "false"):
        raise Refusal(
            text_reply(400, f"Failed to deserialize query string: {name}: provided string was not `true` or `false`")
        )
    return value == "true"
