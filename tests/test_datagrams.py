"""The kernel's sockets: streams that it cuts for us, what it puts together, and the ways back where it does not."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator

import pytest
import trio

from trio_sessions import _datagrams
from trio_sessions._datagrams import DatagramSocket, connect_udp
from trio_sessions._link import Link
from trio_sessions._wire import BatchEncoder

SIZE = 100
DATAGRAMS = [bytes([number]) * SIZE for number in range(200)]
STREAM = b"".join(DATAGRAMS)
#: Linux's option of a socket that sends without checksums: the kernel refuses to cut for such a one.
SO_NO_CHECK = 11
#: An option that UDP has not: like a kernel that cannot cut.
NO_OPTION = 9999

only_linux = pytest.mark.skipif(sys.platform != "linux", reason="no other system cuts and joins datagrams")


@pytest.fixture
def peer() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        sock.settimeout(5)
        yield sock


def received(peer: socket.socket, count: int) -> list[bytes]:
    """What arrived: so many datagrams, and no more."""
    got = [peer.recv(1 << 16) for _ in range(count)]
    peer.setblocking(False)
    with pytest.raises(BlockingIOError):
        peer.recv(1)
    peer.settimeout(5)
    return got


def cut_size(sock: DatagramSocket) -> int | None:
    size: int | None = sock._cut_size  # type: ignore[attr-defined]
    return size


@pytest.mark.parametrize(("start", "stop"), [(0, 200), (0, 1), (3, 67), (3, 68), (199, 200)])
async def test_a_stream_arrives_as_its_datagrams(peer: socket.socket, start: int, stop: int) -> None:
    mine = connect_udp(*peer.getsockname())
    try:
        assert mine.send_stream_nowait(STREAM, SIZE, start, stop) == stop - start
        assert received(peer, stop - start) == DATAGRAMS[start:stop]
    finally:
        mine.close()


@only_linux
async def test_the_kernel_cuts_what_it_can(peer: socket.socket) -> None:
    mine = connect_udp(*peer.getsockname())
    try:
        mine.send_stream_nowait(STREAM, SIZE, 0, 10)
        assert cut_size(mine) == SIZE
        assert received(peer, 10) == DATAGRAMS[:10]
        # Another size is another thing to ask for, and a single datagram is never cut, whatever its size.
        mine.send_stream_nowait(STREAM, 2 * SIZE, 0, 10)
        assert cut_size(mine) == 2 * SIZE
        assert received(peer, 10) == [first + second for first, second in zip(*[iter(DATAGRAMS[:20])] * 2, strict=True)]
        mine.send_nowait(bytes(3 * SIZE))
        assert received(peer, 1) == [bytes(3 * SIZE)]
    finally:
        mine.close()


@pytest.mark.parametrize("when", ["when it is asked", "when it sends"])
async def test_where_the_kernel_cannot_cut_each_datagram_is_sent(
    peer: socket.socket, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    mine = connect_udp(*peer.getsockname())
    try:
        if when == "when it is asked":
            monkeypatch.setattr(_datagrams, "_UDP_SEGMENT", NO_OPTION)
        elif sys.platform == "linux":
            mine._socket.setsockopt(socket.SOL_SOCKET, SO_NO_CHECK, 1)  # type: ignore[attr-defined]
        for _ in range(2):
            assert mine.send_stream_nowait(STREAM, SIZE, 0, 100) == 100
            assert received(peer, 100) == DATAGRAMS[:100]
        assert cut_size(mine) is None
    finally:
        mine.close()


@only_linux
async def test_a_single_datagram_is_sent_where_the_kernel_cuts_no_more(peer: socket.socket) -> None:
    """As when the route's MTU falls: with the option still set, the kernel refuses what it need not even cut."""
    mine = connect_udp(*peer.getsockname())
    try:
        mine.send_stream_nowait(STREAM, SIZE, 0, 10)
        assert cut_size(mine) == SIZE
        assert received(peer, 10) == DATAGRAMS[:10]
        mine._socket.setsockopt(socket.SOL_SOCKET, SO_NO_CHECK, 1)  # type: ignore[attr-defined]
        mine.send_stream_nowait(STREAM, SIZE, 0, 1)
        mine.send_nowait(DATAGRAMS[1])
        assert cut_size(mine) is None
        assert received(peer, 2) == DATAGRAMS[:2]
    finally:
        mine.close()


async def test_a_refused_datagram_is_told_and_what_could_be_sent_is_counted(peer: socket.socket) -> None:
    mine = connect_udp(*peer.getsockname())
    try:
        peer.close()
        assert mine.send_stream_nowait(STREAM, SIZE, 0, 64) == 64
        with trio.fail_after(5):
            await mine.wait_readable()
        with pytest.raises(ConnectionRefusedError):
            mine.send_stream_nowait(STREAM, SIZE, 0, 64)
    finally:
        mine.close()


@only_linux
@pytest.mark.parametrize("joined", [True, False], ids=["put together by the kernel", "one by one"])
@pytest.mark.parametrize("count", [1, 10, 100, 1000])
async def test_a_batch_there_and_back_over_real_sockets(peer: socket.socket, count: int, joined: bool) -> None:
    """The peer sends all back at once, cut by its own kernel, so that ours may hand it over in one piece."""
    failures: list[OSError] = []
    encoder = BatchEncoder("0x" + "a" * 40, "0x" + "b" * 40, 607)
    link = Link(connect_udp(*peer.getsockname()), encoder, reply_timeout=5.0, on_failure=failures.append)

    async def echo() -> None:
        if joined:
            peer.setsockopt(socket.IPPROTO_UDP, _datagrams._UDP_SEGMENT, 607)
        there = 0
        while there < count:
            await trio.lowlevel.wait_readable(peer)
            pieces: list[bytes] = []
            source = ("", 0)
            try:
                while len(pieces) < 64:
                    piece, source = peer.recvfrom(1 << 16)
                    pieces.append(piece)
            except BlockingIOError:
                pass
            there += len(pieces)
            for train in [b"".join(pieces)] if joined else pieces:
                peer.sendto(train, source)

    peer.setblocking(False)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(link.run)
        nursery.start_soon(echo)
        batch = await link.begin(count)
        with trio.fail_after(10):
            await link.send_all(batch)
            await link.wait_done(batch)
        assert len(batch.rtts) == count
        assert batch.duplicates == 0
        link.end(batch)
        await link.wait_idle()
        nursery.cancel_scope.cancel()
    link.close()
    assert failures == []
