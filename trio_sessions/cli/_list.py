"""``trio-sessions list``: what listens at a node, and whose it is."""

from __future__ import annotations

import json

import click

from trio_sessions.cli._access import Access, node_options
from trio_sessions.cli._common_options import json_option, wait_option
from trio_sessions.cli._signals import hold_signals
from trio_sessions.cli._status import CLEAN, STATUS_HELP

__all__ = ["list_"]


@click.command("list", epilog=STATUS_HELP, short_help="Show the listeners of a node, and whose they are.")
@node_options
@click.option("--protocol", type=click.Choice(["udp", "tcp"]), default="udp", show_default=True, help="Of which kind.")
@click.option("--ours", is_flag=True, help="Show ours alone.")
@click.option("--wide", is_flag=True, help="Show addresses whole on a narrow terminal, too.")
@wait_option
@json_option
def list_(*, access: Access, protocol: str, ours: bool, wide: bool, wait: float, wants_json: bool) -> int:
    """Show every listener of a node: where it listens, through whom, whose it is, how old, and what the journal knows.

    Ours is what a journal of ours names by the node's own id of its session, and what listens where nobody else does
    by --namespace and --instance. OWNER is the instance of ours that runs and has it; an orphan has nobody; a
    detached one was left by open --detach; unknown is what only its port says is ours: a run without a journal may
    have it. STATE "gone" is what a journal remembers and the node has no more, "no reply" a POST whose outcome nobody
    knows. "resting" is no listener, and nothing to worry about: a port that its instance does not use again yet.

    \b
    Examples:
      trio-sessions list --token-file token
      trio-sessions list --ours --json

    \b
    JSON: {"schema": 1, "node": URL, "protocol": "udp", "listeners": [...], "hints": [texts]}, each
    of these with
    listener ("ip:port" or null), protocol, relayers (or null), hops (or null), destination,
    owner (running, detached, orphan, unknown, resting, stranger), instance, proof (journal,
    address, port), journal, state, age (seconds, or null), listed, and rests: null, or
    {"listen_host": "ip:port" or ":port", "free_in": seconds, or null}.
    """
    with hold_signals():
        from trio_sessions._model import Protocol
        from trio_sessions.cli._at_node import open_node, run_at_node
        from trio_sessions.cli._elsewhere import hints as hints_of
        from trio_sessions.cli._streams import say, write_stdout
        from trio_sessions.cli._survey import look_around
        from trio_sessions.cli._table import as_data, show_table

        async def work() -> int:
            kind: Protocol = "tcp" if protocol == "tcp" else "udp"
            async with open_node(access, wait) as hoprd:
                seen = await look_around(hoprd, access, kind)
            hints = hints_of(seen, hoprd.url, access.instance)
            sightings = [each for each in seen if each.is_ours or not ours]
            if wants_json:
                listeners = [as_data(each) for each in sightings]
                data = {"schema": 1, "node": hoprd.url, "protocol": kind, "listeners": listeners, "hints": hints}
                write_stdout(json.dumps(data, allow_nan=False))
                return CLEAN
            if sightings:
                show_table(sightings, wide=wide)
            else:
                say(f"trio-sessions: {'nothing of ours' if ours else 'no listener'} at {hoprd.url}")
            for hint in hints:
                say(f"trio-sessions: {hint}")
            return CLEAN

        return run_at_node(work)
