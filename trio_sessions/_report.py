"""What a pool has to say for itself: sessions, listeners left, messages, and whether all is clean."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from trio_sessions._ledger import Messages
from trio_sessions._listeners import Claim

__all__ = ["QUANTILES", "LeftListener", "PoolReport", "SessionCounts"]

#: The quantiles of the round-trip times that a report has.
QUANTILES = (0.5, 0.9, 0.99, 0.999)


@attrs.frozen
class SessionCounts:
    """How many sessions were opened, and how they ended; at the end opened = closed + lost + those that are left.

    Attributes:
        opened: sessions that had a listener.
        closed: of these, ended by us, for whatever reason, and confirmed by the node.
        lost: of these, whose listener vanished at the node.
        failed: sessions that could not be opened.
    """

    opened: int = 0
    closed: int = 0
    lost: int = 0
    failed: int = 0


@attrs.frozen
class LeftListener:
    """A listener that may be left at the node.

    Attributes:
        listener: ``"udp://ip:port"``; ``None`` when a POST's outcome stayed unknown, so that there may be none.
        route: the session's relayer, or destination and hops.
        destination: the exit node, to recognise the listener by.
        reason: the last error, or why there was no time.
    """

    listener: str | None
    route: str
    destination: str
    reason: str

    @classmethod
    def of(cls, claim: Claim) -> LeftListener:
        """What a claim that could not be settled names."""
        listener = None if claim.listener is None else str(claim.listener.key)
        reason = str(claim.error or "the stop timeout was over")
        return cls(listener, claim.route, claim.request.destination, reason)


@attrs.frozen
class PoolReport:
    """The account of a pool, at any moment; final once its block was left.

    Attributes:
        sessions: see :class:`SessionCounts`.
        left: listeners that may still be at the node; while the pool runs, those it has given up.
        messages: of all relayers.
        by_relayer: of each.
        rtt: quantiles of the round-trip times, e.g. ``{"p50": 0.2}``, in seconds; empty before the first answer.
        duration: seconds from the start of the pool to the end of its block, or to now.
        stop_duration: seconds that the stop took, or takes since; ``None`` before a stop.
        open_sessions: sessions that are not over.
    """

    sessions: SessionCounts
    left: tuple[LeftListener, ...]
    messages: Messages
    by_relayer: Mapping[str, Messages]
    rtt: Mapping[str, float]
    duration: float
    stop_duration: float | None
    open_sessions: int

    @property
    def clean(self) -> bool:
        """Whether nothing is left, at the node or here, and every message is accounted for."""
        return not self.left and not self.open_sessions and self.messages.balanced

    def to_json(self) -> dict[str, Any]:
        """The report as plain data, with the keys that programs rely on."""
        messages = attrs.asdict(self.messages)
        return {
            "sessions": attrs.asdict(self.sessions),
            "listeners": {"left": [attrs.asdict(left) for left in self.left]},
            "messages": {key: messages[key] for key in ("accepted", "answered", "unanswered", "undelivered")},
            "rtt": dict(self.rtt),
            "duration": self.duration,
            "stop_duration": self.stop_duration,
            "clean": self.clean,
        }
