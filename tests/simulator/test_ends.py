"""How listeners end by themselves: idle, or with the node (contract §3.5, §3.8)."""

from __future__ import annotations

import contextlib

import httpx
import pytest
import trio
from trio.testing import MockClock

from trio_sessions._errors import InvalidInputError
from trio_sessions.simulator import Fault, SimulatedNode, SimulatorConfig, open_memory_node

from .harness import DIALECTS, body, echoes, faults, running, via


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("seed", range(5))
async def test_the_idle_end_comes_at_a_sweep(dialect: str, seed: int, autojump_clock: MockClock) -> None:
    async with running(dialect=dialect, seed=seed) as harness:
        shown = await harness.open()
        await trio.sleep(179)
        assert len(await harness.listed()) == 1
        await trio.sleep(30)
        assert await harness.listed() == []
        ended = harness.node.events[-1]
        assert (ended.kind, ended.detail) == ("idle_end", ("udp", shown["ip"], shown["port"]))
        assert 180 <= ended.time - 0.05 <= 202.5
        assert harness.node.counters.idle_ends == 1
        assert (await harness.close(shown)).status_code == 404
        # The port is free at once.
        await harness.open(listenHost=f":{shown['port']}")


async def test_receiving_resets_the_idle_timer_and_sending_does_not(autojump_clock: MockClock) -> None:
    async with running() as harness:
        heard, unheard = await harness.open(), await harness.open(target={"Service": 5})
        sockets = [harness.connect(heard), harness.connect(unheard)]
        for _ in range(25):
            await trio.sleep(10)
            # The other one is refused as soon as its listener has gone.
            with contextlib.suppress(ConnectionRefusedError):
                for socket in sockets:
                    socket.send_nowait(b"x")
        assert [shown["port"] for shown in await harness.listed()] == [heard["port"]]
        last = trio.current_time() + 0.02
        await trio.sleep(250)
        assert 180 <= harness.node.events[-1].time - last <= 202.5
        for socket in sockets:
            socket.close()


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_the_config_routes_reset_the_idle_timer(method: str, autojump_clock: MockClock) -> None:
    async with running() as harness:
        (session_id,) = (await harness.open())["activeClients"]
        for _ in range(20):
            await trio.sleep(100)
            await harness.http.request(method, f"/api/v4/session/config/{session_id}", json={})
        assert len(await harness.listed()) == 1


@pytest.mark.parametrize(("dialect", "stays"), [("3", False), ("4.0-rc", False), ("4.0", True), ("4.1", True)])
async def test_an_exit_with_rate_control_holds_its_session(
    dialect: str, stays: bool, autojump_clock: MockClock
) -> None:
    async with running(dialect=dialect) as harness:
        await harness.open(capabilities=["NoDelay"])
        await trio.sleep(1000)
        assert len(await harness.listed()) == stays
        harness.node.set_connected(harness.node.destinations[0], False)
        await trio.sleep(1000)
        assert await harness.listed() == []


async def test_strangers_never_go_idle(autojump_clock: MockClock) -> None:
    async with running() as harness:
        stranger = harness.node.add_stranger(ip="127.0.0.9", port=4000, relayer=harness.node.relayers[1])
        assert stranger.key == ("udp", "127.0.0.9", 4000)
        assert stranger.forward == (harness.node.relayers[1],)
        await trio.sleep(3600)
        assert [record.key for record in harness.node.listeners()] == [stranger.key]
        with pytest.raises(InvalidInputError, match=r"cannot be bound"):
            harness.node.add_stranger(ip="127.0.0.9", port=4000)


