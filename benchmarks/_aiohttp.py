"""The other client: aiohttp, where it is installed."""

from __future__ import annotations

import asyncio
import gc
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
        may_begin = asyncio.Event()

        async def work() -> None:
            await may_begin.wait()
            for url in left:
                async with session.delete(url) as reply:
                    await reply.read()
                    assert reply.status == 204

        started = [asyncio.create_task(work()) for _ in range(tasks)]
        await asyncio.sleep(0)
        gc.collect()
        wall, cpu = time.perf_counter(), time.process_time()
        may_begin.set()
        await asyncio.gather(*started)
        return time.perf_counter() - wall, time.process_time() - cpu
