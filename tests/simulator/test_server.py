"""The front with real sockets: a few calls over loopback, and everything that only it has."""

from __future__ import annotations

import logging
import socket as sockets
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import trio

from trio_sessions._datagrams import connect_udp
from trio_sessions.simulator import ServedNode, SimulatedNode, SimulatorConfig, parse_fault, serve_node

from .harness import body, faults, via


@asynccontextmanager
async def served(**settings: Any) -> AsyncIterator[tuple[ServedNode, httpx.AsyncClient]]:
    async with trio.open_nursery() as nursery:
        node = await nursery.start(serve_node, SimulatorConfig(**settings))
        headers = {} if node.token is None else {"x-auth-token": node.token}
        async with httpx.AsyncClient(base_url=node.url, headers=headers, timeout=5) as http:
            yield node, http
        nursery.cancel_scope.cancel()


async def until(condition: Callable[[], object]) -> None:
    """Wait for what another task brings about; nothing is assumed of how fast that is."""
    with trio.fail_after(5):
        while not condition():  # noqa: ASYNC110
            await trio.sleep(0.005)


async def came_back(http: httpx.AsyncClient, status: int = 200) -> None:
    """Wait until the API answers again."""
    with trio.fail_after(5):
        while True:
            try:
                reply = await http.get("/startedz")
            except httpx.TransportError:
                await trio.sleep(0.01)
            else:
                assert reply.status_code == status
                return


async def test_a_session_from_its_open_to_its_close() -> None:
    async with served(open_latency=0.0, echo_latency=0.001) as (node, http):
        reply = await http.post("/api/v4/session/udp/explicit-path", json=via(node.node, listenHost="127.0.0.7"))
        assert reply.status_code == 200
        assert reply.headers["content-type"] == "application/json"
        assert "server" not in reply.headers
        shown = reply.json()
        assert shown["ip"] == "127.0.0.7"
        socket = connect_udp(shown["ip"], shown["port"])
        socket.send_nowait(b"hello")
        with trio.fail_after(2):
            await socket.wait_readable()
        assert socket.receive_nowait() == b"hello"
        assert len((await http.get("/api/v4/session/udp")).json()) == 1
        reply = await http.delete(f"/api/v4/session/udp/{shown['ip']}/{shown['port']}")
        assert (reply.status_code, reply.content) == (204, b"")
        assert "content-length" not in reply.headers
        await trio.sleep(0.05)
        socket.send_nowait(b"hello")
        with trio.fail_after(2):
            await socket.wait_readable()
        with pytest.raises(ConnectionRefusedError):
            socket.receive_nowait()
        socket.close()


async def test_an_empty_datagram_and_one_too_large() -> None:
    async with served(open_latency=0.0, echo_latency=0.001) as (node, http):
        shown = (await http.post("/api/v4/session/udp", json=body(node.node, responseBuffer=None))).json()
        socket = connect_udp(shown["ip"], shown["port"])
        socket.send_nowait(bytes(20_000))
        received = 0
        with trio.fail_after(2):
            while received < 16_384:
                await socket.wait_readable()
                received += len(socket.receive_nowait())
        assert received == 16_384
        socket.send_nowait(b"")
        await until(lambda: node.node.counters.eof_ends)
        socket.send_nowait(b"x")
        with trio.fail_after(2):
            await socket.wait_readable()
        with pytest.raises(ConnectionRefusedError):
            socket.receive_nowait()
        assert node.node.counters.eof_ends == 1
        socket.close()


async def test_framing_over_the_wire() -> None:
    async with served(relayers=0) as (_, http):
        reply = await http.post("/api/v4/node/version")
        assert (reply.status_code, reply.headers["allow"], reply.content) == (405, "GET,HEAD", b"")
        reply = await http.head("/api/v4/node/version")
        assert (reply.status_code, reply.content) == (200, b"")
        assert (await http.get("/api/v4/nothing", headers={"accept": "application/json"})).status_code == 406
        assert (await http.get("/api/v4/node/version", headers={"x-auth-token": "wrong"})).status_code == 401
        large = await http.post(
            "/api/v4/session/udp", content=bytes(3 * 1024 * 1024), headers={"content-type": "application/json"}
        )
        assert large.status_code == 413
        assert (await http.get("/api/v4/channels?fullTopology=true")).json()["outgoing"] == []


async def test_a_client_that_disconnects_drops_the_handler() -> None:
    async with served(open_latency=60.0) as (node, http):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: http.post("/api/v4/session/udp", json=body(node.node)))
            await until(lambda: node.node.counters.opens_started)
            nursery.cancel_scope.cancel()
        await until(lambda: node.node.counters.opens_abandoned)
        assert node.node.listeners() == ()
        assert node.node.world.sessions.slots == {}


async def test_a_client_that_disconnects_within_its_body() -> None:
    async with served() as (node, _):
        stream = await trio.open_tcp_stream("127.0.0.1", int(node.url.rpartition(":")[2]))
        await stream.send_all(b"POST /api/v4/session/udp HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{")
        await stream.aclose()
        await trio.sleep(0.05)
        assert node.node.counters.calls == {}


@pytest.mark.parametrize("fault", ["reset:list", "reply-lost:list"])
async def test_a_connection_that_dies(fault: str) -> None:
    async with served(faults=faults(fault)) as (node, http):
        with pytest.raises(httpx.RemoteProtocolError):
            await http.get("/api/v4/session/udp")
        node.node.clear_faults()
        assert (await http.get("/api/v4/session/udp")).status_code == 200


