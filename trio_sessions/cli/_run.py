"""``trio-sessions run``: relay messages, stop, and report."""

from __future__ import annotations

import json
from typing import Any

import click

from trio_sessions._errors import InvalidInputError
from trio_sessions._namespaces import check_instance, parse_namespace
from trio_sessions.cli._listen import parse_listen
from trio_sessions.cli._logs import LogOptions, log_options, view_option
from trio_sessions.cli._params import AddressType, CheckedType, NumberType, RelayersType, WholeType
from trio_sessions.cli._plan import Plan
from trio_sessions.cli._signals import hold_signals
from trio_sessions.cli._status import CLEAN, LEFT, STATUS_HELP, checklist, one_line, status_of
from trio_sessions.cli._streams import say, write_stdout
from trio_sessions.cli._token import TOKEN_VARIABLE, read_token

__all__ = ["LARGEST_BATCH", "run"]

#: What the library takes at once. Said again here, since --help must not wait for the library.
LARGEST_BATCH = 1000

_SECONDS = "seconds"


@click.command(epilog=STATUS_HELP, short_help="Relay messages through sessions on a node.")
@click.option("--simulate", is_flag=True, help="Relay through a simulated node inside of this process.")
@click.option("--url", metavar="URL", help="Relay through the hoprd node at this URL, e.g. http://127.0.0.1:3001.")
@click.option("--token-file", metavar="FILE", help=f"File with the API token; without it, {TOKEN_VARIABLE} has it.")
@click.option(
    "--relayers",
    type=RelayersType(),
    help="How many relayers to use, or their addresses, separated by commas."
    "  [default: every one with an open channel; 5 of a simulated node]",
)
@click.option(
    "--destination",
    "destinations",
    type=AddressType(),
    multiple=True,
    help="Exit node; give it several times to have one of them chosen.  [default: any connected peer]",
)
@click.option(
    "--hops",
    type=WholeType("hops", 0, 3),
    metavar="N",
    help="Let the node pick this number of relayers, 0 to 3: one session to each destination, on every kind of node.",
)
@click.option(
    "--batch",
    type=WholeType("messages", 1, LARGEST_BATCH),
    metavar="N",
    default=10,
    show_default=True,
    help=f"Messages sent at once, 1 to {LARGEST_BATCH}.",
)
@click.option(
    "--rate",
    type=NumberType("messages a second"),
    metavar="R",
    default=100.0,
    show_default=True,
    help="Messages a second, over all relayers together.",
)
@click.option(
    "--duration",
    type=NumberType(_SECONDS, remedy="leave it out to run until a signal"),
    metavar="S",
    help="Seconds until the stop, with the wait for a node that isn't up.  [default: until a signal]",
)
@click.option("--seed", type=WholeType("seed"), metavar="N", help="Seed of every random choice.")
@click.option(
    "--grace-period",
    type=NumberType(_SECONDS, zero=True),
    metavar="S",
    default=300.0,
    show_default=True,
    help="Seconds that a session outlives the reachability of its relayer.",
)
@click.option(
    "--stop-timeout",
    type=NumberType(_SECONDS),
    metavar="S",
    default=10.0,
    show_default=True,
    help="Seconds that the stop takes at most, whatever the node does.",
)
@click.option(
    "--namespace",
    type=CheckedType("namespace", parse_namespace),
    metavar="NS",
    help="Which listeners are ours: dedicated (an address 127.a.b.c of our own, for a node on this machine), such an"
    " address itself, a range of ports FIRST-LAST or IP:FIRST-LAST, or shared."
    "  [default: shared; dedicated with --simulate]",
)
@click.option(
    "--instance",
    type=CheckedType("instance", check_instance),
    metavar="NAME",
    default="default",
    show_default=True,
    help="Name of this one among several at the same node.",
)
@click.option(
    "--journal",
    metavar="FILE",
    help="File that remembers what is open, for the next start after a kill.  [default: one in the state folder;"
    " none with an address of our own, which needs none]",
)
@click.option("--no-journal", is_flag=True, help="Remember nothing.")
@click.option(
    "--connect-host", metavar="IP", help="Where listeners are reached, if not where the node says: containers."
)
@click.option(
    "--metrics",
    type=CheckedType("metrics", parse_listen),
    metavar="[HOST:]PORT",
    help="Serve metrics for Prometheus there, with /healthz and /readyz; without a host on 127.0.0.1, which no other"
    " machine reaches; port 0 picks a free one.  [default: nowhere]",
)
@click.option("--json", "wants_json", is_flag=True, help="Report as one JSON object on stdout.")
@view_option
@log_options
def run(
    *,
    simulate: bool,
    url: str | None,
    token_file: str | None,
    wants_json: bool,
    view: str,
    log: LogOptions,
    **options: Any,
) -> int:
    """Relay messages through sessions on a node, until the duration is over or SIGINT or SIGTERM comes; then stop,
    leave nothing behind, and report on stdout.

    A node that isn't up yet is waited for. The first signal stops and waits for answers under way, a second one
    doesn't wait for them; listeners are closed in any case.

    \b
    Examples:
      trio-sessions run --simulate --relayers 20 --duration 10
      trio-sessions run --url http://127.0.0.1:3001 --token-file token --relayers 3
    """
    if simulate == (url is not None):
        given = "both are given" if simulate else "neither is given"
        raise InvalidInputError("--simulate and --url", None, given, "choose exactly one of them")
    if simulate and token_file is not None:
        raise InvalidInputError("--token-file", token_file, "is for --url alone", "leave it out")
    token = None if simulate else read_token(token_file)
    plan = Plan(url=url, token=token, **options)
    # From here on a signal stops the run, even while the modules below are imported.
    with hold_signals():
        return _run(plan, log, view, wants_json=wants_json)


def _run(plan: Plan, log: LogOptions, view: str, *, wants_json: bool) -> int:
    import trio

    from trio_sessions.cli._report_text import as_json, as_text
    from trio_sessions.cli._running import relay
    from trio_sessions.cli._screen import open_screen

    with open_screen(log, view) as screen:
        outcome = trio.run(relay, plan, screen)
    write_stdout(json.dumps(as_json(outcome), allow_nan=False) if wants_json else as_text(outcome))
    if outcome.failure is not None:
        for line in (f"trio-sessions: error: {one_line(outcome.failure)}", *checklist(outcome.failure)):
            say(line)
        return status_of(outcome.failure)
    return CLEAN if outcome.clean else LEFT
