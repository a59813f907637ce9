"""The texts: report and progress, and the plan behind them."""

from __future__ import annotations

import sys

import pytest

from trio_sessions import LeftListener, Messages, NodeUnavailableError, PoolReport, SessionCounts
from trio_sessions.cli._dashboard_model import Heading, History
from trio_sessions.cli._plan import Plan
from trio_sessions.cli._progress_line import progress_line
from trio_sessions.cli._report_text import as_json, as_text
from trio_sessions.cli._running import Outcome
from trio_sessions.cli._screen import open_screen
from trio_sessions.cli._status import one_line, status_of
from trio_sessions.cli._streams import say, write_stdout


def report(left: int = 0, pending: int = 0) -> PoolReport:
    return PoolReport(
        sessions=SessionCounts(opened=21, closed=20, lost=1, failed=2),
        left=tuple(LeftListener(f"udp://127.0.0.1:{9000 + n}", "0xaa", "0xdd", "HTTP 500") for n in range(left)),
        messages=Messages(100 + pending, 90, 4, {"stopped": 5, "open failed": 1}, pending=pending),
        by_relayer={},
        rtt={"p50": 0.0204, "p90": 0.03, "p99": 0.1, "p999": 1.25},
        duration=10.0,
        stop_duration=None,
        open_sessions=0,
    )


def test_report_for_people() -> None:
    assert as_text(Outcome(report(left=1), at_node=1)).splitlines() == [
        "sessions    21 opened, 20 closed, 1 lost, 2 failed",
        "messages    100 accepted, 90 answered, 4 unanswered, 6 undelivered; loss 4.26 %",
        "            1 undelivered: open failed",
        "            5 undelivered: stopped",
        "round trip  p50 20.4 ms, p90 30.0 ms, p99 100.0 ms, p99.9 1250.0 ms",
        "duration    10.00 s, of which the stop took 0.00 s",
        "listeners   1 left; 1 at the simulated node",
        "            udp://127.0.0.1:9000 via 0xaa to 0xdd: HTTP 500",
        "verdict     NOT CLEAN",
    ]


def test_report_for_people_names_twenty_listeners_and_json_all() -> None:
    outcome = Outcome(report(left=25))
    assert "and 5 more: --json names them all" in as_text(outcome)
    assert as_text(outcome).count("udp://") == 20
    assert len(as_json(outcome)["listeners"]["left"]) == 25


def test_a_listener_at_the_node_that_the_pool_knows_nothing_of_is_not_clean() -> None:
    assert report().clean
    assert as_json(Outcome(report()))["clean"] is True
    assert as_json(Outcome(report(), at_node=0))["clean"] is True
    data = as_json(Outcome(report(), at_node=2))
    assert data["clean"] is False
    assert data["listeners"] == {"left": [], "at_node": 2}


def test_progress_does_not_count_what_is_pending() -> None:
    history = History(Heading("http://node", "default", "shared"), None, began=0.0)
    made = history.view(3.4, sessions=(), report=report(pending=50), healthy=True, dialect="4.1")
    assert progress_line(made) == "3 s: 0 sessions open, 26.5 msg/s, loss 4.26 %, rtt p50 20.4 p99 100.0 ms"


def test_plan_does_not_show_the_token() -> None:
    assert "secret" not in repr(Plan(url="http://node", token="secret-token"))


def test_node_that_is_not_there() -> None:
    error = NodeUnavailableError("GET", "/healthyz", "no\nconnection")
    assert (one_line(error), status_of(error)) == ("GET /healthyz: no connection", 69)


class Terminal:
    """A terminal that is closed after so many writes."""

    encoding = "utf-8"

    def __init__(self, writes: int) -> None:
        self.writes = writes
        self.shown = ""

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self.writes -= 1
        if self.writes < 0:
            raise OSError(5, "Input/output error")
        self.shown += text
        return len(text)

    def flush(self) -> None:
        pass


@pytest.mark.parametrize("writes", range(5))
def test_terminal_that_is_closed(writes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal(writes)
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with open_screen(view="line") as screen:
        screen.note("one")
        screen.progress("two")
        screen.note("three")
    assert sys.stderr is terminal
    assert terminal.writes < 0 or writes == 4


@pytest.mark.parametrize("no_color", ["", "1"], ids=["colour", "NO_COLOR"])
def test_colours_of_a_terminal(no_color: str, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal(1000)
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", no_color)
    with open_screen() as screen:
        screen.progress("half of it")
    assert "half of it" in terminal.shown
    assert ("\x1b[36m" in terminal.shown) is not bool(no_color)


def test_plain_lines_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with open_screen() as screen:
        assert screen.interval == 3
        screen.note("one")
        screen.progress("two")
    assert capsys.readouterr().err == "trio-sessions: one\ntrio-sessions: two\n"


def test_no_streams_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    write_stdout("nobody hears it")
    say("nor that")
