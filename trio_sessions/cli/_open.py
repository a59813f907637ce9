"""``trio-sessions open``: one listener for another program."""

from __future__ import annotations

import attrs
import click

from trio_sessions._errors import InvalidInputError
from trio_sessions._namespaces import DedicatedAddress
from trio_sessions.cli._access import Access, node_options
from trio_sessions.cli._common_options import (
    destination_option,
    hops_option,
    json_option,
    open_timeout_option,
    wait_option,
)
from trio_sessions.cli._params import AddressType
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
@destination_option
@hops_option
@click.option("--detach", is_flag=True, help="Leave it at the node, and end at once.")
@open_timeout_option
@node_options
@wait_option
@json_option
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
