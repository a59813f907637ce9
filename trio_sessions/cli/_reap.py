"""``trio-sessions reap``: close what is ours and nobody has any more."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from trio_sessions.cli._access import Access, node_options
from trio_sessions.cli._common_options import json_option, timeout_option, wait_option
from trio_sessions.cli._signals import hold_signals
from trio_sessions.cli._status import CLEAN, STATUS_HELP

if TYPE_CHECKING:
    from trio_sessions import Hoprd
    from trio_sessions._ownership import Sighting

__all__ = ["reap"]

#: Seconds to the second look that it takes to believe that a detached listener is gone.
_SECOND_LOOK = 0.5


@click.command(epilog=STATUS_HELP, short_help="Close what is ours and nobody has any more.")
@click.option("--dry-run", is_flag=True, help="Only say what would be closed, and why; change nothing.")
@timeout_option
@node_options
@wait_option
@json_option
def reap(*, access: Access, dry_run: bool, timeout: float, wait: float, wants_json: bool) -> int:
    """Close the orphans of ours at a node: what the journals of instances that don't run remember, and, with
    --namespace dedicated, what is on the address of an instance that doesn't run.

    What a running instance has, what open --detach left, and what is a stranger's, stays. Journals of open, relay and
    detached listeners that remember nothing any more are removed. A POST without a reply can be settled only some two
    minutes after it; until then it is left, with status 3: try again.

    \b
    Examples:
      trio-sessions reap --dry-run
      trio-sessions reap --namespace dedicated --instance relay-2

    \b
    JSON: {"schema": 1, "node": URL, "dry_run": bool, "listeners": [...], "hints": [texts]}, each of
    these as list has it, with outcome (closed, left, kept, would close) and why.
    """
    with hold_signals():
        from trio_sessions.cli._at_node import open_node, run_at_node
        from trio_sessions.cli._closing import close_all
        from trio_sessions.cli._decisions import Action, decide_reap
        from trio_sessions.cli._elsewhere import hints as hints_of
        from trio_sessions.cli._streams import say, write_stdout
        from trio_sessions.cli._table import rest_text
        from trio_sessions.cli._tell import as_report, status_for, tell_decision, tell_result

        is_closing = False

        async def work() -> int:
            nonlocal is_closing
            async with open_node(access, wait) as hoprd:
                sightings = await _look_twice(hoprd, access)
                decisions = decide_reap(sightings)
                chosen = [] if dry_run else [each for each in decisions if each.action is Action.CLOSE]
                is_closing = bool(chosen)
                results = await close_all(hoprd, [each.sighting for each in chosen], timeout)
            if not dry_run:
                await _remove_journals(access)
            hints = hints_of(sightings, hoprd.url, access.instance)
            if wants_json:
                listeners = as_report(decisions, results)
                data = {
                    "schema": 1,
                    "node": hoprd.url,
                    "dry_run": dry_run,
                    "listeners": listeners,
                    "hints": hints,
                }
                write_stdout(json.dumps(data, allow_nan=False))
                return status_for(decisions, results)
            for result, decision in zip(results, chosen, strict=True):
                tell_result(result, decision)
            for decision in decisions:
                if decision.action is Action.KEEP:
                    tell_decision(decision, "kept")
                elif dry_run:
                    tell_decision(decision, "would close")
            if not any(each.action is Action.CLOSE for each in decisions):
                say(f"trio-sessions: no orphan of ours at {hoprd.url}{rest_text(sightings)}")
            for hint in hints:
                say(f"trio-sessions: {hint}")
            return status_for(decisions, results) if results else CLEAN

        # What has begun is finished, within its timeout, and told.
        return run_at_node(work, lambda: is_closing)


async def _look_twice(hoprd: Hoprd, access: Access) -> tuple[Sighting, ...]:
    """What is there, by two looks where a detached listener is missing: a list can be empty for a moment."""
    import trio

    from trio_sessions._ownership import Owner
    from trio_sessions.cli._survey import look_around

    first = await look_around(hoprd, access)
    if not any(each.owner is Owner.DETACHED and each.listener is None for each in first):
        return first
    await trio.sleep(_SECOND_LOOK)
    return await look_around(hoprd, access)


async def _remove_journals(access: Access) -> None:
    import trio

    from trio_sessions.cli._closing import remove_journals
    from trio_sessions.cli._survey import find_journals

    await trio.to_thread.run_sync(lambda: remove_journals(find_journals(access).values()))
