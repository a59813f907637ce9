"""Numbers and addresses for columns: never wider than the column, always in the same unit."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

__all__ = ["NOTHING", "count", "milliseconds", "percent", "quantile", "seconds", "shorten", "shorten_all"]

#: Where there is no number.
NOTHING = "-"

_ADDRESS = re.compile(r"\b0x[0-9a-fA-F]{40}\b")
_STEPS = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def milliseconds(value: float | None) -> str:
    """Of a duration in seconds, at most six characters."""
    if value is None:
        return NOTHING
    scaled = value * 1000
    return f"{scaled:.1f}" if scaled < 999.95 else f"{min(scaled, 999_999):.0f}"


def percent(share: float | None) -> str:
    """At most five characters; what is above nothing is never shown as nothing, and what is not all never as all."""
    if share is None:
        return NOTHING
    value = 100 * share
    if 0 < value < 0.05:
        return "<0.1"
    return "99.9" if 99.95 <= value < 100 else f"{value:.1f}"


def seconds(value: float | None) -> str:
    """At most six characters with the unit."""
    if value is None:
        return NOTHING
    if value < 9999.5:
        return f"{value:.0f} s"
    if value < 99 * 3600:
        return f"{value / 3600:.1f} h"
    return f"{min(value / 86400, 9999):.0f} d"


def count(value: int) -> str:
    """At most seven characters: whole up to six digits, then 1.23M and so on."""
    if value < 1_000_000:
        return str(value)
    for step, unit in _STEPS:
        if value >= step:
            scaled = math.floor(value / step * 100) / 100
            return f"{scaled:.2f}{unit}" if scaled < 1000 else f"{scaled:.0f}{unit}"
    raise AssertionError(value)


def shorten(text: str, width: int) -> str:
    """``text``, with its middle left out where it is longer than ``width``."""
    if len(text) <= width:
        return text
    if width < 3:
        return text[:width]
    tail = (width - 1) // 2
    return f"{text[: width - 1 - tail]}…{text[-tail:]}"


def shorten_all(text: str, width: int = 13) -> str:
    """``text`` with every address in it shortened."""
    return _ADDRESS.sub(lambda found: shorten(found[0], width), text)


def quantile(values: Sequence[float], q: float) -> float | None:
    """The value that a share of ``q`` doesn't exceed; ``None`` of none."""
    if not values:
        return None
    return sorted(values)[max(0, math.ceil(q * len(values)) - 1)]
