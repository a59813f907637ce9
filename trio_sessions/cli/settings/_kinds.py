"""How the value of a setting is written: in a file as TOML, in the environment and on the command line as text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import click

from trio_sessions._errors import InvalidInputError

__all__ = ["Kind"]


@attrs.frozen(kw_only=True)
class Kind:
    """What values a setting may have, and how they are written.

    Attributes:
        reader: reads what a flag says, and checks what a file or a variable says.
        metavar: what the help calls the value.
        toml: the types of TOML that it may have in a file.
        wanted: these in words, for an error.
        optional: whether ``false`` stands for no value at all.
        many: whether it is a list: a flag is given several times then, and a variable has commas.
        is_path: whether it is a path: one in a file is meant from the file's folder on.
        write: the value as text, where that is not ``str``.
    """

    reader: click.ParamType[Any]
    metavar: str
    toml: tuple[type, ...]
    wanted: str
    optional: bool = False
    many: bool = False
    is_path: bool = False
    write: Callable[[Any], str] | None = None

    def from_text(self, text: str) -> Any:
        """The value that a variable's text means.

        Raises:
            InvalidInputError: it means none; the name that the error has is not the variable's.
        """
        if text.lower() in ("true", "false") and (self.optional or bool in self.toml):
            return self.from_toml(text.lower() == "true")
        return self._convert([part.strip() for part in text.split(",")] if self.many else text)

    def from_toml(self, value: object) -> Any:
        """The value that a file's means.

        Raises:
            InvalidInputError: it means none; the name that the error has is not the key's.
        """
        if self.optional and value is False:
            return () if self.many else None
        if type(value) not in self.toml:
            raise InvalidInputError("value", value, f"must be {self.wanted}")
        if isinstance(value, bool):
            return value
        if isinstance(value, list) and not all(isinstance(each, str) for each in value):
            raise InvalidInputError("value", value, f"must be {self.wanted}", "write each of them as a string")
        return self._convert(value)

    def to_toml(self, value: Any) -> str:
        """The value as a file has it."""
        if value is None:
            return "false"
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, tuple):
            return f"[{', '.join(_quoted(each) for each in value)}]"
        if isinstance(value, int | float):
            return repr(value)
        return _quoted(str(value) if self.write is None else self.write(value))

    def _convert(self, value: object) -> Any:
        if self.many:
            assert isinstance(value, list)
            return tuple(self.reader.convert(each, None, None) for each in value)
        # A number where text may stand, too, is short for it.
        is_short = isinstance(value, int) and str in self.toml
        return self.reader.convert(str(value) if is_short else value, None, None)


def _quoted(text: str) -> str:
    """``text`` as a basic string of TOML, in which all can be seen."""
    return '"' + "".join(_shown(letter) for letter in text) + '"'


def _shown(letter: str) -> str:
    if letter in '"\\':
        return f"\\{letter}"
    if letter.isprintable():
        return letter
    return f"\\u{ord(letter):04X}" if ord(letter) < 0x10000 else f"\\U{ord(letter):08X}"
