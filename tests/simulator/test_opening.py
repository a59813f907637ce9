"""How long an open takes, how it fails, and what is left when its client goes (contract §3.3, §3.4, §5)."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
import trio
from trio.testing import MockClock

from .harness import DIALECTS, UNKNOWN, Harness, body, faults, running, via


def path(harness: Harness, *hops: str) -> dict[str, Any]:
    return {"forwardPath": {"IntermediatePath": list(hops)}, "returnPath": {"IntermediatePath": list(hops)}}


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(("hops", "least", "most"), [(0, 46, 52), (1, 86, 92), (3, 166, 172)])
async def test_an_unreachable_exit(dialect: str, hops: int, least: int, most: int, autojump_clock: MockClock) -> None:
    async with running(dialect=dialect) as harness:
        harness.node.set_connected(harness.node.destinations[0], False)
        reply = await harness.post(
            "/session/udp", body(harness.node, forwardPath={"Hops": hops}, returnPath={"Hops": hops})
        )
        assert least <= trio.current_time() <= most
        assert reply.status_code == 422
        assert reply.json()["status"] == "UNKNOWN_FAILURE"
        text = reply.json()["error"]
        assert text.endswith("timed out")
        prefix = "failed to start UDP listener on 127.0.0.1:0: unknown failure: "
        assert text.startswith(prefix) == (dialect != "3")
        assert harness.kinds() == ["peer_down", "open_failed"]
        assert harness.node.counters.opens_failed == 1


async def test_paths_that_lead_nowhere(autojump_clock: MockClock) -> None:
    async with running(dialect="3") as harness:
        relayers, (exit_, _) = harness.node.relayers, harness.node.destinations
        harness.node.set_connected(relayers[0], False)
        harness.node.set_channel(relayers[1], "PendingToClose")
        for hops in ([relayers[0]], [relayers[1]], [UNKNOWN], [exit_], [relayers[2], relayers[2]]):
            before = trio.current_time()
            reply = await harness.post("/session/udp", body(harness.node, **path(harness, *hops)))
            assert reply.json() == {"status": "UNKNOWN_FAILURE", "error": "connection timed out"}
            assert trio.current_time() - before >= 86
        await harness.open(**path(harness, relayers[2]))
        await harness.open(**path(harness))
        reply = await harness.post("/session/udp", body(harness.node, destination=UNKNOWN))
        assert reply.status_code == 422
        harness.node.set_channel(relayers[2], "Closed")
        reply = await harness.post("/session/udp", body(harness.node))
        assert reply.status_code == 422


async def test_the_exit_comes_back_while_the_node_retries(autojump_clock: MockClock) -> None:
    async with running() as harness:
        harness.node.set_connected(harness.node.relayers[0], False)
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def _() -> None:
                await trio.sleep(10)
                harness.node.set_connected(harness.node.relayers[0], True)

            reply = await harness.post("/session/udp/explicit-path", via(harness.node))
        assert reply.status_code == 200
        # One attempt of 20 s, a delay of 2 to 4 s, a handshake.
        assert 22.05 <= trio.current_time() <= 24.05


async def test_the_relayer_goes_during_the_handshake(autojump_clock: MockClock) -> None:
    async with running(open_latency=1.0) as harness, trio.open_nursery() as nursery:

        @nursery.start_soon
        async def _() -> None:
            await trio.sleep(0.5)
            harness.node.set_connected(harness.node.relayers[0], False)

        reply = await harness.post("/session/udp/explicit-path", via(harness.node))
        assert reply.status_code == 422
        assert 86 <= trio.current_time() <= 92


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_loopback(dialect: str, autojump_clock: MockClock) -> None:
    async with running(dialect=dialect) as harness:
        reply = await harness.post("/session/udp", body(harness.node, destination=harness.node.address))
        assert reply.json()["error"].endswith("loopback sessions are not allowed")
        assert 6 <= trio.current_time() <= 12


async def test_the_cap_of_the_manager(autojump_clock: MockClock) -> None:
    async with running(max_sessions=2) as harness:
        first = await harness.open()
        await harness.open()
        before = trio.current_time()
        reply = await harness.post("/session/udp", body(harness.node))
        assert reply.json()["error"].endswith("number of sessions exceeds the maximum allowed")
        assert 6 <= trio.current_time() - before <= 12
        await harness.close(first)
        await harness.open()


@pytest.mark.parametrize("dialect", ["3", "4.0"])
async def test_a_delete_leaves_the_slot_to_the_idle_end(dialect: str, autojump_clock: MockClock) -> None:
    async with running(dialect=dialect, max_sessions=1) as harness:
        await harness.close(await harness.open())
        assert (await harness.post("/session/udp", body(harness.node))).status_code == 422
        await trio.sleep(203)
        await harness.open()


@pytest.mark.parametrize(("dialect", "limit"), [("3", 2048), ("4.0-rc", 2048), ("4.0", 100), ("4.1", 100)])
async def test_the_caps_of_the_dialects(dialect: str, limit: int, autojump_clock: MockClock) -> None:
    async with running(dialect=dialect) as harness:
        for _ in range(limit):
            harness.node.add_stranger()
        reply = await harness.post("/session/udp", body(harness.node))
        assert "exceeds the maximum" in reply.json()["error"]


@pytest.mark.parametrize(
    ("buffer", "upstream", "taken"),
    [(None, None, 0.75), ("0 KB", None, 0.05), ("20.4 KB", "8160 kbps", 0.06), ("2 MB", "1 kbps", 10.05)],
    ids=["default", "off", "small", "slow"],
)
async def test_the_wait_for_replies(
    buffer: str | None, upstream: str | None, taken: float, autojump_clock: MockClock
) -> None:
    async with running() as harness:
        await harness.open(responseBuffer=buffer, maxSurbUpstream=upstream)
        assert trio.current_time() == pytest.approx(taken)


async def test_opens_in_progress_are_counted(autojump_clock: MockClock) -> None:
    async with running(open_latency=1.0) as harness:
        harness.node.set_connected(harness.node.relayers[0], False)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(harness.post, "/session/udp/explicit-path", via(harness.node))
            nursery.start_soon(harness.open)
            await trio.sleep(0.5)
            assert harness.node.opening == 2
            assert (await harness.post("/session/udp", body(harness.node, forwardPath={"Hops": 4}))).status_code == 422
            await trio.sleep(0.51)
            assert harness.node.opening == 1
        assert harness.kinds() == ["peer_down", "open", "open_failed"]
        assert harness.node.opening == 0


@pytest.mark.parametrize("protocol", ["udp", "tcp"])
async def test_a_handshake_that_ends_as_the_node_restarts(protocol: str, autojump_clock: MockClock) -> None:
    # Which of the two comes first is chance.
    for _ in range(10):
        async with running(faults=faults("restart:at=1"), open_latency=1.0) as harness:
            with pytest.raises(httpx.RemoteProtocolError):
                await harness.open(protocol, sessionPool=1)
            assert harness.node.events[-1].time == harness.node.world.up_at
            assert harness.node.listeners() == ()
            assert (harness.node.opening, harness.node.world.sessions.slots) == (0, {})


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_client_that_goes_before_the_commit_leaves_nothing(dialect: str, autojump_clock: MockClock) -> None:
    async with running(dialect=dialect, open_latency=5.0) as harness:
        with trio.move_on_after(4):
            await harness.open(listenHost=":4000")
        assert harness.node.events[-1] == (4.0, "abandoned", ("udp", "127.0.0.1", 4000))
        assert harness.node.counters.opens_abandoned == 1
        assert len(harness.node.world.sessions.slots) == 0
        await harness.open(listenHost=":4000")


@pytest.mark.parametrize(("dialect", "left"), [("3", 1), ("4.0-rc", 1), ("4.0", 0), ("4.1", 0)])
async def test_a_client_that_goes_while_replies_are_awaited(dialect: str, left: int, autojump_clock: MockClock) -> None:
    async with running(dialect=dialect) as harness:
        with trio.move_on_after(0.5):
            await harness.open(responseBuffer=None)
        assert len(harness.node.world.sessions.slots) == left
        assert await harness.listed() == []
        await trio.sleep(203)
        assert len(harness.node.world.sessions.slots) == 0


async def test_httpx_gives_up(autojump_clock: MockClock) -> None:
    async with running(open_latency=5.0) as harness:
        with pytest.raises(httpx.ReadTimeout):
            await harness.http.post("/api/v4/session/udp", json=body(harness.node), timeout=httpx.Timeout(None, read=4))
        assert trio.current_time() == 4.0
        assert harness.kinds() == ["abandoned"]


async def test_a_client_cancelled_while_the_reply_travels_leaves_an_orphan(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    async with running() as harness:
        world = harness.node.world
        commit = world.commit
        with trio.CancelScope() as scope:

            def commit_and_cancel(*args: Any, **kwargs: Any) -> Any:
                scope.cancel()
                return commit(*args, **kwargs)

            monkeypatch.setattr(world, "commit", commit_and_cancel)
            await harness.open()
        assert scope.cancelled_caught
        assert harness.kinds() == ["open"]
        assert len(harness.node.listeners()) == 1


async def test_a_node_that_does_not_run(autojump_clock: MockClock) -> None:
    async with running() as harness:
        harness.node.set_running(False)
        reply = await harness.post("/session/udp", body(harness.node))
        assert reply.status_code == 422
        assert "node not ready" in reply.json()["error"]
        assert trio.current_time() == 0
        for check in ("startedz", "readyz", "healthyz"):
            assert (await harness.http.get(f"/{check}")).status_code == 412
        assert (await harness.http.get("/eligiblez")).status_code == 200
        status = (await harness.get("/node/status")).json()
        assert (status["overall"], status["components"]["chain"]["status"]) == ("Initializing", "Initializing")
        harness.node.set_running(True)
        await harness.open()


async def test_a_path_of_a_number_of_hops_needs_that_many_relayers(autojump_clock: MockClock) -> None:
    async with running(relayers=2) as harness:
        await harness.open(forwardPath={"Hops": 2})
        reply = await harness.post("/session/udp", body(harness.node, forwardPath={"Hops": 3}))
        assert reply.status_code == 422
        await harness.open(destination=harness.node.relayers[0])


async def test_a_full_exit(autojump_clock: MockClock) -> None:
    async with running(faults=faults("exit-full:open")) as harness:
        reply = await harness.post("/session/udp", body(harness.node))
        assert "rejected session initiation with error: NoSlotsAvailable" in reply.json()["error"]
        assert 6.2 <= trio.current_time() <= 12.2
