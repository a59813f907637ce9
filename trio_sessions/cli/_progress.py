"""One line that says how a run is going."""

from __future__ import annotations

from collections import deque

import trio

from trio_sessions import Messages, Node, PoolReport
from trio_sessions.cli._screen import Screen

__all__ = ["loss", "progress_line", "show_progress"]

#: Seconds that the messages a second are counted over: batches come in bursts.
_WINDOW = 5.0


async def show_progress(node: Node, screen: Screen, duration: float | None) -> None:
    """Show how far the run is until cancelled; the time counts from now."""
    began = trio.current_time()
    samples = deque([(began, 0)])
    while True:
        await trio.sleep(screen.interval)
        now, report = trio.current_time(), node.report
        samples.append((now, report.messages.answered))
        while len(samples) > 2 and samples[0][0] < now - _WINDOW:
            samples.popleft()
        (then, before), (_, answered) = samples[0], samples[-1]
        screen.progress(progress_line(report, (answered - before) / (now - then), now - began, duration))


def progress_line(report: PoolReport, rate: float, elapsed: float, duration: float | None) -> str:
    """The line: time, sessions, answered messages a second, loss without what is pending, round trips."""
    time = f"{elapsed:.0f} s" if duration is None else f"{elapsed:.0f} of {duration:g} s"
    if report.stop_duration is not None:
        time = f"stopping since {report.stop_duration:.0f} s"
    lost = loss(report.messages)
    # Not report.open_sessions: that has those that are being opened, too.
    is_open = report.sessions.opened - report.sessions.closed - report.sessions.lost
    parts = [
        f"{is_open} session{'' if is_open == 1 else 's'} open",
        f"{rate:.1f} msg/s",
        "loss -" if lost is None else f"loss {100 * lost:.2f} %",
    ]
    if report.rtt:
        parts.append(f"rtt p50 {1000 * report.rtt['p50']:.1f} p99 {1000 * report.rtt['p99']:.1f} ms")
    return f"{time}: {', '.join(parts)}"


def loss(messages: Messages) -> float | None:
    """The share of sent messages that got no answer, of those whose time is over; ``None`` before there are any."""
    over = messages.answered + messages.unanswered
    return messages.unanswered / over if over else None
