"""The other client: aiohttp, where it is installed."""

from __future__ import annotations

import asyncio
import time

import aiohttp

__all__ = ["deletes"]


def deletes(urls: list[str], headers: dict[str, str], connections: int, tasks: int) -> tuple[float, float]:
    """DELETE every URL, so many at a time, and return the seconds that it takes: of time, and of CPU."""
    return asyncio.run(_deletes(urls, headers, connections, tasks))


async def _deletes(urls: list[str], headers: dict[str, str], connections: int, tasks: int) -> tuple[float, float]:
    connector = aiohttp.TCPConnector(limit=connections)
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:
        left = iter(urls)

        async def work() -> None:
            for url in left:
                async with session.delete(url) as reply:
                    await reply.read()
                    assert reply.status == 204

        wall, cpu = time.perf_counter(), time.process_time()
        await asyncio.gather(*(work() for _ in range(tasks)))
        return time.perf_counter() - wall, time.process_time() - cpu
