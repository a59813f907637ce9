"""The log on stderr: text and JSON, levels, fields, and how seldom a fault that goes on is told."""

from __future__ import annotations

import itertools
import json
import logging
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs
import pytest
import trio
import trio.testing
from hypothesis import given, strategies as st

from tests.cli.support import ended, simulator
from tests.cli.test_whole_run import plan, stage
from tests.worlds import faulty, inline, memory_world
from trio_sessions import InvalidInputError, Node, UnauthorizedError
from trio_sessions._log_fields import KEY, OUTAGE, about
from trio_sessions._repeats import Repeats
from trio_sessions.cli import _run
from trio_sessions.cli._log_lines import JsonForm, RepeatFilter, TextForm, logging_to
from trio_sessions.cli._logs import LogOptions
from trio_sessions.cli._main import run_command, run_program
from trio_sessions.cli._screen import open_screen
from trio_sessions.cli._speech import complain, speaking


def record(text: str, *arguments: object, error: BaseException | None = None, **fields: object) -> logging.LogRecord:
    info = None if error is None else (type(error), error, error.__traceback__)
    made = logging.LogRecord("trio_sessions.test", logging.WARNING, __file__, 1, text, arguments, info)
    made.__dict__.update(about(error=error, **fields))
    return made


def raised(error: OSError) -> OSError:
    try:
        raise error
    except OSError as caught:
        return caught


