"""Amounts as the node writes and reads them: byte sizes, bandwidths and balances (contract §2.1, §2.6).

All arithmetic is exact. Each ``parse_…`` raises :class:`InvalidInputError`, which is a :class:`ValueError`, for every
text that it does not know, and never another exception.
"""

from __future__ import annotations

import re
from decimal import Decimal
from fractions import Fraction

from trio_sessions._errors import InvalidInputError
from trio_sessions._model import Balance

__all__ = [
    "format_balance",
    "format_bandwidth",
    "format_size",
    "parse_balance",
    "parse_bandwidth",
    "parse_size",
]

#: Characters of the longest amount we read: far more than the node prints, and few enough for quick exact arithmetic.
_LONGEST = 128

#: The node's sizes and bandwidths are unsigned 64-bit numbers.
_MOST = 2**64 - 1

_NUMBER = r"\d+(?:\.\d+)?"
_SIZE = re.compile(rf"(\d+)|({_NUMBER})\s*([a-zA-Z]+)", re.ASCII)
_SPAN = re.compile(rf"\s*({_NUMBER})\s*([a-zA-Z/]+)\s*", re.ASCII)
_BALANCE = re.compile(rf"({_NUMBER})\s+(\S+)", re.ASCII)

_BYTES = {"b": 1}
for _power, _prefix in enumerate("kmgtpe", start=1):
    _BYTES |= dict.fromkeys((_prefix, f"{_prefix}b"), 1000**_power)
    _BYTES |= dict.fromkeys((f"{_prefix}i", f"{_prefix}ib"), 1024**_power)

# Bits only: the node's parser refuses "MBps" and "MB/s", which its documentation names (contract §2.1).
_BITS = {
    f"{prefix}{unit}": 1000**power
    for power, prefixes in enumerate(("", "kK", "Mm", "Gg", "Tt"))
    for prefix in prefixes or ("",)
    for unit in ("bps", "b/s", "bit/s")
}


def parse_size(text: str) -> int:
    """Bytes of a size such as ``"0 KB"``, ``"1.9 MiB"`` or ``"2048"``, rounded down as the node does.

    Reads what the node accepts and what it prints. A unit may be in any case: ``k``, ``kb`` count by 1000, ``ki``,
    ``kib`` by 1024; a bare whole number is bytes.

    Raises:
        InvalidInputError: for any other text, and for more than 64 bits.
    """
    match = _SIZE.fullmatch(text) if len(text) <= _LONGEST else None
    factor = _BYTES.get((match[3] or "b").lower()) if match else None
    if match is None or factor is None:
        raise InvalidInputError("size", text, "not a byte size", "write for example 512 KB or 2 MiB")
    return _in_range(_scale(match[1] or match[2], factor), "size", text)


def format_size(size: int) -> str:
    """``size`` bytes as the node reads them, without loss, e.g. ``"2048 B"``."""
    return f"{size} B"


def parse_bandwidth(text: str) -> int:
    """Bits a second of a bandwidth such as ``"2Mbps"``, ``"150.024kbps"`` or ``"1 Gbit/s 20 Mbit/s"``.

    Spans add up; what is less than a bit a second in a span is dropped, as the node does. A unit is mandatory and
    means bits.

    Raises:
        InvalidInputError: for any other text, and for more than 64 bits.
    """
    problem = InvalidInputError("bandwidth", text, "not a bandwidth in bits", "write for example 500 kbps or 2 Mbit/s")
    if not text or len(text) > _LONGEST:
        raise problem
    total = at = 0
    while at < len(text):
        match = _SPAN.match(text, at)
        factor = _BITS.get(match[2]) if match else None
        if match is None or factor is None:
            raise problem
        total += _scale(match[1], factor)
        at = match.end()
    return _in_range(total, "bandwidth", text)


def format_bandwidth(bits: int) -> str:
    """``bits`` a second as the node reads them, without loss, e.g. ``"2000000bps"``."""
    return f"{bits}bps"


def parse_balance(text: str) -> Balance:
    """The amount and the token of a balance such as ``"0.1 xDai"``; no digit is lost.

    Raises:
        InvalidInputError: for any other text.
    """
    match = _BALANCE.fullmatch(text) if len(text) <= _LONGEST else None
    if match is None:
        raise InvalidInputError("balance", text, "not an amount and a token", "write for example 0.1 xDai")
    return Balance(Decimal(match[1]), match[2])


def format_balance(balance: Balance) -> str:
    """The balance as the node prints it, e.g. ``"10 wxHOPR"``; never in exponent form."""
    return f"{balance.amount:f} {balance.token}"


def _scale(number: str, factor: int) -> int:
    """``number`` times ``factor``, rounded down; as fractions, since Decimal would round the product to its context."""
    return int(Fraction(number) * factor)


def _in_range(value: int, what: str, text: str) -> int:
    if value > _MOST:
        raise InvalidInputError(what, text, "is more than 64 bits can hold")
    return value
