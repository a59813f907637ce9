"""What a session needs of a datagram socket, and the kernel's answer to it.

The seam lies here, at non-blocking calls plus a wait, and not at ``await send()``: a batch is sent without a checkpoint
for each datagram, and the simulator can stand in under a virtual clock.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Protocol

import trio

__all__ = ["MAX_DATAGRAM", "Connect", "DatagramSocket", "connect_udp"]

#: Bytes that one read takes: the node's own buffer is 16384 (contract §4.3), so no echo is larger.
MAX_DATAGRAM = 16384


class DatagramSocket(Protocol):
    """A datagram socket connected to one peer, non-blocking.

    ``send_nowait`` and ``receive_nowait`` raise :class:`BlockingIOError` when they would block,
    :class:`ConnectionRefusedError` when the peer's port is closed (an earlier datagram was refused), and another
    :class:`OSError` when the socket is of no more use.
    """

    def send_nowait(self, data: bytes) -> None:
        """Send one datagram, whole, or raise."""

    def receive_nowait(self) -> bytes:
        """Take the next datagram of at most :data:`MAX_DATAGRAM` bytes, or raise."""

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


class _KernelSocket:
    """A connected, non-blocking UDP socket of the kernel."""

    __slots__ = ("_socket",)

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock

    def send_nowait(self, data: bytes) -> None:
        self._socket.send(data)

    def receive_nowait(self) -> bytes:
        return self._socket.recv(MAX_DATAGRAM)

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
        sock.connect((ip, port))
    except BaseException:
        sock.close()
        raise
    return _KernelSocket(sock)
