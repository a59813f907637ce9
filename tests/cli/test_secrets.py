"""The token and other credentials are in nothing that any command prints, whatever the node answers."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import trio
from hypothesis import given, strategies as st

from tests.cli.support import Ended, ended, environment, get, simulator
from tests.client.support import Asked, error_json, http, http_json, raw_node
from trio_sessions.cli._logs import LogOptions
from trio_sessions.cli._main import _commands, run_program
from trio_sessions.cli._redaction import Redactor, clean, hide, redacting
from trio_sessions.cli._screen import open_screen
from trio_sessions.cli._streams import say, write_stdout

MARK = "MARKED-token-0123456789"
RELAYER = "0x" + "ab" * 20

#: How each command is made to talk to a node. A new one has to be named here.
ARGUMENTS: dict[str, list[list[str]]] = {
    "run": [["--duration", "1", "--no-journal"]],
    "list": [[], ["--json"]],
    "open": [["--detach", RELAYER]],
    "close": [["127.0.0.1:9000", "--yes"], ["--ours"]],
    "reap": [["--dry-run"]],
    "relay": [["--no-journal", RELAYER]],
    "doctor": [[], ["--json"]],
}
#: They talk to none, and must not show what the environment has either.
WITHOUT_NODE: dict[str, list[list[str]]] = {
    "simulate": [["--port", "-1"]],
    "config": [["show"], ["check"]],
}
#: With each of these, where a command has them; the last one says a part of what the first one says.
OUTPUTS = [["-vv"], ["--log-format", "json", "--log-level", "debug"], []]

#: What a node may say with the token in it, about anything.
REPLIES: dict[str, Callable[[], bytes]] = {
    "text": lambda: error_json(422, "UNKNOWN_FAILURE", f"Bearer {MARK} is bad, X-Auth-Token: {MARK}"),
    "wrong": lambda: error_json(401, f"UNAUTHORIZED {MARK}"),
    "garbage": lambda: b"HTTP/1.1 " + MARK.encode() + b"\r\n\r\n" + MARK.encode(),
    "page": lambda: http(502, f"<html>{MARK}</html>", "text/html", f"X-Auth-Token: {MARK}"),
    "echo": lambda: http_json([{"authorization": f"Bearer {MARK}", "address": MARK, "destination": MARK}]),
}


def commands() -> list[str]:
    return sorted(_commands.commands)


def outputs_of(name: str) -> list[list[str]]:
    known = {option for param in _commands.commands[name].params for option in param.opts}
    return [options for options in OUTPUTS if all(o in known or (o == "-vv" and "-v" in known) for o in options[::2])]


def assert_silent(it: Ended) -> None:
    assert "MARKED" not in it.out + it.err
    assert it.out + it.err, "it has said nothing at all"


async def all_of(node_url: str, name: str, outputs: list[list[str]]) -> list[Ended]:
    """The command in each of these ways, a few at a time: each takes its seconds."""
    found: list[Ended] = []
    limit = trio.CapacityLimiter(4)

    async def one(arguments: list[str]) -> None:
        async with limit:
            found.append(await ended(*arguments, env=environment(TRIO_SESSIONS_TOKEN=MARK)))

    async with trio.open_nursery() as nursery:
        for arguments in ARGUMENTS[name]:
            for options in outputs:
                nursery.start_soon(one, [name, "--url", node_url, *arguments, *options])
    return found


@pytest.mark.parametrize("name", commands())
def test_every_command_is_named_here(name: str) -> None:
    assert name in ARGUMENTS.keys() | WITHOUT_NODE.keys()


@pytest.mark.parametrize("name", [name for name in commands() if name in ARGUMENTS])
@pytest.mark.parametrize("reply", REPLIES)
async def test_a_node_that_sends_the_token_back(name: str, reply: str) -> None:
    async with raw_node(lambda _: REPLIES[reply]()) as node:
        for it in await all_of(node.url, name, outputs_of(name)[:2]):
            assert_silent(it)
        # The doctor looks first whether it is a hoprd: nobody else gets the token.
        is_told = name != "doctor" or reply == "wrong"
        assert any(MARK in asked.headers.get("authorization", "") for asked in node.asked) == is_told


@pytest.mark.parametrize("name", [name for name in commands() if name in ARGUMENTS])
async def test_a_node_that_works_but_for_what_it_says_of_opens(name: str) -> None:
    """So that a run gets as far as its sessions, and they fail with the token in every text."""
    async with simulator("--relayers", "2") as real:

        async def body(path: str) -> bytes:
            reply = await get(f"{real.url}{path}")
            return http(reply.status_code, reply.content, reply.headers.get("content-type", ""))

        paths = [
            "/healthyz",
            "/startedz",
            "/readyz",
            "/api-docs/openapi.json",
            "/api/v4/network/connected",
            "/api/v4/channels",
            "/api/v4/account/addresses",
            "/api/v4/node/version",
            "/api/v4/node/info",
            "/api/v4/node/status",
            "/api/v4/session/udp",
            "/api/v4/session/udp/explicit-path",
        ]
        canned = {path: await body(path) for path in paths}

    def answer(asked: Asked) -> bytes:
        return canned.get(asked.path, b"") if asked.method == "GET" else REPLIES["text"]()

    async with raw_node(answer) as node:
        for it in await all_of(node.url, name, outputs_of(name)):
            assert_silent(it)
        if name == "run":
            assert any(asked.method == "POST" for asked in node.asked)


@pytest.mark.parametrize("name", [name for name in commands() if name in WITHOUT_NODE])
async def test_a_command_that_talks_to_no_node(name: str) -> None:
    for arguments in WITHOUT_NODE[name]:
        assert_silent(await ended(name, *arguments, env=environment(TRIO_SESSIONS_TOKEN=MARK)))


# -- the wall itself: what a bug would let out


def leak() -> None:
    raise ValueError(f"cannot send Authorization: Bearer {MARK}")


@pytest.mark.parametrize("form", ["text", "json"])
def test_log_and_notes(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("trio_sessions.test")
    with redacting():
        hide(MARK)
        with open_screen(LogOptions("debug", form)) as screen:
            screen.note(f"note {MARK}")
            screen.progress(f"progress {MARK}")
            logger.warning("%s", MARK, extra={"trio_sessions": {"token": MARK, "error": "X", "error_text": MARK}})
            try:
                leak()
            except ValueError:
                logger.exception("crashed")
        say(f"said {MARK}")
        write_stdout(f"written {MARK}")
    shown = "".join(capsys.readouterr())
    assert shown.count("<token>") >= 7
    assert "MARKED" not in shown
    assert "Traceback" in shown


def test_the_traceback_of_a_bug(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def crash(*_: object, **__: object) -> None:
        hide(MARK)
        leak()

    monkeypatch.setattr(_commands, "main", crash)
    assert run_program(["run"]) == 1
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert "ValueError: cannot send Authorization: <token>" in err
    assert "MARKED" not in err


def test_the_token_file_is_hidden_from_the_moment_when_it_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from trio_sessions.cli._token import find_token

    file = tmp_path / "token"
    file.write_text(MARK)
    with redacting():
        found = find_token(str(file))
        assert found is not None
        assert found.value == MARK
        say(MARK)
    assert capsys.readouterr().err == "<token>\n"
    # ... and no longer than the command runs.
    assert clean(MARK) == MARK


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://user:pass@host/x", "http://<credentials>@host/x"),
        ("(https://user@host:1/)", "(https://<credentials>@host:1/)"),
        ("http://host/a@b", "http://host/a@b"),
        ("Authorization: Bearer abc.def-ghi", "Authorization: <token>"),
        ("'X-Auth-Token': 'abc'", "'X-Auth-Token': '<token>'"),
        ('{"authorization": "Basic YTpi"}', '{"authorization": "<token>"}'),
        (r'"{\"authorization\": \"Bearer x\"}"', r'"{\"authorization\": \"<token>\"}"'),
        ("(b'Authorization', b'Bearer abcdefgh')", "(b'Authorization', b'<token>')"),
        ("Bearer abcdefghij, please", "Bearer <token>, please"),
        ("the bearer of a message", "the bearer of a message"),
        ("401 UNAUTHORIZED: check the API token", "401 UNAUTHORIZED: check the API token"),
    ],
)
def test_what_by_its_place_can_only_be_a_secret(text: str, shown: str) -> None:
    assert Redactor().clean(text) == shown


@given(token=st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=8), around=st.text())
def test_in_whatever_form(token: str, around: str) -> None:
    it = Redactor()
    it.hide(token)
    for text in (token, json.dumps(around + token)[1:-1], repr(around + token), f"?t={token}"):
        shown = it.clean(text)
        assert token not in shown or token in "<token><credentials>"


def test_what_is_too_short_to_be_a_token_is_left() -> None:
    it = Redactor()
    it.hide("a")
    assert it.clean("a cat") == "a cat"
