"""Shows how far a run is, as often as its screen likes, and never at much of a cost."""

from __future__ import annotations

import time

import trio

from trio_sessions import Node
from trio_sessions.cli._dashboard_model import Heading, History
from trio_sessions.cli._screen import Screen

__all__ = ["show_progress"]

#: Looking and showing may take this share of the time: with very many relayers it is done less often.
_SHARE = 0.02


async def show_progress(node: Node, screen: Screen, heading: Heading, duration: float | None) -> None:
    """Show how far the run is until cancelled; the time counts from now."""
    history = History(heading, duration, trio.current_time())
    pause = screen.interval
    while True:
        await trio.sleep(pause)
        # What it costs this process, not what the machine does meanwhile.
        began = time.thread_time()
        view = history.view(
            trio.current_time(),
            sessions=node.pool.sessions(),
            report=node.report,
            healthy=node.healthy,
            dialect=node.dialect,
        )
        screen.show(view)
        pause = max(screen.interval, (time.thread_time() - began) / _SHARE)
