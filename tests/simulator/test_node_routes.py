"""The node, its peers, channels and money, and its health (contract §2.6, §2.7)."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from trio_sessions._errors import InvalidInputError
from trio_sessions.simulator import DEFAULT_TOKEN

from .harness import DIALECTS, UNKNOWN, running


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_health_checks_are_public_and_empty(dialect: str, autojump_clock: MockClock) -> None:
    async with running(dialect=dialect) as harness:
        del harness.http.headers["x-auth-token"]
        for check in ("startedz", "readyz", "healthyz", "eligiblez"):
            reply = await harness.http.get(f"/{check}", headers={"accept": "image/png"})
            assert (reply.status_code, reply.content) == (200, b"")


async def test_account(autojump_clock: MockClock) -> None:
    async with running() as harness:
        assert (await harness.get("/account/addresses")).json() == {"native": harness.node.address}
        balances = (await harness.get("/account/balances")).json()
        assert set(balances) == {"safeNative", "native", "safeHopr", "hopr", "safeHoprAllowance"}
        assert balances["native"] == "0.1 xDai"


async def test_channels(autojump_clock: MockClock) -> None:
    async with running() as harness:
        harness.node.set_channel(harness.node.relayers[0].lower(), "Closed")
        shown = (await harness.get("/channels")).json()
        assert [item["peerAddress"] for item in shown["outgoing"]] == list(harness.node.relayers[1:])
        assert [item["peerAddress"] for item in shown["incoming"]] == list(harness.node.relayers)
        assert shown["all"] == []
        assert set(shown["outgoing"][0]) == {"id", "peerAddress", "status", "balance"}
        shown = (await harness.get("/channels?includingClosed=true&fullTopology=false")).json()
        assert [item["status"] for item in shown["outgoing"]] == ["Closed", "Open", "Open"]
        shown = (await harness.get("/channels?fullTopology=true")).json()
        assert (shown["incoming"], shown["outgoing"], len(shown["all"])) == ([], [], 6)
        assert shown["all"][0]["source"] == harness.node.address
        assert shown["all"][-1]["destination"] == harness.node.address


@pytest.mark.parametrize("dialect", ["4.0-rc", "4.0", "4.1"])
async def test_peers_of_4x(dialect: str, autojump_clock: MockClock) -> None:
    async with running(dialect=dialect) as harness:
        harness.node.set_connected(harness.node.relayers[0], False)
        await trio.sleep(5)
        peers = (await harness.get("/network/connected")).json()
    expected = [*harness.node.relayers[1:], *harness.node.destinations]
    assert [peer["address"] for peer in peers] == expected
    assert set(peers[0]) == {"address", "probeRate", "lastUpdate", "averageLatency", "score"}
    assert peers[0]["lastUpdate"] == 1_750_000_005_000


async def test_peers_of_3x(autojump_clock: MockClock) -> None:
    async with running(dialect="3") as harness:
        everything = (await harness.get("/node/peers?quality=0")).json()
        assert len(everything["connected"]) == len(everything["announced"]) == 5
        best = max(peer["quality"] for peer in everything["connected"])
        (only,) = (await harness.get(f"/node/peers?quality={best}")).json()["connected"]
        assert only["quality"] == best
        assert set(only) == {
            "address", "multiaddr", "heartbeats", "lastSeen", "lastSeenLatency", "quality", "backoff", "isNew",
        }  # fmt: skip


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_the_nodes_own_words(dialect: str, autojump_clock: MockClock) -> None:
    async with running(dialect=dialect) as harness:
        info = (await harness.get("/node/info")).json()
        assert ("hoprNetworkName" in info) == (dialect != "3")
        assert ("isEligible" in info) == (dialect == "3")
        assert info["connectivityStatus"] == "Green"
        assert (await harness.get("/node/version")).json()["version"]
        configuration = await harness.get("/node/configuration")
        assert "<REDACTED>" in configuration.text
        assert DEFAULT_TOKEN not in configuration.text
        if dialect != "3":
            status = (await harness.get("/node/status")).json()
            assert status["overall"] == "Ready"
            assert status["components"] == {name: {"status": "Ready"} for name in ("chain", "network", "transport")}


async def test_ping(autojump_clock: MockClock) -> None:
    async with running() as harness:
        relayer = harness.node.relayers[0]
        latency = (await harness.post(f"/peers/{relayer}/ping")).json()["latency"]
        assert trio.current_time() == pytest.approx(2 * latency / 1000)
        harness.node.set_connected(relayer, False)
        before = trio.current_time()
        reply = await harness.post(f"/peers/{relayer}/ping")
        assert (reply.status_code, reply.json()) == (408, {"status": "TIMEOUT"})
        assert trio.current_time() == before + 5
        reply = await harness.post(f"/peers/{UNKNOWN}/ping")
        assert (reply.status_code, reply.json()) == (404, {"status": "PEER_NOT_FOUND"})
        reply = await harness.post("/peers/somebody/ping")
        assert (reply.status_code, reply.headers["content-type"]) == (400, "text/plain; charset=utf-8")
        assert (await harness.get(f"/peers/{relayer}")).json()["observed"] == []


async def test_controls_refuse_what_is_not_there(autojump_clock: MockClock) -> None:
    async with running() as harness:
        with pytest.raises(InvalidInputError, match=r"is no peer"):
            harness.node.set_connected(UNKNOWN, False)
        with pytest.raises(InvalidInputError, match=r"has no channel"):
            harness.node.set_channel(harness.node.destinations[0], "Open")
        with pytest.raises(InvalidInputError, match=r"use one of Open"):
            harness.node.set_channel(harness.node.relayers[0], "open")
        harness.node.set_connected(harness.node.relayers[0], True)
        assert harness.kinds() == []
