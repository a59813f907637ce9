"""``trio-sessions open``: one listener for another program."""

from __future__ import annotations

import attrs
import click

from trio_sessions._errors import InvalidInputError
from trio_sessions._namespaces import DedicatedAddress
from trio_sessions.cli._access import Access, node_options
from trio_sessions.cli._params import AddressType, NumberType, WholeType
from trio_sessions.cli._signals import hold_signals
from trio_sessions.cli._status import STATUS_HELP

__all__ = ["OpenPlan", "open_"]


@attrs.frozen
class OpenPlan:
    """The options of ``open``: what is to be opened, and what becomes of it; durations in seconds."""

    relayer: str | None
    destinations: tuple[str, ...]
    hops: int | None
    detach: bool
    timeout: float | None
    wait: float
    wants_json: bool


@click.command("open", epilog=STATUS_HELP, short_help="Open one listener for another program.")
@click.argument("relayer", metavar="[RELAYER]", type=AddressType(), required=False)
@click.option(
    "--destination",
    "destinations",
    type=AddressType(),
    multiple=True,
    help="Exit node; give it several times to have one of them chosen.  [default: any connected peer]",
)
@click.option("--hops", type=WholeType("hops", 0, 3), metavar="N", help="Instead of RELAYER: the node picks so many.")
@click.option("--detach", is_flag=True, help="Leave it at the node, and end at once.")
@click.option("--timeout", type=NumberType("seconds"), metavar="S", help="For the opening.  [default: all it may take]")
@node_options
@click.option("--wait", type=NumberType("seconds", zero=True), metavar="S", default=0.0, help="Wait for the node.")
@click.option("--json", "wants_json", is_flag=True, help="Print one JSON object.")
def open_(*, access: Access, **options: object) -> int:
    """Open one session through RELAYER, or by --hops, print the ip:port that listens for it, and keep it until SIGINT
    or SIGTERM; then close it.

    The node serves the first program that sends a datagram there, and no other: this one sends none. When the node
    itself ends the listener, the status is 1. With --detach it is left at the node, which ends it when nothing came
    back for 180 to 203 s; close and close --ours end it before, and run and reap never do.

    It is remembered in a journal of its own in the state folder: --instance and --journal don't matter here.

    \b
    Examples:
      trio-sessions open 0x… --token-file token
      trio-sessions open --hops 1 --detach --json

    \b
    JSON: {"schema": 1, "listener": "ip:port", "protocol": "udp", "route": text, "destination": ADDR,
    "payload_size": bytes, "instance": name, "journal": path or null, "detached": bool}, once it
    is open.
    """
    plan = OpenPlan(**options)  # type: ignore[arg-type]  # click's own names and types
    if (plan.relayer is None) == (plan.hops is None):
        raise InvalidInputError("RELAYER and --hops", None, "give exactly one of them")
    if plan.detach and access.no_journal:
        rule = "cannot be given together with --detach: nobody would know of the listener"
        raise InvalidInputError("--no-journal", None, rule, "leave one out")
    if plan.detach and isinstance(access.namespace, DedicatedAddress) and access.namespace.ip is not None:
        rule = "cannot be given together with --detach: the next instance there closes all that is on its address"
        raise InvalidInputError("--namespace", str(access.namespace), rule, "write dedicated: it gets one of its own")
    with hold_signals():
        from trio_sessions.cli._at_node import run_at_node
        from trio_sessions.cli._opening import Opening

        opening = Opening(access, plan)
        return run_at_node(opening.run, opening.interrupt)
