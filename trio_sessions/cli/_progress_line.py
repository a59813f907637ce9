"""One line that says how a run is going."""

from __future__ import annotations

from collections.abc import Mapping

from trio_sessions.cli._dashboard_model import View, loss
from trio_sessions.cli._figures import milliseconds

__all__ = ["progress_line", "progress_parts", "round_trips_text", "time_text"]


def progress_line(view: View) -> str:
    """The line: time, sessions, answered messages a second, loss without what is pending, round trips."""
    return ", ".join(progress_parts(view))


def progress_parts(view: View) -> list[str]:
    """The same in parts, the most needed first."""
    report = view.report
    # Not report.open_sessions: that has those that are being opened, too.
    is_open = report.sessions.opened - report.sessions.closed - report.sessions.lost
    lost = loss(report.messages)
    parts = [
        f"{time_text(view)}: {is_open} session{'' if is_open == 1 else 's'} open",
        f"{view.totals.rate:.1f} msg/s",
        "loss -" if lost is None else f"loss {100 * lost:.2f} %",
        round_trips_text(report.rtt),
    ]
    return [part for part in parts if part]


def time_text(view: View) -> str:
    """How far the run is."""
    if view.stopping is not None:
        return f"stopping since {view.stopping:.0f} s"
    return f"{view.elapsed:.0f} s" if view.duration is None else f"{view.elapsed:.0f} of {view.duration:g} s"


def round_trips_text(rtt: Mapping[str, float]) -> str:
    """Two quantiles; nothing before the first answer."""
    return f"rtt p50 {milliseconds(rtt['p50'])} p99 {milliseconds(rtt['p99'])} ms" if rtt else ""
