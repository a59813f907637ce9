"""How a pool stands at one moment, as numbers that cost next to nothing to ask for."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from trio_sessions._lifecycle import State

__all__ = ["PoolStatistics"]


@attrs.frozen
class PoolStatistics:
    """A pool's numbers now; get them from :meth:`SessionPool.statistics`. What it did so far is in its report.

    Attributes:
        sessions: how many there are in each state; those that are over are not counted.
        limit: the most sessions that there can be at one time: ports of the namespace, or file descriptors of this
            process, whichever are fewer. ``None`` where neither sets a limit; what the node allows, nobody knows.
        demands_waiting: tasks that wait in :meth:`SessionPool.session`.
        janitor_backlog: listeners to be closed, and POSTs without a reply to be settled.
        orphans: of the former, those that no session of this pool had: left by an earlier run, or by a lost reply.
        left: listeners that were given up, and are named in the report.
        messages_pending: taken, and neither answered nor given up yet.
        stopped: whether the pool takes no demands any more.
    """

    sessions: Mapping[State, int]
    limit: int | None
    demands_waiting: int
    janitor_backlog: int
    orphans: int
    left: int
    messages_pending: int
    stopped: bool
