"""The options for what a command says on stderr while it works."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import click

from trio_sessions._errors import InvalidInputError

__all__ = ["FORMATS", "LEVELS", "VIEWS", "LogOptions", "view_option"]

#: From the most to the least that is said.
LEVELS = ("debug", "info", "warning", "error")
FORMATS = ("text", "json")
#: How a run shows how far it is.
VIEWS = ("auto", "dashboard", "line", "none")


def _one_of(allowed: tuple[str, ...]) -> Callable[[Any, Any, str], None]:
    def check(_: object, attribute: Any, value: str) -> None:
        if value not in allowed:
            raise InvalidInputError(f"log {attribute.name}", value, f"must be one of {', '.join(allowed)}")

    return check


@attrs.frozen
class LogOptions:
    """What of the library's log is shown, and how.

    Attributes:
        level: of the least that is shown: one of :data:`LEVELS`.
        format: ``"text"``, a line a message; or ``"json"``, an object a line.

    Raises:
        InvalidInputError: another value.
    """

    level: str = attrs.field(default="warning", validator=_one_of(LEVELS))
    format: str = attrs.field(default="text", validator=_one_of(FORMATS))


def view_option(command: Callable[..., int]) -> Callable[..., int]:
    """Give a command the option ``--view``, one of :data:`VIEWS`."""
    return click.option(
        "--view",
        type=click.Choice(VIEWS, case_sensitive=False),
        default="auto",
        show_default=True,
        help="How progress is shown on stderr: a dashboard, one line, or not at all; auto is the dashboard on a"
        " terminal, and a line now and then elsewhere.",
    )(command)
