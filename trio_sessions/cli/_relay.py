"""``trio-sessions relay``: messages through one relayer and back, as ping does it."""

from __future__ import annotations

import attrs
import click

from trio_sessions._errors import InvalidInputError
from trio_sessions.cli._access import Access, node_options
from trio_sessions.cli._common_options import (
    destination_option,
    hops_option,
    json_option,
    open_timeout_option,
    wait_option,
)
from trio_sessions.cli._params import AddressType, NumberType, WholeType
from trio_sessions.cli._run import LARGEST_BATCH
from trio_sessions.cli._signals import hold_signals
from trio_sessions.cli._status import STATUS_HELP

__all__ = ["RelayPlan", "relay"]


@attrs.frozen
class RelayPlan:
    """The options of ``relay``: what is to be sent, through whom; durations in seconds."""

    relayer: str | None
    destinations: tuple[str, ...]
    hops: int | None
    count: int
    batches: int
    interval: float
    timeout: float | None
    wait: float
    wants_json: bool


@click.command(epilog=STATUS_HELP, short_help="Send a batch of messages through one relayer, like ping.")
@click.argument("relayer", metavar="[RELAYER]", type=AddressType(), required=False)
@destination_option
@hops_option
@click.option(
    "--count",
    type=WholeType("messages", 1, LARGEST_BATCH),
    metavar="N",
    default=10,
    show_default=True,
    help="Messages in a batch.",
)
@click.option(
    "--batches",
    type=WholeType("batches", 1),
    metavar="N",
    default=1,
    show_default=True,
    help="Batches, one after the other.",
)
@click.option(
    "--interval",
    type=NumberType("seconds", zero=True),
    metavar="S",
    default=1.0,
    show_default=True,
    help="Seconds from one batch to the next.",
)
@open_timeout_option
@node_options
@wait_option
@json_option
def relay(*, access: Access, **options: object) -> int:
    """Send messages through RELAYER, or by --hops, to an exit node and back; print a line for each, and a summary.

    The session is opened for that and closed afterwards. Status 0 if any message was answered, 1 if none was.

    \b
    Examples:
      trio-sessions relay 0x… --token-file token
      trio-sessions relay --hops 1 --count 1 --batches 60

    \b
    JSON: {"schema": 1, "route": text, "destination": ADDR, "sent": n, "answered": n, "lost": n,
    "undelivered": n, "duplicates": n, "loss": 0 to 1 or null, "rtt": {"min", "p50", "p90", "p99",
    "max"} in seconds, "interrupted": bool, "clean": bool}.
    """
    plan = RelayPlan(**options)  # type: ignore[arg-type]  # click's own names and types
    if (plan.relayer is None) == (plan.hops is None):
        raise InvalidInputError("RELAYER and --hops", None, "give exactly one of them")
    with hold_signals():
        from trio_sessions.cli._at_node import run_at_node
        from trio_sessions.cli._relaying import Relaying

        relaying = Relaying(access, plan)
        return run_at_node(relaying.run, relaying.interrupt)
