"""Chain addresses of nodes: ``0x`` and 40 hex digits, compared case-insensitively and kept as given."""

from __future__ import annotations

import re
from typing import TypeGuard

from trio_sessions._errors import InvalidInputError

__all__ = ["check_address", "is_address", "same_address"]

_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}", re.ASCII)


def is_address(value: object) -> TypeGuard[str]:
    """Whether ``value`` is a string of the form of a chain address."""
    return isinstance(value, str) and _ADDRESS.fullmatch(value) is not None


def same_address(one: str, other: str) -> bool:
    """Whether both name the same node: the daemon prints checksummed addresses, callers write any case."""
    return one == other or one.lower() == other.lower()


def check_address(value: object, what: str) -> str:
    """``value`` itself, when it is an address.

    Raises:
        InvalidInputError: naming ``what``, the value and the rule.
    """
    if not is_address(value):
        raise InvalidInputError(what, value, "not a node address", "write 0x followed by 40 hex digits")
    return value
