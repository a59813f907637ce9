"""What a command sees at a node: its listeners, and whose they are by all journals that it finds."""

from __future__ import annotations

from pathlib import Path

import attrs
import trio

from trio_sessions import Hoprd, InstanceInUseError, PortRange, SessionsError
from trio_sessions._instance import hold_address
from trio_sessions._journal_look import JournalLook, look_at_journal
from trio_sessions._model import Protocol
from trio_sessions._namespaces import DedicatedAddress, derive_address, node_key
from trio_sessions._ownership import Ground, KnownJournal, Sighting, survey
from trio_sessions.cli._access import Access
from trio_sessions.cli._speech import warn
from trio_sessions.cli._state import instance_of, state_folder

__all__ = ["find_journals", "look_around", "own_address"]


async def look_around(hoprd: Hoprd, access: Access, protocol: Protocol = "udp") -> tuple[Sighting, ...]:
    """The node's listeners, and what our journals remember beside them.

    A journal that cannot be read is told in a line on stderr, and left out.

    Raises:
        NodeError: the node did not tell.
    """
    # Before the list and after it: so what was opened or closed meanwhile is in one of the two.
    before, _ = await trio.to_thread.run_sync(_read_journals, access)
    listeners = await hoprd.list_sessions(protocol)
    after, problems = await trio.to_thread.run_sync(_read_journals, access)
    warn(problems)
    journals = [journal for journal in after.values() if protocol == "udp"]
    ground = await trio.to_thread.run_sync(_ground, access, after)
    known = survey(listeners, [_with_old_rows(journal, before) for journal in journals], ground)
    current = {(journal.look.path, row.id) for journal in journals for row in journal.look.rows}
    return tuple(each for each in known if each.listener is not None or _place(each) in current)


def own_address(access: Access) -> str | None:
    """The address on which every listener is the instance's; ``None`` where its namespace has none."""
    if not isinstance(access.namespace, DedicatedAddress):
        return None
    return access.namespace.ip or derive_address(node_key(access.url), access.instance)


def find_journals(access: Access) -> dict[str, KnownJournal]:
    """The node's journals by their paths; those that cannot be read are left out."""
    return _read_journals(access)[0]


def _place(sighting: Sighting) -> tuple[str, int] | None:
    if sighting.journal is None or sighting.row is None:
        return None
    return sighting.journal.look.path, sighting.row.id


def _read_journals(access: Access) -> tuple[dict[str, KnownJournal], list[str]]:
    """The node's journals by their paths: those in the state folder and the one that was named; and what is wrong."""
    node = node_key(access.url)
    paths = sorted(str(path) for path in state_folder().glob("*.journal"))
    if access.journal is not None and Path(access.journal).resolve() not in {Path(path).resolve() for path in paths}:
        paths.append(access.journal)
    found, problems = {}, []
    for path in paths:
        try:
            look = look_at_journal(path)
        except SessionsError as error:
            problems.append(f"{error}: it is left out")
            continue
        is_named = path == access.journal
        if look is not None and look.node == node:
            found[path] = KnownJournal(access.instance if is_named else instance_of(path, access.url), look)
        elif is_named:
            whose = "there is no such file" if look is None else f"it belongs to {look.node!r}, not to {node!r}"
            problems.append(f"journal {path}: {whose}: it is left out")
    return found, problems


def _with_old_rows(journal: KnownJournal, before: dict[str, KnownJournal]) -> KnownJournal:
    """The journal with the rows, too, that it had a moment ago."""
    if (old := before.get(journal.look.path)) is None:
        return journal
    rows = {row.id: row for row in (*old.look.rows, *journal.look.rows)}
    look: JournalLook = attrs.evolve(journal.look, rows=tuple(rows.values()))
    return attrs.evolve(journal, look=look)


def _ground(access: Access, journals: dict[str, KnownJournal]) -> Ground:
    ports = access.namespace if isinstance(access.namespace, PortRange) else None
    address = own_address(access)
    is_held = any(each.look.is_held for each in journals.values() if each.instance == access.instance)
    return Ground(access.instance, address, ports, is_held or (address is not None and _is_held(address)))


def _is_held(address: str) -> bool:
    try:
        with hold_address(address):
            return False
    except InstanceInUseError:
        return True
    except SessionsError:
        # This machine has no such address: nobody on it can have it.
        return False
