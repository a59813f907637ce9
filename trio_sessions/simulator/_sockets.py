"""The node's listeners as sockets of the system."""

from __future__ import annotations

import socket

import trio

from trio_sessions.simulator._echo import READ_SIZE
from trio_sessions.simulator._kernel import Receive, Source

__all__ = ["SystemKernel"]

#: Datagrams that one listener reads before the others get their turn.
BATCH = 64

#: What each listener asks of the system, so that bursts of a busy client are not lost to the simulator itself.
RECEIVE_BUFFER = 1 << 20


class _SystemBinding:
    """A bound socket, and the task that reads it."""

    def __init__(self, kernel: SystemKernel, sock: socket.socket, protocol: str) -> None:
        self._kernel = kernel
        self._socket = sock
        self._protocol = protocol
        self._reading = trio.CancelScope()
        self.closed = False
        self.port: int = sock.getsockname()[1]

    def start(self, receive: Receive) -> None:
        if self._protocol == "udp":
            self._kernel.nursery.start_soon(self._read, receive)

    async def _read(self, receive: Receive) -> None:
        sock = self._socket
        with self._reading:
            # What is received may close the socket, even before the first look at it.
            while not self.closed:
                await trio.lowlevel.wait_readable(sock)
                self._read_batch(receive)

    def _read_batch(self, receive: Receive) -> None:
        now = trio.current_time()
        for _ in range(BATCH):
            try:
                data, source = self._socket.recvfrom(READ_SIZE)
            except OSError:
                # Nothing more to read, or a datagram that the system could not hand over.
                return
            receive(source[:2], data, now)
            if self.closed:
                return

    def send(self, data: bytes, to: Source) -> None:
        try:
            self._socket.sendto(data, to)
        except OSError:
            # A full buffer or a vanished client: a datagram is lost, which is what datagrams are.
            self._kernel.unsent += 1

    def close(self) -> None:
        self.closed = True
        self._reading.cancel()
        trio.lowlevel.notify_closing(self._socket)
        self._socket.close()
        self._kernel.bindings.discard(self)


class SystemKernel:
    """Gives out sockets of the system.

    Attributes:
        nursery: of the tasks that read.
        bindings: what is open.
        unsent: echoes that the system did not take.
    """

    def __init__(self, nursery: trio.Nursery) -> None:
        self.nursery = nursery
        self.bindings: set[_SystemBinding] = set()
        self.unsent = 0

    def bind(self, protocol: str, ip: str, port: int, *, share: bool = False) -> _SystemBinding:
        """See :class:`trio_sessions.simulator._kernel.Kernel`."""
        family = socket.AF_INET6 if ":" in ip else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_DGRAM if protocol == "udp" else socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            if share:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            sock.bind((ip, port))
            # Only after the bind: it must fail on a port that is taken, but a later one may ask to share this one.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if protocol == "udp":
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        except BaseException:
            sock.close()
            raise
        binding = _SystemBinding(self, sock, protocol)
        self.bindings.add(binding)
        return binding

    def close(self) -> None:
        """Close everything that is still open."""
        for binding in list(self.bindings):
            binding.close()
