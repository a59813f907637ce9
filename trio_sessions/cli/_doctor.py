"""``trio-sessions doctor``: look at everything that a run needs, say what is wrong, and what to do about it."""

from __future__ import annotations

import json
import signal
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import click

from trio_sessions.cli._access import Access, node_options
from trio_sessions.cli._params import AddressType, NumberType, WholeType
from trio_sessions.cli._signals import hold_signals, receive_signals
from trio_sessions.cli._status import INTERRUPTED, STATUS_HELP, TERMINATED
from trio_sessions.cli._streams import say, write_stdout

if TYPE_CHECKING:
    from trio_sessions.cli.doctor._case import Question
    from trio_sessions.cli.doctor._display import Display
    from trio_sessions.cli.doctor._finding import Finding

__all__ = ["doctor"]


@click.command(epilog=STATUS_HELP, short_help="Look for what is wrong, and say what to do about it.")
@node_options
@click.option(
    "--relayer",
    type=AddressType(),
    metavar="ADDR",
    help="Relayer of the loopback session.  [default: the first in sight with an open channel]",
)
@click.option("--destination", type=AddressType(), metavar="ADDR", help="Exit node of it.  [default: a connected peer]")
@click.option(
    "--hops",
    type=WholeType("hops", 0, 3),
    metavar="N",
    help="Let the node pick this number of relayers, 0 to 3, instead of one that is chosen.",
)
@click.option(
    "--timeout",
    type=NumberType("seconds"),
    metavar="S",
    help="Seconds that the session may take to open; its answers get as many, 5 at the most."
    "  [default: what the node itself may take to open it, 97 for one hop]",
)
@click.option("--json", "wants_json", is_flag=True, help="All findings as one JSON object on stdout.")
def doctor(
    *,
    access: Access,
    relayer: str | None,
    destination: str | None,
    hops: int | None,
    timeout: float | None,
    wants_json: bool,
) -> int:
    """Look at everything that a run needs, from the API's address to a message that comes back, and say of each
    whether it is in order: ok, warn, fail, or skip where it could not be looked at. Below what is wrong stands what to
    do about it, likeliest first.

    It opens one session of its own, relays ten messages, closes it, and looks whether it is gone. It touches nothing
    of anybody else, and is in no run's way: its instance is NAME.doctor, with a journal of its own.

    Warnings alone give the status 0; 1 means that something failed, 69 that no node answered, 77 that the node refuses
    the token, 3 that its own session may be left.

    \b
    Examples:
      trio-sessions doctor --url http://127.0.0.1:3001 --token-file token
      trio-sessions doctor --hops 1 --json
    """
    with hold_signals():
        import trio

        from trio_sessions.cli._at_node import quiet_log
        from trio_sessions.cli.doctor._case import Question
        from trio_sessions.cli.doctor._display import open_display

        question = Question(relayer=relayer, destination=destination, hops=hops, timeout=timeout)
        with quiet_log(), open_display(wants_json=wants_json) as display:
            status, report = trio.run(_examine, access, question, display)
        if wants_json:
            write_stdout(json.dumps(report, allow_nan=False))
        elif report["interrupted"]:
            left = ", ".join(each["listener"] or "perhaps a listener" for each in report["left"])
            say(f"trio-sessions: interrupted; {f'may be left at the node: {left}' if left else 'nothing is left'}")
        return status


async def _examine(access: Access, question: Question, display: Display) -> tuple[int, dict[str, Any]]:
    """Make the checks until they are over or a signal comes; the exit status, and the report as plain data."""
    from trio_sessions import Hoprd, PoolOptions
    from trio_sessions.cli.doctor._case import Case
    from trio_sessions.cli.doctor._examination import as_json, examine, status_of_findings
    from trio_sessions.cli.doctor._reachable import PATIENCE

    # What breaks a rule is told at once, and not by the last check.
    PoolOptions(namespace=access.namespace, connect_host=access.connect_host)
    findings: list[Finding] = []

    def end(finding: Finding) -> None:
        findings.append(finding)
        display.end(finding)

    async with Hoprd(access.url, token=access.token, timeout=PATIENCE) as hoprd:
        case = Case(access=access, question=question, hoprd=hoprd)
        caught = await _until_signal(lambda: examine(case, display.begin, end))
    status = status_of_findings(findings, case)
    if caught is not None and not case.left:
        status = INTERRUPTED if caught == signal.SIGINT else TERMINATED
    return status, as_json(findings, case, status, interrupted=caught is not None)


async def _until_signal(work: Callable[[], Awaitable[None]]) -> int | None:
    """Do ``work``; the first signal cancels it, and is what this returns. More of them change nothing."""
    from trio_sessions._leaf import open_leaf_nursery

    caught: int | None = None
    with receive_signals() as signals:
        async with open_leaf_nursery() as nursery:

            async def obey() -> None:
                nonlocal caught
                caught = await anext(signals)
                nursery.cancel_scope.cancel()

            nursery.start_soon(obey)
            await work()
            nursery.cancel_scope.cancel()
    return caught
