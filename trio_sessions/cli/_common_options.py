"""Options that several commands have in common, beside those that say which node."""

from __future__ import annotations

import click

from trio_sessions.cli._params import AddressType, NumberType, WholeType

__all__ = ["destination_option", "hops_option", "json_option", "open_timeout_option", "timeout_option", "wait_option"]

wait_option = click.option(
    "--wait",
    type=NumberType("seconds", zero=True),
    metavar="S",
    default=0.0,
    help="Seconds to wait for a node that is not up.  [default: none]",
)
json_option = click.option("--json", "wants_json", is_flag=True, help="Print one JSON object on stdout.")
timeout_option = click.option(
    "--timeout",
    type=NumberType("seconds"),
    metavar="S",
    default=10.0,
    show_default=True,
    help="Seconds for the closing, whatever the node does.",
)
open_timeout_option = click.option(
    "--timeout",
    type=NumberType("seconds"),
    metavar="S",
    help="Seconds for the opening.  [default: all that the node may take, some 97 with one relayer]",
)
destination_option = click.option(
    "--destination",
    "destinations",
    type=AddressType(),
    multiple=True,
    help="Exit node; give it several times to have one of them chosen.  [default: any connected peer]",
)
hops_option = click.option(
    "--hops", type=WholeType("hops", 0, 3), metavar="N", help="Let the node pick this number of relayers, 0 to 3."
)
