"""Instances of one command's time: each has a name, and so a journal and an address, that no other has."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import TypeVar

import trio

from trio_sessions import DedicatedAddress, Hoprd, InstanceInUseError, InvalidInputError, PoolOptions, SessionsError
from trio_sessions._journal_look import look_at_journal
from trio_sessions._journal_row import RESTING
from trio_sessions.cli._access import Access
from trio_sessions.cli._state import default_journal
from trio_sessions.cli._streams import say

__all__ = ["check_relayer", "detached_name", "names", "remembered", "temporary_instance"]

T = TypeVar("T")

#: How many commands of a kind may run at one node at a time.
_MOST = 20
#: Relayers that an error names.
_MOST_NAMED = 3


def names(base: str) -> list[str]:
    """``open``, ``open-2``, ``open-3`` …"""
    return [base, *(f"{base}-{number}" for number in range(2, _MOST + 1))]


def detached_name() -> str:
    """A name that nobody has."""
    return f"detached-{secrets.token_hex(3)}"


@asynccontextmanager
async def temporary_instance(
    access: Access,
    candidates: list[str],
    enter: Callable[[PoolOptions], AbstractAsyncContextManager[T]],
    destinations: tuple[str, ...] = (),
) -> AsyncIterator[tuple[PoolOptions, T]]:
    """What ``enter`` makes, under the first of the names that is not in use; with the options that it got.

    Raises:
        InstanceInUseError: all are.
    """
    for name in candidates:
        journal = None if access.no_journal else default_journal(access.url, name)
        if name != candidates[-1] and await trio.to_thread.run_sync(_is_held, journal):
            continue
        options = PoolOptions(
            destinations=destinations,
            namespace=access.namespace,
            instance=name,
            journal=journal,
            connect_host=access.connect_host,
        )
        entered = False
        try:
            async with enter(options) as it:
                entered = True
                yield options, it
                return
        except InstanceInUseError:
            if entered or name == candidates[-1] or _is_one_address(access):
                raise


async def check_relayer(hoprd: Hoprd, relayer: str) -> None:
    """Find out at once, and not by a minute and a half of waiting, that the node has no channel to the relayer.

    Raises:
        InvalidInputError: it has none, or one that isn't open.
    """
    outgoing = (await hoprd.channels()).outgoing
    own = next((channel for channel in outgoing if channel.peer.lower() == relayer.lower()), None)
    if own is None or not own.is_open:
        there = [channel.peer for channel in outgoing if channel.is_open]
        named = ", ".join(there[:_MOST_NAMED]) + (f" and {len(there) - _MOST_NAMED} more" * (len(there) > _MOST_NAMED))
        rule = "the node has no open channel to it" if own is None else f"the node's channel to it is {own.status}"
        remedy = f"open one, or choose of those it has: {named}" if there else "open one: it has no other either"
        raise InvalidInputError("relayer", relayer, rule, remedy)
    if relayer.lower() not in {peer.address.lower() for peer in await hoprd.peers()}:
        say(f"trio-sessions: warning: the node is not connected to {relayer} now: this may take long, and fail")


def remembered(options: PoolOptions) -> list[str]:
    """What the options' journal remembers to be left at the node, in a line each."""
    try:
        look = None if options.journal is None else look_at_journal(options.journal)
    except SessionsError as error:
        return [str(error)]
    rows = [row for row in (look.rows if look else ()) if row.state not in (RESTING, "detached")]
    return [
        f"{row.listener.key if row.listener else 'perhaps one of an unknown port'} via {row.route}: {row.state}"
        for row in rows
    ]


def _is_held(journal: str | None) -> bool:
    if journal is None or not Path(journal).exists():
        return False
    try:
        look = look_at_journal(journal)
    except SessionsError:
        # Whoever opens it is told what is wrong.
        return False
    return look is not None and look.is_held


def _is_one_address(access: Access) -> bool:
    """Whether another name is of no use, since it is not from that that the address comes."""
    return isinstance(access.namespace, DedicatedAddress) and access.namespace.ip is not None
