"""How many calls a second go through the REST client and through what is below it: ``python -m benchmarks.rest``.

DELETEs, so many in flight, to a responder in a process of its own, or with ``--simulator`` to a simulated node, whose
HTTP server is the slower end. The floor is a loop that sends and receives bytes on Trio's sockets without looking at
them. aiohttp needs not be where the library is: ``--aiohttp`` takes the Python of another environment.

The CPU time is that of the client's process: it depends less on what else runs on the machine than the rate does.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import httpx
import trio

from benchmarks._simulator import TOKEN, simulated
from trio_sessions import Hoprd, ListenerKey
from trio_sessions._transport import Transport

#: Calls a second and microseconds of CPU a call.
Cost = tuple[float, float]

HEADERS = {"Authorization": f"Bearer {TOKEN}", "Accept": "application/json", "Accept-Encoding": "identity"}
REPLY = b"HTTP/1.1 204 No Content\r\ndate: Sat, 01 Nov 2025 00:00:00 GMT\r\n\r\n"
END = b"\r\n\r\n"

AIOHTTP = """
import asyncio, json, sys, time
try:
    import aiohttp
except ImportError:
    sys.exit("not installed")

async def main(url, calls, flight, headers):
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), headers=headers) as session:
        numbers = iter(range(calls))
        async def work():
            for number in numbers:
                async with session.delete(f"{url}/api/v4/session/udp/127.0.0.1/{number + 1}") as reply:
                    await reply.read()
                    assert reply.status in (204, 404)
        began, used = time.perf_counter(), time.process_time()
        await asyncio.gather(*(work() for _ in range(flight)))
        return calls / (time.perf_counter() - began), (time.process_time() - used) / calls * 1e6

print(json.dumps(asyncio.run(main(*json.loads(sys.argv[1])))))
"""


class Responder(asyncio.Protocol):
    """Answers 204 to every request without a body."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.rest = b""

    def data_received(self, data: bytes) -> None:
        *heads, self.rest = (self.rest + data).split(END)
        self.transport.write(REPLY * len(heads))


