"""The types of the options: each says of a bad value what it is, what the rule is, and what to do."""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite
from typing import Any

import click

from trio_sessions._address import check_address
from trio_sessions._errors import InvalidInputError

__all__ = [
    "AddressType",
    "CheckedType",
    "NumberType",
    "RelayersType",
    "WholeType",
    "check_choice",
]


def _name(param: click.Parameter | None) -> str:
    """The option as the user wrote it, e.g. ``--duration``."""
    return param.opts[-1] if param is not None else "value"


class NumberType(click.ParamType[float]):
    """A finite number above 0, or from 0 up."""

    def __init__(self, name: str, *, zero: bool = False, remedy: str = "") -> None:
        self.name = name
        self._zero = zero
        self._remedy = remedy

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number.

        Raises:
            InvalidInputError: it is none, or out of range.
        """
        try:
            number = float(value)
        except (ValueError, OverflowError):
            number = float("nan")
        if not isfinite(number) or number < 0 or (number == 0 and not self._zero):
            rule = f"must be a finite number {'from 0 up' if self._zero else 'above 0'} ({self.name})"
            raise InvalidInputError(_name(param), value, rule, self._remedy)
        return number


class WholeType(click.ParamType[int]):
    """A whole number in a range."""

    def __init__(self, name: str, lowest: int | None = None, highest: int | None = None) -> None:
        self.name = name
        self._lowest = lowest
        self._highest = highest

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number.

        Raises:
            InvalidInputError: it is none, or out of range.
        """
        number = _whole(value)
        if (
            number is None
            or (self._lowest is not None and number < self._lowest)
            or (self._highest is not None and number > self._highest)
        ):
            low = "" if self._lowest is None else f" from {self._lowest}"
            high = " up" if self._highest is None else f" to {self._highest}"
            raise InvalidInputError(_name(param), value, f"must be a whole number{low}{high if low else ''}")
        return number


class AddressType(click.ParamType[str]):
    """The address of a node."""

    name = "address"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The address, as given.

        Raises:
            InvalidInputError: it is none.
        """
        return check_address(value, _name(param))


class CheckedType(click.ParamType[Any]):
    """What a function of the library reads, or refuses with an error of its own that says all."""

    def __init__(self, name: str, read: Callable[[str], Any]) -> None:
        self.name = name
        self._read = read

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The value.

        Raises:
            InvalidInputError: the function refuses it.
        """
        return self._read(value) if isinstance(value, str) else value


class RelayersType(click.ParamType["int | tuple[str, ...]"]):
    """How many relayers, or which."""

    name = "N|ADDR,…"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | tuple[str, ...]:
        """The number, or the addresses without repetitions.

        Raises:
            InvalidInputError: it is neither.
        """
        number = None if isinstance(value, list) else _whole(value)
        if number is not None:
            if number < 1:
                rule = "must be a number of relayers from 1 up, or addresses"
                raise InvalidInputError(_name(param), value, rule, "leave it out to use every one")
            return number
        if not isinstance(value, list) and "0x" not in value.lower():
            rule = "is neither a number nor a list of addresses"
            remedy = "write for example 3, or 0x… with 40 hex digits, more of them separated by commas"
            raise InvalidInputError(_name(param), value, rule, remedy)
        parts = value if isinstance(value, list) else value.split(",")
        if not parts:
            raise InvalidInputError(_name(param), value, "names nobody", "leave it out to use every one")
        addresses = [check_address(part.strip(), _name(param)) for part in parts]
        return tuple({address.lower(): address for address in addresses}.values())


def check_choice(what: str, choices: tuple[str, ...]) -> Callable[[str], str]:
    """A check that a text is one of ``choices``, for a :class:`CheckedType`."""

    def check(text: str) -> str:
        if text not in choices:
            raise InvalidInputError(what, text, f"must be one of {', '.join(choices)}")
        return text

    return check


def _whole(value: Any) -> int | None:
    try:
        return int(value)
    except ValueError:
        return None
