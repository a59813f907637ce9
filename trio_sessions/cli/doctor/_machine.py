"""What this machine must give: a clock that can be believed, and file descriptors enough."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from trio_sessions._descriptors import DESCRIPTORS_REMEDY, descriptor_limits
from trio_sessions.cli.doctor._case import Case
from trio_sessions.cli.doctor._finding import Finding, fail, ok, skip, warn

__all__ = ["check_clock", "check_descriptors"]

#: Seconds that two clocks may differ: the header has whole seconds, and takes a while to come.
_DRIFT = 5.0
#: No clock that goes right shows an earlier time: this program was written later.
_EARLIEST = datetime(2025, 1, 1, tzinfo=UTC).timestamp()
#: Descriptors that are no sessions' sockets: connections to the API, the journal, what Python itself has open.
_OTHERS = 48
#: Sessions at the least that a limit should let us have.
_ENOUGH = 200


async def check_clock(case: Case) -> Finding:
    """The wall clock agrees with the ``Date`` of the node's reply; messages carry a timestamp.

    No timer of ours follows it. What a suspend does to sessions is told, as far as the system counts it.
    """
    asleep = _suspended()
    facts = {"suspended": None if asleep is None else round(asleep, 3)}
    slept = f"; the machine was suspended for {asleep:.0f} s since its boot" if asleep and asleep >= 1 else ""
    set_it = "set the clock, best by NTP"
    if time.time() < _EARLIEST:
        return fail(f"this machine's clock shows {datetime.now(tz=UTC):%Y-%m-%d}{slept}", set_it, **facts)
    date = None if case.look is None else _read_date(case.look.headers.get("date"))
    if case.look is None or date is None:
        return skip(f"nothing to compare the clock with: no reply of the node names a time{slept}")
    # The header was written at some moment between the question and the reply.
    ahead = case.look.at - date
    facts["ahead"] = round(ahead, 3)
    if abs(ahead) > _DRIFT + case.look.seconds:
        found = f"this clock is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} that of the node{slept}"
        return warn(found, f"{set_it}, here and there", **facts)
    return ok(f"agrees with the time that the node's replies name{slept}", **facts)


async def check_descriptors(case: Case) -> Finding:
    """The limit of open files leaves room for sessions; the commands raise the soft limit to the hard one."""
    limits = descriptor_limits()
    if limits is None:
        return ok("this system tells no limit of open files")
    soft, hard = limits
    # macOS says it with the greatest number that there is.
    unlimited = hard < 0 or hard >= 2**62
    room = max(0, hard - _OTHERS)
    facts = {"soft": soft, "hard": None if unlimited else hard, "sessions": None if unlimited else room}
    if unlimited:
        return ok("no limit of file descriptors", **facts)
    raised = "" if soft == hard else f" (a run raises its limit to them from {soft})"
    found = f"{hard} file descriptors{raised}: room for about {room} sessions"
    if not room:
        return fail(f"{hard} file descriptors: no room for a session", DESCRIPTORS_REMEDY, **facts)
    if room < _ENOUGH:
        return warn(found, DESCRIPTORS_REMEDY, **facts)
    return ok(found, **facts)


def _suspended() -> float | None:
    """Seconds that the machine was suspended since its boot; ``None`` where the system doesn't count them."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return None if clock is None else max(0.0, time.clock_gettime(clock) - time.clock_gettime(time.CLOCK_MONOTONIC))


def _read_date(text: str | None) -> float | None:
    try:
        return None if text is None else parsedate_to_datetime(text).timestamp()
    except ValueError:
        return None
