"""What the node speaks, and whether it opens sessions through a relayer that we choose."""

from __future__ import annotations

from trio_sessions import Pinning
from trio_sessions.cli.doctor._case import Case
from trio_sessions.cli.doctor._finding import Finding, fail, ok

__all__ = ["check_dialect", "check_pinning"]


async def check_dialect(case: Case) -> Finding:
    """It is one of the dialects that are known, by its routes: its version may be that of a library of its own."""
    case.dialect = dialect = await case.hoprd.probe()
    version = await case.hoprd.version()
    found = f"hoprd {dialect.name} by its routes, version {version} by its own word"
    return ok(found, dialect=dialect.name, version=version, pinning=dialect.pinning.value)


async def check_pinning(case: Case) -> Finding:
    """The node takes a relayer of our choice, or nobody wants it to."""
    assert case.dialect is not None
    pinning = case.dialect.pinning
    if case.question.hops is not None:
        return ok(f"not needed for sessions by hops ({case.question.hops})")
    if pinning is Pinning.NONE:
        found = "the node opens no session through a chosen relayer: explicit paths are switched off"
        return fail(found, case.dialect.pinning_remedy, "by hops means here: --hops 1")
    return ok(f"a relayer can be chosen, by {pinning.value}")
