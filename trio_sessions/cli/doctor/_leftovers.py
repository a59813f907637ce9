"""What an earlier run of this instance left at the node: looked at, and left alone."""

from __future__ import annotations

import os

import attrs

from trio_sessions import InstanceInUseError, JournalError, Listener
from trio_sessions._instance import hold_address
from trio_sessions._journal_look import look_at_journal
from trio_sessions._journal_row import RESTING, JournalRow
from trio_sessions._namespaces import DedicatedAddress, derive_address, node_key
from trio_sessions.cli._access import Access
from trio_sessions.cli._state import journal_path
from trio_sessions.cli.doctor._case import Case
from trio_sessions.cli.doctor._finding import Finding, ok, warn

__all__ = ["Leftovers", "check_leftovers", "leftovers"]

#: Listeners that a line names one by one.
_MOST_NAMED = 3


@attrs.frozen
class Leftovers:
    """What remembers our listeners, and what of it is at the node.

    Attributes:
        memory: the journal's file, or the address of our own; ``None``: nothing does.
        in_use: another process is at work with it, so that nothing of this is left over.
        listeners: ours that the node lists.
        unsettled: POSTs that may have made one that nobody knows.
    """

    memory: str | None
    in_use: bool = False
    listeners: tuple[Listener, ...] = ()
    unsettled: int = 0


async def check_leftovers(case: Case) -> Finding:
    """Nothing of ours is at the node without somebody who owns it."""
    found = leftovers(case.access, case.listeners)
    facts = {
        "memory": found.memory,
        "in_use": found.in_use,
        "listeners": [str(listener.key) for listener in found.listeners],
        "unsettled": found.unsettled,
    }
    count = len(found.listeners)
    if found.memory is None:
        return ok("nothing is remembered: there is no journal of this instance", **facts)
    if found.in_use:
        return ok(f"a run is at work with {count} listeners here ({found.memory})", **facts)
    if not count and not found.unsettled:
        return ok(f"none of this instance ({found.memory})", **facts)
    names = ", ".join(str(listener.key) for listener in found.listeners[:_MOST_NAMED])
    more = f" and {count - _MOST_NAMED} more" if count > _MOST_NAMED else ""
    what = [f"{count} listener{'' if count == 1 else 's'} of an ended run: {names}{more}"] if count else []
    if found.unsettled:
        what.append(f"{found.unsettled} POST{'' if found.unsettled == 1 else 's'} whose outcome nobody knows")
    return warn(
        " and ".join(what),
        "close them: trio-sessions reap, with the same --namespace, --instance and --journal",
        "or start the run again: that closes them, too",
        **facts,
    )


def leftovers(access: Access, listed: tuple[Listener, ...]) -> Leftovers:
    """What there is of this instance among the ``listed`` listeners; changes nothing, neither here nor there.

    The lock of the instance is tried, and let go at once.

    Raises:
        JournalError: the journal cannot be read.
        InvalidInputError: the journal's path is no place for one, or this machine has no such address.
    """
    if isinstance(access.namespace, DedicatedAddress):
        return _on_address(access.namespace.ip or derive_address(node_key(access.url), access.instance), listed)
    path = access.journal
    if path is None and access.needs_journal:
        path = journal_path(access.url, access.instance)
    if path is None or not os.path.exists(path):
        return Leftovers(None)
    rows, is_held = _look_at_journal(path, node_key(access.url))
    kept = [row for row in rows if row.state != RESTING]
    known = [row.listener for row in kept if row.listener is not None]
    return Leftovers(
        path,
        in_use=is_held,
        listeners=tuple(each for each in listed if any(each.same_as(ours) for ours in known)),
        unsettled=len(kept) - len(known),
    )


def _on_address(address: str, listed: tuple[Listener, ...]) -> Leftovers:
    in_use = False
    try:
        with hold_address(address):
            pass
    except InstanceInUseError:
        in_use = True
    return Leftovers(address, in_use, tuple(listener for listener in listed if listener.key.ip == address))


def _look_at_journal(path: str, node: str) -> tuple[tuple[JournalRow, ...], bool]:
    """The journal's rows, and whether a living process has it.

    Raises:
        JournalError: it is another node's, or cannot be read.
    """
    look = look_at_journal(path)
    if look is None:
        return (), False
    if look.node != node:
        raise JournalError(path, "it is another node's", "name another file with --journal")
    return look.rows, look.is_held
