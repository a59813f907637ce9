"""The command on a real terminal: the dashboard, its size, its colours, and the terminal as it was afterwards."""

from __future__ import annotations

import fcntl
import logging
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import pytest
import trio

from tests.cli.support import COMMAND, PATIENCE, environment
from tests.cli.test_dashboard import address, view
from tests.cli.test_texts import Terminal as Paper
from trio_sessions.cli._dashboard_model import Row
from trio_sessions.cli._logs import LogOptions
from trio_sessions.cli._screen import open_screen

#: What a terminal is told when a program takes the whole of it, and when it gives it back.
TAKEN, GIVEN_BACK = b"\x1b[?1049h", b"\x1b[?1049l"
#: A picture begins in the upper left corner.
PICTURE = b"\x1b[H"


class Terminal:
    """A terminal of a size, with the command on it."""

    def __init__(self, width: int, height: int) -> None:
        self._ours, self.theirs = pty.openpty()
        self.shown = b""
        self._grown = trio.Event()
        self.resize(width, height)

    def resize(self, width: int, height: int) -> None:
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))

    async def read(self) -> None:
        """Until the other end is closed."""
        while True:
            await trio.lowlevel.wait_readable(self._ours)
            try:
                chunk = os.read(self._ours, 65536)
            except OSError:
                os.close(self._ours)
                return
            self.shown += chunk
            self._grown.set()
            self._grown = trio.Event()

    async def wait_for(self, pattern: bytes) -> None:
        """Until that was shown."""
        with trio.fail_after(PATIENCE):
            while not re.search(pattern, self.shown, re.DOTALL):
                await self._grown.wait()

    @property
    def pictures(self) -> list[list[str]]:
        """The lines of each whole picture, without colours."""
        text = re.sub(rb"\x1b\[[\d;?]*[a-zA-GI-Z]", b"", self.shown)
        return [picture.decode(errors="replace").splitlines() for picture in text.split(PICTURE)[1:]]


@asynccontextmanager
async def on_terminal(
    *arguments: str, width: int = 80, height: int = 24, env: Mapping[str, str] | None = None
) -> AsyncIterator[tuple[Terminal, trio.Process]]:
    """``run`` with these arguments on a terminal; ended by SIGTERM, unless it has ended by itself."""
    it = Terminal(width, height)
    variables = {**environment(), "TERM": "xterm-256color", **(env or {})}
    for name in ("COLUMNS", "LINES"):
        variables.pop(name, None)
    async with trio.open_nursery() as nursery:
        command = [*COMMAND, "run", *arguments]
        process = await trio.lowlevel.open_process(
            command, stdin=it.theirs, stdout=subprocess.DEVNULL, stderr=it.theirs, env=variables
        )
        os.close(it.theirs)
        nursery.start_soon(it.read)
        try:
            yield it, process
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        except BaseException:
            process.kill()
            raise
        finally:
            with trio.move_on_after(PATIENCE, shield=True):
                await process.wait()
            if process.poll() is None:
                process.kill()


SIMULATED = ("--simulate", "--relayers", "2")


async def test_the_dashboard() -> None:
    async with on_terminal(*SIMULATED) as (it, process):
        await it.wait_for(rb"2 active.*active.*active")
    assert process.returncode == 0
    assert it.shown.count(TAKEN) == it.shown.count(GIVEN_BACK) == 1
    pictures = [lines for lines in it.pictures if len(lines) >= 24]
    assert pictures
    assert all(len(line) <= 80 for lines in pictures for line in lines)
    rows = [line for line in pictures[-2] if re.match(r"0x\w{3}…\w{5}  active  ", line)]
    assert len(rows) == 2, pictures[-2]
    assert any("relayer      state         grace  rtt ms  p99 ms  loss %" in line for line in pictures[-2])
    assert b"\x1b[32m" in it.shown


async def test_it_follows_the_size_of_the_terminal() -> None:
    async with on_terminal(*SIMULATED, width=50, height=12) as (it, _):
        await it.wait_for(rb"2 active")
        assert b"destination" not in it.shown
        it.resize(160, 40)
        await it.wait_for(rb"destination.*listener.*127\.\d+\.\d+\.\d+:\d+")
        it.resize(40, 5)
        seen = len(it.shown)
        await it.wait_for(rb"\x1b\[H\d+ s: 2 sessions open")
        assert len(it.shown) > seen


async def test_no_colours_where_none_are_wanted() -> None:
    async with on_terminal(*SIMULATED, env={"NO_COLOR": "1"}) as (it, _):
        await it.wait_for(rb"2 active.*active.*active")
    assert not re.search(rb"\x1b\[[\d;]*3\d[;m]", it.shown)


@pytest.mark.parametrize(
    ("arguments", "env"),
    [(("--duration", "3.5"), {"TERM": "dumb"}), (("--duration", "1", "--view", "none"), {})],
    ids=["dumb", "none"],
)
async def test_no_control_codes(arguments: tuple[str, ...], env: dict[str, str]) -> None:
    async with on_terminal(*SIMULATED, *arguments, env=env) as (it, process):
        with trio.fail_after(PATIENCE):
            await process.wait()
    assert b"\x1b" not in it.shown
    assert (b"trio-sessions: 3 of 3.5 s: 2 sessions open" in it.shown) is ("--view" not in arguments)


async def test_one_line_where_that_is_wanted() -> None:
    async with on_terminal(*SIMULATED, "--view", "line", "--duration", "1.5", width=100) as (it, process):
        with trio.fail_after(PATIENCE):
            await process.wait()
    assert TAKEN not in it.shown
    line = rb"\d of 1\.5 s: 2 sessions open, [\d.]+ msg/s, loss 0\.00 %, rtt p50 [\d.]+ p99 [\d.]+ ms"
    assert re.search(line, it.shown)
    assert b"\x1b[36m" in it.shown


def test_warnings_are_events_and_are_said_again_when_the_terminal_is_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Paper(1000)
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    logger = logging.getLogger("trio_sessions.test")
    with open_screen(LogOptions(level="info"), "dashboard") as screen:
        logger.warning("too early for it")
        assert terminal.shown == "trio-sessions: warning: too early for it\n"
        screen.show(view((Row(address(1), "active"),)))
        logger.info("a word")
        logger.warning("out\nof luck")
        screen.note("and so on")
        during = terminal.shown
    before, _, after = terminal.shown.partition(GIVEN_BACK.decode())
    assert before == during + "\x1b[?25h"
    for text in ("too early for it", "info: a word", "warning: out of luck", "and so on"):
        assert re.search(rf"\d\d:\d\d:\d\d (warning: )?{text}", during)
    assert after == "trio-sessions: warning: out of luck\n"


async def test_ctrl_c_is_seen_at_once() -> None:
    async with on_terminal(*SIMULATED) as (it, process):
        await it.wait_for(rb"2 active.*active.*active")
        process.send_signal(signal.SIGINT)
        await it.wait_for(rb"\d\d:\d\d:\d\d stopping; a second signal")
