"""What ``close`` and ``reap`` say: a line for each listener, and the exit status that follows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trio_sessions.cli._closing import Result
from trio_sessions.cli._decisions import Action, Decision
from trio_sessions.cli._status import CLEAN, FAILED, LEFT
from trio_sessions.cli._streams import write_stdout
from trio_sessions.cli._table import as_data, place, via

__all__ = ["as_report", "name_of", "status_for", "tell_decision", "tell_result"]


def name_of(decision: Decision) -> str:
    """Which listener it is, for people."""
    key = decision.sighting.key
    return place(key) if key is not None else f"a POST via {via(decision.sighting)}"


def tell_decision(decision: Decision, word: str) -> None:
    """Write what is not done, or, in a dry run, would be."""
    write_stdout(f"{word} {name_of(decision)}: {decision.why}")


def tell_result(result: Result, decision: Decision) -> None:
    """Write what was done."""
    word = "left" if not result.is_gone else "closed" if result.detail == "closed" else "gone"
    detail = decision.why if result.detail == "closed" else result.detail
    write_stdout(f"{word} {name_of(decision)}: {detail}")


def as_report(decisions: Sequence[Decision], results: Sequence[Result]) -> list[dict[str, Any]]:
    """Each listener as plain data with ``outcome``, one of closed, left, kept, refused and would close, and ``why``."""
    done = {id(result.sighting): result for result in results}
    report = []
    for decision in decisions:
        result = done.get(id(decision.sighting))
        if result is not None:
            outcome = "closed" if result.is_gone else "left"
            why = result.detail if result.detail != "closed" else decision.why
        else:
            words = {Action.KEEP: "kept", Action.REFUSE: "refused", Action.ASK: "refused", Action.CLOSE: "would close"}
            outcome, why = words[decision.action], decision.why
        report.append({**as_data(decision.sighting), "outcome": outcome, "why": why})
    return report


def status_for(decisions: Sequence[Decision], results: Sequence[Result]) -> int:
    """The exit status: something is left, or something was refused, or all is well."""
    if not all(result.is_gone for result in results):
        return LEFT
    return FAILED if any(decision.action is Action.REFUSE for decision in decisions) else CLEAN
