"""The count of messages: accepted = answered + unanswered + undelivered, for every relayer and in total.

Every accepted batch is one :class:`Entry`, which is settled exactly once, whatever happens to the batch. Until then its
messages are pending, so the books balance at any moment.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import attrs

from trio_sessions._instruments import BatchSettled, Instruments

__all__ = ["Entry", "Ledger", "Messages"]


@attrs.frozen
class Messages:
    """A snapshot of the count.

    Attributes:
        accepted: messages that somebody handed in and that were taken.
        answered: came back.
        unanswered: were sent and did not come back in time.
        undelivered: were never sent, by reason.
        pending: are neither yet.
    """

    accepted: int = 0
    answered: int = 0
    unanswered: int = 0
    undelivered: Mapping[str, int] = attrs.field(factory=dict)
    pending: int = 0

    @property
    def balanced(self) -> bool:
        """Whether every accepted message is accounted for, and none is pending."""
        settled = self.answered + self.unanswered + sum(self.undelivered.values())
        return self.pending == 0 and self.accepted == settled


@attrs.define
class _Account:
    accepted: int = 0
    answered: int = 0
    unanswered: int = 0
    undelivered: Counter[str] = attrs.field(factory=Counter)

    def snapshot(self) -> Messages:
        settled = self.answered + self.unanswered + self.undelivered.total()
        return Messages(
            self.accepted, self.answered, self.unanswered, dict(self.undelivered), pending=self.accepted - settled
        )


@attrs.define(eq=False)
class Entry:
    """One accepted batch."""

    relayer: str
    count: int
    _accounts: tuple[_Account, ...]
    _instruments: Instruments | None = None
    _settled: bool = attrs.field(default=False, init=False)

    def settle(
        self,
        *,
        answered: int = 0,
        unanswered: int = 0,
        undelivered: int = 0,
        reason: str = "",
        rtts: Sequence[float] = (),
    ) -> None:
        """Account for all messages of the batch; ``rtts`` are those of the answered ones.

        Raises:
            RuntimeError: settled before, or the numbers do not add up to the batch: a bug of ours, never hidden.
        """
        if self._settled or answered + unanswered + undelivered != self.count or (undelivered and not reason):
            raise RuntimeError(
                f"a batch of {self.count} cannot be settled as {answered} answered, {unanswered} unanswered,"
                f" {undelivered} undelivered ({reason!r}){', for the second time' if self._settled else ''}"
            )
        self._settled = True
        for account in self._accounts:
            account.answered += answered
            account.unanswered += unanswered
            if undelivered:
                account.undelivered[reason] += undelivered
        if self._instruments is not None:
            self._instruments(BatchSettled(self.relayer, answered, unanswered, undelivered, reason, tuple(rtts)))

    @property
    def settled(self) -> bool:
        """Whether :meth:`settle` was called."""
        return self._settled


class Ledger:
    """The books of one pool, by relayer (or, for sessions by hops, by route) and in total."""

    def __init__(self, instruments: Instruments | None = None) -> None:
        self._instruments = instruments
        self._total = _Account()
        #: By the relayer in lower case: its name as first given, and its account.
        self._by_relayer: dict[str, tuple[str, _Account]] = {}

    def accept(self, relayer: str, count: int) -> Entry:
        """Take ``count`` messages into the books; they are pending until the entry is settled."""
        key = relayer.lower()
        if key not in self._by_relayer:
            self._by_relayer[key] = relayer, _Account()
        account, total = self._by_relayer[key][1], self._total
        account.accepted += count
        total.accepted += count
        return Entry(relayer, count, (total, account), self._instruments)

    def total(self) -> Messages:
        """The count of all messages."""
        return self._total.snapshot()

    def by_relayer(self) -> dict[str, Messages]:
        """The count of each relayer's messages."""
        return {relayer: account.snapshot() for relayer, account in self._by_relayer.values()}
