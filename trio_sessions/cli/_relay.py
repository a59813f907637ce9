"""``trio-sessions relay``: messages through one relayer and back, as ping does it."""

from __future__ import annotations

import attrs
import click

from trio_sessions._errors import InvalidInputError
from trio_sessions.cli._access import Access, node_options
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
@click.option(
    "--destination",
    "destinations",
    type=AddressType(),
    multiple=True,
    help="Exit node; give it several times to have one of them chosen.  [default: any connected peer]",
)
@click.option("--hops", type=WholeType("hops", 0, 3), metavar="N", help="Instead of RELAYER: the node picks so many.")
@click.option(
    "--count", type=WholeType("messages", 1, LARGEST_BATCH), metavar="N", default=10, show_default=True, help="A batch."
)
@click.option("--batches", type=WholeType("batches", 1), metavar="N", default=1, show_default=True, help="How many.")
@click.option(
    "--interval",
    type=NumberType("seconds", zero=True),
    metavar="S",
    default=1.0,
    show_default=True,
    help="Seconds from one batch to the next.",
)
@click.option("--timeout", type=NumberType("seconds"), metavar="S", help="For the opening.  [default: all it may take]")
@node_options
@click.option("--wait", type=NumberType("seconds", zero=True), metavar="S", default=0.0, help="Wait for the node.")
@click.option("--json", "wants_json", is_flag=True, help="Print one JSON object at the end.")
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
