"""The simulator's own routes, for tests in another process."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
import trio
from trio.testing import MockClock

from .harness import UNKNOWN, running


async def test_they_need_the_token(autojump_clock: MockClock) -> None:
    async with running() as harness:
        del harness.http.headers["x-auth-token"]
        assert (await harness.http.get("/simulator/state")).status_code == 401


async def test_the_state(autojump_clock: MockClock) -> None:
    async with running() as harness:
        shown = await harness.open()
        state = (await harness.http.get("/simulator/state")).json()
    (listener,) = state["listeners"]
    assert (listener["ip"], listener["port"], listener["stranger"]) == (shown["ip"], shown["port"], False)
    assert listener["session_id"] == shown["activeClients"][0]
    assert state["counters"]["opens_committed"] == 1
    assert state["counters"]["calls"] == {"open": 1, "control": 1}
    assert state["relayers"] == list(harness.node.relayers)
    assert state["events"] == [[0.05, "open", ["udp", shown["ip"], shown["port"]]]]
    assert (state["slots"], state["sockets"], state["now"]) == (1, 1, 0.05)
    assert (state["opening"], state["pending"], state["delisted"]) == (0, 0, [])


async def test_peers_and_channels(autojump_clock: MockClock) -> None:
    async with running() as harness:
        relayer = harness.node.relayers[0]
        data = {"address": relayer, "connected": False, "channel": "Closed"}
        assert (await harness.http.post("/simulator/peers", json=data)).status_code == 200
        assert harness.kinds() == ["peer_down"]
        assert len((await harness.get("/channels")).json()["outgoing"]) == 2


async def test_restart(autojump_clock: MockClock) -> None:
    async with running() as harness:
        assert (await harness.http.post("/simulator/restart", json={"down_for": 5})).status_code == 200
        await trio.sleep(0.05)
        with pytest.raises(httpx.ConnectError):
            await harness.listed()
        await trio.sleep(5)
        assert await harness.listed() == []


async def test_faults(autojump_clock: MockClock) -> None:
    async with running() as harness:
        await harness.http.post("/simulator/faults", json={"faults": ["status:list"]})
        assert (await harness.get("/session/udp")).status_code == 500
        await harness.http.post("/simulator/faults", json={"clear": True})
        assert await harness.listed() == []


async def test_strangers(autojump_clock: MockClock) -> None:
    async with running() as harness:
        data = {"ip": "127.0.0.7", "port": 4000, "relayer": harness.node.relayers[2]}
        stranger = (await harness.http.post("/simulator/strangers", json=data)).json()
        assert (stranger["ip"], stranger["port"], stranger["stranger"]) == ("127.0.0.7", 4000, True)
        assert [shown["port"] for shown in await harness.listed()] == [4000]


async def test_many_strangers_at_once(autojump_clock: MockClock) -> None:
    async with running() as harness:
        data = {"ip": "127.0.0.7", "count": 500}
        added = (await harness.http.post("/simulator/strangers", json=data)).json()["listeners"]
        assert len({stranger["port"] for stranger in added}) == 500
        assert len(await harness.listed()) == 500
        data["count"] = 0
        assert (await harness.http.post("/simulator/strangers", json=data)).json() == {"listeners": []}


@pytest.mark.parametrize(
    ("route", "data"),
    [
        ("peers", {"address": UNKNOWN, "connected": True}),
        ("peers", {"connected": True}),
        ("peers", []),
        ("restart", {"down_for": "soon"}),
        ("faults", {"faults": ["nothing"]}),
        ("faults", {"faults": 5}),
        ("strangers", {"ip": "8.8.8.8"}),
        ("strangers", {"count": -1}),
        ("strangers", {"count": True}),
        ("strangers", {"count": 2, "port": 4000}),
    ],
    ids=str,
)
async def test_bad_input_is_told_in_one_line(route: str, data: Any, autojump_clock: MockClock) -> None:
    async with running() as harness:
        reply = await harness.http.post(f"/simulator/{route}", json=data)
        assert reply.status_code == 400
        assert "\n" not in reply.json()["error"]


async def test_half_of_the_controls_of_a_peer(autojump_clock: MockClock) -> None:
    async with running() as harness:
        relayer = harness.node.relayers[0]
        await harness.http.post("/simulator/peers", json={"address": relayer, "channel": "Closed"})
        await harness.http.post("/simulator/peers", json={"address": relayer, "connected": False})
        assert harness.kinds() == ["peer_down"]
        data = {"destination": harness.node.destinations[1], "protocol": "tcp"}
        stranger = (await harness.http.post("/simulator/strangers", json=data)).json()
        assert (stranger["destination"], stranger["protocol"]) == (harness.node.destinations[1], "tcp")
