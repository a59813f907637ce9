"""A network in memory: UDP as a loopback interface does it, in virtual time."""

from __future__ import annotations

import errno
import os
import random
from collections import deque
from collections.abc import Callable
from ipaddress import ip_address

import trio

from trio_sessions._datagrams import send_singly
from trio_sessions.simulator._agenda import Agenda
from trio_sessions.simulator._kernel import Receive, Source

__all__ = ["MemoryNet", "MemorySocket"]

#: The kernel's default range of ephemeral ports.
EPHEMERAL = (32768, 60999)

#: Linux's default for a socket's buffer, and what a datagram costs of it besides its bytes.
BUFFER = 212_992
OVERHEAD = 768

#: The largest datagram of UDP over IPv4.
MAX_UDP = 65_507

#: Seconds in which a full send buffer drains.
SEND_TIME = 0.001


def _error(code: int) -> OSError:
    """An error as the system raises it, of the class that belongs to ``code``."""
    return OSError(code, os.strerror(code))


class _Port:
    """A bound socket of the node."""

    __slots__ = ("_net", "_receive", "_waiting", "ip", "port", "protocol")

    def __init__(self, net: MemoryNet, protocol: str, ip: str, port: int) -> None:
        self._net = net
        self._receive: Receive | None = None
        self._waiting: deque[tuple[Source, bytes]] = deque()
        self.protocol = protocol
        self.ip = ip
        self.port = port

    def start(self, receive: Receive) -> None:
        self._receive = receive
        while self._waiting:
            source, data = self._waiting.popleft()
            self.take(source, data)

    def take(self, source: Source, data: bytes) -> None:
        """A datagram arrives; before the start it waits, as far as the buffer goes."""
        if self._receive is not None:
            self._receive(source, data, self._net.clock())
        elif (len(self._waiting) + 1) * OVERHEAD < BUFFER:
            self._waiting.append((source, data))

    def send(self, data: bytes, to: Source) -> None:
        self._net.deliver(data, to)

    def close(self) -> None:
        self._net.unbind(self)


class MemorySocket:
    """A client's connected UDP socket: see :class:`trio_sessions._datagrams.DatagramSocket`."""

    __slots__ = (
        "_address",
        "_buffered",
        "_net",
        "_peer",
        "_read",
        "_readers",
        "_refused",
        "_sent",
        "_writers",
        "closed",
    )

    def __init__(self, net: MemoryNet, address: Source, peer: Source) -> None:
        self._net = net
        self._address = address
        self._peer = peer
        self.closed = False
        self._refused = False
        self._sent = 0
        self._buffered = 0
        self._read: deque[bytes] = deque()
        self._readers: trio.Event | None = None
        self._writers: trio.Event | None = None

    def send_nowait(self, data: bytes) -> None:
        """Send one datagram; the port's answer to a closed one comes with the next call."""
        self._check()
        if len(data) > MAX_UDP:
            raise _error(errno.EMSGSIZE)
        if self._sent >= self._net.send_buffer:
            raise _error(errno.EAGAIN)
        if self._sent == 0:
            self._net.agenda.at(self._net.clock() + SEND_TIME, self._drain)
        self._sent += 1
        port = self._net.port_at(self._peer, self._address)
        if port is None:
            self._refused = True
            self._wake()
        else:
            port.take(self._address, bytes(data))

    def send_stream_nowait(self, stream: bytes, size: int, start: int, stop: int) -> int:
        """Send the datagrams of a stream, one by one."""
        return send_singly(self, stream, size, start, stop)

    def receive_nowait(self) -> bytes:
        """Take the next datagram."""
        self._check()
        if not self._read:
            raise _error(errno.EAGAIN)
        data = self._read.popleft()
        self._buffered -= len(data) + OVERHEAD
        return data

    async def wait_readable(self) -> None:
        """Wait until there is a datagram or an error to take."""
        await self._wait("_readers", lambda: bool(self._read) or self._refused)

    async def wait_writable(self) -> None:
        """Wait until the send buffer has room, or there is an error to take."""
        await self._wait("_writers", lambda: self._sent < self._net.send_buffer or self._refused)

    def close(self) -> None:
        """Close at once; whoever waits gets :class:`trio.ClosedResourceError`."""
        if not self.closed:
            self.closed = True
            self._read.clear()
            self._net.forget(self._address)
            self._wake()

    def take(self, data: bytes) -> None:
        """A datagram arrives; a full buffer loses it."""
        cost = len(data) + OVERHEAD
        if self._buffered + cost <= BUFFER:
            self._buffered += cost
            self._read.append(data)
            self._wake()

    def _check(self) -> None:
        if self.closed:
            raise _error(errno.EBADF)
        if self._refused:
            self._refused = False
            raise _error(errno.ECONNREFUSED)

    async def _wait(self, slot: str, ready: Callable[[], bool]) -> None:
        if getattr(self, slot) is not None:
            await trio.lowlevel.checkpoint()
            raise trio.BusyResourceError("another task is already waiting for this socket")
        await trio.lowlevel.checkpoint()
        while not self.closed and not ready():
            event = trio.Event()
            setattr(self, slot, event)
            try:
                await event.wait()
            finally:
                setattr(self, slot, None)
        if self.closed:
            raise trio.ClosedResourceError("the session's socket is closed")

    def _wake(self) -> None:
        for event in (self._readers, self._writers):
            if event is not None:
                event.set()

    def _drain(self, _argument: None, _now: float) -> None:
        self._sent = 0
        self._wake()


