"""What the journal of an earlier run says, as claims of this one."""

from __future__ import annotations

import logging
from collections.abc import Callable

from trio_sessions._budget import open_budget
from trio_sessions._claims import Claims
from trio_sessions._journal import Journal
from trio_sessions._journal_row import RESTING, JournalRow
from trio_sessions._listeners import Claim
from trio_sessions._log_fields import about
from trio_sessions._model import Capability
from trio_sessions._past import MEMORY

__all__ = ["adopt_rows"]

_log = logging.getLogger("trio_sessions.janitor")


def adopt_rows(journal: Journal, claims: Claims, adopts: Callable[[JournalRow], bool] | None = None) -> list[Claim]:
    """A claim for each row of the journal but those whose listeners have surely ended by themselves.

    Rows that ``adopts`` refuses stay as they are, for somebody else.
    """
    adopted = []
    for row in journal.rows:
        if adopts is not None and not adopts(row):
            continue
        if _has_ended(row):
            journal.drop(row.id)
        elif row.state == RESTING:
            claims.let_rest(row)
        else:
            adopted.append(claims.adopt(row))
    if adopted:
        _log.warning(
            "an earlier run left %d listeners or POSTs without a reply: settling them",
            len(adopted),
            extra=about(listeners=len(adopted)),
        )
    return adopted


def _has_ended(row: JournalRow) -> bool:
    """Whether the row is so old that a listener of its POST, which nobody used, has come to its idle end."""
    if row.state == RESTING:
        return row.age is not None and row.age >= MEMORY
    if row.listener is not None or row.age is None or Capability.NO_RATE_CONTROL not in row.request.capabilities:
        # Without that capability the exit may hold a session open (contract §3.5).
        return False
    request = row.request
    return row.age > open_budget(request.forward.length, request.back.length, balancer=True) + MEMORY
