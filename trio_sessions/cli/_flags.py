"""The options of commands that are settings, too: made from the settings' definitions."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import click

from trio_sessions._errors import InvalidInputError
from trio_sessions.cli.settings import CONFIG_VARIABLE, PROJECT_FILE, SETTINGS, Setting

__all__ = ["setting_flags", "take_flags"]

F = TypeVar("F", bound=Callable[..., Any])

_NO_JOURNAL = "no_journal"


def setting_flags(names: Iterable[str]) -> Callable[[F], F]:
    """Give a command the options of these settings, and ``--config``; it gets them by the settings' names.

    What was not given is ``None``, or empty: the defaults are the configuration's to fill in.
    """
    options = [
        click.option(
            "--config",
            metavar="FILE",
            help=f"Configuration file.  [default: {CONFIG_VARIABLE}, or {PROJECT_FILE} in the current folder; beside"
            " the user's own, see config --help]",
        )
    ]
    for name in names:
        options += _options(SETTINGS[name])

    def decorate(command: F) -> F:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def take_flags(options: dict[str, Any], names: Iterable[str] = SETTINGS) -> dict[str, Any]:
    """Take these settings, as far as they were given, out of a command's options; what stays is the command's own.

    Raises:
        InvalidInputError: two of them that say the opposite.
    """
    values = {name: options.pop(name) for name in names if name in options}
    given = {name: value for name, value in values.items() if value not in (None, ())}
    if options.pop(_NO_JOURNAL, False):
        if "journal" in given:
            rule = "is given together with --no-journal"
            raise InvalidInputError("--journal", given["journal"], rule, "leave one out")
        given["journal"] = False
    return given


def _options(each: Setting) -> list[Callable[[F], F]]:
    help_text = f"{each.help} {each.as_flag}".rstrip() + f"  [default: {each.default_text}]"
    if each.kind.reader is click.BOOL:
        return [click.option(f"{each.flag}/--no-{each.flag[2:]}", each.name, default=None, help=help_text)]
    kind = each.kind
    option = click.option(
        each.flag, each.name, type=kind.reader, metavar=kind.metavar, multiple=kind.many, help=help_text
    )
    if each.name == "journal":
        return [option, click.option("--no-journal", _NO_JOURNAL, is_flag=True, help="Remember nothing.")]
    return [option]
