"""What list, open, close, reap and relay say: usage, tables, summaries; and nothing ends in a traceback."""

from __future__ import annotations

import contextlib
import io
import json
import os
from pathlib import Path
from unittest.mock import patch

import attrs
import pytest
from hypothesis import given, settings, strategies as st

from trio_sessions import Listener, ListenerKey, Messages, Path as Path_, SessionRequest
from trio_sessions._journal_look import JournalLook
from trio_sessions._journal_row import JournalRow
from trio_sessions._ownership import KnownJournal, Owner, Proof, Sighting
from trio_sessions.cli._closing import is_temporary
from trio_sessions.cli._main import run_command
from trio_sessions.cli._relaying import Summary
from trio_sessions.cli._state import default_journal, instance_of
from trio_sessions.cli._table import _cells, _fitting, age_text, as_data, shorten

COMMANDS = ("list", "open", "close", "reap", "relay")
ADDRESS = "0x" + "ab" * 20


def said(*arguments: str) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = run_command(arguments)
    return status, out.getvalue(), err.getvalue()


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example_the_json_and_the_statuses(command: str) -> None:
    status, out, _ = said(command, "--help")
    assert status == 0
    for part in (f"Examples:\n    trio-sessions {command} ", 'JSON: {"schema": 1', "77  the node refuses the token"):
        assert part in out
    assert max(map(len, out.splitlines())) <= 100


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("open",), "RELAYER and --hops: give exactly one of them"),
        (("open", ADDRESS, "--hops", "1"), "give exactly one of them"),
        (("open", "peer"), "write 0x followed by 40 hex digits"),
        (("open", ADDRESS, "--detach", "--no-journal"), "nobody would know of the listener"),
        (("open", ADDRESS, "--detach", "--namespace", "127.5.5.5"), "write dedicated: it gets one of its own"),
        (("relay",), "give exactly one of them"),
        (("relay", ADDRESS, "--count", "0"), "must be a whole number from 1 to 1000"),
        (("close",), "listeners by IP:PORT, or --relayer, or --ours"),
        (("close", "127.0.0.1:1", "--ours"), "give one of them"),
        (("close", "127.0.0.1:0"), "port 0 is no listener"),
        (("close", "127.0.0.1"), "is not ip:port"),
        (("close", "localhost:5000"), "is not ip:port"),
        (("close", "127.0.0.1:1", "--yes"), "is for --force alone"),
        (("reap", "--timeout", "0"), "must be a finite number above 0"),
        (("list", "--protocol", "sctp"), "'sctp' is not one of 'udp', 'tcp'"),
    ],
)
def test_usage(arguments: tuple[str, ...], text: str) -> None:
    status, out, err = said(*arguments)
    assert (status, out) == (2, "")
    (line,) = err.splitlines()
    assert line.startswith("trio-sessions: error: ")
    assert text in line


numbers = st.one_of(st.integers(-5, 70000).map(str), st.floats().map(str), st.sampled_from(["", "0", "1e999", "٣"]))
addresses = st.sampled_from([ADDRESS, "0x12", "peer", "", "0X" + "ab" * 20])
ips = st.sampled_from(["127.0.0.1", "::1", "[::1]", "", "0.0.0.0"])
places = st.one_of(st.builds("{}:{}".format, ips, numbers), st.text(max_size=9))
values = {
    "--destination": addresses,
    "--relayer": addresses,
    "--hops": numbers,
    "--count": numbers,
    "--batches": numbers,
    "--timeout": numbers,
    "--protocol": st.sampled_from(["udp", "tcp", "x"]),
    "--namespace": st.sampled_from(["shared", "dedicated", "127.4.4.4", "5-3", "40000-40001", "0.0.0.0"]),
    "--instance": st.one_of(st.text(max_size=5), st.just("a")),
    "--journal": st.sampled_from(["/", "/no/file", "/dev/null", ""]),
}
words = st.one_of(
    st.sampled_from(sorted(values)).flatmap(lambda name: values[name].map(lambda value: [name, value])),
    st.sampled_from([["--json"], ["--ours"], ["--detach"], ["--dry-run"], ["--force"], ["--yes"], ["--no-journal"]]),
    st.one_of(addresses, places).map(lambda word: [word]),
)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(COMMANDS), st.lists(words, max_size=4))
def test_any_arguments(command: str, given_words: list[list[str]]) -> None:
    arguments = [word for each in given_words for word in each]
    with patch.dict(os.environ, XDG_STATE_HOME="/nowhere/at/all"):
        # Nobody is there.
        status, out, err = said(command, "--url", "http://127.0.0.1:1", *arguments)
    assert status in {2, 69} or (status == 0 and "--help" in arguments)
    assert (out, "Traceback" in err) == ("", False)
    assert err.startswith("trio-sessions: error: ")


