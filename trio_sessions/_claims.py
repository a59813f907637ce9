"""The register of what we have, or may have, at the node: every change of a claim goes through it.

It keeps who holds which listener, what is left, which ports are taken, and writes each change into the journal.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Literal

import attrs
import trio

from trio_sessions._errors import ListenHostInUseError
from trio_sessions._instruments import Instruments, Origin, OrphanFound, OrphanSettled
from trio_sessions._journal import Journal
from trio_sessions._journal_row import RESTING, JournalRow
from trio_sessions._listeners import Claim, ListenerEvent, ListenerState
from trio_sessions._listing import Listing
from trio_sessions._matching import answers
from trio_sessions._model import Listener, ListenerKey, SessionRequest
from trio_sessions._past import MEMORY, Past
from trio_sessions._territory import Territory

__all__ = ["Claims"]

#: Names of what was left that are kept: more of them no report needs.
_MAX_LEFT = 10_000
#: A session waits for these, or has them.
_IN_USE = (ListenerState.INTENT, ListenerState.POSTING, ListenerState.REGISTERED)


class Claims:
    """Every claim that is neither gone nor left, in the order of their making.

    Attributes:
        past: what is remembered of those that are.
        orphans: how many there are that no session had, and whose listener is to be closed.
    """

    def __init__(self, territory: Territory, journal: Journal | None, instruments: Instruments | None = None) -> None:
        self.past = Past()
        self._instruments = instruments
        self._territory = territory
        self._journal = journal
        self._live: dict[Claim, None] = {}
        self.orphans = 0
        self._closing = 0
        self._in_use = 0
        #: The claims that have a listener: registered ones and those being closed.
        self._held: dict[ListenerKey, Claim] = {}
        self._left: deque[Claim] = deque(maxlen=_MAX_LEFT)
        self._none_in_use = trio.Event()
        #: Until when a port rests, and the journal's row that says so.
        self._resting: deque[tuple[float, int]] = deque()
        #: The last list that was sifted, and the strangers in it.
        self._sifted: tuple[Listing, tuple[Listener, ...]] | None = None

    def __iter__(self) -> Iterator[Claim]:
        return iter(self._live)

    def __len__(self) -> int:
        return len(self._live)

    @property
    def backlog(self) -> int:
        """How many no session has: listeners to be closed, and POSTs without a reply."""
        return len(self._live) - self._in_use

    @property
    def left(self) -> tuple[Claim, ...]:
        """Those that could not be settled: known listeners, and POSTs whose outcome stayed unknown."""
        return tuple(self._left)

    def holder(self, key: ListenerKey) -> Claim | None:
        """Whose listener that is."""
        return self._held.get(key)

    def closing(self) -> list[Claim]:
        """Those whose listeners are to be deleted."""
        return [claim for claim in self._live if claim.state is ListenerState.CLOSING]

    def is_closing(self, listener: Listener) -> bool:
        """Whether this listener is ours and to be deleted."""
        if not self._closing:
            return False
        return any(claim.listener is not None and claim.listener.same_as(listener) for claim in self.closing())

    async def wait_none_in_use(self) -> None:
        """Wait until no session has a listener, or a POST under way."""
        while self._in_use:
            await self._none_in_use.wait()

    # -- what becomes of them

    def new(self, request: SessionRequest, route: str) -> Claim:
        """A claim on a listener that is wanted."""
        return self._enter(Claim(request, route))

    def reclaim(self, route: str, request: SessionRequest, listener: Listener, origin: Origin) -> Claim:
        """A claim on a listener that is listed, ours, and nobody's: it is to be closed."""
        # Its port, if we chose it, may be another session's by now: this claim doesn't answer for that.
        request = attrs.evolve(request, listen_host=None)
        claim = Claim(request, route, ListenerState.CLOSING, listener=listener, origin=origin)
        claim.answered.set()
        self._enter(claim)
        self._note_orphan(claim)
        if self._journal is not None:
            claim.row = self._journal.new_id()
            self._write(claim)
        return claim

    def adopt(self, row: JournalRow) -> Claim:
        """A claim of an earlier run: to be closed where the listener is known for certain, else to be looked for."""
        now = trio.current_time()
        claim = Claim(row.request, row.route, ListenerState.UNKNOWN, posted_at=now - (row.age or 0.0), row=row.id)
        if row.before is not None and row.age is not None:
            claim.before = Listing(claim.posted_at, {listener.key: listener for listener in row.before})
        if row.listener is not None and row.listener.clients:
            claim.state, claim.listener = ListenerState.CLOSING, row.listener
        claim.answered.set()
        self._territory.occupy(claim.request)
        claim.row = self._renumbered(row).id
        self._enter(claim)
        claim.origin = "earlier run"
        if claim.listener is not None:
            self.hold(claim, claim.listener)
            self._note_orphan(claim)
        self._write(claim)
        return claim

    def let_rest(self, row: JournalRow) -> None:
        """A port that is in quarantine since an earlier run."""
        seconds = MEMORY - (row.age or 0.0)
        self._territory.let_rest(row.request, seconds)
        kept = self._renumbered(row)
        if kept is not row and self._journal is not None:
            self._journal.put(kept)
        self._resting.append((trio.current_time() + seconds, kept.id))

    def forget_rested(self) -> None:
        """Remove the rows of ports whose quarantine is over."""
        while self._journal is not None and self._resting and self._resting[0][0] <= trio.current_time():
            self._journal.drop(self._resting.popleft()[1])

    def note_ambiguous(self, claim: Claim) -> None:
        """The claim's listener cannot be told from a stranger's, now and for good; the next run has to know, too."""
        if not claim.is_ambiguous:
            claim.is_ambiguous = True
            self._write(claim)

    def place(self, claim: Claim) -> None:
        """Give the claim's listener its place in our namespace.

        Raises:
            PortsUsedUpError: there is none left.
        """
        claim.request = self._territory.place(claim.request, claim.before)

    async def record_intent(self, claim: Claim) -> None:
        """Write down, durably, that a POST follows.

        Raises:
            JournalError: it could not be written.
        """
        if self._journal is not None:
            self.forget_rested()
            claim.row = self._journal.new_id()
            await self._journal.write(self._row(claim, ListenerState.POSTING))

    async def record_detached(self, claim: Claim) -> None:
        """Write down, durably, that the listener stays at the node when we go.

        Raises:
            JournalError: it could not be written.
        """
        assert self._journal is not None
        assert claim.state is ListenerState.REGISTERED
        await self._journal.write(self._row(claim, ListenerState.DETACHED))

    def apply(self, claim: Claim, event: ListenerEvent) -> None:
        """Move the claim to the state that ``event`` leads to."""
        before = claim.state
        claim.apply(event)
        self._count(before, -1)
        self._count(claim.state, 1)
        if event is ListenerEvent.FOUND:
            claim.origin = claim.origin or "lost reply"
            self._note_orphan(claim)
        if claim.settled.is_set():
            self._end(claim, before)
        elif before is not ListenerState.INTENT:
            self._write(claim)
        if before in _IN_USE and not self._in_use:
            self._none_in_use.set()
            self._none_in_use = trio.Event()

    def hold(self, claim: Claim, listener: Listener) -> None:
        """The claim has this listener, and nobody else of ours has."""
        claim.listener = listener
        self._held[listener.key] = claim
        self.past.changed(listener.key, trio.current_time())

    def give_up(self, claim: Claim) -> None:
        """Settle a claim that cannot be settled well, from whatever state; it is named if a listener may be left."""
        if claim.settled.is_set():
            return
        if claim.state is ListenerState.REGISTERED:
            self.apply(claim, ListenerEvent.RELEASED)
        elif claim.state is ListenerState.POSTING:
            self.apply(claim, ListenerEvent.REPLY_LOST)
        self.apply(claim, ListenerEvent.GIVEN_UP)
        claim.answered.set()

    def _enter(self, claim: Claim) -> Claim:
        self._live[claim] = None
        self._count(claim.state, 1)
        return claim

    def _count(self, state: ListenerState, change: int) -> None:
        self._in_use += change * (state in _IN_USE)
        self._closing += change * (state is ListenerState.CLOSING)

    def _note_orphan(self, claim: Claim) -> None:
        self.orphans += 1
        if self._instruments is not None and claim.origin is not None and claim.listener is not None:
            self._instruments(OrphanFound(claim.origin, claim.route, claim.listener.key))

    def _settle_orphan(self, claim: Claim, origin: Origin) -> None:
        self.orphans -= 1
        if self._instruments is not None and claim.listener is not None:
            outcome: Literal["confirmed", "left"] = "left" if claim.state is ListenerState.LEFT else "confirmed"
            self._instruments(OrphanSettled(origin, claim.route, claim.listener.key, outcome))

    def _end(self, claim: Claim, before: ListenerState) -> None:
        is_left = claim.state is ListenerState.LEFT
        del self._live[claim]
        if claim.origin is not None and before is ListenerState.CLOSING:
            self._settle_orphan(claim, claim.origin)
        is_held = claim.listener is not None and self._held.get(claim.listener.key) is claim
        # A detached one is nobody's orphan: no sweep of ours may take it.
        if is_held and claim.listener is not None and claim.state is not ListenerState.DETACHED:
            del self._held[claim.listener.key]
            self.past.changed(claim.listener.key, trio.current_time())
        rest = self._territory.vacate(
            claim.request,
            there_was_one=before in (ListenerState.UNKNOWN, ListenerState.CLOSING),
            may_be_one=is_left or isinstance(claim.error, ListenHostInUseError),
        )
        if is_left:
            self._left.append(claim)
        self._write(claim)
        if self._journal is not None and claim.row is not None and rest and not is_left:
            # A row of its own, since its age counts from the end.
            row = JournalRow(self._journal.new_id(), RESTING, claim.route, claim.request, None, None)
            self._journal.put(row)
            self._resting.append((trio.current_time() + rest, row.id))

    # -- the journal

    def _renumbered(self, row: JournalRow) -> JournalRow:
        """A row of unknown age under a new number: so its age counts from now, if this run doesn't end with it."""
        if row.age is not None or self._journal is None:
            return row
        self._journal.drop(row.id)
        return attrs.evolve(row, id=self._journal.new_id())

    def _write(self, claim: Claim) -> None:
        if self._journal is None or claim.row is None:
            return
        if claim.state is ListenerState.GONE:
            self._journal.drop(claim.row)
        else:
            self._journal.put(self._row(claim, claim.state))

    def _row(self, claim: Claim, state: ListenerState) -> JournalRow:
        assert claim.row is not None
        before = None
        if claim.before is not None and not claim.is_ambiguous:
            before = tuple(each for each in self._strangers_in(claim.before) if answers(claim.request, each))
        return JournalRow(claim.row, state.value, claim.route, claim.request, before, claim.listener)

    def _strangers_in(self, listing: Listing) -> tuple[Listener, ...]:
        """What nobody of us held when this was first asked of the list, which all POSTs of a moment share."""
        if self._sifted is None or self._sifted[0] is not listing:
            others = (each for each in listing.listeners.values() if each.key not in self._held)
            self._sifted = (listing, tuple(others))
        return self._sifted[1]
