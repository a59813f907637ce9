"""All checks in their order: one that builds on another is skipped where that one failed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

import attrs
import trio

from trio_sessions import InvalidInputError, MalformedReplyError, NodeError, NodeTimeoutError, SessionsError
from trio_sessions._advice import advise
from trio_sessions.cli._status import CLEAN, FAILED, LEFT, UNAUTHORIZED, UNAVAILABLE
from trio_sessions.cli.doctor._case import Case
from trio_sessions.cli.doctor._finding import Finding, Verdict, fail, skip
from trio_sessions.cli.doctor._health import check_latency, check_node
from trio_sessions.cli.doctor._leftovers import check_leftovers
from trio_sessions.cli.doctor._listeners import check_ports, check_slots
from trio_sessions.cli.doctor._loopback import check_loopback
from trio_sessions.cli.doctor._machine import check_clock, check_descriptors
from trio_sessions.cli.doctor._network import check_channels, check_peers
from trio_sessions.cli.doctor._reachable import check_api, check_token
from trio_sessions.cli.doctor._speaks import check_dialect, check_pinning

__all__ = ["CHECKS", "Check", "as_json", "examine", "status_of_findings"]

#: Of what people read and programs keep: a node may send anything.
_LONGEST = 600


@attrs.frozen
class Check:
    """One check.

    Attributes:
        name: for people and programs.
        doing: what to say while it lasts.
        run: makes the finding; what it finds out for others it leaves in the case.
        needs: names of the checks that it builds on.
    """

    name: str
    doing: str
    run: Callable[[Case], Awaitable[Finding]]
    needs: tuple[str, ...] = ()


CHECKS = (
    Check("api", "who answers there", check_api),
    Check("token", "whether the node lets us in", check_token, ("api",)),
    Check("dialect", "what it speaks", check_dialect, ("token",)),
    Check("pinning", "whether a relayer can be chosen", check_pinning, ("dialect",)),
    Check("node", "how the node feels", check_node, ("token",)),
    Check("latency", "how fast it answers", check_latency, ("token",)),
    Check("peers", "whom it sees", check_peers, ("dialect",)),
    Check("channels", "whom it can pay", check_channels, ("peers",)),
    Check("clock", "what time it is", check_clock),
    Check("files", "how many sockets there may be", check_descriptors),
    Check("slots", "what is open at the node", check_slots, ("token",)),
    Check("ports", "where ours would be", check_ports, ("slots",)),
    Check("leftovers", "what earlier runs left", check_leftovers, ("slots",)),
    Check(
        "loopback",
        "relaying through a session of its own",
        check_loopback,
        ("pinning", "node", "channels", "files", "ports", "leftovers"),
    ),
)


async def examine(case: Case, begin: Callable[[Check], None], end: Callable[[Finding], None]) -> None:
    """Make all checks, one after the other; ``begin`` and ``end`` are called with each.

    Whatever is wrong is a finding. When cancelled, the session of the check under way is closed first.
    """
    findings: dict[str, Finding] = {}
    for check in CHECKS:
        begin(check)
        began = trio.current_time()
        finding = await _make(check, case, findings)
        finding = attrs.evolve(finding, name=check.name, seconds=trio.current_time() - began)
        findings[check.name] = _presentable(finding, case.access.token)
        end(findings[check.name])


async def _make(check: Check, case: Case, before: dict[str, Finding]) -> Finding:
    missing = next((need for need in check.needs if not before[need].passed), None)
    if missing is not None:
        # The first cause, and not the chain of those that were skipped for it.
        why = before[missing]
        return skip(why.found if why.verdict is Verdict.SKIPPED else f"since {missing} failed")
    try:
        return await check.run(case)
    except SessionsError as error:
        return _trouble(error)


def _trouble(error: SessionsError) -> Finding:
    """The finding for a check whose own work failed."""
    said = str(error)
    steps: tuple[str, ...] = ()
    if isinstance(error, NodeTimeoutError):
        steps = ("check the load of the node's machine", "restart the daemon if it hangs")
    elif isinstance(error, MalformedReplyError):
        steps = ("check that nothing but the node answers", "check for a newer version of this program")
    elif isinstance(error, NodeError):
        # Of the advice for opens, what a simpler call has in common with them.
        steps = advise(error)[:1]
    elif not isinstance(error, InvalidInputError):
        steps = advise(error)
    return fail(said, *(step for step in steps if step not in said))


def status_of_findings(findings: Iterable[Finding], case: Case) -> int:
    """The exit status."""
    failed = {finding.name for finding in findings if finding.verdict is Verdict.FAIL}
    if case.left:
        return LEFT
    if "api" in failed:
        return UNAVAILABLE
    if "token" in failed:
        return UNAUTHORIZED
    return FAILED if failed else CLEAN


def as_json(findings: list[Finding], case: Case, status: int, *, interrupted: bool) -> dict[str, Any]:
    """The whole examination as plain data, with the keys that programs rely on; times in seconds."""
    counts = {verdict.value: sum(each.verdict is verdict for each in findings) for verdict in Verdict}
    return {
        "schema": 1,
        "url": case.hoprd.url,
        "status": status,
        "interrupted": interrupted,
        "counts": counts,
        "left": [attrs.asdict(left) for left in case.left],
        "checks": [finding.to_json() for finding in findings],
    }


def _presentable(finding: Finding, token: str | None) -> Finding:
    """Without the token and without control characters, whatever the node sent; one line each for people."""
    return attrs.evolve(
        finding,
        found=_line(finding.found, token),
        remedy=tuple(_line(step, token) for step in finding.remedy),
        facts=_plain(finding.facts, token),
    )


def _plain(value: Any, token: str | None) -> Any:
    if isinstance(value, str):
        return _line(value, token)
    if isinstance(value, Mapping):
        return {_line(name, token): _plain(each, token) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each, token) for each in value]
    return value


def _line(text: str, token: str | None) -> str:
    if token:
        text = text.replace(token, "<token>")
    line = "".join(char if char.isprintable() else " " for char in text)
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"
