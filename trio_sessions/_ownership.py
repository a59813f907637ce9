"""Whose are the listeners that a node lists, by all journals and namespaces that we know? Pure: it only compares.

A listener is called ours on proof alone: a journal names it with the node's own id of its session, or it is where
nobody else's can be. All others are strangers', also those that merely look like ours.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import Enum

import attrs

from trio_sessions._journal_look import JournalLook
from trio_sessions._journal_row import RESTING, JournalRow
from trio_sessions._matching import answers
from trio_sessions._model import Listener, ListenerKey
from trio_sessions._namespaces import PortRange
from trio_sessions._past import MEMORY

__all__ = ["Ground", "KnownJournal", "Owner", "Proof", "Sighting", "survey"]


class Owner(Enum):
    """Who answers for a listener."""

    RUNNING = "running"
    """Ours, and a living process has it."""
    DETACHED = "detached"
    """Ours, and left at the node on purpose."""
    ORPHAN = "orphan"
    """Ours, and nobody has it."""
    UNKNOWN = "unknown"
    """Ours by its port alone: it is in no journal, and a run without one, or with one elsewhere, may have it."""
    RESTING = "resting"
    """No listener any more: a port of ours that is not used again yet."""
    STRANGER = "stranger"
    """Not ours, as far as anybody can tell."""


class Proof(Enum):
    """How a listener is known to be ours."""

    JOURNAL = "journal"
    ADDRESS = "address"
    PORT = "port"


@attrs.frozen
class KnownJournal:
    """A journal of the node.

    Attributes:
        instance: whose it is.
        look: what it held.
    """

    instance: str
    look: JournalLook


@attrs.frozen
class Ground:
    """Where every listener is ours, by what the user says.

    Attributes:
        instance: the one that is spoken of.
        address: its dedicated address.
        ports: its range of ports.
        is_held: whether a living process has the instance.
    """

    instance: str
    address: str | None = None
    ports: PortRange | None = None
    is_held: bool = False

    def proof(self, key: ListenerKey) -> Proof | None:
        """Why a listener there is ours; ``None`` if it isn't, by its place. Sessions of ours are UDP alone."""
        if key.protocol != "udp":
            return None
        if self.address is not None and key.ip == self.address:
            return Proof.ADDRESS
        ports = self.ports
        if ports is not None and ports.first <= key.port <= ports.last and ports.ip in (None, key.ip):
            return Proof.PORT
        return None


@attrs.frozen
class Sighting:
    """A listener that the node lists, or a journal remembers, and whose it is.

    Attributes:
        owner: who answers for it.
        listener: as listed; ``None`` where the node lists none.
        proof: why it is ours; ``None`` of a stranger's.
        instance: of ours that has, or had, it; ``None`` where nobody knows, or it isn't ours.
        journal: the one that remembers it, with its ``row``; ``None`` where none does.
    """

    owner: Owner
    listener: Listener | None
    proof: Proof | None = None
    instance: str | None = None
    journal: KnownJournal | None = None
    row: JournalRow | None = None

    @property
    def is_ours(self) -> bool:
        """Whether it is known to be ours."""
        return self.owner is not Owner.STRANGER

    @property
    def key(self) -> ListenerKey | None:
        """Where it listens, or did; ``None`` where nobody knows, and of a port that rests."""
        known = self.listener or (self.row and self.row.listener)
        return known.key if known else None

    @property
    def rests_at(self) -> str | None:
        """Of a port that rests, where: ``ip:port``, or ``:port`` where the node chooses the address."""
        return self.row.request.listen_host if self.owner is Owner.RESTING and self.row is not None else None

    @property
    def free_in(self) -> float | None:
        """Seconds until a port that rests may be used again; ``None``: that counts from its instance's next start."""
        if self.owner is not Owner.RESTING or self.row is None or self.row.age is None:
            return None
        return max(0.0, MEMORY - self.row.age)

    @property
    def state(self) -> str:
        """What the journal knows, in one word or two; ``-`` where none does."""
        if self.owner is Owner.UNKNOWN:
            return "no journal"
        if self.row is None:
            return "-"
        if self.row.state == RESTING or self.listener is not None:
            return self.row.state
        if self.row.listener is None:
            return "no reply"
        # Of a process that runs, it may have been opened since the node was asked.
        return "not listed" if self.owner is Owner.RUNNING else "gone"


def survey(listeners: Iterable[Listener], journals: Sequence[KnownJournal], ground: Ground) -> tuple[Sighting, ...]:
    """Each of the node's listeners, and each row of the journals that none of them is, ours first.

    A port whose rest is over is nothing any more: its row only waits for somebody to remove it.
    """
    rows = _by_key(journals)
    pending = [(each, row) for each in journals if each.look.is_held for row in each.look.rows if row.listener is None]
    seen: set[tuple[str, int]] = set()
    found = []
    for listener in listeners:
        named = [each for each in rows.get(listener.key, ()) if _is_it(each[1], listener)]
        # Of a file and its copy, the one in use counts.
        named.sort(key=lambda each: not each[0].look.is_held)
        seen.update((journal.look.path, row.id) for journal, row in named)
        found.append(_remembered(listener, *named[0]) if named else _placed(listener, ground, pending))
    found += [
        _remembered(None, journal, row)
        for journal in journals
        for row in journal.look.rows
        if (journal.look.path, row.id) not in seen and not _has_rested(row)
    ]
    return tuple(sorted(found, key=_order))


def _by_key(journals: Sequence[KnownJournal]) -> dict[ListenerKey, list[tuple[KnownJournal, JournalRow]]]:
    rows: dict[ListenerKey, list[tuple[KnownJournal, JournalRow]]] = {}
    for journal in journals:
        for row in journal.look.rows:
            if row.listener is not None:
                rows.setdefault(row.listener.key, []).append((journal, row))
    return rows


def _is_it(row: JournalRow, listener: Listener) -> bool:
    """Whether the row names this very listener; one that names no session could be anybody's."""
    known = row.listener
    return known is not None and bool(known.clients and listener.clients) and known.same_as(listener)


def _remembered(listener: Listener | None, journal: KnownJournal, row: JournalRow) -> Sighting:
    alone = Owner.DETACHED if row.state == "detached" else Owner.ORPHAN
    owner = Owner.RUNNING if journal.look.is_held else alone
    if row.state == RESTING:
        owner = Owner.RESTING
    return Sighting(owner, listener, Proof.JOURNAL, journal.instance, journal, row)


def _placed(listener: Listener, ground: Ground, pending: Sequence[tuple[KnownJournal, JournalRow]]) -> Sighting:
    proof = ground.proof(listener.key)
    if proof is None:
        return Sighting(Owner.STRANGER, listener)
    for journal, row in pending:
        # Its reply came a moment ago, or is under way: whoever runs may be about to write it down.
        if row.state != RESTING and answers(row.request, listener):
            return Sighting(Owner.RUNNING, listener, proof, journal.instance)
    if proof is Proof.PORT and not ground.is_held:
        return Sighting(Owner.UNKNOWN, listener, proof)
    return Sighting(Owner.RUNNING if ground.is_held else Owner.ORPHAN, listener, proof, ground.instance)


def _has_rested(row: JournalRow) -> bool:
    return row.state == RESTING and row.age is not None and row.age >= MEMORY


def _order(sighting: Sighting) -> tuple[bool, str, bool, str, int]:
    key = sighting.key
    where = (sighting.rests_at or "", 0) if key is None else (key.ip, key.port)
    return (not sighting.is_ours, sighting.instance or "", sighting.listener is None, *where)