def listener(port: int = 5000, forward: Path_ | None = None) -> Listener:
    return Listener(ListenerKey("udp", "127.0.0.1", port), ADDRESS, "#0", forward, None, 1020, 395, clients=("x",))


def test_a_sighting_as_data_and_as_a_line() -> None:
    request = SessionRequest("0x" + "cd" * 20, Path_(via=(ADDRESS,)), Path_(via=(ADDRESS,)))
    row = JournalRow(1, "registered", ADDRESS, request, None, listener(), 300.0)
    journal = KnownJournal("default", JournalLook("/j", "node", (row,), is_held=False))
    orphan = Sighting(Owner.ORPHAN, listener(), Proof.JOURNAL, "default", journal, row)
    # The node hides the relayer, and the journal knows it.
    assert _cells(orphan, whole=True) == ("127.0.0.1:5000", ADDRESS, ADDRESS, "orphan default", "5m", "registered")
    assert _cells(orphan, whole=False)[1] == "0xabab…bab"
    assert json.loads(json.dumps(as_data(orphan))) == {
        "listener": "127.0.0.1:5000",
        "protocol": "udp",
        "relayers": [ADDRESS],
        "hops": None,
        "destination": ADDRESS,
        "owner": "orphan",
        "instance": "default",
        "proof": "journal",
        "journal": "/j",
        "state": "registered",
        "age": 300.0,
        "listed": True,
        "rests": None,
    }
    stranger = Sighting(Owner.STRANGER, listener(forward=Path_(hops=1)))
    assert _cells(stranger, whole=True) == ("127.0.0.1:5000", "1 hop", ADDRESS, "stranger", "-", "-")
    unknown = Sighting(Owner.UNKNOWN, listener(forward=Path_(hops=1)), Proof.PORT)
    assert _cells(unknown, whole=True)[3:] == ("unknown", "-", "no journal")
    rest = JournalRow(2, "resting", ADDRESS, attrs.evolve(request, listen_host=":42500"), None, None, 30.0)
    resting = Sighting(Owner.RESTING, None, Proof.JOURNAL, "default", journal, rest)
    assert _cells(resting, whole=False)[0] == ":42500"
    assert _cells(resting, whole=False)[3:] == ("default", "30s", "resting, free in 3m")
    assert as_data(resting)["listener"] is None
    assert as_data(resting)["rests"] == {"listen_host": ":42500", "free_in": 180.0}


@given(st.lists(st.tuples(*[st.text("x", max_size=25)] * 6), max_size=4), st.integers(1, 200))
def test_the_place_owner_and_state_are_shown_however_narrow(lines: list[tuple[str, ...]], width: int) -> None:
    assert {0, 3, 5} <= set(_fitting(lines, width))


def test_small_texts() -> None:
    ages = {None: "-", 0.4: "0s", 119: "119s", 120: "2m", 7199: "120m", 7200: "2h", 86400: "24h", 180000: "2d"}
    assert {age: age_text(age) for age in ages} == ages
    assert shorten("short") == "short"
    assert len(shorten(ADDRESS)) == 10
    temporary = {"open": True, "open-2": True, "open-x": False, "detached-ab12cd": True, "relay": True, "mine": False}
    assert {name: is_temporary(name) for name in temporary} == temporary


@given(st.from_regex(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,20}", fullmatch=True))
def test_an_instance_is_read_from_its_journals_name(instance: str) -> None:
    with patch("pathlib.Path.mkdir"):
        for url in ("http://127.0.0.1:3001", "https://node-1.example/base"):
            assert instance_of(default_journal(url, instance), url) == instance
    assert instance_of("/some/where/mine", "http://127.0.0.1:3001") == "mine"


def test_the_summary_of_a_relay() -> None:
    messages = Messages(accepted=12, answered=9, unanswered=1, undelivered={"stopped": 2})
    summary = Summary("0x…", None, messages, 1, tuple(each / 1000 for each in range(1, 10)))
    assert summary.as_text() == (
        "10 sent, 9 answered, 10 % loss, 2 not sent, 1 answered twice, rtt min/p50/p90/p99/max 1.0/5.0/9.0/9.0/9.0 ms"
    )
    assert Summary("0x…", None, Messages(), 0, ()).as_text() == "0 sent, 0 answered"


@pytest.mark.parametrize("words", [("list",), ("reap",), ("close", "--ours"), ("open", ADDRESS), ("relay", ADDRESS)])
def test_a_node_that_is_not_there_is_told_at_once(words: tuple[str, ...], tmp_path: Path) -> None:
    with patch.dict(os.environ, XDG_STATE_HOME=str(tmp_path)):
        status, out, err = said(*words, "--url", "http://127.0.0.1:1")
    assert (status, out) == (69, "")
    (line,) = err.splitlines()
    assert line.startswith("trio-sessions: error: GET /api/v4/account/addresses: ")
    # And no folder was made for that.
    assert list(tmp_path.iterdir()) == []
