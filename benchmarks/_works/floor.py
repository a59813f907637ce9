"""``floor``: what the machine gives to whoever has no library in between.

Messages: the same sockets as ``relay`` has, the same number of batches outstanding, and a loop that does no more than
send, wait until a socket is readable, and count bytes. Calls: HTTP/1.1 as bytes on Trio's sockets.
"""

from __future__ import annotations

import json
import socket
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import trio

from benchmarks._case import Case, Figure, Sample, Settings, Work
from benchmarks._echo import EchoKernel, compile_echo
from benchmarks._figures import CALLS, MESSAGES, call_sample, message_sample
from benchmarks._load import BATCH, DATAGRAM, OUTSTANDING, RELAYERS, WARM_UP
from benchmarks._meter import need_files, used
from benchmarks._node import BenchNode, bare_node
from benchmarks._raw_http import raw_calls
from trio_sessions import Hoprd, Path, SessionRequest
from trio_sessions._rest_requests import session_call

__all__ = ["WORK", "delete_path"]

_SOL_UDP, _UDP_SEGMENT, _UDP_GRO = 17, 103, 104
_READ_SIZE = 65536

#: Counts the messages that came back; one socket's task.
_Loop = Callable[[int, list[int]], Awaitable[None]]


async def _plain(port: int, count: list[int]) -> None:
    """A system call a datagram, and a wait only when there is nothing to read."""
    with _connected(port) as sock:
        data = bytes(DATAGRAM)
        for _ in range(BATCH * OUTSTANDING // RELAYERS):
            sock.send(data)
        owed = 0
        while True:
            await trio.lowlevel.wait_readable(sock)
            try:
                while True:
                    sock.recv(_READ_SIZE)
                    owed += 1
            except BlockingIOError:
                pass
            while owed >= BATCH:
                owed -= BATCH
                count[0] += BATCH
                for _ in range(BATCH):
                    sock.send(data)


async def _offloaded(port: int, count: list[int]) -> None:
    """A system call a batch out (UDP_SEGMENT), and as few as the kernel can join in (UDP_GRO)."""
    with _connected(port) as sock:
        sock.setsockopt(_SOL_UDP, _UDP_SEGMENT, DATAGRAM)
        sock.setsockopt(_SOL_UDP, _UDP_GRO, 1)
        batch = bytes(DATAGRAM * BATCH)
        for _ in range(OUTSTANDING // RELAYERS):
            sock.send(batch)
        owed = 0
        while True:
            await trio.lowlevel.wait_readable(sock)
            try:
                while True:
                    owed += len(sock.recv(_READ_SIZE))
            except BlockingIOError:
                pass
            while owed >= len(batch):
                owed -= len(batch)
                count[0] += BATCH
                sock.send(batch)


async def _awaited(port: int, count: list[int]) -> None:
    """The same with ``await`` for each datagram, as :mod:`trio.socket` has it."""
    with trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        await sock.connect(("127.0.0.1", port))
        data = bytes(DATAGRAM)
        for _ in range(BATCH * OUTSTANDING // RELAYERS):
            await sock.send(data)
        while True:
            for _ in range(BATCH):
                await sock.recv(_READ_SIZE)
            count[0] += BATCH
            for _ in range(BATCH):
                await sock.send(data)


def _connected(port: int, ip: str = "127.0.0.1") -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.connect((ip, port))
    return sock


@asynccontextmanager
async def _echo(*, gso: bool) -> AsyncIterator[tuple[EchoKernel, list[int]]]:
    """An echo, and the ports of a socket for each relayer."""
    with tempfile.TemporaryDirectory() as folder:
        kernel = EchoKernel(compile_echo(folder), gso=gso)
        try:
            yield kernel, [kernel.bind("udp", "127.0.0.1", 0).port for _ in range(RELAYERS)]
        finally:
            kernel.close()


async def _messages(settings: Settings, loop: _Loop, *, gso: bool) -> Sample:
    async with _echo(gso=gso) as (kernel, ports), trio.open_nursery() as nursery:
        count = [0]
        for port in ports:
            nursery.start_soon(loop, port, count)
        await trio.sleep(WARM_UP)
        before, load, began = count[0], kernel.load(), used()
        await trio.sleep(settings.short)
        span, count_now = used() - began, count[0]
        sample = message_sample(count_now - before, span, kernel.load() - load)
        nursery.cancel_scope.cancel()
    return sample


async def _plain_sample(settings: Settings) -> Sample:
    return await _messages(settings, _plain, gso=False)


async def _offloaded_sample(settings: Settings) -> Sample:
    return await _messages(settings, _offloaded, gso=True)


async def _half_offloaded_sample(settings: Settings) -> Sample:
    return await _messages(settings, _offloaded, gso=False)


async def _awaited_sample(settings: Settings) -> Sample:
    return await _messages(settings, _awaited, gso=False)


async def _in_turn(settings: Settings) -> Sample:
    """One socket after the other: a batch there and back before the next one's."""
    async with _echo(gso=False) as (kernel, ports), AsyncExitStack() as stack:
        socks = [stack.enter_context(_connected(port)) for port in ports]
        data = bytes(DATAGRAM)
        count, load, began = 0, kernel.load(), used()
        ends = began.wall + settings.short
        while (span := used()).wall < ends:
            for sock in socks:
                for _ in range(BATCH):
                    sock.send(data)
                owed = BATCH
                while owed:
                    await trio.lowlevel.wait_readable(sock)
                    try:
                        while True:
                            sock.recv(_READ_SIZE)
                            owed -= 1
                    except BlockingIOError:
                        pass
                count += BATCH
        return message_sample(count, span - began, kernel.load() - load)


def delete_path(number: int) -> str:
    """The path of the listener of that number."""
    return f"/api/v4/session/udp/127.0.0.1/{number + 1}"


async def _deletes(settings: Settings) -> Sample:
    calls = 500 if settings.quick else 2000
    async with bare_node(1, seed=settings.seed) as node:
        before = node.load()
        span = await raw_calls(node.url, node.token, lambda i: ("DELETE", delete_path(i), b""), calls, 16)
        return call_sample(calls, span, node.load().seconds - before.seconds)


async def _requests(node: BenchNode) -> list[tuple[str, bytes]]:
    """A POST of a session through each relayer: path and body."""
    async with Hoprd(node.url, token=node.token) as hoprd:
        dialect = await hoprd.probe()
    requests = []
    for relayer in node.relayers:
        path = Path(via=(relayer,))
        asked = SessionRequest(destination=node.destination, forward=path, back=path, listen_host="127.1.2.3")
        requests.append(session_call(asked, dialect))
    return requests


async def _opens(settings: Settings) -> Sample:
    calls = 500 if settings.quick else 2000
    async with bare_node(calls, seed=settings.seed) as node:
        requests = await _requests(node)
        before = node.load()
        span = await raw_calls(node.url, node.token, lambda i: ("POST", *requests[i]), calls, 16)
        return call_sample(calls, span, node.load().seconds - before.seconds)


async def _sessions(settings: Settings) -> Sample:
    """Open as many as ``scale`` does, each with a socket, and a task that waits for it: the least that a session is."""
    calls = 500 if settings.quick else 10_000
    need_files(calls + 1000)
    async with bare_node(calls, seed=settings.seed) as node, trio.open_nursery() as nursery:
        requests = await _requests(node)

        async def live(sock: socket.socket) -> None:
            with sock:
                while True:
                    await trio.lowlevel.wait_readable(sock)
                    sock.recv(_READ_SIZE)

        def begin(reply: bytes) -> None:
            shown = json.loads(reply.partition(b"\r\n\r\n")[2])
            nursery.start_soon(live, _connected(shown["port"], shown["ip"]))

        before = node.load()
        span = await raw_calls(node.url, node.token, lambda i: ("POST", *requests[i]), calls, 16, begin)
        sample = call_sample(calls, span, node.load().seconds - before.seconds)
        nursery.cancel_scope.cancel()
    return sample


def _case(
    name: str,
    title: str,
    measure: Callable[[Settings], Awaitable[Sample]],
    figures: dict[str, Figure],
    *,
    quick: bool = True,
) -> Case:
    return Case(name=name, title=title, measure=measure, figures=figures, quick=quick)


WORK = Work(
    name="floor",
    title="bare loops on Trio: messages on the same sockets, and HTTP calls as bytes",
    cases=(
        _case("plain", "bare loop, a call a datagram", _plain_sample, MESSAGES),
        _case("gso", "bare loop, UDP_SEGMENT and UDP_GRO, the echo too", _offloaded_sample, MESSAGES),
        _case(
            "half-gso",
            "bare loop, UDP_SEGMENT and UDP_GRO, plain echo",
            _half_offloaded_sample,
            MESSAGES,
            quick=False,
        ),
        _case("awaited", "bare loop, trio.socket awaited", _awaited_sample, MESSAGES),
        _case("in-turn", "bare loop, one socket after the other", _in_turn, MESSAGES),
        _case("deletes", "raw HTTP DELETEs, 16 connections", _deletes, CALLS),
        _case("opens", "raw HTTP POSTs of a session, 16 connections: the bare node's ceiling", _opens, CALLS),
        _case(
            "sessions",
            "10,000 (500 in a quick run) raw POSTs, each with a socket and a task that waits for it",
            _sessions,
            CALLS,
        ),
    ),
)
