"""What one instance has at a node for itself, and a janitor that works there."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TypeVar

import trio

from trio_sessions._errors import InstanceInUseError, NodeError
from trio_sessions._hoprd import Hoprd
from trio_sessions._instance import hold_address
from trio_sessions._janitor import Janitor
from trio_sessions._journal import InThread, Journal, open_journal
from trio_sessions._journal_row import JournalRow
from trio_sessions._leaf import open_leaf_nursery
from trio_sessions._listing import Lookup
from trio_sessions._model import Listener, SessionRequest
from trio_sessions._namespaces import DedicatedAddress, derive_address, node_key
from trio_sessions._options import PoolOptions
from trio_sessions._route import Route
from trio_sessions._territory import Territory

__all__ = ["make_request", "open_janitor", "own_grounds", "touch"]

T = TypeVar("T")

#: Who only looks whether an instance is in use holds its lock for a moment, see ``look_at_lock``: so it is tried for
#: as many times, so many seconds apart, before an instance counts as in use.
_TRIES = 5
_PAUSE = 0.05


@asynccontextmanager
async def own_grounds(
    hoprd: Hoprd, options: PoolOptions, rng: random.Random, in_thread: InThread
) -> AsyncIterator[tuple[Territory, Journal | None]]:
    """What belongs to this instance alone, for as long as the block lasts.

    Raises:
        InstanceInUseError: another process has the dedicated address, or the journal.
        JournalError: the journal cannot be used.
        InvalidInputError: the journal's path is no place for a file, or this machine has no such address.
    """
    node = node_key(hoprd.url)
    async with AsyncExitStack() as stack:

        async def hold(ip: str) -> None:
            stack.enter_context(hold_address(ip))

        async def take(path: str) -> Journal:
            return await stack.enter_async_context(open_journal(path, node, in_thread))

        own_address = None
        if isinstance(options.namespace, DedicatedAddress):
            own_address = options.namespace.ip or derive_address(node, options.instance)
            await _patiently(hold, own_address)
        journal = None if options.journal is None else await _patiently(take, options.journal)
        yield Territory(options.namespace, own_address, rng), journal


@asynccontextmanager
async def open_janitor(
    hoprd: Hoprd,
    options: PoolOptions,
    *,
    adopts: Callable[[JournalRow], bool] | None = None,
    rng: random.Random,
    in_thread: InThread,
) -> AsyncIterator[tuple[Janitor, Lookup]]:
    """A janitor at work on grounds of its own, and the lookup that it uses.

    Leaving the block, also when cancelled, waits until it has settled all that it has, at most
    ``options.stop_timeout`` seconds. What it could not settle is in ``Janitor.left`` then.

    Args:
        adopts: which rows of the journal it settles, of all those that an earlier run left; all: leave it out.

    Raises:
        InstanceInUseError, JournalError, InvalidInputError: as :func:`own_grounds`.
    """
    async with own_grounds(hoprd, options, rng, in_thread) as (territory, journal):
        lookup = Lookup(hoprd, timeout=options.close_timeout)
        janitor = Janitor(
            hoprd,
            lookup,
            territory,
            journal,
            max_opens=options.max_opens,
            max_closes=options.max_closes,
            close_timeout=options.close_timeout,
            on_doubt=lambda: None,
            rng=rng,
            adopts=adopts,
        )
        async with open_leaf_nursery() as nursery:
            nursery.start_soon(janitor.run)
            try:
                await janitor.wait_ready()
                yield janitor, lookup
            finally:
                janitor.stop(options.stop_timeout)
                janitor.finish()


def make_request(options: PoolOptions, route: Route, destination: str) -> SessionRequest:
    """The body of a POST of a session on ``route``."""
    path = route.path
    return SessionRequest(
        destination=destination,
        forward=path,
        back=path,
        listen_host=options.listen_host,
        capabilities=options.capabilities,
        response_buffer=options.response_buffer,
    )


async def touch(hoprd: Hoprd, listener: Listener) -> NodeError | None:
    """Reset the listener's idle timer, if the node lets us; otherwise it ends when it ends. Returns what went wrong."""
    failure = None
    for client in listener.clients:
        try:
            await hoprd.session_config(client)
        except NodeError as error:
            # With the balancer off the answer is 404, and the timer is reset all the same (contract §2.5).
            failure = error
    return failure


async def _patiently(take: Callable[[str], Awaitable[T]], what: str) -> T:
    for _ in range(_TRIES - 1):
        try:
            return await take(what)
        except InstanceInUseError:
            await trio.sleep(_PAUSE)
    return await take(what)
