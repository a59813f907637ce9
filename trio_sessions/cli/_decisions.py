"""What becomes of each listener that somebody wants closed: decided here, before anything is done. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum

import attrs

from trio_sessions._ownership import Owner, Proof, Sighting

__all__ = ["Action", "Decision", "decide_close", "decide_reap"]


class Action(Enum):
    """What is to be done with a listener."""

    CLOSE = "close"
    ASK = "ask"
    """Close it, once a person has named it."""
    KEEP = "keep"
    REFUSE = "refuse"


@attrs.frozen
class Decision:
    """What is to be done with a listener, and why."""

    sighting: Sighting
    action: Action
    why: str


def decide_close(
    sightings: Iterable[Sighting], *, named: bool, force: bool = False, confirmed: bool = False
) -> list[Decision]:
    """What ``close`` does with the listeners that were asked for.

    Args:
        named: each was asked for by its ip:port, or its relayer: one that is not closed is a refusal then.
        force: close what a running instance has, and, when also ``confirmed``, a stranger's.
    """
    return [
        _decide(each, named=named, force=force, confirmed=confirmed)
        for each in sightings
        if each.owner is not Owner.RESTING
    ]


def _decide(sighting: Sighting, *, named: bool, force: bool, confirmed: bool) -> Decision:
    spared = Action.REFUSE if named else Action.KEEP
    if sighting.owner is Owner.STRANGER:
        if not force:
            return Decision(sighting, spared, "it is a stranger's: only --force closes it")
        return Decision(sighting, Action.CLOSE if confirmed else Action.ASK, "a stranger's, by force")
    if sighting.owner is Owner.RUNNING:
        if not force or sighting.listener is None:
            why = f"instance {sighting.instance} runs and has it: stop that one"
            remedy = "use --force" if named else f"close {_place(sighting)} --force"
            return Decision(sighting, spared, why if sighting.listener is None else f"{why}, or {remedy}")
        return Decision(sighting, Action.CLOSE, f"of the running instance {sighting.instance}, by force")
    if sighting.owner is Owner.UNKNOWN and not named:
        return Decision(sighting, Action.KEEP, _may_have_it(sighting))
    return Decision(sighting, Action.CLOSE, _reason(sighting))


def decide_reap(sightings: Iterable[Sighting]) -> list[Decision]:
    """What ``reap`` does: it closes what is ours and nobody has; what runs, and strangers', it does not mention."""
    decisions = []
    for sighting in sightings:
        if sighting.owner is Owner.DETACHED and sighting.listener is not None:
            decisions.append(Decision(sighting, Action.KEEP, f"detached on purpose: close {_place(sighting)} ends it"))
        elif sighting.owner is Owner.UNKNOWN:
            decisions.append(Decision(sighting, Action.KEEP, _may_have_it(sighting)))
        elif sighting.owner in (Owner.ORPHAN, Owner.DETACHED):
            decisions.append(Decision(sighting, Action.CLOSE, _reason(sighting)))
    return decisions


def _reason(sighting: Sighting) -> str:
    """Why a listener of ours that nobody has is closed."""
    if sighting.proof is Proof.ADDRESS:
        return f"on the address of instance {sighting.instance}, which doesn't run"
    if sighting.proof is Proof.PORT:
        return "in our range of ports, and in no journal"
    if sighting.owner is Owner.DETACHED:
        return f"detached as {sighting.instance}"
    if sighting.row is not None and sighting.row.listener is None:
        return f"a POST of {sighting.instance} without a reply: closed if its listener is found beyond doubt"
    return f"in the journal of instance {sighting.instance}, which doesn't run"


def _may_have_it(sighting: Sighting) -> str:
    return f"in our range of ports, but in no journal: a run may have it; close {_place(sighting)} ends it"


def _place(sighting: Sighting) -> str:
    key = sighting.key
    return "-" if key is None else str(key).partition("://")[2]