# -- text


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error"])
def test_levels_of_text(level: str, capsys: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("trio_sessions.test")
    with open_screen(LogOptions(level=level)):
        logger.debug("so it %s", "is")
        logger.info("it happens")
        logger.error("bad", exc_info=raised(OSError("out of luck")))
    lines = capsys.readouterr().err.splitlines()
    assert ("trio-sessions: debug: so it is" in lines) is (level == "debug")
    assert ("trio-sessions: info: it happens" in lines) is (level in ("debug", "info"))
    assert ("Traceback (most recent call last):" in lines) is (level == "debug")
    if level in ("warning", "error"):
        assert lines == ["trio-sessions: error: bad: OSError: out of luck"]
    logger.error("nothing of this is seen when the screen is closed")
    assert capsys.readouterr().err == ""


@given(st.text())
def test_whatever_the_text_is_it_stays_on_its_line(text: str) -> None:
    assert TextForm().record(record("%s", text)).isprintable()
    line = JsonForm().record(record("%s", text, route=text, error=OSError(text)))
    assert line.isprintable()
    assert line.isascii()
    found = json.loads(line)
    assert isinstance(found["message"], str)


# -- JSON


def test_a_line_of_json() -> None:
    made = record("session via %s: %s", "0xaa", "bad", error=raised(OSError("bad\nluck")), route="0xaa", attempts=3)
    made.created = 1_700_000_000.1234
    found = json.loads(JsonForm().record(made))
    assert found == {
        "time": "2023-11-14T22:13:20.123Z",
        "level": "warning",
        "logger": "trio_sessions.test",
        "message": "session via 0xaa: bad",
        "fields": {"route": "0xaa", "attempts": 3},
        "error": {"class": "OSError", "text": "bad\nluck"},
    }
    assert "Traceback" in json.loads(JsonForm(with_traceback=True).record(made))["traceback"]


def test_an_error_that_was_not_raised_is_named_from_its_fields() -> None:
    made = record("no list: %s", "401")
    made.__dict__.update(about(error=UnauthorizedError("GET", "/x", status=401, text="", word=None)))
    assert json.loads(JsonForm().record(made))["error"]["class"] == "UnauthorizedError"


def test_a_line_that_cannot_be_written_ends_nothing() -> None:
    shown: list[str] = []
    with logging_to(lambda line, level: shown.append(line), TextForm(), "warning"):
        logging.getLogger("trio_sessions.test").warning("%d of them", "a-secret")
    assert shown == ["trio-sessions: a line of the log could not be written: %d of them: TypeError"]


async def test_json_is_all_that_there_is_on_stderr() -> None:
    async with simulator("--relayers", "1", "--fault", "ports-used-up:count=1") as node:
        it = await ended("run", "--url", node.url, "--duration", "4", "--log-format", "json", "--log-level", "debug")
    lines = [json.loads(line) for line in it.err.splitlines()]
    assert {line["level"] for line in lines} >= {"debug", "info"}
    assert all(list(line)[:4] == ["time", "level", "logger", "message"] for line in lines)
    [call, *_] = [line for line in lines if line["logger"] == "trio_sessions.rest" and "status" in line["fields"]]
    assert call["fields"].keys() == {"method", "path", "status", "seconds"}
    [again] = [line for line in lines if "trying again" in line["message"]]
    assert again["fields"]["route"] == node.ready["relayers"][0]
    assert again["fields"]["attempts"] == 1
    assert again["error"]["class"] == "RejectedError"
    # The progress is among them.
    assert any("msg/s" in line["message"] for line in lines)


JSON = ("--log-format", "json")
ABSENT = ("--url", "http://127.0.0.1:1", "--no-journal", "--duration", "0.3")


@pytest.mark.parametrize(
    ("arguments", "file", "variables", "status", "told"),
    [
        (("--simulate", *JSON, "--seed", "x"), "", {}, 2, "--seed 'x': must be a whole number"),
        (("--log-format=json", "--colour"), "", {}, 2, "No such option"),
        ((*ABSENT, *JSON), "", {}, 69, "no node came up at http://127.0.0.1:1 within the 0.3 s"),
        (ABSENT, "", {"LOG_FORMAT": "json", "TOKEN": "s3cret"}, 78, "the API token has fewer than 8 characters"),
        (ABSENT, "log.format = 'json'\nnode.uri = 'x'", {}, 78, "node.uri: there is no such key"),
        (("--config", "absent.toml", *ABSENT, *JSON), "", {}, 2, "--config 'absent.toml'"),
    ],
    ids=["a bad value", "a bad option", "no node", "variables", "file", "no such file"],
)
def test_with_json_errors_are_records_too(
    arguments: tuple[str, ...],
    file: str,
    variables: dict[str, str],
    status: int,
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "trio-sessions.toml").write_text(file)
    for name, value in variables.items():
        monkeypatch.setenv(f"TRIO_SESSIONS_{name}", value)
    assert run_command(["run", *arguments]) == status
    *_, last = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert (last["level"], last["logger"]) == ("error", "trio_sessions.cli")
    assert told in last["message"]


def test_with_json_warnings_of_the_start_are_records_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRIO_SESSIONS_GRACE", "1")
    assert run_command(["run", *ABSENT, *JSON]) == 69
    warning, *_, last = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert (warning["level"], last["level"]) == ("warning", "error")
    assert warning["message"].startswith("TRIO_SESSIONS_GRACE: there is no such setting")


def test_with_json_what_to_check_is_a_field(capsys: pytest.CaptureFixture[str]) -> None:
    with speaking(JsonForm()):
        complain("no session", ("look here", "look there"))
    assert json.loads(capsys.readouterr().err)["fields"] == {"advice": ["look here", "look there"]}
    complain("no session", ("look here", "look there"))
    assert capsys.readouterr().err.splitlines()[::3] == ["trio-sessions: error: no session", "  2. look there"]


def test_with_json_a_bug_is_one_record_with_its_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("not thought of")

    monkeypatch.setattr(_run, "read_plan", lambda *_, **__: fail())
    assert run_program(["run", "--simulate", *JSON]) == 1
    found = json.loads(capsys.readouterr().err)
    assert (found["level"], found["error"]) == ("critical", {"class": "RuntimeError", "text": "not thought of"})
    assert found["traceback"].startswith("Traceback (most recent call last):\n")
    assert run_program(["run", "--simulate"]) == 1
    assert capsys.readouterr().err.startswith("Traceback (most recent call last):\n")


# -- options


@pytest.mark.parametrize(
    "arguments",
    [["--log-level", "loud"], ["--log-format", "xml"], ["--view", "film"]],
    ids=" ".join,
)
def test_wrong_options(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["run", "--simulate", *arguments]) == 2
    err = capsys.readouterr().err
    assert err.startswith("trio-sessions: error: ")
    assert len(err.splitlines()) == 1


def test_a_dashboard_needs_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["run", "--simulate", "--view", "dashboard"]) == 2
    assert "needs a terminal" in capsys.readouterr().err


def test_unknown_level_of_a_program() -> None:
    with pytest.raises(InvalidInputError, match="debug, info, warning, error"):
        LogOptions(level="loud")


def test_the_level_changes_while_it_runs() -> None:
    shown: list[str] = []
    logger = logging.getLogger("trio_sessions.test")
    with logging_to(lambda line, level: shown.append(line), TextForm(), "warning") as set_level:
        logger.info("one")
        set_level("info")
        logger.info("two")
    assert shown == ["trio-sessions: info: two"]


# -- repeats


