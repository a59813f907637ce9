"""How long the node may take to open a session, by its own defaults (contract §3.3)."""

from __future__ import annotations

__all__ = ["OPEN_MARGIN", "open_budget"]

#: The first attempt and three retries.
_ATTEMPTS = 4
#: Seconds that one attempt waits for each hop and each of the two ends.
_WAIT_PER_HOP = 5.0
#: The longest delay between two attempts: 2 s and as much jitter.
_RETRY_DELAY = 4.0
#: How long the node waits, after success, until the balancer is half full.
_BALANCER_WAIT = 10.0
#: What we wait beyond the node's own limit, so that its verdict arrives and not our time-out.
OPEN_MARGIN = 5.0


def open_budget(forward_hops: int, back_hops: int, balancer: bool) -> float:
    """Seconds to wait for the reply to a POST of a session.

    That is the longest that the node takes, e.g. 92 s for one hop each way without the balancer, and
    :data:`OPEN_MARGIN` on top. A node configured for more attempts may take longer still.
    """
    attempt = _WAIT_PER_HOP * (forward_hops + back_hops + 2)
    longest = _ATTEMPTS * attempt + (_ATTEMPTS - 1) * _RETRY_DELAY
    return longest + (_BALANCER_WAIT if balancer else 0.0) + OPEN_MARGIN