async def respond() -> None:
    """Print the port and serve until killed."""
    server = await asyncio.get_running_loop().create_server(Responder, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@asynccontextmanager
async def responder() -> AsyncIterator[str]:
    """The URL of a responder in a process of its own; killed at the end of the block."""
    process = await trio.lowlevel.open_process(
        [sys.executable, "-m", "benchmarks.rest", "--respond"], stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(await process.stdout.receive_some())}"
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()


async def share(work: Callable[[Iterator[int]], Awaitable[None]], calls: int, flight: int) -> Cost:
    """The cost of so many calls, made by so many tasks that take their numbers from one iterator."""
    numbers = iter(range(calls))
    began, used = time.perf_counter(), time.process_time()
    async with trio.open_nursery() as nursery:
        for _ in range(flight):
            nursery.start_soon(work, numbers)
    return calls / (time.perf_counter() - began), (time.process_time() - used) / calls * 1e6


async def through_client(url: str, calls: int, flight: int) -> Cost:
    """As the janitor closes listeners."""
    async with Hoprd(url, token=TOKEN, timeout=120.0) as hoprd:

        async def work(numbers: Iterator[int]) -> None:
            for number in numbers:
                await hoprd.close_session(ListenerKey("udp", "127.0.0.1", number + 1))

        return await share(work, calls, flight)


async def through_transport(transport: httpx.AsyncBaseTransport, url: str, calls: int, flight: int) -> Cost:
    """Requests of httpx, and no client above the transport."""
    async with transport:

        async def work(numbers: Iterator[int]) -> None:
            for number in numbers:
                path = f"/api/v4/session/udp/127.0.0.1/{number + 1}"
                response = await transport.handle_async_request(httpx.Request("DELETE", url + path, headers=HEADERS))
                await response.aread()
                await response.aclose()
                assert response.status_code in (204, 404)

        return await share(work, calls, flight)


async def ours(url: str, calls: int, flight: int) -> Cost:
    """Our transport, bare."""
    transport = Transport(url, max_connections=512, max_kept=64, keep_for=30.0)
    return await through_transport(transport, url, calls, flight)


async def httpx_pool(url: str, calls: int, flight: int) -> Cost:
    """httpx's own transport, with the limits of ours."""
    limits = httpx.Limits(max_connections=512, max_keepalive_connections=64, keepalive_expiry=30.0)
    transport = httpx.AsyncHTTPTransport(limits=limits, trust_env=False, verify=False)
    return await through_transport(transport, url, calls, flight)


async def floor(url: str, calls: int, flight: int) -> Cost:
    """Bytes out, bytes in, until what came may be the end."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    host, port = parts.hostname, parts.port
    fields = "".join(f"{name}: {value}\r\n" for name, value in {"Host": parts.netloc, **HEADERS}.items())

    async def work(numbers: Iterator[int]) -> None:
        async with await trio.open_tcp_stream(host, port) as stream:
            for number in numbers:
                line = f"DELETE /api/v4/session/udp/127.0.0.1/{number + 1} HTTP/1.1\r\n"
                await stream.send_all(f"{line}{fields}\r\n".encode())
                received = await stream.receive_some()
                # A reply with a body is JSON.
                while not received.endswith((END, b"}")):
                    received += await stream.receive_some()

    return await share(work, calls, flight)


def aiohttp_of(python: str) -> Callable[[str, int, int], Awaitable[Cost]]:
    """aiohttp in a process of its own, by the Python that has it."""

    async def measure(url: str, calls: int, flight: int) -> Cost:
        arguments = json.dumps([url, calls, flight, HEADERS])
        done = await trio.run_process([python, "-c", AIOHTTP, arguments], capture_stdout=True)
        rate, used = json.loads(done.stdout)
        return rate, used

    return measure


def has_aiohttp(python: str) -> bool:
    """Whether that Python can import aiohttp."""
    return subprocess.run([python, "-c", "import aiohttp"], check=False, stderr=subprocess.DEVNULL).returncode == 0


async def compare(given: argparse.Namespace) -> None:
    """Measure all in turn, round by round, so that a slow moment hits all alike."""
    works: dict[str, Callable[[str, int, int], Awaitable[Cost]] | None] = {
        "floor: Trio's sockets": floor,
        "our transport": ours,
        "Hoprd.close_session": through_client,
        "httpx's own pool": httpx_pool,
        "aiohttp": aiohttp_of(given.aiohttp) if has_aiohttp(given.aiohttp) else None,
    }
    served = simulated("--delete-latency", "0") if given.simulator else responder()
    async with served as node:
        url = node if isinstance(node, str) else node["url"]
        for flight in given.in_flight:
            costs: dict[str, list[Cost]] = {name: [] for name, work in works.items() if work is not None}
            for number in range(given.rounds):
                for name, work in works.items():
                    # Once is enough for what takes a minute.
                    if work is not None and (number == 0 or work is not httpx_pool):
                        costs[name].append(await work(url, given.calls, flight))
            report(flight, given, costs, [name for name in works if name not in costs])


def report(flight: int, given: argparse.Namespace, costs: dict[str, list[Cost]], missing: list[str]) -> None:
    """Print the medians, and what part of aiohttp's rate each has, round by round."""
    print(f"{given.calls} DELETEs, {flight} in flight, {'simulator' if given.simulator else 'responder'}")
    print(f"{'through':<24}{'median':>12}{'slowest':>10}{'fastest':>10}{'CPU a call':>14}{'of aiohttp':>12}")
    for name, taken in costs.items():
        rates = [rate for rate, _ in taken]
        used = statistics.median(used for _, used in taken)
        part = "-"
        if "aiohttp" in costs:
            other = costs["aiohttp"]
            part = f"{statistics.median(mine / its for (mine, _), (its, _) in zip(taken, other, strict=False)):.2f}"
        median = statistics.median(rates)
        print(f"{name:<24}{median:>10.0f}/s{min(rates):>8.0f}/s{max(rates):>8.0f}/s{used:>11.0f} us{part:>12}")
    for name in missing:
        print(f"{name:<24}{'not installed':>14}")
    print()


def main() -> None:
    """Serve or measure, as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--in-flight", type=int, nargs="+", default=[64, 512])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--simulator", action="store_true", help="a simulated node instead of the bare responder")
    parser.add_argument("--aiohttp", metavar="PYTHON", default=sys.executable, help="a Python that has aiohttp")
    parser.add_argument("--respond", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.respond:
        asyncio.run(respond())
    else:
        trio.run(compare, given)


if __name__ == "__main__":
    main()