def test_the_first_at_once_then_one_a_minute_with_the_number_of_the_others() -> None:
    now = 0.0
    it = RepeatFilter(lambda: now)
    shown = []
    for now in range(0, 180, 10):
        for relayer in range(100):
            made = record("session via %s: %s", relayer, "bad", error=OSError("bad"))
            if it.filter(made):
                shown.append((now, TextForm().record(made).partition("(")[2]))
    assert shown == [
        (0, ""),
        (60, "599 more like it since the last such line)"),
        (120, "599 more like it since the last such line)"),
    ]
    assert it.held_back == 599


def test_other_faults_are_not_held_back_and_what_is_no_fault_never_is() -> None:
    it = RepeatFilter(lambda: 0.0)
    assert it.filter(record("a %s", 1, error=OSError()))
    assert it.filter(record("a %s", 1, error=ValueError()))
    assert it.filter(record("b %s", 1, error=OSError()))
    assert not it.filter(record("b %s", 2, error=OSError()))
    # In whatever words: the node is out.
    assert it.filter(record("c", fault=OUTAGE))
    assert not it.filter(record("d", fault=OUTAGE, error=OSError()))
    for _ in range(3):
        told = record("e")
        told.levelno = logging.INFO
        assert it.filter(told)


def test_what_was_held_back_is_said_at_the_end() -> None:
    shown: list[str] = []
    with logging_to(lambda line, level: shown.append(line), TextForm(), "warning"):
        for number in range(5):
            logging.getLogger("trio_sessions.test").warning("number %d", number)
    assert shown == [
        "trio-sessions: warning: number 0",
        "trio-sessions: 4 more warnings like those above were not shown",
    ]


def test_memory_of_faults_is_bounded() -> None:
    it = Repeats(60.0, most=10)
    assert all(it.allows(fault, 0.0) for fault in range(1000))
    assert not it.allows(999, 1.0)
    assert sys.getsizeof(it._faults) < 2000
    assert it.held_back == {999: 1}


Said = list[tuple[float, str]]


@contextmanager
def heard() -> Iterator[Said]:
    """The lines at the level of warnings, each with its time."""
    said: Said = []

    def show(line: str, level: int) -> None:
        # Else it is the last word, on how many were held back.
        if ": warning: " in line:
            said.append((trio.current_time(), line))

    with logging_to(show, TextForm(), "warning", repeats=RepeatFilter(trio.current_time)):
        yield said


def assert_at_most_one_a_minute(said: Said, outage: float) -> None:
    """But for the minute in which it begins: what it does to sessions is told then, each kind of it once."""
    times = [at - said[0][0] for at, _ in said]
    later = [at for at in times if at >= 60]
    assert len(times) - len(later) <= 4, said[:10]
    assert outage / 90 < len(later) <= outage / 60
    assert min(after - before for before, after in itertools.pairwise(later)) >= 60


async def test_a_node_down_for_a_day_costs_a_line_a_minute(autojump_clock: trio.testing.MockClock) -> None:
    day = 86_400.0
    # Up for a moment, so that its relayers are known, and with no room for a session.
    faults = "status:open:status=503", f"restart:at=5:seconds={day:g}"
    async with memory_world(attrs.evolve(faulty(*faults), relayers=100)) as world, trio.open_nursery() as nursery:
        node = Node(world.hoprd, rng=random.Random(1), connect=world.sim.connect, in_thread=inline)
        with heard() as said:
            await nursery.start(node.run)
            for relayer in node.relayers:
                nursery.start_soon(node.submit, relayer, 10)
            await trio.sleep(day)
            node.stop()
            nursery.cancel_scope.cancel()
    assert node.report.messages.accepted == 1000
    assert_at_most_one_a_minute(said, day)


async def test_a_node_down_under_a_hundred_open_sessions(autojump_clock: trio.testing.MockClock) -> None:
    outage = 1200.0
    config = attrs.evolve(faulty(f"restart:at=60:seconds={outage:g}"), relayers=100)
    async with stage(config) as it:
        with heard() as said:
            outcome = await it.run(plan(duration=outage, rate=10))
    assert outcome.report.sessions.opened == 100
    assert_at_most_one_a_minute(said, outage)


def test_fields_are_plain_and_under_one_key() -> None:
    fields: Callable[..., dict[str, dict[str, object]]] = about
    assert fields(error=OSError("x"), seconds=1.5, listener=None, route=object)[KEY] == {
        "seconds": 1.5,
        "route": "<class 'object'>",
        "error": "OSError",
        "error_text": "x",
    }
