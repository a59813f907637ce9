"""What a check found, as one frozen record. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any

import attrs

__all__ = ["Finding", "Verdict", "fail", "ok", "skip", "warn"]


class Verdict(Enum):
    """How it stands with what was checked; the values are what people and programs read."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    SKIPPED = "skipped"


@attrs.frozen
class Finding:
    """The result of one check.

    Attributes:
        verdict: see :class:`Verdict`.
        found: what was found, in one line.
        remedy: what to do about it, in this order, one line each; empty where nothing needs to be done.
        facts: the same for programs, as plain data; times in seconds.
        name: of the check; the examination writes it in.
        seconds: that the check took; the same.
    """

    verdict: Verdict
    found: str
    remedy: tuple[str, ...] = ()
    facts: Mapping[str, Any] = attrs.field(factory=dict)
    name: str = ""
    seconds: float = 0.0

    @property
    def passed(self) -> bool:
        """Whether checks that build on this one make sense."""
        return self.verdict in (Verdict.OK, Verdict.WARN)

    def to_json(self) -> dict[str, Any]:
        """As plain data, with the keys that programs rely on."""
        return {
            "name": self.name,
            "verdict": self.verdict.value,
            "found": self.found,
            "remedy": list(self.remedy),
            "facts": dict(self.facts),
            "seconds": round(self.seconds, 6),
        }


def ok(found: str, **facts: Any) -> Finding:
    """All is well."""
    return Finding(Verdict.OK, found, facts=facts)


def warn(found: str, *remedy: str, **facts: Any) -> Finding:
    """It works, and yet something should be done."""
    return Finding(Verdict.WARN, found, remedy, facts)


def fail(found: str, *remedy: str, **facts: Any) -> Finding:
    """It doesn't work until something is done."""
    return Finding(Verdict.FAIL, found, remedy, facts)


def skip(why: str) -> Finding:
    """It could not be checked."""
    return Finding(Verdict.SKIPPED, why)
