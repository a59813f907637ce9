"""What is wrong with a configuration, and where."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

import attrs

from trio_sessions._errors import InvalidInputError
from trio_sessions.cli._status import ConfigError
from trio_sessions.cli.settings._origin import Origin, Source
from trio_sessions.cli.settings._setting import Setting

__all__ = ["Problem", "as_error", "nearest", "of_value"]


@attrs.frozen
class Problem:
    """One thing that is wrong.

    Attributes:
        origin: the place.
        text: what is wrong there, with the rule and the remedy, in one line.
        key: the path of the key, where it is about one.
    """

    origin: Origin
    text: str
    key: str | None = None

    def __str__(self) -> str:
        # A flag's or a variable's name is said by the text itself.
        return " ".join((f"{self.origin}: {self.text}" if self.origin.source.is_file else self.text).split())

    def to_json(self) -> dict[str, Any]:
        """Its parts as plain data."""
        return {"where": self.origin.name, "line": self.origin.line, "key": self.key, "text": str(self)}


def of_value(each: Setting, origin: Origin, error: InvalidInputError) -> Problem:
    """What is wrong with a setting's value, said with the name that it has where it stands."""
    name = each.path if origin.source in (Source.DEFAULT, Source.USER_FILE, Source.PROJECT_FILE) else origin.name
    return Problem(origin, str(InvalidInputError(name, error.value, error.rule, error.remedy)), each.path)


def as_error(problems: Iterable[Problem]) -> ConfigError:
    """All of them as one error."""
    return ConfigError(list(problems))


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The name that was most likely meant."""
    found = get_close_matches(name.lower(), list(known), n=1)
    return found[0] if found else None
