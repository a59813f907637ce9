"""The sockets in memory behave like the kernel's: see ``trio_sessions._datagrams.DatagramSocket``."""

from __future__ import annotations

import errno
import os

import pytest
import trio
from trio.testing import MockClock, assert_checkpoints

from trio_sessions._datagrams import DatagramSocket
from trio_sessions.simulator import MemorySocket, SimulatorConfig, open_memory_node

from .harness import echoes, running


async def test_a_closed_port_refuses_with_the_next_call(autojump_clock: MockClock) -> None:
    async with open_memory_node() as sim:
        socket: DatagramSocket = sim.connect("127.0.0.1", 4000)
        socket.send_nowait(b"x")
        await socket.wait_readable()
        with pytest.raises(ConnectionRefusedError):
            socket.receive_nowait()
        with pytest.raises(BlockingIOError):
            socket.receive_nowait()
        socket.send_nowait(b"x")
        with pytest.raises(ConnectionRefusedError):
            socket.send_nowait(b"x")
        socket.close()


async def test_a_waiting_reader_hears_of_the_refusal(autojump_clock: MockClock) -> None:
    async with open_memory_node() as sim, trio.open_nursery() as nursery:
        socket = sim.connect("127.0.0.1", 4000)

        @nursery.start_soon
        async def _() -> None:
            await trio.sleep(1)
            socket.send_nowait(b"x")

        await socket.wait_readable()
        assert trio.current_time() == 1
        socket.close()


async def test_the_send_buffer_is_bounded(autojump_clock: MockClock) -> None:
    async with open_memory_node(SimulatorConfig(), send_buffer=4) as sim:
        stranger = sim.node.add_stranger()
        socket = sim.connect(stranger.ip, stranger.port)
        for _ in range(4):
            await socket.wait_writable()
            socket.send_nowait(b"x")
        with pytest.raises(BlockingIOError):
            socket.send_nowait(b"x")
        await socket.wait_writable()
        assert trio.current_time() == 0.001
        socket.send_nowait(b"x")
        await trio.sleep(1)
        assert sim.node.counters.datagrams_received == 5
        socket.close()


async def test_the_receive_buffer_is_bounded(autojump_clock: MockClock) -> None:
    async with running() as harness:
        socket = harness.connect(await harness.open())
        received = await echoes(socket, *[b"x" * 600] * 200)
        assert len(received) == 212_992 // (600 + 768)
        socket.close()


async def test_waits_always_checkpoint(autojump_clock: MockClock) -> None:
    async with running() as harness:
        socket = harness.connect(await harness.open())
        socket.send_nowait(b"x")
        await trio.sleep(1)
        with assert_checkpoints():
            await socket.wait_readable()
        with assert_checkpoints():
            await socket.wait_writable()
        socket.close()
        with pytest.raises(trio.ClosedResourceError), assert_checkpoints():
            await socket.wait_readable()
        with pytest.raises(trio.ClosedResourceError), assert_checkpoints():
            await socket.wait_writable()


async def test_a_close_wakes_the_waiter_and_only_one_may_wait(autojump_clock: MockClock) -> None:
    async with open_memory_node() as sim, trio.open_nursery() as nursery:
        socket = sim.connect("127.0.0.1", 4000)

        @nursery.start_soon
        async def _() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await socket.wait_readable()

        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError):
            await socket.wait_readable()
        socket.close()


async def test_a_closed_socket_is_of_no_use(autojump_clock: MockClock) -> None:
    async with open_memory_node() as sim:
        socket = sim.connect("127.0.0.1", 4000)
        assert sim.open_sockets == 1
        socket.close()
        socket.close()
        assert sim.open_sockets == 0
        for use in (lambda: socket.send_nowait(b"x"), socket.receive_nowait):
            with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
                use()


async def test_datagrams_for_a_closed_client_vanish(autojump_clock: MockClock) -> None:
    async with running() as harness:
        socket = harness.connect(await harness.open())
        socket.send_nowait(b"x")
        socket.close()
        await trio.sleep(1)
        assert harness.node.counters.echoes_sent == 1


async def test_a_datagram_too_large_for_udp(autojump_clock: MockClock) -> None:
    async with open_memory_node() as sim:
        socket = sim.connect("127.0.0.1", 4000)
        with pytest.raises(OSError, match=os.strerror(errno.EMSGSIZE)):
            socket.send_nowait(bytes(65_508))
        socket.close()


async def test_an_address_that_is_none(autojump_clock: MockClock) -> None:
    async with open_memory_node() as sim:
        with pytest.raises(OSError, match=os.strerror(errno.EINVAL)):
            sim.connect("localhost", 4000)
        assert sim.open_sockets == 0


async def test_the_system_can_run_out_of_sockets(autojump_clock: MockClock) -> None:
    async with open_memory_node() as sim:
        assert sim.socket_limit is None
        sim.socket_limit = 1
        socket = sim.connect("127.0.0.1", 4000)
        with pytest.raises(OSError, match=os.strerror(errno.EMFILE)):
            sim.connect("127.0.0.1", 4000)
        socket.close()
        sim.connect("127.0.0.1", 4000).close()


async def test_addresses(autojump_clock: MockClock) -> None:
    async with running() as harness:
        sockets: list[MemorySocket] = []
        for asked, ip, heard in (
            ("0.0.0.0:4000", "127.0.0.1", True),
            ("127.0.0.2:5000", "127.0.0.1", False),
            ("[::1]:6000", "0:0:0:0:0:0:0:1", True),
        ):
            shown = await harness.open(listenHost=asked)
            socket = harness.sim.connect(ip, shown["port"])
            sockets.append(socket)
            socket.send_nowait(b"x")
            if heard:
                await socket.wait_readable()
                assert socket.receive_nowait() == b"x"
            else:
                with pytest.raises(ConnectionRefusedError):
                    socket.receive_nowait()
        for socket in sockets:
            socket.close()


async def test_random_ports_avoid_those_in_use(autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    from trio_sessions.simulator import _memory_net

    monkeypatch.setattr(_memory_net, "EPHEMERAL", (40_000, 40_009))
    async with open_memory_node() as sim:
        ports = {sim.node.add_stranger().port for _ in range(5)}
        sockets = [sim.connect("127.0.0.1", 1) for _ in range(5)]
        assert len(ports) == 5
        assert sim.open_sockets == 5
        for socket in sockets:
            socket.close()
