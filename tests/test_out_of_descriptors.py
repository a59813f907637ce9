"""More sessions than the process may have sockets: in a process of its own, with the limit of a small system."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from math import inf
from typing import Any

import pytest
import trio

from tests.cli.support import COMMAND, PATIENCE, environment
from trio_sessions import raise_descriptor_limit
from trio_sessions.simulator import SimulatedNode, SimulatorConfig, serve_node

LIMIT = 64

CLIENT = """
import json, os, resource, sys
_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))

import trio
from trio_sessions import Hoprd, PoolOptions, SessionOpenError, open_pool

async def main(url, token, at_once, relayers):
    answered, errors = [], []

    async def use(pool, relayer):
        try:
            answered.append((await (await pool.session(relayer)).relay(2)).answered)
        except SessionOpenError as error:
            errors.append(str(error))

    # Those of the interpreter, of Trio and of what it loads with its first connection.
    async with Hoprd(url, token=token) as hoprd:
        await hoprd.version()
    before = os.listdir("/proc/self/fd")
    async with Hoprd(url, token=token) as hoprd:
        async with open_pool(hoprd, PoolOptions(open_attempts=1, opens_per_second=2000.0)) as pool:
            with trio.move_on_after(15) as patience:
                async with trio.open_nursery() as nursery:
                    for relayer in relayers:
                        if at_once:
                            nursery.start_soon(use, pool, relayer)
                        else:
                            await use(pool, relayer)
            still = [(await (await pool.session(info.relayer)).relay(1)).answered for info in pool.sessions()]
    print(json.dumps({
        "answered": answered, "errors": errors, "still": still, "clean": pool.report.clean,
        "balanced": pool.report.messages.balanced, "opened": pool.report.sessions.opened,
        "in_time": not patience.cancelled_caught, "leaked": len(os.listdir("/proc/self/fd")) - len(before),
    }))

trio.run(main, sys.argv[1], sys.argv[2], sys.argv[3] == "at once", sys.argv[4:])
"""


async def run_client(how: str, config: SimulatorConfig) -> tuple[dict[str, Any], SimulatedNode, int]:
    """What the client found, the node, and how many listeners there are at its end."""
    async with trio.open_nursery() as nursery:
        served = await nursery.start(serve_node, config)
        assert served.token is not None
        arguments = [sys.executable, "-c", CLIENT, served.url, served.token, how, *served.node.relayers]
        with trio.fail_after(PATIENCE):
            done = await trio.run_process(arguments, capture_stdout=True, env=environment(), check=True)
        left = len(served.node.listeners())
        nursery.cancel_scope.cancel()
    found: dict[str, Any] = json.loads(done.stdout)
    return found, served.node, left


@pytest.mark.parametrize("how", ["one after the other", "at once"])
async def test_beyond_the_limit_each_open_fails_with_its_cause_and_remedy(how: str) -> None:
    config = SimulatorConfig(relayers=LIMIT, open_latency=0.0, echo_latency=0.001)
    found, node, left = await run_client(how, config)
    assert found["in_time"], found
    assert len(found["answered"]) + len(found["errors"]) == len(node.relayers)
    # Descriptors of the interpreter, of Trio and of connections take their part.
    assert LIMIT // 3 <= len(found["answered"]) < LIMIT
    for error in found["errors"]:
        assert f"Too many open files (the limit is {LIMIT}; raise it: trio_sessions.raise_descriptor_limit()" in error
    # No half session: what opened works to its end, and nothing else is there.
    assert set(found["answered"]) == {2}
    assert set(found["still"]) == {1}
    assert len(found["still"]) == len(found["answered"])
    assert found["clean"]
    assert found["balanced"]
    assert found["leaked"] <= 0
    assert left == 0


#: Of a hard limit that nothing else has here.
HARD = 999
LOWERED = (
    f"import os, resource, sys; resource.setrlimit(resource.RLIMIT_NOFILE, ({LIMIT}, {HARD}));"
    "os.execv(sys.argv[1], sys.argv[1:])"
)


@pytest.mark.parametrize("command", ["run", "simulate"])
async def test_the_commands_raise_the_limit(command: str) -> None:
    arguments = {
        "run": ["run", "--simulate", "--duration", "5"],
        "simulate": ["simulate", "--port", "0"],
    }[command]
    process = await trio.lowlevel.open_process(
        [sys.executable, "-c", LOWERED, *COMMAND, *arguments, "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment(),
    )
    try:
        with trio.fail_after(PATIENCE):
            while True:
                [limits] = [
                    line.split()
                    for line in (await trio.Path(f"/proc/{process.pid}/limits").read_text()).splitlines()
                    if line.startswith("Max open files")
                ]
                soft, hard = limits[3:5]
                if int(soft) == int(hard) == HARD:
                    break
                assert process.poll() is None
                await trio.sleep(0.02)
    finally:
        process.kill()
        await process.wait()
        assert process.stdout is not None
        await process.stdout.aclose()


class System:
    """Limits as a system keeps them: ``most`` is what it really lets a process have, whatever the hard limit says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, most: float) -> None:
        self.limits = soft, hard
        self._most = most
        monkeypatch.setattr(resource, "getrlimit", lambda _: self.limits)
        monkeypatch.setattr(resource, "setrlimit", self._set)

    def _set(self, _: int, limits: tuple[int, int]) -> None:
        wanted = inf if limits[0] == resource.RLIM_INFINITY else limits[0]
        if wanted > self._most:
            raise ValueError("current limit exceeds maximum limit")
        self.limits = limits


@pytest.mark.parametrize(
    ("soft", "hard", "most", "raised"),
    [
        pytest.param(256, resource.RLIM_INFINITY, 10240, 10240, id="macOS"),
        pytest.param(20000, resource.RLIM_INFINITY, 20000, 20000, id="macOS, more than it lets one ask for"),
        pytest.param(256, resource.RLIM_INFINITY, inf, None, id="no limit at all"),
        pytest.param(1024, 4096, inf, 4096, id="Linux"),
        pytest.param(4096, 4096, inf, 4096, id="as high as it goes"),
        pytest.param(1024, 4096, 1024, 1024, id="refused"),
    ],
)
def test_as_much_as_the_system_gives(
    monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, most: float, raised: int | None
) -> None:
    system = System(monkeypatch, soft, hard, most)
    assert raise_descriptor_limit() == raised
    assert system.limits == (resource.RLIM_INFINITY if raised is None else raised, hard)
