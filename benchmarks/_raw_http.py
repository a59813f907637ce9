"""HTTP/1.1 as it is at its least: bytes out, bytes in, on Trio's sockets, without looking at more than their end."""

from __future__ import annotations

import gc
from collections.abc import Awaitable, Callable, Iterator
from urllib.parse import urlsplit

import trio
import trio.testing

from benchmarks._meter import Used, used

__all__ = ["headers", "raw_calls", "share"]

_END = b"\r\n\r\n"


def headers(token: str) -> dict[str, str]:
    """The fields that every request of ours has."""
    return {"Authorization": f"Bearer {token}", "Accept": "application/json", "Accept-Encoding": "identity"}


async def share(work: Callable[[Iterator[int]], Awaitable[None]], calls: int, tasks: int) -> Used:
    """What so many calls take, made by so many tasks that take their numbers from one iterator.

    The tasks are there before the first call: starting thousands is no part of what calls cost.
    """
    numbers = iter(range(calls))
    may_begin = trio.Event()

    async def begin() -> None:
        await may_begin.wait()
        await work(numbers)

    async with trio.open_nursery() as nursery:
        for _ in range(tasks):
            nursery.start_soon(begin)
        await trio.testing.wait_all_tasks_blocked()
        # What the start left to the garbage collector is none of the calls' business, either.
        gc.collect()
        began = used()
        may_begin.set()
    return used() - began


async def raw_calls(
    url: str,
    token: str,
    request: Callable[[int], tuple[str, str, bytes]],
    calls: int,
    tasks: int,
    on_reply: Callable[[bytes], object] = bool,
) -> Used:
    """What so many calls take, over a connection for each task.

    Args:
        url: of the node.
        token: of its API.
        request: method, path and body of the call of a number.
        calls: in total.
        tasks: that make them.
        on_reply: takes each reply, head and body.
    """
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    host, port = parts.hostname, parts.port
    fields = "".join(f"{name}: {value}\r\n" for name, value in {"Host": parts.netloc, **headers(token)}.items())

    async def work(numbers: Iterator[int]) -> None:
        async with await trio.open_tcp_stream(host, port) as stream:
            for number in numbers:
                method, path, body = request(number)
                length = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n" if body else ""
                await stream.send_all(f"{method} {path} HTTP/1.1\r\n{fields}{length}\r\n".encode() + body)
                received = await stream.receive_some()
                # A reply with a body is a JSON object.
                while not received.endswith((_END, b"}")):
                    more = await stream.receive_some()
                    assert more, "the node closed the connection"
                    received += more
                on_reply(received)

    return await share(work, calls, tasks)
