"""What a session needs of a datagram socket, and the kernel's answer to it.

The seam lies here, at non-blocking calls plus a wait, and not at ``await send()``: a batch is sent without a checkpoint
for each datagram, and the simulator can stand in under a virtual clock.
"""

from __future__ import annotations

import errno
import socket
import sys
from collections.abc import Callable
from typing import Protocol

import trio

__all__ = ["Connect", "DatagramSocket", "connect_udp", "send_singly"]

#: Bytes that one read takes at most: what the kernel may have put together of the datagrams of one peer.
_READ_SIZE = 65_536
#: Bytes that a socket may hold for us until we read them: the answers to many batches. The system may grant less.
_RECEIVE_BUFFER = 1 << 20

#: Of linux/udp.h; Python does not name them.
_UDP_SEGMENT = 103
_UDP_GRO = 104
#: What the kernel cuts one send into at most, and the bytes of it: an IPv4 datagram less its headers.
_MAX_SEGMENTS = 64
_MAX_TRAIN = 65_507
#: How a kernel or a device says that it cannot cut for us; or that a datagram of this size does not fit.
_CANNOT_CUT = frozenset({errno.EINVAL, errno.EIO, errno.EMSGSIZE, errno.ENOPROTOOPT, errno.EOPNOTSUPP})


class DatagramSocket(Protocol):
    """A datagram socket connected to one peer, non-blocking.

    What is sent or received raises :class:`BlockingIOError` when it would block, :class:`ConnectionRefusedError` when
    the peer's port is closed (an earlier datagram was refused), and another :class:`OSError` when the socket is of no
    more use.
    """

    def send_nowait(self, data: bytes) -> None:
        """Send one datagram, whole, or raise."""

    def send_stream_nowait(self, stream: bytes, size: int, start: int, stop: int) -> int:
        """Send datagrams of ``size`` bytes each, which lie one after the other in ``stream``: those from number
        ``start`` to before ``stop``, as far as there is room. Returns how many; when not a single one, it raises.

        Once it was called, the datagrams of a peer who sends such streams may arrive put together.
        """

    def receive_nowait(self) -> bytes:
        """Take the next datagram, or raise."""

    async def wait_writable(self) -> None:
        """Wait, always with a checkpoint, until a send may succeed.

        Raises:
            trio.ClosedResourceError: the socket was closed, before or meanwhile.
        """

    async def wait_readable(self) -> None:
        """Wait, always with a checkpoint, until a receive may succeed or fail for good.

        Raises:
            trio.ClosedResourceError: the socket was closed, before or meanwhile.
        """

    def close(self) -> None:
        """Close at once, without a checkpoint; waiters get :class:`trio.ClosedResourceError`. Idempotent."""


#: Makes a socket connected to ``(ip, port)``; raises :class:`OSError` when the system has none to give.
Connect = Callable[[str, int], DatagramSocket]


def send_singly(sock: DatagramSocket, stream: bytes, size: int, start: int, stop: int) -> int:
    """What :meth:`DatagramSocket.send_stream_nowait` does, by one send for each datagram."""
    sent = 0
    for offset in range(start * size, stop * size, size):
        try:
            sock.send_nowait(stream[offset : offset + size])
        except OSError:
            if not sent:
                raise
            # What is wrong the next send will say, if it is still wrong.
            break
        sent += 1
    return sent


class _KernelSocket:
    """A connected, non-blocking UDP socket of the kernel; on Linux it hands over and takes many datagrams at once."""

    __slots__ = ("_cut_size", "_socket")

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        #: The size of the datagrams that the kernel cuts our streams into; 0: not asked yet; None: it cannot.
        self._cut_size: int | None = 0

    def send_nowait(self, data: bytes) -> None:
        if self._cut_size and len(data) > self._cut_size:
            # It would be cut, too.
            self._stop_cutting()
        try:
            self._socket.send(data)
        except OSError as error:
            # The route may have become too narrow for what it is asked to cut, which it then refuses whole.
            if not self._cut_size or error.errno not in _CANNOT_CUT:
                raise
            self._stop_cutting()
            self._socket.send(data)

    def send_stream_nowait(self, stream: bytes, size: int, start: int, stop: int) -> int:
        if stop - start == 1 or not self._cuts(size):
            return send_singly(self, stream, size, start, stop)
        most = min(_MAX_SEGMENTS, _MAX_TRAIN // size)
        sent = start
        try:
            while sent < stop:
                end = min(stop, sent + most)
                # The whole stream without a copy, as it is mostly one batch.
                whole = sent == 0 and end * size == len(stream)
                self._socket.send(stream if whole else stream[sent * size : end * size])
                sent = end
        except OSError as error:
            if sent > start:
                return sent - start
            if error.errno not in _CANNOT_CUT:
                raise
            self._stop_cutting()
            return send_singly(self, stream, size, start, stop)
        return sent - start

    def _cuts(self, size: int) -> bool:
        """Whether the kernel cuts streams into datagrams of ``size``, as it is asked to here if need be."""
        if sys.platform != "linux":
            return False
        if self._cut_size != size and self._cut_size is not None:
            try:
                self._socket.setsockopt(socket.IPPROTO_UDP, _UDP_SEGMENT, size)
                self._socket.setsockopt(socket.IPPROTO_UDP, _UDP_GRO, 1)
                self._cut_size = size
            except OSError:
                # A kernel before 4.18, or 5.0 for what is received.
                self._stop_cutting()
        return self._cut_size is not None

    def _stop_cutting(self) -> None:
        if self._cut_size:
            self._socket.setsockopt(socket.IPPROTO_UDP, _UDP_SEGMENT, 0)
        self._cut_size = None

    def receive_nowait(self) -> bytes:
        return self._socket.recv(_READ_SIZE)

    async def wait_writable(self) -> None:
        self._check_open()
        await trio.lowlevel.wait_writable(self._socket)

    async def wait_readable(self) -> None:
        self._check_open()
        await trio.lowlevel.wait_readable(self._socket)

    def _check_open(self) -> None:
        # A closed socket has descriptor -1, which epoll would refuse with an error of its own.
        if self._socket.fileno() < 0:
            raise trio.ClosedResourceError("the session's socket is closed")

    def close(self) -> None:
        if self._socket.fileno() >= 0:
            trio.lowlevel.notify_closing(self._socket)
            self._socket.close()


def connect_udp(ip: str, port: int) -> DatagramSocket:
    """A UDP socket connected to ``ip`` and ``port``.

    Connected, so that the kernel drops datagrams of others and reports a refused one; the node pins the source
    address of the first datagram (contract §3.6), so the socket is never bound again.

    Raises:
        OSError: e.g. out of file descriptors; nothing is left open then.
    """
    sock = socket.socket(socket.AF_INET6 if ":" in ip else socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        sock.connect((ip, port))
    except BaseException:
        sock.close()
        raise
    return _KernelSocket(sock)