async def test_a_restart_of_4x(autojump_clock: MockClock) -> None:
    async with running(open_latency=5.0) as harness:
        shown = await harness.open()
        socket = harness.connect(shown)

        async def broken() -> None:
            with pytest.raises(httpx.RemoteProtocolError):
                await harness.open()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(broken)
            await trio.sleep(1)
            harness.node.restart(down_for=10)
        with pytest.raises(httpx.ConnectError):
            await harness.listed()
        await trio.sleep(9.99)
        with pytest.raises(httpx.ConnectError):
            await harness.listed()
        await trio.sleep(0.01)
        assert await harness.listed() == []
        assert harness.node.counters.restarts == 1
        assert (6.0, "restart", 10) in harness.node.events
        socket.send_nowait(b"x")
        with pytest.raises(ConnectionRefusedError):
            socket.receive_nowait()
        socket.close()
        await harness.open()


async def test_a_restart_of_3x(autojump_clock: MockClock) -> None:
    async with running(dialect="3") as harness:
        await harness.open()
        harness.node.restart(down_for=10)
        assert await harness.listed() == []
        assert (await harness.http.get("/startedz")).status_code == 412
        assert (await harness.post("/session/udp", body(harness.node))).status_code == 422
        assert (await harness.post(f"/peers/{harness.node.relayers[0]}/ping")).status_code == 412
        assert trio.current_time() == 0.05
        await trio.sleep(10)
        assert (await harness.http.get("/startedz")).status_code == 200
        await harness.open()


async def test_a_node_without_peers_in_sight_is_not_healthy(autojump_clock: MockClock) -> None:
    async with running(relayers=1, destinations=0) as harness:
        assert (await harness.http.get("/healthyz")).status_code == 200
        harness.node.set_connected(harness.node.relayers[0], False)
        assert (await harness.http.get("/startedz")).status_code == 200
        assert (await harness.http.get("/healthyz")).status_code == 412
        assert harness.node.add_stranger().destination == harness.node.relayers[0]


async def test_the_front_takes_everything_down(autojump_clock: MockClock) -> None:
    node = SimulatedNode()
    node.restart()
    with pytest.raises(InvalidInputError, match=r"no network"):
        node.add_stranger()
    async with open_memory_node(node) as sim:
        assert sim.node is node
        sim.node.add_stranger()
    assert sim.node.listeners() == ()
    with pytest.raises(InvalidInputError, match=r"no network"):
        sim.node.add_stranger()


async def test_an_error_in_the_block_comes_out_bare(autojump_clock: MockClock) -> None:
    with pytest.raises(KeyError):
        async with open_memory_node(SimulatorConfig()):
            raise KeyError
    with trio.move_on_after(1) as scope:
        async with open_memory_node():
            await trio.sleep_forever()
    assert scope.cancelled_caught


async def test_two_listeners_that_share_a_port(autojump_clock: MockClock) -> None:
    """The later one takes the entry, the kernel splits the clients, the end of the older delists it (§3.2)."""
    async with running(faults=faults("same-port:open:after=1")) as harness:
        older = await harness.open()
        await trio.sleep(60)
        newer = await harness.open()
        assert newer["port"] == older["port"]
        assert [shown["activeClients"] for shown in await harness.listed()] == [newer["activeClients"]]
        sockets = [harness.connect(newer) for _ in range(16)]
        answered = [bool(await echoes(socket, b"x" * 10, wait=0.1)) for socket in sockets]
        # Each session pins its first client, so two are heard.
        assert sum(answered) == 2
        await trio.sleep(300)
        assert await harness.listed() == []
        for socket in sockets:
            socket.close()


async def test_a_late_removal_delists_whoever_has_the_port(autojump_clock: MockClock) -> None:
    async with running(faults=faults("late-removal:count=1"), open_latency=0.0, release_latency=0.0) as harness:
        address = "127.0.0.1:4000"
        await harness.close(await harness.open(listenHost=address))
        await trio.sleep(0.5)
        successor = await harness.open(listenHost=address)
        await trio.sleep(0.499)
        assert (len(await harness.listed()), harness.node.delisted()) == (1, ())
        await trio.sleep(0.002)
        assert await harness.listed() == []
        (record,) = harness.node.delisted()
        assert [record.session_id] == successor["activeClients"]
        assert harness.node.events[-1] == (1.0, "delisted", ("udp", "127.0.0.1", 4000))
        # A list of the past knows it for as long as it was listed.
        for age, count in ((0.25, 1), (0.75, 0)):
            harness.node.add_fault(Fault(kind="stale", seconds=age, count=1))
            assert len(await harness.listed()) == count
        # Neither its own DELETE nor one of every port finds it.
        assert (await harness.close(successor)).status_code == 404
        assert (await harness.delete("/session/udp/127.0.0.1/0")).status_code == 404
        socket = harness.connect(successor)
        assert await echoes(socket, b"x") == [b"x"]
        socket.close()


