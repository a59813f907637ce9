"""The limit of file descriptors: raised when asked for, and named when it is reached."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys

import pytest
from trio.testing import MockClock

from tests.worlds import memory_world
from trio_sessions import Hoprd, NodeUnavailableError, PoolOptions, SessionOpenError
from trio_sessions._descriptors import why_no_socket

LIMIT = resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def test_the_limit_is_raised_to_what_the_system_allows() -> None:
    code = (
        "import resource; _, hard = resource.getrlimit(resource.RLIMIT_NOFILE);"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard));"
        "from trio_sessions import raise_descriptor_limit;"
        "assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 64;"
        "assert raise_descriptor_limit() == raise_descriptor_limit() == hard;"
        "assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def system_error(code: int) -> OSError:
    return OSError(code, os.strerror(code))


@pytest.mark.parametrize("depth", ["bare", "below", "in a group"])
def test_the_limit_and_the_remedy_are_named(depth: str) -> None:
    error = system_error(errno.EMFILE)
    if depth != "bare":
        error, cause = OSError("all attempts to connect failed"), error
        error.__cause__ = cause if depth == "below" else ExceptionGroup("attempts", [cause, cause])
    said = why_no_socket(error)
    assert said.startswith("Too many open files")
    assert f"the limit is {LIMIT}" in said
    assert "raise_descriptor_limit" in said


def test_what_else_the_system_says_is_said() -> None:
    assert "the system's limit" in why_no_socket(system_error(errno.ENFILE))
    assert why_no_socket(system_error(errno.ENETUNREACH)) == "Network is unreachable"
    other = OSError("all attempts failed")
    assert why_no_socket(other) == "all attempts failed"
    other.__cause__ = system_error(errno.ECONNREFUSED)
    assert why_no_socket(other) == "all attempts failed"


async def test_a_session_without_a_socket_says_so(autojump_clock: MockClock) -> None:
    async with memory_world() as world, world.pool(PoolOptions(open_attempts=1)) as pool:
        world.sim.socket_limit = 0
        with pytest.raises(SessionOpenError, match=rf"the limit is {LIMIT}.*raise_descriptor_limit"):
            await pool.session(world.relayers[0])
    world.assert_nothing_left()


async def test_a_call_without_a_connection_says_so() -> None:
    async with Hoprd("http://127.0.0.1:1") as hoprd:
        with pytest.raises(NodeUnavailableError, match="no connection"):
            await hoprd.version()
        lowest = os.open(os.devnull, os.O_RDONLY)
        os.close(lowest)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
        try:
            with pytest.raises(NodeUnavailableError, match=r"Too many open files.*raise_descriptor_limit"):
                await hoprd.version()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