class MemoryNet:
    """The node's ports and the clients' sockets.

    Attributes:
        socket_limit: how many client sockets there may be at once, like a limit of file descriptors; ``None`` is any.
        send_buffer: how many datagrams a client socket takes at once.
    """

    def __init__(self, agenda: Agenda, clock: Callable[[], float], *, seed: int, send_buffer: int) -> None:
        self.agenda = agenda
        self.clock = clock
        self.send_buffer = send_buffer
        self.socket_limit: int | None = None
        self._ports: dict[tuple[str, int], list[_Port]] = {}
        self._sockets: dict[Source, MemorySocket] = {}
        self._rng = random.Random(f"{seed}:ports")

    @property
    def open_sockets(self) -> int:
        """Client sockets that are not closed."""
        return len(self._sockets)

    def connect(self, ip: str, port: int) -> MemorySocket:
        """A client socket, connected to ``ip`` and ``port``.

        Raises:
            OSError: the limit of sockets is reached, or the address is none.
        """
        if self.socket_limit is not None and len(self._sockets) >= self.socket_limit:
            raise _error(errno.EMFILE)
        try:
            ip = str(ip_address(ip))
        except ValueError:
            raise _error(errno.EINVAL) from None
        while (own := ("127.0.0.1", self._rng.randint(*EPHEMERAL))) in self._sockets or self._taken("udp", *own):
            continue
        socket = self._sockets[own] = MemorySocket(self, own, (ip, port))
        return socket

    def bind(self, protocol: str, ip: str, port: int, *, share: bool = False) -> _Port:
        """A socket for the node; see :class:`trio_sessions.simulator._kernel.Kernel`."""
        address = ip_address(ip)
        if not (address.is_loopback or address.is_unspecified):
            raise _error(errno.EADDRNOTAVAIL)
        if port == 0:
            while self._taken(protocol, ip, port := self._rng.randint(*EPHEMERAL)):
                continue
        elif self._taken(protocol, ip, port) and not share:
            raise _error(errno.EADDRINUSE)
        bound = _Port(self, protocol, ip, port)
        self._ports.setdefault((protocol, port), []).append(bound)
        return bound

    def unbind(self, port: _Port) -> None:
        """Free what :meth:`bind` gave."""
        bound = self._ports[port.protocol, port.port]
        bound.remove(port)
        if not bound:
            del self._ports[port.protocol, port.port]

    def port_at(self, address: Source, source: Source) -> _Port | None:
        """The node's socket that hears ``address``; those that share one split the clients between them."""
        bound = self._ports.get(("udp", address[1]))
        if bound is None:
            return None
        hearing = [port for port in bound if port.ip == address[0]] or [port for port in bound if _is_wild(port.ip)]
        return hearing[source[1] % len(hearing)] if hearing else None

    def deliver(self, data: bytes, to: Source) -> None:
        """A datagram of the node reaches a client, if that is still there."""
        socket = self._sockets.get(to)
        if socket is not None:
            socket.take(data)

    def forget(self, address: Source) -> None:
        """A client socket has closed."""
        del self._sockets[address]

    def _taken(self, protocol: str, ip: str, port: int) -> bool:
        bound = self._ports.get((protocol, port), ())
        return any(other.ip == ip or _is_wild(other.ip) or _is_wild(ip) for other in bound)


def _is_wild(ip: str) -> bool:
    return ip in ("0.0.0.0", "::")  # noqa: S104 - compared with, not bound
