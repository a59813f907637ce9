"""A datagram's way to the exit and back (contract §3.6, §4)."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from .harness import drain, echoes, faults, running, via

NO_DELAY = ["NoDelay"]


async def test_an_echo_after_its_latency(autojump_clock: MockClock) -> None:
    async with running(echo_latency=0.25) as harness:
        socket = harness.connect(await harness.open())
        sent_at = trio.current_time()
        socket.send_nowait(b"hello")
        await socket.wait_readable()
        assert trio.current_time() == sent_at + 0.25
        assert socket.receive_nowait() == b"hello"
        (record,) = harness.node.listeners()
        assert (record.datagrams, record.echoes, record.last_received) == (1, 1, trio.current_time())
        socket.close()


async def test_the_first_source_is_pinned(autojump_clock: MockClock) -> None:
    async with running() as harness:
        shown = await harness.open()
        first, second = harness.connect(shown), harness.connect(shown)
        assert await echoes(first, b"one") == [b"one"]
        assert await echoes(second, b"two") == []
        first.close()
        assert await echoes(second, b"three") == []
        assert harness.node.counters.datagrams_foreign == 2
        second.close()


async def test_an_empty_datagram_ends_the_session(autojump_clock: MockClock) -> None:
    async with running() as harness:
        shown = await harness.open()
        socket = harness.connect(shown)
        socket.send_nowait(b"x")
        socket.send_nowait(b"")
        assert await harness.listed() == []
        assert harness.node.events[-1] == (0.05, "eof_end", ("udp", shown["ip"], shown["port"]))
        await trio.sleep(1)
        # Not even the echo that was on its way; and the port is closed.
        assert drain(socket) == []
        socket.send_nowait(b"x")
        with pytest.raises(ConnectionRefusedError):
            socket.send_nowait(b"x")
        socket.close()


@pytest.mark.parametrize(
    ("dialect", "capabilities", "size", "pieces"),
    [
        ("4.1", NO_DELAY, 1500, [1500]),
        ("4.1", NO_DELAY, 1501, [1500, 1]),
        ("4.1", NO_DELAY, 16384, [1500] * 10 + [1384]),
        ("4.1", NO_DELAY, 20000, [1500] * 10 + [1384]),
        ("4.1", [], 1031, [1030, 1]),
        ("4.1", ["NoRateControl"], 1030, [1030]),
        ("3", [], 2024, [1012, 1012]),
    ],
)
async def test_how_datagrams_are_cut(
    dialect: str, capabilities: list[str], size: int, pieces: list[int], autojump_clock: MockClock
) -> None:
    async with running(dialect=dialect) as harness:
        socket = harness.connect(await harness.open(capabilities=capabilities, responseBuffer=None))
        assert [len(echo) for echo in await echoes(socket, bytes(size))] == pieces
        socket.close()


async def test_without_no_delay_datagrams_merge_into_frames(autojump_clock: MockClock) -> None:
    async with running() as harness:
        socket = harness.connect(await harness.open(capabilities=["Segmentation"], responseBuffer=None))
        assert await echoes(socket, b"a" * 600, b"b" * 600, b"c" * 600) == [b"a" * 600 + b"b" * 600, b"c" * 600]
        socket.send_nowait(b"a")
        await trio.sleep(0.001)
        assert await echoes(socket, b"b") == [b"a", b"b"]
        socket.close()


async def test_large_datagrams_use_up_the_reply_blocks(autojump_clock: MockClock) -> None:
    async with running() as harness:
        socket = harness.connect(await harness.open())
        assert len(await echoes(socket, *[b"x" * 625] * 10)) == 10
        assert await echoes(socket, b"x" * 626) == []
        # 1200 bytes are 1020 and 180: one block comes, two would be needed.
        assert await echoes(socket, b"x" * 1200) == []
        assert len(await echoes(socket, b"x" * 1200)) == 1
        assert harness.node.counters.datagrams_starved == 2
        socket.close()


async def test_sizes_can_be_chosen(autojump_clock: MockClock) -> None:
    async with running(hopr_mtu=500, surb_len=100) as harness:
        shown = await harness.open(capabilities=[])
        assert (shown["hoprMtu"], shown["surbLen"]) == (500, 100)
        socket = harness.connect(shown)
        assert await echoes(socket, b"x" * 401) == []
        assert len(await echoes(socket, b"x" * 400)) == 1
        socket.close()


async def test_targets_without_an_echo(autojump_clock: MockClock) -> None:
    async with running() as harness:
        for target in ({"Service": 1}, {"Plain": "localhost:1"}):
            socket = harness.connect(await harness.open(target=target))
            assert await echoes(socket, b"x") == []
            socket.close()
        assert harness.node.counters.datagrams_lost == 2


async def test_a_path_that_breaks_and_comes_back(autojump_clock: MockClock) -> None:
    async with running() as harness:
        shown = (await harness.post("/session/udp/explicit-path", via(harness.node))).json()
        socket = harness.connect(shown)
        harness.node.set_connected(harness.node.relayers[0], False)
        assert await echoes(socket, b"1") == []
        harness.node.set_connected(harness.node.relayers[0], True)
        assert await echoes(socket, b"2") == [b"2"]
        harness.node.set_channel(harness.node.relayers[0], "Closed")
        assert await echoes(socket, b"3") == []
        harness.node.set_channel(harness.node.relayers[0], "Open")
        harness.node.set_connected(harness.node.relayers[1], False)
        assert await echoes(socket, b"4") == [b"4"]
        socket.close()


@pytest.mark.parametrize(("dialect", "timeout"), [("3", 0.8), ("4.0", 0.8), ("4.1", 3.0)])
async def test_a_lost_frame_holds_up_the_later_ones(dialect: str, timeout: float, autojump_clock: MockClock) -> None:
    async with running(dialect=dialect, faults=faults("loss:count=1")) as harness:
        socket = harness.connect(await harness.open())
        sent_at = trio.current_time()
        for data in (b"1", b"2", b"3"):
            socket.send_nowait(data)
        await socket.wait_readable()
        assert trio.current_time() == pytest.approx(sent_at + 0.02 + timeout)
        assert await echoes(socket, b"4") == [b"2", b"3", b"4"]
        socket.close()


async def test_a_raw_session_does_not_wait_for_what_is_lost(autojump_clock: MockClock) -> None:
    async with running(faults=faults("loss:count=1")) as harness:
        socket = harness.connect(await harness.open(capabilities=[]))
        assert await echoes(socket, b"1", b"2", wait=0.021) == [b"2"]
        socket.close()


async def test_retransmission_recovers_what_is_lost(autojump_clock: MockClock) -> None:
    async with running(faults=faults("loss:count=1")) as harness:
        socket = harness.connect(await harness.open(capabilities=["NoDelay", "Retransmission"]))
        assert sorted(await echoes(socket, b"1", b"2", wait=0.07)) == [b"1", b"2"]
        assert harness.node.counters.datagrams_lost == 1
        socket.close()


@pytest.mark.parametrize(
    ("fault", "received"),
    [
        ("duplicate:count=1", [b"11", b"11", b"22", b"33"]),
        ("reorder:count=1", [b"22", b"33", b"11"]),
        ("merge:after=1:count=1", [b"1122", b"33"]),
        ("loss:relayer=2", [b"11", b"22", b"33"]),
        ("loss:from=1", [b"11", b"22", b"33"]),
        ("split:count=1", [b"1", b"1", b"22", b"33"]),
    ],
)
async def test_faults_of_datagrams(fault: str, received: list[bytes], autojump_clock: MockClock) -> None:
    async with running(faults=faults(fault)) as harness:
        shown = (await harness.post("/session/udp/explicit-path", via(harness.node))).json()
        socket = harness.connect(shown)
        assert await echoes(socket, b"11", b"22", b"33") == received
        socket.close()


async def test_what_cannot_be_split_or_merged_stays(autojump_clock: MockClock) -> None:
    async with running(faults=faults("split", "merge")) as harness:
        socket = harness.connect(await harness.open(responseBuffer=None))
        assert await echoes(socket, b"1") == [b"1"]
        pieces = await echoes(socket, b"x" * 1500, b"y" * 1500)
        assert b"".join(pieces) == b"x" * 1500 + b"y" * 1500
        socket.close()


async def test_datagrams_before_the_commit_wait_in_the_socket(autojump_clock: MockClock) -> None:
    async with running(open_latency=1.0) as harness:
        socket = harness.sim.connect("127.0.0.1", 4000)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: harness.open(listenHost=":4000"))
            await trio.sleep(0.5)
            for _ in range(4):
                for _ in range(100):
                    socket.send_nowait(b"x")
                await trio.sleep(0.001)
        # The buffer has an end.
        assert len(await echoes(socket)) == 276
        socket.close()


async def test_datagrams_between_a_delete_and_the_free_port_are_dropped(autojump_clock: MockClock) -> None:
    async with running() as harness:
        shown = await harness.open()
        socket = harness.connect(shown)
        await harness.close(shown)
        assert await echoes(socket, b"x", wait=0.005) == []
        assert harness.node.counters.datagrams_received == 0
        await trio.sleep(0.006)
        socket.send_nowait(b"x")
        with pytest.raises(ConnectionRefusedError):
            socket.receive_nowait()
        socket.close()
