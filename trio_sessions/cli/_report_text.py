"""The report of a run: for programs as JSON, for people as a few aligned lines with the same facts."""

from __future__ import annotations

from typing import Any

from trio_sessions import LeftListener
from trio_sessions.cli._dashboard_model import loss
from trio_sessions.cli._running import Outcome

__all__ = ["as_json", "as_text"]

#: Listeners that the text names one by one; the JSON has them all.
_MOST_NAMED = 20


def as_json(outcome: Outcome) -> dict[str, Any]:
    """The pool's report as plain data; of a simulated node with its own count of open listeners."""
    data = outcome.report.to_json()
    if outcome.at_node is not None:
        data["listeners"]["at_node"] = outcome.at_node
    data["clean"] = outcome.clean
    return data


def as_text(outcome: Outcome) -> str:
    """The report for people."""
    report = outcome.report
    sessions, messages = report.sessions, report.messages
    undelivered = sum(messages.undelivered.values())
    lost = loss(messages)
    rows = [
        (
            "sessions",
            f"{sessions.opened} opened, {sessions.closed} closed, {sessions.lost} lost, {sessions.failed} failed",
        ),
        (
            "messages",
            f"{messages.accepted} accepted, {messages.answered} answered, {messages.unanswered} unanswered, "
            f"{undelivered} undelivered" + ("" if lost is None else f"; loss {100 * lost:.2f} %"),
        ),
        *(("", f"{count} undelivered: {reason}") for reason, count in sorted(messages.undelivered.items())),
        ("round trip", ", ".join(f"{_quantile(k)} {1000 * v:.1f} ms" for k, v in report.rtt.items()) or "none"),
        ("duration", f"{report.duration:.2f} s, of which the stop took {report.stop_duration or 0.0:.2f} s"),
        *_listeners(outcome),
        ("verdict", _verdict(outcome)),
    ]
    return "\n".join(f"{name:<11} {text}" for name, text in rows)


def _verdict(outcome: Outcome) -> str:
    if not outcome.clean:
        return "NOT CLEAN"
    return "clean" if outcome.failure is None else "failed, but clean: nothing is left"


def _listeners(outcome: Outcome) -> list[tuple[str, str]]:
    left = outcome.report.left
    oracle = "" if outcome.at_node is None else f"; {outcome.at_node} at the simulated node"
    rows = [("listeners", f"{len(left) or 'none'} left{oracle}")]
    rows += [("", _left_line(each)) for each in left[:_MOST_NAMED]]
    if len(left) > _MOST_NAMED:
        rows.append(("", f"and {len(left) - _MOST_NAMED} more: --json names them all"))
    return rows


def _left_line(left: LeftListener) -> str:
    what = left.listener or "perhaps one of an unknown port"
    return f"{what} via {left.route} to {left.destination}: {left.reason}"


def _quantile(key: str) -> str:
    """``p999`` as ``p99.9``."""
    return key if len(key) <= 3 else f"{key[:3]}.{key[3:]}"
