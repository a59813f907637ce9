"""Numbers as people read them."""

from __future__ import annotations

import math

from benchmarks._case import Figure

__all__ = ["change_text", "number_text", "value_text"]


def number_text(value: float) -> str:
    """Three or four digits that count, thousands set apart."""
    if not math.isfinite(value):
        return "-"
    if value == round(value) or abs(value) >= 1000:
        return f"{value:,.0f}"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:.{min(digits, 4)}f}"


def value_text(value: float, figure: Figure) -> str:
    """With its unit."""
    if figure.unit == "%":
        return f"{number_text(value * 100)} %"
    space = "" if figure.unit.startswith("/") or not figure.unit else " "
    return f"{number_text(value)}{space}{figure.unit}"


def change_text(change: float) -> str:
    """A change as a signed share of what was before."""
    return f"{change * 100:+.1f} %"
