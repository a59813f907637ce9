"""Where the output goes: terminals, pipes, readers that have gone, full disks."""

from __future__ import annotations

import os
import re
import subprocess
from subprocess import PIPE

import pytest
import trio

from tests.cli.support import COMMAND, environment

SHORT = ("run", "--simulate", "--relayers", "1", "--duration", "1")


async def run_with(*arguments: str, stdout: int = PIPE, stderr: int = PIPE) -> subprocess.CompletedProcess[bytes]:
    """The command, with these descriptors for its output."""

    # The standard library's: trio's captures or takes a descriptor, but not either of them as we like.
    def run() -> subprocess.CompletedProcess[bytes]:
        command = [*COMMAND, *arguments]
        return subprocess.run(command, check=False, timeout=20, stdout=stdout, stderr=stderr, env=environment())

    return await trio.to_thread.run_sync(run)


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
async def test_reader_that_has_gone(stream: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    # -v has something to say on stderr while it runs.
    it = await run_with(*SHORT, "-v", **{stream: writing})
    os.close(writing)
    assert it.returncode == 0
    if stream == "stdout":
        assert b"rror" not in it.stderr
        return
    # The report for people has the facts of the JSON.
    assert b"1 opened, 1 closed, 0 lost, 0 failed" in it.stdout
    assert re.search(rb"(\d+) accepted, \1 answered, 0 unanswered, 0 undelivered; loss 0.00 %", it.stdout)
    assert b"none left; 0 at the simulated node" in it.stdout
    assert re.search(rb"verdict +clean", it.stdout)


async def test_full_disk() -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    it = await run_with(*SHORT, stdout=full)
    os.close(full)
    assert it.returncode == 1
    assert it.stderr == b"trio-sessions: error: stdout cannot be written: No space left on device\n"


async def test_without_click_it_says_what_to_install() -> None:
    code = "import sys; sys.modules['click'] = None; from trio_sessions.cli import main; main()"
    it = await trio.run_process(
        [COMMAND[0], "-c", code], check=False, capture_stdout=True, capture_stderr=True, env=environment()
    )
    assert it.returncode == 1
    assert it.stdout == b""
    remedy = b"pip install 'trio-sessions[cli]', or '.[cli]' in a checkout"
    assert it.stderr == b"trio-sessions: error: click is not installed: " + remedy + b"\n"
