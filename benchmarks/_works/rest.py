"""``rest``: how many calls a second go through the REST client and through what is below it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from functools import partial

import httpx
import trio

from benchmarks._case import Case, Promise, Quotient, Sample, Settings, SkippedError, Work
from benchmarks._figures import CALLS, call_sample
from benchmarks._meter import Used
from benchmarks._node import bare_node
from benchmarks._raw_http import headers, share
from benchmarks._works.floor import delete_path
from trio_sessions import Hoprd, ListenerKey
from trio_sessions._transport import Transport

__all__ = ["WORK"]

_CALLS = 2_000
_QUICK_CALLS = 500
#: Connections of every client.
_CONNECTIONS = 16

_Measure = Callable[[str, str, int, int], Awaitable[Used]]


async def _through_transport(
    make: Callable[[str], httpx.AsyncBaseTransport], url: str, token: str, calls: int, tasks: int
) -> Used:
    """Requests of httpx, and no client above the transport.

    They are made before: to make one takes httpx a third of all the time, and is no part of what a transport does.
    """
    fields = headers(token)
    requests = [httpx.Request("DELETE", url + delete_path(number), headers=fields) for number in range(calls)]
    async with make(url) as transport:

        async def work(numbers: Iterator[int]) -> None:
            for number in numbers:
                response = await transport.handle_async_request(requests[number])
                await response.aread()
                await response.aclose()
                assert response.status_code == 204

        return await share(work, calls, tasks)


def _ours(url: str) -> httpx.AsyncBaseTransport:
    return Transport(url, max_connections=_CONNECTIONS, max_kept=_CONNECTIONS, keep_for=30.0)


def _httpx_own(url: str) -> httpx.AsyncBaseTransport:
    limits = httpx.Limits(max_connections=_CONNECTIONS, max_keepalive_connections=_CONNECTIONS, keepalive_expiry=30.0)
    return httpx.AsyncHTTPTransport(limits=limits, trust_env=False, verify=False)


async def _through_client(url: str, token: str, calls: int, tasks: int) -> Used:
    """As the janitor closes listeners."""
    async with Hoprd(url, token=token, timeout=120.0, max_connections=_CONNECTIONS) as hoprd:

        async def work(numbers: Iterator[int]) -> None:
            for number in numbers:
                await hoprd.close_session(ListenerKey("udp", "127.0.0.1", number + 1))

        return await share(work, calls, tasks)


async def _through_aiohttp(url: str, token: str, calls: int, tasks: int) -> Used:
    """In a thread, since it needs a loop of its own; nothing else of ours runs meanwhile."""
    try:
        from benchmarks._aiohttp import deletes  # noqa: PLC0415
    except ImportError:
        raise SkippedError("aiohttp is not installed: pip install aiohttp") from None
    wall, cpu = await trio.to_thread.run_sync(
        deletes, [url + delete_path(number) for number in range(calls)], headers(token), _CONNECTIONS, tasks
    )
    return Used(wall, cpu)


async def _measure(settings: Settings, through: _Measure, *, waiting: bool) -> Sample:
    calls = _QUICK_CALLS if settings.quick else _CALLS
    async with bare_node(1, seed=settings.seed) as node:
        before = node.load().seconds
        span = await through(node.url, node.token, calls, calls if waiting else _CONNECTIONS)
        return call_sample(calls, span, node.load().seconds - before)


def _case(
    name: str, title: str, through: _Measure, *, waiting: bool = False, once: bool = False, quick: bool = True
) -> Case:
    return Case(
        name=name,
        title=f"{title}, {'all calls wait at once' if waiting else f'{_CONNECTIONS} in flight'}",
        measure=partial(_measure, through=through, waiting=waiting),
        figures=CALLS,
        once=once,
        quick=quick,
    )


WORK = Work(
    name="rest",
    title=f"{_CALLS:,} DELETEs ({_QUICK_CALLS} in a quick run) over {_CONNECTIONS} connections",
    cases=(
        _case("transport", "our transport, bare", partial(_through_transport, _ours)),
        _case("client", "Hoprd.close_session", _through_client),
        _case("aiohttp", "aiohttp", _through_aiohttp),
        _case(
            "transport-waiting", "our transport, bare", partial(_through_transport, _ours), waiting=True, quick=False
        ),
        _case("client-waiting", "Hoprd.close_session", _through_client, waiting=True),
        _case("aiohttp-waiting", "aiohttp", _through_aiohttp, waiting=True, quick=False),
        # Its work grows with the square of what waits.
        _case(
            "httpx-waiting",
            "httpx's own pool",
            partial(_through_transport, _httpx_own),
            waiting=True,
            once=True,
            quick=False,
        ),
    ),
    needs=("floor/deletes",),
    quotients=(
        Quotient("transport of aiohttp", "rest/transport:rate", "rest/aiohttp:rate"),
        Quotient("client of aiohttp", "rest/client:rate", "rest/aiohttp:rate"),
        Quotient("transport of aiohttp, by CPU a call", "rest/aiohttp:cpu", "rest/transport:cpu"),
        Quotient("client of aiohttp, by CPU a call", "rest/aiohttp:cpu", "rest/client:cpu"),
        Quotient("transport of the floor", "rest/transport:rate", "floor/deletes:rate"),
        Quotient("client of the floor", "rest/client:rate", "floor/deletes:rate"),
        Quotient("client with all waiting, of 16 in flight", "rest/client-waiting:rate", "rest/client:rate"),
        Quotient("transport with all waiting, of 16 in flight", "rest/transport-waiting:rate", "rest/transport:rate"),
        Quotient("client of aiohttp, all waiting", "rest/client-waiting:rate", "rest/aiohttp-waiting:rate"),
    ),
    promises=(
        Promise("rest: our transport at least 0.75 of aiohttp", "transport of aiohttp", 0.75),
        Promise("rest: Hoprd.close_session at least 0.75 of aiohttp", "client of aiohttp", 0.75),
        # A tenth is what the start of 2,000 tasks costs, and what rounds differ by.
        Promise("rest: not slower (0.9) when all calls wait", "client with all waiting, of 16 in flight", 0.9),
    ),
)
