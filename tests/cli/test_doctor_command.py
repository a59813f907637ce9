"""The command ``doctor`` in this process, against a simulator in another one: its streams, and its end by a signal."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.support import COMMAND, TOKEN, environment
from trio_sessions.cli._main import run_command


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("TRIO_SESSIONS_TOKEN", TOKEN)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """Of a simulator whose answers take far longer than anybody waits for them."""
    command = [*COMMAND, "simulate", "--port", "0", "--token", TOKEN, "--json", "--echo-latency", "60"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment()) as process:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())["url"]
        process.terminate()


def state(url: str) -> dict[str, Any]:
    request = urllib.request.Request(f"{url}/simulator/state", headers={"X-Auth-Token": TOKEN})
    with urllib.request.urlopen(request, timeout=10) as reply:
        found: dict[str, Any] = json.load(reply)
        return found


class Terminal:
    """One of eighty columns, as far as anybody asks."""

    encoding = "utf-8"

    def __init__(self) -> None:
        self.shown = ""

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self.shown += text
        return len(text)

    def flush(self) -> None:
        pass


@pytest.mark.parametrize("no_color", ["", "1"], ids=["colour", "NO_COLOR"])
def test_on_a_terminal(no_color: str, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    for name, value in {"TERM": "xterm", "COLUMNS": "80", "NO_COLOR": no_color}.items():
        monkeypatch.setenv(name, value)
    assert run_command(["doctor", "--url", url, "--timeout", "0.5"]) == 1
    assert ("\x1b[32m" in terminal.shown) is not bool(no_color)
    # What is going on is shown, and wiped out again.
    assert "...   loopback   relaying through a session of its own" in terminal.shown
    kept = [line.rpartition("\x1b[2K")[2] for line in terminal.shown.splitlines()]
    plain = [_without_codes(line) for line in kept]
    assert all(len(line) <= 80 for line in plain)
    assert any(line.startswith("fail  loopback   a session opened through 0x") for line in plain)
    assert any(line.startswith("      → check that the destination serves the echo") for line in plain)
    assert state(url)["listeners"] == []


def _without_codes(line: str) -> str:
    return "".join(part.partition("m")[2] if "m" in part else "" for part in f"m{line}".split("\x1b["))


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("wants_json", [True, False], ids=["json", "text"])
def test_a_signal_while_it_waits_for_answers(
    number: signal.Signals, status: int, wants_json: bool, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt() -> None:
        for _ in range(1000):
            if state(url)["listeners"]:
                break
        os.kill(os.getpid(), number)

    thread = threading.Thread(target=interrupt)
    thread.start()
    assert run_command(["doctor", "--url", url, *(["--json"] if wants_json else [])]) == status
    thread.join()
    assert state(url)["listeners"] == []
    captured = capsys.readouterr()
    if wants_json:
        report = json.loads(captured.out)
        assert (report["interrupted"], report["status"], captured.err) == (True, status, "")
    else:
        assert captured.out.splitlines()[-1].startswith("ok    leftovers")
        assert captured.err == "trio-sessions: interrupted; nothing is left\n"
