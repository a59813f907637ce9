"""What the fault texts provoke, each in memory and over real sockets, judged from the outside alone."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import attrs
import httpx
import pytest
import trio
from trio.testing import MockClock

from trio_sessions._datagrams import connect_udp
from trio_sessions.simulator import MemoryNode, SimulatorConfig, serve_node

from .harness import Harness, body, faults, running

#: Loopback addresses of this module's own: no other test takes their ports.
IP = "127.4.4.4"
ADDRESS = f"{IP}:4400"

#: Calls of health, list, open and close.
CALLS = (
    ("GET", "/healthyz"),
    ("GET", "/api/v4/session/udp"),
    ("POST", "/api/v4/session/udp"),
    ("DELETE", f"/api/v4/session/udp/{IP}/4400"),
)

Play = Callable[[Harness], Awaitable[None]]


@attrs.frozen
class Scenario:
    """Something to provoke: the texts of the faults, other settings, and what must be seen."""

    play: Play
    faults: tuple[str, ...]
    settings: dict[str, Any]


SCENARIOS: list[Scenario] = []


def scenario(*texts: str, **settings: Any) -> Callable[[Play], Play]:
    def note(play: Play) -> Play:
        SCENARIOS.append(Scenario(play, texts, settings))
        return play

    return note


every_scenario = pytest.mark.parametrize("it", SCENARIOS, ids=lambda it: it.play.__name__)


@asynccontextmanager
async def served(**settings: Any) -> AsyncIterator[Harness]:
    """As :func:`running`, with real sockets."""
    async with trio.open_nursery() as nursery:
        node = await nursery.start(serve_node, SimulatorConfig(**settings))
        async with httpx.AsyncClient(base_url=node.url, headers={"x-auth-token": node.token}, timeout=None) as http:
            yield Harness(node, http)
        nursery.cancel_scope.cancel()


async def until(harness: Harness, condition: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    """Wait for a state of the node, also across a restart."""
    with trio.fail_after(10):
        while True:
            try:
                state = await harness.state()
            except httpx.TransportError:
                state = {}
            if state and condition(state):
                return state
            await trio.sleep(0.02)


async def reopen(harness: Harness) -> dict[str, Any]:
    """Open on :data:`ADDRESS` as soon as that is free again."""
    with trio.fail_after(10):
        while True:
            reply = await harness.post("/session/udp", body(harness.node, listenHost=ADDRESS))
            if reply.status_code == 200:
                shown: dict[str, Any] = reply.json()
                return shown
            assert "address not available" in reply.json()["error"]
            await trio.sleep(0.005)


async def leave(harness: Harness, method: str, path: str) -> bool:
    """Call, and leave when the node has had some time for it; whether it has answered."""
    replies = []
    calls = harness.node.counters.calls
    before = calls.total()
    transport = harness.front.transport if isinstance(harness.front, MemoryNode) else None
    headers = harness.http.headers
    async with httpx.AsyncClient(
        transport=transport, base_url=harness.http.base_url, headers=headers, timeout=None
    ) as http:
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def _() -> None:
                replies.append(await http.request(method, path, json=body(harness.node)))

            with trio.fail_after(10):
                while calls.total() == before:  # noqa: ASYNC110
                    await trio.sleep(0.005)
            await trio.sleep(0.1)
            nursery.cancel_scope.cancel()
    return bool(replies)


async def assert_echoes(harness: Harness, shown: dict[str, Any]) -> None:
    connect = harness.front.connect if isinstance(harness.front, MemoryNode) else connect_udp
    socket = connect(shown["ip"], shown["port"])
    socket.send_nowait(b"hello")
    with trio.fail_after(5):
        await socket.wait_readable()
    assert socket.receive_nowait() == b"hello"
    socket.close()


def ports(items: list[dict[str, Any]]) -> list[int]:
    return [item["port"] for item in items]


@scenario("reply-lost:open:count=1")
async def a_reply_lost_after_the_commit(harness: Harness) -> None:
    with pytest.raises(httpx.TransportError):
        await harness.open(listenHost=ADDRESS)
    assert ports(await harness.listed()) == [4400]


@scenario("exit-full", open_retries=0)
async def an_open_that_the_node_does_not_retry(harness: Harness) -> None:
    began = trio.current_time()
    reply = await harness.post("/session/udp", body(harness.node))
    assert "NoSlotsAvailable" in reply.json()["error"]
    # Sooner than one delay before a retry.
    assert trio.current_time() - began < 2
    assert (await harness.state())["counters"]["opens_failed"] == 1


@scenario("leave-after-disconnect", "delay:open:seconds=1")
async def a_commit_after_the_client_left(harness: Harness) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: harness.open(listenHost=ADDRESS))
        state = await until(harness, lambda state: state["opening"])
        assert (state["opening"], state["pending"]) == (1, 0)
        nursery.cancel_scope.cancel()
    state = await until(harness, lambda state: state["pending"])
    assert (state["opening"], state["pending"], state["listeners"]) == (0, 1, [])
    state = await until(harness, lambda state: not state["pending"])
    assert ports(state["listeners"]) == [4400]
    assert state["counters"]["opens_late"] == 1


@scenario("reuse:close")
async def immediate_port_reuse(harness: Harness) -> None:
    shown = await harness.open()
    assert (await harness.close(shown)).status_code == 204
    state = await until(harness, lambda state: state["listeners"])
    assert [(it["port"], it["stranger"]) for it in state["listeners"]] == [(shown["port"], True)]


async def lowest_first(harness: Harness, lowest: int) -> None:
    opened = [await harness.open(listenHost=IP) for _ in range(3)]
    assert ports(opened) == [lowest, lowest + 1, lowest + 2]
    await harness.close(opened[1])
    await trio.sleep(0.2)
    assert (await harness.open(listenHost=IP))["port"] == lowest + 1
    # An explicit port is not limited by the range.
    assert (await harness.open(listenHost=ADDRESS))["port"] == 4400


@scenario("low-port")
async def lowest_free_port_by_a_fault(harness: Harness) -> None:
    await lowest_first(harness, 20_000)


@scenario(port_range=(4500, 4502))
async def lowest_free_port_of_a_range(harness: Harness) -> None:
    await lowest_first(harness, 4500)
    reply = await harness.post("/session/udp", body(harness.node, listenHost=IP))
    assert reply.json()["error"].endswith("no valid socket addresses found within range: 4500:4502")


@scenario("same-port:after=1")
async def two_listeners_on_one_port(harness: Harness) -> None:
    older, newer = await harness.open(), await harness.open()
    assert older["port"] == newer["port"]
    assert [it["activeClients"] for it in await harness.listed()] == [newer["activeClients"]]
    assert [it["session_id"] for it in (await harness.state())["delisted"]] == older["activeClients"]


@scenario("late-removal")
async def a_late_removal_that_delists_the_successor(harness: Harness) -> None:
    await harness.close(await harness.open(listenHost=ADDRESS))
    successor = await reopen(harness)
    assert ports(await harness.listed()) == [4400]
    state = await until(harness, lambda state: state["delisted"])
    assert [it["session_id"] for it in state["delisted"]] == successor["activeClients"]
    assert (state["listeners"], state["sockets"]) == ([], 1)
    assert await harness.listed() == []
    await assert_echoes(harness, successor)
    assert (await harness.close(successor)).status_code == 404
    # Its port is still its own.
    assert (await harness.post("/session/udp", body(harness.node, listenHost=ADDRESS))).status_code == 422


@scenario("restart:at=1:seconds=0.1")
async def a_restart_with_an_empty_list(harness: Harness) -> None:
    await harness.open()
    assert len(await harness.listed()) == 1
    state = await until(harness, lambda state: state["counters"]["restarts"])
    assert (state["listeners"], state["sockets"], state["slots"]) == ([], 0, 0)
    assert await harness.listed() == []


@scenario(
    "empty:list:count=1",
    "null:list:after=1:count=1",
    "status:list:after=2:count=1:status=503",
    "stale:list:after=3:count=1:seconds=60",
)
async def lists_that_are_wrong(harness: Harness) -> None:
    await harness.open()
    replies = [await harness.get("/session/udp") for _ in range(5)]
    assert [reply.status_code for reply in replies] == [200, 200, 503, 200, 200]
    assert [replies[i].text for i in (0, 1, 3)] == ["[]", "null", "[]"]
    assert len(replies[4].json()) == 1


@scenario("ports-used-up:count=3")
async def ports_that_are_used_up(harness: Harness) -> None:
    for listen_host, protocol, status, text in (
        (IP, "udp", 422, "no valid socket addresses found within range: 20000:32767"),
        (ADDRESS, "udp", 422, "address not available"),
        (ADDRESS, "tcp", 409, "LISTEN_HOST_ALREADY_USED"),
    ):
        reply = await harness.post(f"/session/{protocol}", body(harness.node, listenHost=listen_host))
        assert (reply.status_code, text in reply.text) == (status, True)
    assert (await harness.state())["counters"]["opens_started"] == 0
    await harness.open(listenHost=IP)


@scenario("hang")
async def a_hang_of_any_call(harness: Harness) -> None:
    harness.node.add_stranger(ip=IP, port=4400)
    for method, path in CALLS:
        assert not await leave(harness, method, path)
    state = await harness.state()
    assert state["counters"]["faults"] == {"hang": len(CALLS)}
    assert (state["opening"], ports(state["listeners"])) == (0, [4400])


@every_scenario
async def test_in_memory(it: Scenario, autojump_clock: MockClock) -> None:
    async with running(faults=faults(*it.faults), **it.settings) as harness:
        await it.play(harness)


@every_scenario
async def test_over_real_sockets(it: Scenario) -> None:
    async with served(faults=faults(*it.faults), **it.settings) as harness:
        await it.play(harness)


@pytest.mark.parametrize("fault", ["hang", "reply-hangs", "delay:seconds=60"])
async def test_a_client_that_leaves_takes_its_task_with_it(fault: str) -> None:
    async with served(open_latency=0.0) as harness:

        def tasks() -> int:
            """Those besides the listeners', which a hanging reply leaves."""
            return trio.lowlevel.current_statistics().tasks_living - len(harness.node.listeners())

        # Whatever the server keeps for itself is there after a first connection.
        await harness.state()
        await leave(harness, "GET", "/startedz")
        await trio.testing.wait_all_tasks_blocked(0.05)
        before = tasks()
        harness.node.add_fault(faults(fault)[0])
        for _ in range(3):
            for method, path in CALLS:
                assert not await leave(harness, method, path)
        with trio.fail_after(5):
            while tasks() > before:  # noqa: ASYNC110
                await trio.sleep(0.01)
        assert harness.node.opening == 0
