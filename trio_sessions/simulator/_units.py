"""Byte sizes and bandwidths, as the daemon reads and prints them (contract §2.1)."""

from __future__ import annotations

import re
from decimal import Decimal

__all__ = ["format_bandwidth", "format_byte_size", "parse_bandwidth", "parse_byte_size"]

_BYTE_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", re.ASCII | re.IGNORECASE)
_BINARY_PREFIXES = "kmgtpe"
_SPAN = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kKmMgGtT]?)(?:bps|b/s|bit/s)", re.ASCII)
_BIT_PREFIXES = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


def parse_byte_size(text: str) -> int:
    """The bytes that ``text`` means: decimal units by 1000, ``ki`` and the like by 1024, a bare integer is bytes.

    Raises:
        ValueError: not a byte size.
    """
    match = _BYTE_SIZE.fullmatch(text)
    if match is None:
        raise ValueError(f"not a byte size: {text!r}")
    number, unit = match[1], match[2].lower()
    if not unit and "." in number:
        raise ValueError(f"a bare number must be an integer: {text!r}")
    return int(Decimal(number) * _byte_factor(unit))


def _byte_factor(unit: str) -> int:
    if unit in ("", "b"):
        return 1
    exponent = _BINARY_PREFIXES.find(unit[0]) + 1
    base = {"": 1000, "b": 1000, "i": 1024, "ib": 1024}.get(unit[1:])
    if exponent == 0 or base is None:
        raise ValueError(f"unknown unit {unit!r}")
    return int(base**exponent)


def format_byte_size(size: int) -> str:
    """``size`` in IEC units with one decimal, e.g. ``"1.9 MiB"``; below 1 KiB in bytes."""
    if size < 1024:
        return f"{size} B"
    exponent = min((size.bit_length() - 1) // 10, len(_BINARY_PREFIXES))
    return f"{size / 1024**exponent:.1f} {_BINARY_PREFIXES[exponent - 1].upper()}iB"


def parse_bandwidth(text: str) -> int:
    """The bits a second that ``text`` means: one or more spans such as ``"1.2Mbps"``, the unit is mandatory.

    Raises:
        ValueError: not a bandwidth; bytes a second are none.
    """
    total = Decimal(0)
    at = 0
    while at < len(text.rstrip()):
        match = _SPAN.match(text, at)
        if match is None:
            raise ValueError(f"not a bandwidth: {text!r}")
        total += Decimal(match[1]) * 1000 ** _BIT_PREFIXES[match[2].lower()]
        at = match.end()
    if at == 0:
        raise ValueError("an empty bandwidth")
    return int(total)


def format_bandwidth(bits: int) -> str:
    """``bits`` a second in the largest fitting decimal unit, e.g. ``"150.024kbps"``."""
    exponent = max(e for e in _BIT_PREFIXES.values() if e == 0 or bits >= 1000**e)
    prefix = ("", "k", "M", "G", "T")[exponent]
    number = format((Decimal(bits) / 1000**exponent), "f")
    return f"{number.rstrip('0').rstrip('.') if '.' in number else number}{prefix}bps"
