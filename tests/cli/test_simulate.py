"""``trio-sessions simulate``, in a process of its own."""

from __future__ import annotations

import signal

import httpx
import pytest

from tests.cli.support import TOKEN, ended, get, running, simulator
from tests.simulator.harness import body
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


@pytest.mark.parametrize("ports", ["4600-4601", "4600:4601"])
async def test_what_the_node_is_made_of(ports: str) -> None:
    settings = ("--port-range", ports, "--max-sessions", "2", "--idle-timeout", "60", "--delete-latency", "0.3")
    async with simulator(*settings, "--fault", "late-removal:seconds=0.2", "--fault", "hang:open:after=3") as node:
        sketch = SimulatedNode(SimulatorConfig(relayers=len(node.ready["relayers"])))
        assert sketch.destinations == tuple(node.ready["destinations"])
        async with httpx.AsyncClient(base_url=f"{node.url}/api/v4", headers={"X-Auth-Token": TOKEN}) as http:

            async def open_one() -> httpx.Response:
                return await http.post("/session/udp", json=body(sketch, listenHost="127.4.4.6"), timeout=10)

            replies = [await open_one() for _ in range(3)]
            assert [reply.json().get("port") for reply in replies] == [4600, 4601, None]
            assert "no valid socket addresses found within range: 4600:4601" in replies[2].json()["error"]
            reply = await http.delete("/session/udp/127.4.4.6/4600")
            assert (reply.status_code, reply.elapsed.total_seconds() >= 0.3) == (204, True)
            with pytest.raises(httpx.ReadTimeout):
                await http.post("/session/udp", json=body(sketch), timeout=0.2)
        state = (await get(f"{node.url}/simulator/state")).json()
        assert state["counters"]["faults"] == {"late-removal": 1, "hang": 1}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--port-range", "20000"), "--port-range '20000': must be two ports; write e.g. 20000-20099"),
        (("--port-range", "9-8"), "must be two ports, the smaller first"),
        (("--max-sessions", "-1"), "--max-sessions"),
        (("--open-retries", "-1"), "--open-retries"),
        (("--idle-timeout", "0"), "--idle-timeout"),
        (("--delete-latency", "-1"), "--delete-latency"),
        (("--fault", "late-removal:open"), "happens to close alone"),
    ],
    ids=lambda it: " ".join(it) if isinstance(it, tuple) else "",
)
async def test_bad_settings(arguments: tuple[str, ...], message: str) -> None:
    it = await ended("simulate", *arguments)
    assert (it.status, it.out, len(it.err.splitlines())) == (2, "", 1)
    assert message in it.err