async def test_a_delisted_listener_ends_idle_and_delists_the_next(autojump_clock: MockClock) -> None:
    """The second is delisted by the first; the third shares its port and is delisted by its idle end (§3.2)."""
    plan = faults("late-removal:count=1", "same-port:after=2")
    async with running(faults=plan, open_latency=0.0, release_latency=0.0) as harness:
        address = "127.0.0.1:4000"
        await harness.close(await harness.open(listenHost=address))
        second = await harness.open(listenHost=address)
        await trio.sleep(100)
        third = await harness.open(listenHost=address)
        assert third["port"] == second["port"]
        assert [shown["activeClients"] for shown in await harness.listed()] == [third["activeClients"]]
        await trio.sleep(103)
        assert harness.kinds() == ["open", "close", "open", "delisted", "open", "delisted", "idle_end"]
        assert [[record.session_id] for record in harness.node.delisted()] == [third["activeClients"]]
        await trio.sleep(100)
        assert harness.node.delisted() == ()
        assert harness.node.counters.idle_ends == 2
        assert harness.node.world.sessions.slots == {}


async def test_a_late_removal_of_nobody(autojump_clock: MockClock) -> None:
    async with running(faults=faults("late-removal:seconds=5")) as harness:
        await harness.close(await harness.open())
        await trio.sleep(10)
        assert harness.kinds() == ["open", "close"]


async def test_a_late_removal_delists_a_stranger_that_took_the_port(autojump_clock: MockClock) -> None:
    async with running(faults=faults("reuse", "late-removal")) as harness:
        await harness.close(await harness.open())
        await trio.sleep(1.001)
        assert harness.kinds() == ["open", "close", "stranger", "delisted"]
        await trio.sleep(1000)
        assert [record.stranger for record in harness.node.delisted()] == [True]


async def test_a_restart_forgets_what_was_to_follow_a_delete(autojump_clock: MockClock) -> None:
    async with running(faults=faults("reuse", "late-removal")) as harness:
        await harness.close(await harness.open(listenHost=":4000"))
        harness.node.restart()
        harness.node.clear_faults()
        await trio.sleep(0.1)
        assert len(await harness.listed()) == 0
        await harness.open(listenHost=":4000")
        await trio.sleep(10)
        assert len(await harness.listed()) == 1


async def test_a_restart_takes_the_delisted_along(autojump_clock: MockClock) -> None:
    async with running(faults=faults("same-port:after=1")) as harness:
        await harness.open()
        await harness.open()
        assert len(harness.node.delisted()) == 1
        harness.node.restart()
        assert (harness.node.listeners(), harness.node.delisted()) == ((), ())
        assert harness.kinds() == ["open", "open", "restart"]


async def test_a_stale_list_shows_a_port_s_holder_of_then(autojump_clock: MockClock) -> None:
    async with running(faults=faults("same-port:after=1"), open_latency=0.0) as harness:
        older = await harness.open()
        await trio.sleep(10)
        newer = await harness.open()
        await trio.sleep(10)
        for age, shown in ((15, older), (5, newer)):
            harness.node.add_fault(Fault(kind="stale", seconds=age, count=1))
            assert [it["activeClients"] for it in await harness.listed()] == [shown["activeClients"]]


async def test_the_same_port_of_nobody_is_any_port(autojump_clock: MockClock) -> None:
    async with running(faults=faults("same-port")) as harness:
        reply = await harness.post("/session/udp/explicit-path", via(harness.node))
        assert reply.status_code == 200
