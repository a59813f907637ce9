"""Open, list, close and configure (contract §2.1 to §2.5)."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock

from .harness import DIALECTS, UNKNOWN, body, running, via


@pytest.mark.parametrize(
    ("dialect", "mtu", "tagged"),
    [("3", 1002, True), ("4.0-rc", 1018, True), ("4.0", 1020, False), ("4.1", 1020, False)],
)
async def test_what_a_post_answers(dialect: str, mtu: int, tagged: bool, autojump_clock: MockClock) -> None:
    async with running(dialect=dialect) as harness:
        shown = await harness.open(destination=harness.node.destinations[0].lower())
        (session_id,) = shown.pop("activeClients")
        (record,) = harness.node.listeners()
    assert trio.current_time() == 0.05
    assert (":" in session_id) == tagged
    assert session_id == record.session_id
    assert record.key == ("udp", "127.0.0.1", shown.pop("port"))
    assert record.forward == 1
    assert shown == {
        "target": "#0",
        "destination": harness.node.destinations[0],
        "forwardPath": {"Hops": 1},
        "returnPath": {"Hops": 1},
        "protocol": "udp",
        "ip": "127.0.0.1",
        "hoprMtu": mtu,
        "surbLen": 395,
        "maxClientSessions": 1,
        "maxSurbUpstream": None,
        "responseBuffer": "0 B",
        "sessionPool": None,
    }


def test_addresses_are_printed_in_mixed_case() -> None:
    from trio_sessions.simulator import SimulatedNode

    for address in SimulatedNode().relayers:
        assert address not in (address.lower(), address.upper())


@pytest.mark.parametrize(
    ("dialect", "buffer", "upstream", "echoed", "listed"),
    [
        ("3", "2 MB", "2 Mbps", ("1.9 MiB", "2Mbps"), ("1.9 MiB", "2Mbps")),
        ("3", None, None, (None, None), (None, None)),
        ("4.0", "2 MB", "2 Mbps", ("1.9 MiB", "2Mbps"), ("756.1 KiB", "96.775kbps")),
        ("4.1", None, None, (None, None), ("2.6 MiB", "1.975Mbps")),
        ("4.1", "0 KB", "1 Mbps", ("0 B", "1Mbps"), (None, None)),
    ],
)
async def test_the_list_is_not_the_posts_echo(
    dialect: str,
    buffer: str | None,
    upstream: str | None,
    echoed: tuple[str | None, str | None],
    listed: tuple[str | None, str | None],
    autojump_clock: MockClock,
) -> None:
    async with running(dialect=dialect) as harness:
        shown = await harness.open(responseBuffer=buffer, maxSurbUpstream=upstream)
        (again,) = await harness.listed()
    assert (shown["responseBuffer"], shown["maxSurbUpstream"]) == echoed
    assert (again["responseBuffer"], again["maxSurbUpstream"]) == listed
    same = {"responseBuffer", "maxSurbUpstream"}
    assert {key: shown[key] for key in shown.keys() - same} == {key: again[key] for key in again.keys() - same}


@pytest.mark.parametrize(
    ("target", "printed"),
    [
        ({"Service": 7}, "#7"),
        ({"Plain": "example.org:80"}, "example.org:80"),
        ({"Plain": "[::1]:80"}, "[::1]:80"),
        ({"Sealed": "+/8="}, "$$-_8="),
    ],
    ids=str,
)
async def test_targets(target: dict[str, Any], printed: str, autojump_clock: MockClock) -> None:
    async with running() as harness:
        assert (await harness.open(target=target))["target"] == printed


@pytest.mark.parametrize(
    ("asked", "ip", "port"),
    [
        (None, "127.0.0.1", None),
        ("127.1.2.3", "127.1.2.3", None),
        ("127.1.2.3:4000", "127.1.2.3", 4000),
        (":4000", "127.0.0.1", 4000),
        ("0.0.0.0:4000", "0.0.0.0", 4000),
        ("[::1]:4000", "::1", 4000),
        ("0:0:0:0:0:0:0:1", "::1", None),
        ("localhost:4000", "127.0.0.1", None),
        ("127.0.0.1:x", "127.0.0.1", None),
        ("127.0.0.1:70000", "127.0.0.1", None),
        ("", "127.0.0.1", None),
    ],
)
async def test_listen_hosts(asked: str | None, ip: str, port: int | None, autojump_clock: MockClock) -> None:
    async with running() as harness:
        shown = await harness.open(listenHost=asked)
    assert shown["ip"] == ip
    if port is not None:
        assert shown["port"] == port
    else:
        assert shown["port"] != 4000


async def test_an_address_that_is_not_the_nodes(autojump_clock: MockClock) -> None:
    async with running() as harness:
        reply = await harness.post("/session/udp", body(harness.node, listenHost="8.8.8.8:53"))
    assert reply.status_code == 422
    assert reply.json()["error"].endswith("address not available")


async def test_ports_of_a_range_and_its_end(autojump_clock: MockClock) -> None:
    async with running(port_range=(5000, 5001)) as harness:
        explicit = await harness.open(listenHost=":6000")
        ports = [(await harness.open())["port"] for _ in range(2)]
        reply = await harness.post("/session/udp", body(harness.node))
    assert (explicit["port"], ports) == (6000, [5000, 5001])
    assert reply.status_code == 422
    assert reply.json()["status"] == "UNKNOWN_FAILURE"
    assert reply.json()["error"].endswith("no valid socket addresses found within range: 5000:5001")


async def test_the_lowest_free_port_of_a_range_comes_first(autojump_clock: MockClock) -> None:
    async with running(port_range=(5000, 5004), release_latency=0.0) as harness:
        opened = [await harness.open() for _ in range(4)]
        for shown in (opened[2], opened[1]):
            await harness.close(shown)
        await trio.sleep(0.001)
        assert [(await harness.open())["port"] for _ in range(3)] == [5001, 5002, 5004]


async def test_an_address_that_no_tcp_listener_can_have(autojump_clock: MockClock) -> None:
    async with running(dialect="3", port_range=(5000, 5000)) as harness:
        reply = await harness.post("/session/tcp", body(harness.node, listenHost="8.8.8.8:53"))
        assert (reply.status_code, reply.json()["error"]) == (422, "address not available")
        await harness.open("tcp")
        reply = await harness.post("/session/tcp", body(harness.node))
        assert (reply.status_code, "no valid socket addresses" in reply.json()["error"]) == (422, True)


async def test_an_explicit_port_in_the_nodes_own_table(autojump_clock: MockClock) -> None:
    async with running() as harness:
        await harness.open(listenHost=":4000")
        before = trio.current_time()
        reply = await harness.post("/session/udp", body(harness.node, listenHost=":4000"))
        assert (reply.status_code, reply.json()) == (409, {"status": "LISTEN_HOST_ALREADY_USED"})
        assert trio.current_time() == before


async def test_an_explicit_port_that_is_still_opening(autojump_clock: MockClock) -> None:
    async with running() as harness, trio.open_nursery() as nursery:
        nursery.start_soon(lambda: harness.open(listenHost=":4000"))
        await trio.sleep(0.01)
        assert await harness.listed() == []
        reply = await harness.post("/session/udp", body(harness.node, listenHost=":4000"))
        assert reply.status_code == 422
        assert "address not available" in reply.json()["error"]


async def test_paths_of_3x(autojump_clock: MockClock) -> None:
    async with running(dialect="3") as harness:
        path = {"IntermediatePath": [harness.node.relayers[1].lower()]}
        shown = await harness.open(forwardPath=path, returnPath=path)
        assert shown["forwardPath"] == {"IntermediatePath": [harness.node.relayers[1]]}
        assert await harness.listed() == [shown]
        assert harness.node.listeners()[0].forward == (harness.node.relayers[1],)


async def test_intermediate_path_after_3x(autojump_clock: MockClock) -> None:
    for dialect, kind in (
        ("4.0-rc", "text/plain; charset=utf-8"),
        ("4.0", "application/json"),
        ("4.1", "application/json"),
    ):
        async with running(dialect=dialect) as harness:
            path = {"IntermediatePath": [harness.node.relayers[0]]}
            reply = await harness.post("/session/udp", body(harness.node, forwardPath=path, returnPath=path))
        assert (reply.status_code, reply.headers["content-type"]) == (422, kind)
        if kind == "application/json":
            text = "explicit path routing is only supported on /session/{protocol}/explicit-path"
            assert reply.json() == {"status": "UNKNOWN_FAILURE", "error": text}


@pytest.mark.parametrize("dialect", ["4.0", "4.1"])
async def test_the_explicit_path_route(dialect: str, autojump_clock: MockClock) -> None:
    async with running(dialect=dialect) as harness:
        given = harness.node.relayers[0].lower()
        reply = await harness.post(
            "/session/udp/explicit-path", via(harness.node, forwardPath=[given], returnPath=[], flowControl="fast")
        )
        shown = reply.json()
        assert shown["forwardPath"] == {"IntermediatePath": [given]}
        assert shown["returnPath"] == {"IntermediatePath": []}
        (again,) = await harness.listed()
        assert again["forwardPath"] == {"IntermediatePath": ["#1"]}
        for hop in (UNKNOWN, "nobody"):
            reply = await harness.post("/session/udp/explicit-path", via(harness.node, forwardPath=[hop]))
            text = f"invalid/unknown intermediate path node address '{hop}'"
            assert (reply.status_code, reply.json()) == (422, {"status": "UNKNOWN_FAILURE", "error": text})
        reply = await harness.post("/session/udp/explicit-path", body(harness.node))
        assert (reply.status_code, reply.headers["content-type"]) == (422, "text/plain; charset=utf-8")


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_too_many_hops(dialect: str, autojump_clock: MockClock) -> None:
    async with running(dialect=dialect) as harness:
        reply = await harness.post("/session/udp", body(harness.node, forwardPath={"Hops": 4}))
    assert (reply.status_code, reply.json()["status"]) == (422, "UNKNOWN_FAILURE")
    assert trio.current_time() == 0


async def test_delete(autojump_clock: MockClock) -> None:
    async with running() as harness:
        one, other = await harness.open(), await harness.open()
        reply = await harness.close(one)
        assert (reply.status_code, reply.content) == (204, b"")
        assert "content-length" not in reply.headers
        assert [shown["port"] for shown in await harness.listed()] == [other["port"]]
        reply = await harness.close(one)
        assert (reply.status_code, reply.json()) == (404, {"status": "INVALID_INPUT"})
        reply = await harness.delete("/session/udp/nowhere/1")
        assert (reply.status_code, reply.json()) == (400, {"status": "INVALID_INPUT"})
        assert (await harness.delete(f"/session/UDP/127.0.0.1/{other['port']}")).status_code == 204
        assert (harness.node.counters.closes, harness.node.counters.closes_missed) == (2, 1)


async def test_delete_of_port_0_takes_everything_of_ip_and_protocol(autojump_clock: MockClock) -> None:
    async with running() as harness:
        for _ in range(3):
            await harness.open(listenHost="127.9.9.9")
        elsewhere = await harness.open(listenHost="127.9.9.8")
        tcp = await harness.open("tcp", listenHost="127.9.9.9")
        assert (await harness.delete("/session/udp/127.9.9.9/0")).status_code == 204
        assert await harness.listed() == [{**elsewhere, "responseBuffer": None}]
        assert [shown["port"] for shown in await harness.listed("tcp")] == [tcp["port"]]
        assert (await harness.delete("/session/udp/127.9.9.9/0")).status_code == 404


async def test_delete_matches_the_listed_ip(autojump_clock: MockClock) -> None:
    async with running() as harness:
        wild = await harness.open(listenHost="0.0.0.0")
        assert (await harness.delete(f"/session/udp/127.0.0.1/{wild['port']}")).status_code == 404
        assert (await harness.close(wild)).status_code == 204
        six = await harness.open(listenHost="[::1]:4000")
        assert (await harness.delete(f"/session/udp/0:0:0:0:0:0:0:1/{six['port']}")).status_code == 204


async def test_the_port_is_free_a_little_after_the_reply(autojump_clock: MockClock) -> None:
    async with running() as harness:
        assert (await harness.close(await harness.open(listenHost=":4000"))).status_code == 204
        reply = await harness.post("/session/udp", body(harness.node, listenHost=":4000"))
        assert (reply.status_code, "address not available" in reply.json()["error"]) == (422, True)
        await trio.sleep(0.01)
        await harness.open(listenHost=":4000")


@pytest.mark.parametrize("dialect", ["3", "4.1"])
async def test_tcp_listeners_are_bound_and_listed(dialect: str, autojump_clock: MockClock) -> None:
    async with running(dialect=dialect) as harness:
        harness.node.set_connected(harness.node.destinations[0], False)
        shown = await harness.open("tcp", listenHost=":4000", capabilities=None, sessionPool=0, maxClientSessions=0)
        assert trio.current_time() == 0
        assert (shown["activeClients"], shown["maxClientSessions"], shown["sessionPool"]) == ([], 1, 0)
        reply = await harness.post("/session/tcp", body(harness.node, listenHost=":4000"))
        assert reply.status_code == 409
        assert await harness.listed() == []
        await trio.sleep(1000)
        assert len(await harness.listed("tcp")) == 1
        assert (await harness.close(shown)).status_code == 204
        # The port is bound for a moment yet, and TCP tells.
        reply = await harness.post("/session/tcp", body(harness.node, listenHost=":4000"))
        assert reply.status_code == 409


@pytest.mark.parametrize(("dialect", "status"), [("3", 500), ("4.0", 422)])
async def test_a_tcp_pool_contacts_the_peer(dialect: str, status: int, autojump_clock: MockClock) -> None:
    async with running(dialect=dialect) as harness:
        shown = await harness.open("tcp", sessionPool=9)
        assert (shown["sessionPool"], shown["maxClientSessions"]) == (5, 5)
        assert trio.current_time() == 0.05
        harness.node.set_connected(harness.node.destinations[0], False)
        reply = await harness.post("/session/tcp", body(harness.node, sessionPool=1))
        assert reply.status_code == status


async def test_the_config_of_a_session(autojump_clock: MockClock) -> None:
    async with running() as harness:
        (session_id,) = (await harness.open(responseBuffer="2 MB", maxSurbUpstream="2 Mbps"))["activeClients"]
        path = f"/session/config/{session_id}"
        assert (await harness.get(path)).json() == {"responseBuffer": "1.9 MiB", "maxSurbUpstream": "1.9992Mbps"}
        reply = await harness.post(path, {"responseBuffer": "1 MB", "maxSurbUpstream": "1 Mbps"})
        assert (reply.status_code, reply.content) == (204, b"")
        assert (await harness.get(path)).json() == {"responseBuffer": "976.2 KiB", "maxSurbUpstream": "995.52kbps"}
        assert (await harness.post(path, {"responseBuffer": "1 KB"})).json() == {"status": "INVALID_INPUT"}
        assert (await harness.post(path, {})).status_code == 204
        wrong: list[Any] = [[], {"responseBuffer": 5}, {"maxSurbUpstream": "x"}]
        for data in wrong:
            assert (await harness.post(path, data)).status_code == 422


@pytest.mark.parametrize(("dialect", "unknown", "status"), [("3", "0x12:7", 422), ("4.1", "0x12", 404)])
async def test_configs_that_are_not_there(dialect: str, unknown: str, status: int, autojump_clock: MockClock) -> None:
    async with running(dialect=dialect) as harness:
        (session_id,) = (await harness.open())["activeClients"]
        off = await harness.get(f"/session/config/{session_id}")
        assert (off.status_code, off.json()) == (404, {"status": "SESSION_NOT_FOUND"})
        off = await harness.post(f"/session/config/{session_id}", {})
        assert (off.status_code, off.json()["status"]) == (406, "UNKNOWN_FAILURE")
        assert (await harness.get(f"/session/config/{unknown}")).status_code == status
        assert (await harness.post(f"/session/config/{unknown}", {})).json() == {"status": "SESSION_NOT_FOUND"}
        bad = await harness.get("/session/config/nothing")
        assert (bad.status_code, bad.json()) == (400, {"status": "INVALID_SESSION_ID"})
        assert (await harness.post("/session/config/nothing", {})).status_code == 400
