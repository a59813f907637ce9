"""``trio-sessions simulate``, in a process of its own."""

from __future__ import annotations

import signal

import pytest

from tests.cli.support import TOKEN, ended, get, running, simulator
from trio_sessions.simulator import SimulatedNode, SimulatorConfig


@pytest.mark.parametrize("sig", [signal.SIGINT, signal.SIGTERM], ids=lambda sig: sig.name)
async def test_ready_line_and_end(sig: signal.Signals) -> None:
    async with simulator("--relayers", "2", "--seed", "7", "--fault", "status:version:status=503") as node:
        assert node.ready.keys() == {"url", "token", "pid", "relayers", "destinations"}
        assert node.ready["token"] == TOKEN
        assert node.ready["pid"] == node.running.process.pid
        assert node.ready["relayers"] == list(SimulatedNode(SimulatorConfig(relayers=2, seed=7)).relayers)
        assert (await get(f"{node.url}/api/v4/node/version")).status_code == 503
        assert await node.listeners() == []
        it = await node.running.end(sig)
    assert (it.status, it.err) == (0, "")
    assert len(it.out.splitlines()) == 1


async def test_ready_line_for_people_and_port_in_use() -> None:
    async with running("simulate", "--port", "0") as first:
        await first.wait_for("out", "\n")
        line = first.text("out")
        url = line.split(" at ")[1].split(",")[0]
        assert "token simulator-token" in line
        assert (await get(f"{url}/healthyz")).status_code == 200
        second = await ended("simulate", "--port", url.rpartition(":")[2])
    assert second.status == 1
    assert second.out == ""
    assert second.err.startswith("trio-sessions: error: port ")
    assert len(second.err.splitlines()) == 1
