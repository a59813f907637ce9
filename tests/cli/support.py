"""The command in processes of its own, and the simulator's word on what is open."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import attrs
import httpx
import trio
import trio.testing

COMMAND = (sys.executable, "-m", "trio_sessions")
TOKEN = "a-token-for-tests"
#: Far above what anything here takes: it ends a test that would hang.
PATIENCE = 20.0


def environment(**changes: str) -> dict[str, str]:
    """The environment for a process: ours, without what would change its output, and with the simulator's token."""
    left_out = {"NO_COLOR", "FORCE_COLOR", "TRIO_SESSIONS_TOKEN"}
    kept = {name: value for name, value in os.environ.items() if name not in left_out}
    return {**kept, "TRIO_SESSIONS_TOKEN": TOKEN, **changes}


@attrs.frozen
class Ended:
    """A process that is over."""

    status: int
    out: str
    err: str

    @property
    def report(self) -> dict[str, Any]:
        """The one JSON object that stdout holds."""
        assert len(self.out.splitlines()) == 1, self.out
        found: dict[str, Any] = json.loads(self.out)
        return found


class Running:
    """A process that runs, with its output as it comes."""

    def __init__(self, process: trio.Process) -> None:
        self.process = process
        self._texts = {"out": b"", "err": b""}
        self._grown = trio.Event()

    async def collect(self, name: str) -> None:
        """Keep reading one of the streams until its end."""
        stream = self.process.stdout if name == "out" else self.process.stderr
        assert stream is not None
        async for chunk in stream:
            self._texts[name] += chunk
            self._grown.set()
            self._grown = trio.Event()

    def text(self, name: str) -> str:
        """What came so far."""
        return self._texts[name].decode()

    async def wait_for(self, name: str, text: str) -> None:
        """Wait until ``text`` has come."""
        with trio.fail_after(PATIENCE):
            while text not in self.text(name):
                await self._grown.wait()

    async def end(self, *signals: signal.Signals) -> Ended:
        """Send the signals, if any, and wait for the end of the process."""
        for each in signals:
            self.process.send_signal(each)
        with trio.fail_after(PATIENCE):
            status = await self.process.wait()
        await trio.testing.wait_all_tasks_blocked()
        return Ended(status, self.text("out"), self.text("err"))


@asynccontextmanager
async def running(*arguments: str, env: Mapping[str, str] | None = None) -> AsyncIterator[Running]:
    """The command with these arguments, killed at the end of the block if it still runs."""
    async with trio.open_nursery() as nursery:
        process = await trio.lowlevel.open_process(
            [*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env or environment()
        )
        it = Running(process)
        nursery.start_soon(it.collect, "out")
        nursery.start_soon(it.collect, "err")
        try:
            yield it
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()
            nursery.cancel_scope.cancel()


async def ended(*arguments: str, env: Mapping[str, str] | None = None) -> Ended:
    """The command with these arguments, when it has ended by itself."""
    async with running(*arguments, env=env) as it:
        return await it.end()


async def get(url: str) -> httpx.Response:
    """The reply to a GET with the simulator's token."""
    async with httpx.AsyncClient(trust_env=False, headers={"X-Auth-Token": TOKEN}) as client:
        return await client.get(url)


@attrs.frozen
class Simulator:
    """``trio-sessions simulate`` in a process of its own."""

    running: Running
    ready: dict[str, Any]

    @property
    def url(self) -> str:
        """Of its API."""
        found: str = self.ready["url"]
        return found

    async def listeners(self) -> list[dict[str, Any]]:
        """What the simulator itself has open."""
        reply = await get(f"{self.url}/simulator/state")
        found: list[dict[str, Any]] = reply.raise_for_status().json()["listeners"]
        return found

    async def wait_until_used(self, listeners: int, *, what: str = "echoes") -> None:
        """Wait until there are so many listeners, and each of them had ``echoes``, or ``datagrams``."""
        with trio.fail_after(PATIENCE):
            while True:
                found = await self.listeners()
                if len(found) == listeners and all(each[what] for each in found):
                    return
                await trio.sleep(0.02)


@asynccontextmanager
async def simulator(*arguments: str) -> AsyncIterator[Simulator]:
    """A simulator on a free port that is ready."""
    async with running("simulate", "--port", "0", "--token", TOKEN, "--json", *arguments) as it:
        await it.wait_for("out", "\n")
        yield Simulator(it, json.loads(it.text("out")))