@pytest.mark.parametrize(("dialect", "refused"), [("4.1", True), ("3", False)])
async def test_a_restart(dialect: str, refused: bool) -> None:
    async with served(dialect=dialect, open_latency=60.0) as (node, http):
        node.node.add_stranger()

        async def broken() -> None:
            with pytest.raises(httpx.RemoteProtocolError):
                await http.post("/api/v4/session/udp", json=body(node.node))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(broken)
            await until(lambda: node.node.counters.opens_started)
            node.node.restart(down_for=60)
        if refused:
            with pytest.raises(httpx.ConnectError):
                await http.get("/startedz")
        else:
            await came_back(http, 412)
        node.node.restart()
        await came_back(http)
        assert (await http.get("/api/v4/session/udp")).json() == []


async def test_ports_of_the_system() -> None:
    async with served(open_latency=0.0) as (node, http):
        with sockets.socket(type=sockets.SOCK_DGRAM) as other:
            other.bind(("127.0.0.1", 0))
            port = other.getsockname()[1]
            reply = await http.post("/api/v4/session/udp", json=body(node.node, listenHost=f":{port}"))
            assert (reply.status_code, "address not available" in reply.json()["error"]) == (422, True)
        first = (await http.post("/api/v4/session/udp", json=body(node.node))).json()
        node.node.add_fault(parse_fault("same-port:open"))
        second = (await http.post("/api/v4/session/udp", json=body(node.node))).json()
        assert first["port"] == second["port"]
        tcp = await http.post("/api/v4/session/tcp", json=body(node.node, listenHost="::1"))
        assert (tcp.status_code, tcp.json()["ip"]) == (200, "::1")


async def test_an_echo_that_the_system_does_not_take_is_lost() -> None:
    async with served(open_latency=0.0, echo_latency=0.2) as (node, http):
        shown = (await http.post("/api/v4/session/udp", json=body(node.node))).json()
        socket = connect_udp(shown["ip"], shown["port"])
        socket.send_nowait(b"x")
        await until(lambda: node.node.counters.datagrams_received)
        (session,) = node.node.world.sessions.alive.values()
        session.pinned = ("127.0.0.1", 0)
        await until(lambda: node.node.counters.echoes_sent)
        assert node.node.world.kernel.unsent == 1  # type: ignore[union-attr]
        socket.close()


async def test_cancelling_closes_everything_at_once() -> None:
    async with trio.open_nursery() as clients:
        async with trio.open_nursery() as nursery:
            node = await nursery.start(serve_node, SimulatorConfig(open_latency=60.0))
            stranger = node.node.add_stranger()

            @clients.start_soon
            async def _() -> None:
                async with httpx.AsyncClient(headers={"x-auth-token": str(node.token)}) as http:
                    with pytest.raises(httpx.RemoteProtocolError):
                        await http.post(f"{node.url}/api/v4/session/udp", json=body(node.node))

            await until(lambda: node.node.counters.opens_started)
            began = trio.current_time()
            nursery.cancel_scope.cancel()
        assert trio.current_time() - began < 0.5
    assert node.node.counters.opens_abandoned == 1
    with sockets.socket(type=sockets.SOCK_DGRAM) as socket:
        socket.bind((stranger.ip, stranger.port))
    with sockets.create_server(("127.0.0.1", int(node.url.rpartition(":")[2]))):
        pass


async def test_an_error_of_ours_is_a_500_and_is_logged(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with served() as (node, http):

        def broken(*_: object) -> Any:
            raise RuntimeError("a bug")

        monkeypatch.setattr(node.node, "handle", broken)
        with caplog.at_level(logging.ERROR):
            assert (await http.get("/api/v4/session/udp")).status_code == 500
    assert "a bug" in caplog.text


async def test_the_token_stays_out_of_repr_and_log(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        async with served(token="a-secret-token") as (node, http):
            await http.get("/api/v4/node/version")
            assert "a-secret-token" not in repr(node)
    assert "a-secret-token" not in caplog.text
    assert capfd.readouterr() == ("", "")


async def test_an_address_that_is_taken() -> None:
    async with served() as (node, _):
        with pytest.raises(OSError, match=r"in use"):
            await serve_node(port=int(node.url.rpartition(":")[2]))


async def test_the_package_needs_no_hypercorn() -> None:
    code = "import sys; sys.modules['hypercorn'] = None; import trio_sessions.simulator"
    await trio.run_process([sys.executable, "-W", "error", "-c", code])


async def test_a_node_of_ones_own_on_ipv6() -> None:
    node = SimulatedNode()
    async with trio.open_nursery() as nursery:
        there = await nursery.start(lambda task_status: serve_node(node, host="::1", task_status=task_status))
        assert there.node is node
        async with httpx.AsyncClient(base_url=there.url) as http:
            assert (await http.get("/healthyz")).status_code == 200
        nursery.cancel_scope.cancel()


async def test_a_node_that_goes_down_once_more() -> None:
    async with served() as (node, http):
        node.node.restart(down_for=60)
        await trio.sleep(0.05)
        node.node.restart(down_for=0.3)
        with pytest.raises(httpx.ConnectError):
            await http.get("/startedz")
        await came_back(http)


async def test_a_listener_that_ends_before_it_was_read() -> None:
    async with served() as (node, http):
        node.node.add_stranger()
        node.node.restart()
        await came_back(http)
        assert (await http.get("/api/v4/session/udp")).json() == []


async def test_an_open_that_goes_on_ends_with_the_front() -> None:
    async with served(open_latency=60.0, faults=faults("leave-after-disconnect")) as (node, http):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: http.post("/api/v4/session/udp", json=body(node.node)))
            await until(lambda: node.node.counters.opens_started)
            nursery.cancel_scope.cancel()
        await until(lambda: node.node.counters.opens_abandoned)
        kernel = node.node.world.kernel
        assert len(kernel.bindings) == 1  # type: ignore[union-attr]
    assert len(kernel.bindings) == 0  # type: ignore[union-attr]
