"""A simulated node in a process of its own, as a user has it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import trio

__all__ = ["TOKEN", "simulated", "state"]

TOKEN = "a-token-for-benchmarks"


@asynccontextmanager
async def simulated(*arguments: str) -> AsyncIterator[dict[str, Any]]:
    """What a fresh ``trio-sessions simulate`` says of itself when it is ready; killed at the end of the block."""
    command = [sys.executable, "-m", "trio_sessions", "simulate", "--port", "0", "--token", TOKEN, "--json", *arguments]
    process = await trio.lowlevel.open_process(command, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        yield json.loads(await process.stdout.receive_some())
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()


async def state(url: str) -> dict[str, Any]:
    """The simulator's own account of what is open and what was called."""
    async with httpx.AsyncClient(trust_env=False, headers={"X-Auth-Token": TOKEN}, timeout=30.0) as client:
        reply = await client.get(f"{url}/simulator/state")
    found: dict[str, Any] = reply.raise_for_status().json()
    return found
