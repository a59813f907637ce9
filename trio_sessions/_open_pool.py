"""How a pool is opened: what belongs to its instance alone is taken first, and given back last."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import trio

from trio_sessions._datagrams import Connect, connect_udp
from trio_sessions._grounds import own_grounds
from trio_sessions._hoprd import Hoprd
from trio_sessions._instruments import Instruments, PoolEnded, PoolStarted, guarded
from trio_sessions._journal import InThread
from trio_sessions._leaf import open_leaf_nursery
from trio_sessions._options import PoolOptions
from trio_sessions._pool import SessionPool

__all__ = ["open_pool"]


@asynccontextmanager
async def open_pool(
    hoprd: Hoprd,
    options: PoolOptions | None = None,
    *,
    rng: random.Random | None = None,
    connect: Connect = connect_udp,
    in_thread: InThread = trio.to_thread.run_sync,
    instruments: Instruments | None = None,
) -> AsyncIterator[SessionPool]:
    """A running :class:`SessionPool`, as an async context manager.

    Leaving the block stops the pool, if :meth:`SessionPool.stop` was not called before, and waits until every
    session is over and every listener is gone, at most ``options.stop_timeout`` seconds, also when cancelled.
    Exceptions of the block come out as they are, never in a group.

    Args:
        hoprd: an open client; it must stay open until the block is left.
        options: see :class:`PoolOptions`.
        rng: the source of all jitter and random choices.
        connect: makes the sessions' sockets; another one stands in for the kernel's in tests.
        in_thread: runs the journal's work with its file; another one stands in for threads under a virtual clock.
        instruments: hear of what happens in the pool; see :class:`Instruments`.

    Raises:
        InstanceInUseError: another process has the dedicated address, or the journal.
        JournalError: the journal cannot be used.
        InvalidInputError: the journal's path is no place for a file, or this machine has no such address.
    """
    options = options or PoolOptions()
    instruments = guarded(instruments)
    rng = rng or random.Random()
    async with own_grounds(hoprd, options, rng, in_thread) as (territory, journal):
        pool = SessionPool(
            hoprd,
            options,
            territory=territory,
            journal=journal,
            rng=rng,
            connect=connect,
            instruments=instruments,
        )
        with _announced(hoprd.url, options.instance, pool, instruments):
            async with open_leaf_nursery() as nursery:
                await nursery.start(pool._run)
                try:
                    yield pool
                finally:
                    pool.stop()


@contextmanager
def _announced(url: str, instance: str, pool: SessionPool, instruments: Instruments | None) -> Iterator[None]:
    """Tell instruments when the pool begins, and when all is over."""
    if instruments is None:
        yield
        return
    instruments(PoolStarted(url, instance, pool.statistics))
    try:
        yield
    finally:
        instruments(PoolEnded(url, instance, pool.statistics))
