"""``trio-sessions close``: close listeners of ours, and of nobody else unless somebody insists."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from trio_sessions._errors import InvalidInputError
from trio_sessions.cli._access import Access, node_options
from trio_sessions.cli._common_options import json_option, timeout_option, wait_option
from trio_sessions.cli._params import AddressType, CheckedType
from trio_sessions.cli._signals import hold_signals
from trio_sessions.cli._status import STATUS_HELP

if TYPE_CHECKING:
    from trio_sessions._model import ListenerKey
    from trio_sessions._ownership import Sighting
    from trio_sessions.cli._decisions import Decision

__all__ = ["close"]

#: Bytes of a line that somebody types.
_LONGEST_LINE = 4096


def _read_place(text: str) -> ListenerKey:
    """``ip:port``, also as reports write it, with ``udp://`` before it.

    Raises:
        InvalidInputError: it is something else, or port 0.
    """
    from trio_sessions._model import ListenerKey, split_listen_host

    remedy = "write for example 127.0.0.1:40123, as list shows it"
    try:
        ip, port = split_listen_host(text.removeprefix("udp://"))
    except InvalidInputError:
        ip, port = "", ""
    if not ip or not port:
        raise InvalidInputError("listener", text, "is not ip:port", remedy)
    if int(port) == 0:
        # To the node it means all of the address, whoever has them (contract §2.4).
        raise InvalidInputError("listener", text, "port 0 is no listener", remedy)
    return ListenerKey("udp", ip, int(port))


@click.command(epilog=STATUS_HELP, short_help="Close listeners of ours.")
@click.argument("places", metavar="[IP:PORT]...", nargs=-1, type=CheckedType("IP:PORT", _read_place))
@click.option("--relayer", type=AddressType(), metavar="ADDR", help="All of ours through this relayer.")
@click.option("--ours", is_flag=True, help="All of ours that surely no running instance has, detached ones included.")
@click.option("--force", is_flag=True, help="Also what a running instance has; and, once it is named, a stranger's.")
@click.option("--yes", "confirmed", is_flag=True, help="With --force: ask nobody to type a stranger's ip:port.")
@timeout_option
@node_options
@wait_option
@json_option
def close(
    *,
    access: Access,
    places: tuple[ListenerKey, ...],
    relayer: str | None,
    ours: bool,
    force: bool,
    confirmed: bool,
    timeout: float,
    wait: float,
    wants_json: bool,
) -> int:
    """Close listeners at a node: those at IP:PORT, or with --relayer or --ours all of these that are ours.

    Each is looked at before, closed, and looked for in the node's list afterwards; one line says what became of it.
    One that is gone already is no error. What a running instance has, and what is not known to be ours, is refused
    without --force, with status 1; a stranger's must be typed on the terminal as well, or --yes given.

    \b
    Examples:
      trio-sessions close 127.0.0.1:40123 --token-file token
      trio-sessions close --ours

    \b
    JSON: {"schema": 1, "node": URL, "listeners": [...]}, each of these as list has it, with outcome
    (closed, left, kept, refused) and why; one that was not there has only listener, outcome (gone).
    """
    if sum((bool(places), relayer is not None, ours)) != 1:
        rule = "give one of them: listeners by IP:PORT, or --relayer, or --ours"
        raise InvalidInputError("IP:PORT, --relayer and --ours", None, rule)
    if confirmed and not force:
        raise InvalidInputError("--yes", None, "is for --force alone", "leave it out, or give both")
    with hold_signals():
        from trio_sessions.cli._at_node import open_node, run_at_node
        from trio_sessions.cli._closing import close_all
        from trio_sessions.cli._decisions import Action, decide_close
        from trio_sessions.cli._streams import say, write_stdout
        from trio_sessions.cli._survey import look_around
        from trio_sessions.cli._table import place
        from trio_sessions.cli._tell import as_report, status_for, tell_decision, tell_result

        is_closing = False

        async def work() -> int:
            nonlocal is_closing
            async with open_node(access, wait) as hoprd:
                found = _choose(await look_around(hoprd, access), places, relayer, force=force)
                decisions = decide_close(found, named=not ours, force=force and not ours, confirmed=confirmed)
                decisions = [await _ask(each) for each in decisions]
                chosen = [each for each in decisions if each.action is Action.CLOSE]
                is_closing = bool(chosen)
                results = await close_all(hoprd, [each.sighting for each in chosen], timeout)
            absent = [key for key in dict.fromkeys(places) if key not in {each.key for each in found}]
            if wants_json:
                listeners = as_report(decisions, results)
                listeners += [{"listener": place(key), "outcome": "gone"} for key in absent]
                write_stdout(json.dumps({"schema": 1, "node": hoprd.url, "listeners": listeners}, allow_nan=False))
                return status_for(decisions, results)
            for result, decision in zip(results, chosen, strict=True):
                tell_result(result, decision)
            for decision in decisions:
                if decision.action is not Action.CLOSE:
                    tell_decision(decision, "kept" if decision.action is Action.KEEP else "refused")
            for key in absent:
                write_stdout(f"gone {place(key)}: the node has no such listener")
            if not decisions and not absent:
                say(f"trio-sessions: nothing of ours to close at {hoprd.url}")
            return status_for(decisions, results)

        # What has begun is finished, within its timeout, and told.
        return run_at_node(work, lambda: is_closing)


def _choose(
    sightings: tuple[Sighting, ...], places: tuple[ListenerKey, ...], relayer: str | None, *, force: bool
) -> list[Sighting]:
    """Those that were asked for. By relayer that is ours alone, unless somebody insists."""
    if places:
        return [each for each in sightings if each.key in places]
    if relayer is None:
        return [each for each in sightings if each.is_ours]
    chosen = []
    for each in sightings:
        listener = each.listener or (each.row and each.row.listener)
        paths = [each.row.request.forward] if each.row else []
        paths += [listener.forward] if listener and listener.forward else []
        if any(relayer.lower() == hop.lower() for path in paths for hop in path.via) and (each.is_ours or force):
            chosen.append(each)
    return chosen


async def _ask(decision: Decision) -> Decision:
    """Have a person type what is to be closed, where that is asked for; anything else refuses it."""
    import os
    import sys

    import attrs
    import trio

    from trio_sessions.cli._decisions import Action
    from trio_sessions.cli._streams import say
    from trio_sessions.cli._tell import name_of

    if decision.action is not Action.ASK:
        return decision
    name = name_of(decision)
    if sys.stdin is None or not sys.stdin.isatty():
        why = "it is a stranger's, and nobody is there to type its ip:port: give --yes, too"
        return attrs.evolve(decision, action=Action.REFUSE, why=why)
    say(f"{name} is a stranger's. Type its ip:port to close it:")
    # Not readline: in a thread, it would have the stream's lock when a signal ends the command.
    await trio.lowlevel.wait_readable(sys.stdin)
    typed = os.read(sys.stdin.fileno(), _LONGEST_LINE)
    if typed.decode(errors="replace").strip() == name:
        return attrs.evolve(decision, action=Action.CLOSE)
    return attrs.evolve(decision, action=Action.REFUSE, why="it is a stranger's, and another ip:port was typed")
