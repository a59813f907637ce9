"""The token appears in nothing that we make: no repr, no exception of any depth, no log."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from trio_sessions._errors import NodeUnavailableError, SessionsError
from trio_sessions._hoprd import Hoprd

from .support import Canned, error_json, http, http_json, raw_node

#: The last one is written otherwise in JSON and in a repr.
TOKENS = ["MARKED-token-0123456789", "MARKED\"\\'token"]


def chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def everything(error: BaseException) -> str:
    """The texts and attributes of ``error`` and of all that led to it."""
    parts = []
    for each in chain(error):
        parts += [str(each), repr(each), str(vars(each)), str(getattr(each, "__notes__", ""))]
    return "\n".join(parts)


def local_variables(error: BaseException) -> str:
    """What a report that prints local variables shows of the frames below the test's own."""
    return "\n".join(
        str(frame.locals)
        for each in chain(error)
        for frame in traceback.TracebackException.from_exception(each, capture_locals=True).stack
        if Path(frame.filename).parent != Path(__file__).parent
    )


@pytest.mark.parametrize("token", TOKENS, ids=["plain", "quoted"])
@pytest.mark.parametrize(
    "reply",
    [  # a node that sends the token back
        lambda token: error_json(422, "UNKNOWN_FAILURE", f"Bearer {token} is bad"),
        lambda token: error_json(401, token),
        lambda token: http(500, "x" * 4090 + token, "text/plain"),
        lambda token: http_json({"authorization": f"Bearer {token}"}, 502),
        lambda token: http_json({"version": [token]}),
        lambda token: http_json([token]),
        http_json,
        lambda token: http(200, token, token),
        lambda token: http(200, token, "application/json"),
        lambda token: http(302, "", "", f"Location: http://evil/?{token}"),
        lambda token: b"HTTP/1.1 " + token.encode() + b"\r\n\r\n",
        lambda token: b"",
    ],
    ids=["text", "word", "cut", "echo", "field", "list", "string", "type", "no json", "redirect", "garbage", "lost"],
)
async def test_what_the_node_answers(
    token: str, reply: Callable[[str], bytes], caplog: pytest.LogCaptureFixture
) -> None:
    # httpcore logs what it receives, but that is the node's doing.
    caplog.set_level(logging.DEBUG, "trio_sessions")
    async with raw_node(lambda _: reply(token)) as node, Hoprd(node.url, token=token) as hoprd:
        with pytest.raises(SessionsError) as caught:
            await hoprd.version()
        assert token in node.asked[0].headers["authorization"]
        assert token not in f"{hoprd!r} {hoprd}"
    shown = everything(caught.value)
    assert "MARKED" not in shown
    assert "MARKED" not in caplog.text


@pytest.mark.parametrize("reply", [error_json(401, "UNAUTHORIZED"), http_json({}), b"", b"?", None], ids=repr)
async def test_what_local_variables_show(reply: bytes | None) -> None:
    async with raw_node(lambda _: reply) as node, Hoprd(node.url, token=TOKENS[0], timeout=0.1) as hoprd:
        with pytest.raises(SessionsError) as caught:
            await hoprd.version()
    shown = local_variables(caught.value)
    assert "/node/version" in shown
    assert "MARKED" not in shown


async def test_no_log_of_any_library_shows_what_we_send(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with raw_node(lambda _: http_json({"version": "1"})) as node:
        for transport in (None, httpx.AsyncHTTPTransport(trust_env=False)):
            async with Hoprd(node.url, token=TOKENS[0], transport=transport) as hoprd:
                await hoprd.version()
    assert {record.name.partition(".")[0] for record in caplog.records} >= {"trio_sessions", "httpcore"}
    assert "MARKED" not in caplog.text


async def test_a_cause_that_shows_the_token_is_dropped() -> None:
    async def answer(request: httpx.Request) -> httpx.Response:
        header = request.headers["authorization"]
        try:
            raise OSError(f"cannot send {header}")
        except OSError as error:
            raise httpx.ConnectError("no", request=request) from error

    async with Hoprd("http://node", token=TOKENS[0], transport=Canned(answer)) as hoprd:
        with pytest.raises(NodeUnavailableError) as caught:
            await hoprd.version()
    assert caught.value.__cause__ is None  # its text shows the token
    assert caught.value.__context__ is None


async def test_a_cause_is_kept_without_the_request() -> None:
    async def answer(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    async with Hoprd("http://node", token=TOKENS[0], transport=Canned(answer)) as hoprd:
        with pytest.raises(NodeUnavailableError) as caught:
            await hoprd.version()
    cause = caught.value.__cause__
    assert isinstance(cause, httpx.ConnectError)
    with pytest.raises(RuntimeError, match="has not been set"):
        _ = cause.request
    assert cause.__traceback__ is None
