"""Faults as data: their grammar, their selection, and what each does to a call."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
import trio
from trio.testing import MockClock

from trio_sessions._errors import InvalidInputError
from trio_sessions.simulator import FAULT_HELP, Fault, SimulatorConfig, parse_fault

from .harness import body, faults, running, via


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("hang:delete:after=3:count=2", Fault(kind="hang", call="close", after=3, count=2)),
        ("delay:open:seconds=30:p=0.1", Fault(kind="delay", call="open", seconds=30, p=0.1)),
        ("status:close:status=503:from=1:until=2", Fault(kind="status", call="close", status=503, since=1, until=2)),
        ("loss:p=0.01:relayer=1", Fault(kind="loss", p=0.01, relayer=1)),
        ("flap:relayer=0:at=5:seconds=60", Fault(kind="flap", relayer=0, at=5, seconds=60)),
        ("restart:at=30:seconds=2", Fault(kind="restart", at=30, seconds=2)),
        ("cap", Fault(kind="cap", call="open")),
        ("late-removal:delete:seconds=3", Fault(kind="late-removal", call="close", seconds=3)),
        ("low-port", Fault(kind="low-port", call="open")),
        ("reset", Fault(kind="reset", call="any")),
        (" null:list ", Fault(kind="null", call="list")),
    ],
)
def test_faults_are_read(text: str, fault: Fault) -> None:
    assert parse_fault(text) == fault


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "unknown kind"),
        ("hand:open", "unknown kind"),
        ("hang:opens", "unknown call"),
        ("hang:open:p=x", "p needs a number, not 'x'"),
        ("hang:open:q=1", "unknown setting 'q'"),
        ("hang:open:count", "count needs a number, not ''"),
        ("hang:p=2", "must be 0 to 1"),
        ("hang:p=nan", "must be 0 to 1"),
        ("hang:after=-1", "must not be negative"),
        ("delay:seconds=nan", "must not be negative"),
        ("status:status=99", "must be 200 to 599"),
        ("port0:close", "happens to open alone"),
        ("stale:open", "happens to list alone"),
        ("reuse:open", "happens to close alone"),
        ("late-removal:open", "happens to close alone"),
        ("ports-used-up:close", "happens to open alone"),
        ("loss:open", "takes no call"),
        ("restart:open", "takes no call"),
        ("flap:seconds=5", "needs a relayer"),
    ],
)
def test_what_is_no_fault_is_refused_in_one_line(text: str, message: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        parse_fault(text)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_help_names_every_kind() -> None:
    kinds = ("hang", "stale", "port0", "low-port", "ports-used-up", "reuse", "late-removal", "merge", "flap")
    for kind in (*kinds, "leave-after-disconnect"):
        assert f"  {kind} " in FAULT_HELP


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dialect": "5"}, "use one of 3, 4.0-rc, 4.0, 4.1"),
        ({"token": "short"}, "fewer than 8"),
        ({"relayers": -1}, "must not be negative"),
        ({"open_latency": float("nan")}, "must not be negative"),
        ({"port_range": (10, 5)}, "two ports"),
        ({"listen_host": "localhost"}, "must be an ip"),
        ({"faults": (Fault(kind="flap", relayer=3),)}, "there are 3 relayers"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        SimulatorConfig(**settings)
    assert message in str(caught.value)
    assert "short" not in str(caught.value)


def test_the_token_is_not_shown() -> None:
    assert "secret-token" not in repr(SimulatorConfig(token="secret-token"))


async def test_hang(autojump_clock: MockClock) -> None:
    async with running(faults=faults("hang:close:count=1")) as harness:
        shown = await harness.open()
        with trio.move_on_after(100) as scope:
            await harness.close(shown)
        assert scope.cancelled_caught
        assert len(await harness.listed()) == 1
        assert (await harness.close(shown)).status_code == 204
        assert harness.node.counters.faults == {"hang": 1}


async def test_delay_prolongs_an_open_that_holds_its_port(autojump_clock: MockClock) -> None:
    async with running(faults=faults("delay:open:seconds=30", "delay:list:seconds=2")) as harness:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: harness.open(listenHost=":4000"))
            await trio.sleep(10)
            assert await harness.listed() == []
            assert trio.current_time() == 12
            assert (await harness.post("/session/udp", body(harness.node, listenHost=":4000"))).status_code == 422
        assert trio.current_time() == 30.05
        await harness.open("tcp")
        assert trio.current_time() == 60.05


@pytest.mark.parametrize(
    ("status", "kind"), [(401, "json"), (404, "json"), (422, "json"), (500, "text"), (503, "text"), (204, None)]
)
async def test_status(status: int, kind: str | None, autojump_clock: MockClock) -> None:
    async with running(faults=faults(f"status:close:status={status}:count=1")) as harness:
        shown = await harness.open()
        reply = await harness.close(shown)
        assert reply.status_code == status
        assert (kind or "") in reply.headers.get("content-type", "")
        assert len(await harness.listed()) == 1
        if status == 401:
            assert reply.json() == {"status": "UNAUTHORIZED"}


@pytest.mark.parametrize("call", ["open", "any"])
async def test_reset(call: str, autojump_clock: MockClock) -> None:
    async with running(faults=faults(f"reset:{call}")) as harness:
        with pytest.raises(httpx.ReadError):
            await harness.open()
        assert harness.node.listeners() == ()
        # The controls have no faults.
        assert (await harness.http.get("/simulator/state")).status_code == 200


async def test_a_lost_reply(autojump_clock: MockClock) -> None:
    async with running(faults=faults("reply-lost:open", "reply-hangs:close")) as harness:
        with pytest.raises(httpx.ReadError):
            await harness.open(listenHost=":4000")
        assert [record.port for record in harness.node.listeners()] == [4000]
        with trio.move_on_after(1000) as scope:
            await harness.delete("/session/udp/127.0.0.1/4000")
        assert scope.cancelled_caught
        assert harness.node.listeners() == ()


async def test_replies_that_break_the_contract(autojump_clock: MockClock) -> None:
    plan = faults("garbage:list:count=1", "empty:list:after=1:count=1", "null:list:after=2:count=1", "empty:version")
    async with running(faults=plan) as harness:
        await harness.open()
        replies = [await harness.get("/session/udp") for _ in range(4)]
        assert [reply.text for reply in replies[:3]] == ['{"ip":"127.0.0.1","port":', "[]", "null"]
        assert {reply.headers["content-type"] for reply in replies} == {"application/json"}
        assert len(replies[3].json()) == 1
        assert (await harness.get("/node/version")).content == b""


@pytest.mark.parametrize(
    ("dialect", "path"), [("3", "/node/peers"), ("4.1", "/network/connected"), ("4.1", "/channels")]
)
async def test_empty_replies_keep_their_shape(dialect: str, path: str, autojump_clock: MockClock) -> None:
    async with running(dialect=dialect) as harness:
        full = (await harness.get(path)).json()
        harness.node.add_fault(parse_fault("empty"))
        empty = (await harness.get(path)).json()
        assert type(empty) is type(full)
        assert not any(empty.values() if isinstance(empty, dict) else empty)


async def test_a_garbled_death_is_still_a_death(autojump_clock: MockClock) -> None:
    async with running(faults=faults("reply-lost:list", "garbage:list")) as harness:
        with pytest.raises(httpx.ReadError):
            await harness.listed()


async def test_a_stale_list(autojump_clock: MockClock) -> None:
    async with running(open_latency=0.0) as harness:
        gone = await harness.open()
        await trio.sleep(10)
        await harness.close(gone)
        await trio.sleep(10)
        new = await harness.open()
        for seconds, expected in ((5, []), (15, [gone["port"]]), (25, []), (0, [new["port"]])):
            harness.node.clear_faults()
            harness.node.add_fault(Fault(kind="stale", seconds=seconds))
            assert [shown["port"] for shown in await harness.listed()] == expected


async def test_a_list_that_is_stale_for_a_while(autojump_clock: MockClock) -> None:
    async with running(faults=faults("stale:list:seconds=5:from=2:until=9"), open_latency=0.0) as harness:
        first = await harness.open()
        await trio.sleep(3)
        await harness.close(first)
        await harness.open()
        seen = []
        for _ in range(4):
            seen.append([shown["activeClients"] for shown in await harness.listed()])
            await trio.sleep(2.5)
        # At 3 the list of -2, at 5.5 that of 0.5, at 8 that of 3, when one went and one came; then the present.
        assert [len(shown) for shown in seen] == [0, 1, 1, 1]
        assert seen[1] == [first["activeClients"]]
        assert seen[2] == seen[3] != seen[1]


async def test_a_list_that_fails_for_a_while(autojump_clock: MockClock) -> None:
    async with running(faults=faults("status:list:status=503:until=5")) as harness:
        shown = await harness.open()
        assert (await harness.get("/session/udp")).status_code == 503
        await trio.sleep(5)
        assert [item["port"] for item in await harness.listed()] == [shown["port"]]


@pytest.mark.parametrize("dialect", ["3", "4.1"])
async def test_ports_that_are_used_up_are_told_at_once(dialect: str, autojump_clock: MockClock) -> None:
    async with running(dialect=dialect, faults=faults("ports-used-up"), port_range=(5000, 5001)) as harness:
        for protocol in ("udp", "tcp"):
            reply = await harness.post(f"/session/{protocol}", body(harness.node))
            assert (reply.status_code, reply.json()["status"]) == (422, "UNKNOWN_FAILURE")
            assert reply.json()["error"].endswith("no valid socket addresses found within range: 5000:5001")
        assert (trio.current_time(), harness.kinds(), harness.node.opening) == (0, [], 0)


async def test_low_ports_leave_a_range_alone(autojump_clock: MockClock) -> None:
    async with running(faults=faults("low-port"), port_range=(5000, 5001)) as harness:
        assert (await harness.open())["port"] == 5000


async def test_new_faults_leave_the_chances_of_others_alone(autojump_clock: MockClock) -> None:
    chance = ("status:list:p=0.5", "status:version:p=0.5")
    runs = []
    for more in ((), ("late-removal", "low-port", "ports-used-up:count=1")):
        async with running(faults=faults(*chance, *more)) as harness:
            await harness.post("/session/udp", body(harness.node))
            await harness.close(await harness.open())
            paths = ("/session/udp", "/node/version") * 20
            runs.append([(await harness.get(path)).status_code for path in paths])
    assert runs[0] == runs[1]


async def test_port_0_in_a_reply(autojump_clock: MockClock) -> None:
    async with running(faults=faults("port0:open")) as harness:
        assert (await harness.open())["port"] == 0
        assert (await harness.listed())[0]["port"] != 0


async def test_a_cap_that_is_none(autojump_clock: MockClock) -> None:
    async with running(faults=faults("cap:count=1")) as harness:
        reply = await harness.post("/session/udp", body(harness.node))
        assert reply.json()["error"].endswith("number of sessions exceeds the maximum allowed")
        await harness.open()


async def test_an_open_that_is_committed_after_its_client_left(autojump_clock: MockClock) -> None:
    async with running(faults=faults("leave-after-disconnect", "delay:open:seconds=30")) as harness:
        with trio.move_on_after(4):
            await harness.open(listenHost=":4000")
        assert (harness.node.opening, harness.node.pending) == (0, 1)
        await trio.sleep(20)
        assert await harness.listed() == []
        await trio.sleep(10)
        assert len(await harness.listed()) == 1
        assert (harness.node.opening, harness.node.pending) == (0, 0)
        assert harness.node.events[-1] == (30.05, "open", ("udp", "127.0.0.1", 4000))
        assert (harness.node.counters.opens_late, harness.node.counters.opens_abandoned) == (1, 1)


async def test_a_restart_before_the_late_commit(autojump_clock: MockClock) -> None:
    async with running(faults=faults("leave-after-disconnect", "delay:open:seconds=30")) as harness:
        with trio.move_on_after(4):
            await harness.open(listenHost=":4000")
        harness.node.restart()
        assert harness.node.pending == 0
        harness.node.clear_faults()
        # The port is free at once.
        await harness.open(listenHost=":4000")
        await trio.sleep(60)
        assert len(harness.node.listeners()) == 1
        assert harness.node.counters.opens_late == 0


async def test_an_open_that_would_have_failed_is_not_committed_late(autojump_clock: MockClock) -> None:
    async with running(faults=faults("leave-after-disconnect")) as harness:
        harness.node.set_connected(harness.node.destinations[0], False)
        with trio.move_on_after(4):
            await harness.open()
        assert harness.kinds() == ["peer_down", "abandoned"]


async def test_an_open_that_fails_in_the_end_is_not_committed_late(autojump_clock: MockClock) -> None:
    async with running(faults=faults("leave-after-disconnect"), open_latency=1.0) as harness:
        with trio.move_on_after(4):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(harness.open)
                await trio.sleep(0.5)
                harness.node.set_connected(harness.node.destinations[0], False)
        await trio.sleep(100)
        assert harness.kinds() == ["peer_down", "abandoned"]


@pytest.mark.parametrize("release", [0.0, 0.01])
async def test_a_stranger_takes_a_port_that_has_become_free(release: float, autojump_clock: MockClock) -> None:
    async with running(faults=faults("reuse:close"), release_latency=release) as harness:
        shown = await harness.open()
        assert (await harness.close(shown)).status_code == 204
        await trio.sleep(release + 0.001)
        (record,) = harness.node.listeners()
        assert (record.port, record.stranger) == (shown["port"], True)


async def test_a_port_that_is_shared_does_not_become_free(autojump_clock: MockClock) -> None:
    async with running(faults=faults("same-port:after=1", "reuse:close")) as harness:
        await harness.open()
        await harness.close(await harness.open())
        await trio.sleep(1)
        assert harness.kinds() == ["open", "open", "close"]


async def test_a_flapping_relayer(autojump_clock: MockClock) -> None:
    async with running(faults=faults("flap:relayer=1:at=5:seconds=10:count=2")) as harness:
        await trio.sleep(100)
        relayer = harness.node.relayers[1]
        kinds = ("peer_down", "peer_up")
        assert list(harness.node.events) == [(at, kinds[i % 2], relayer) for i, at in enumerate((5, 15, 25, 35))]


async def test_a_planned_restart(autojump_clock: MockClock) -> None:
    async with running(faults=faults("restart:at=30:seconds=2")) as harness:
        await harness.open()
        await trio.sleep(30)
        with pytest.raises(httpx.ConnectError):
            await harness.listed()
        await trio.sleep(2)
        assert await harness.listed() == []


async def test_faults_of_one_relayer(autojump_clock: MockClock) -> None:
    plan = faults("delay:open:relayer=1:seconds=90", "status:close:relayer=1", "hang:list:relayer=1")
    async with running(faults=plan) as harness:
        replies = [await harness.post("/session/udp/explicit-path", via(harness.node, relayer)) for relayer in (0, 1)]
        shown = [reply.json() for reply in replies]
        assert trio.current_time() == pytest.approx(90.1)
        assert [(await harness.close(item)).status_code for item in shown] == [204, 500]
        assert (await harness.delete("/session/udp/127.0.0.1/1")).status_code == 404
        assert len(await harness.listed()) == 1
        assert (await harness.http.post("/api/v4/session/udp", content=b"{")).status_code == 415


async def test_faults_of_one_relayer_in_3x(autojump_clock: MockClock) -> None:
    async with running(dialect="3", faults=faults("status:open:relayer=0")) as harness:
        for relayer, status in ((0, 500), (1, 200)):
            path = {"IntermediatePath": [harness.node.relayers[relayer]]}
            reply = await harness.post("/session/udp", body(harness.node, forwardPath=path, returnPath=path))
            assert reply.status_code == status
        await harness.open()


async def test_a_window_of_time(autojump_clock: MockClock) -> None:
    async with running(faults=faults("status:version:from=10:until=20")) as harness:
        statuses = []
        for _ in range(4):
            statuses.append((await harness.get("/node/version")).status_code)
            await trio.sleep(8)
        assert statuses == [200, 200, 500, 200]


async def test_a_fault_for_a_relayer_that_is_not_there(autojump_clock: MockClock) -> None:
    async with running() as harness:
        with pytest.raises(InvalidInputError, match=r"there are 3 relayers"):
            harness.node.add_fault(Fault(kind="loss", relayer=3))


async def one_run(seed: int) -> list[Any]:
    """Some minutes with faults of chance."""
    plan = faults("status:any:p=0.2", "loss:p=0.3", "duplicate:p=0.3", "split:p=0.3", "reorder:p=0.3", "reset:p=0.1")
    async with running(seed=seed, faults=plan) as harness:
        seen: list[Any] = []
        for _ in range(30):
            try:
                reply = await harness.post("/session/udp/explicit-path", via(harness.node))
            except httpx.ReadError:
                continue
            seen.append(reply.text)
            if reply.status_code == 200:
                socket = harness.connect(reply.json())
                for data in (b"one", b"two", b"three"):
                    socket.send_nowait(data)
                await trio.sleep(1)
                try:
                    while True:
                        seen.append(socket.receive_nowait())
                except BlockingIOError:
                    socket.close()
        await trio.sleep(500)
        return [*seen, *harness.node.events]


async def test_the_same_seed_gives_the_same_run(autojump_clock: MockClock) -> None:
    runs = []
    for seed in (1, 1, 2):
        began = trio.current_time()
        run = await one_run(seed)
        runs.append([(round(e[0] - began, 6), *e[1:]) if isinstance(e, tuple) else e for e in run])
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]
