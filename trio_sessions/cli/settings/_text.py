"""A configuration as text: the file to begin with, and what ``config show`` prints."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from textwrap import wrap
from typing import Any

from trio_sessions.cli._token import Token
from trio_sessions.cli.settings._configuration import Configuration
from trio_sessions.cli.settings._schema import SETTINGS
from trio_sessions.cli.settings._setting import Setting

__all__ = ["as_json", "as_text", "template"]

_WIDTH = 100

_HEAD = """\
Configuration of trio-sessions. Every setting is here with its default; remove the # before those that you
change. Flags go before environment variables (TRIO_SESSIONS_…), these before the project's file
(trio-sessions.toml in the current folder), that before the user's own, and that before the defaults.
"false" stands for no value. A run re-reads it at SIGHUP: settings that are marked "live" change at once.
The API token has no place in here: see token_file. Check it by: trio-sessions config check
"""


def template() -> str:
    """A file with every setting, its help and its default, all of them in comments."""
    lines = [f"# {line}" for line in _HEAD.splitlines()]
    for section, group in _sections():
        lines += ["", f"[{section}]"]
        for each in group:
            lines += ["", *_comment(each), f"#{each.key} = {each.example}"]
    return "\n".join(lines) + "\n"


def as_text(configuration: Configuration, token: Token | None) -> str:
    """Every value with its origin; it is a configuration file, too."""
    rows = []
    for section, group in _sections():
        rows += [("", ""), (f"[{section}]", "")]
        for each in group:
            value = each.kind.to_toml(configuration.value(each.name))
            rows.append((f"{each.key} = {value}", str(configuration.origins[each.name])))
        if section == "node":
            rows.append((f"# token: {_said(token)}", ""))
    width = min(_WIDTH // 2, max(len(left) for left, _ in rows))
    lines = [f"{left:<{width}}  # {_printable(origin)}" if origin else left for left, origin in rows]
    return "\n".join(lines[1:])


def as_json(configuration: Configuration, token: Token | None) -> dict[str, Any]:
    """The same as plain data."""
    settings = {}
    for each in SETTINGS.values():
        origin = configuration.origins[each.name]
        settings[each.path] = {
            "value": _plain(configuration.value(each.name)),
            "origin": origin.source.name.lower(),
            "where": origin.name or None,
            "line": origin.line,
            "live": each.live,
        }
    return {
        "schema": 1,
        "files": list(configuration.files),
        "settings": settings,
        "token": {"set": token is not None, "where": None if token is None else token.origin},
    }


def _sections() -> Iterator[tuple[str, Iterator[Setting]]]:
    return groupby(SETTINGS.values(), key=lambda each: each.section)


def _comment(each: Setting) -> list[str]:
    marks = [f"Default: {each.default_text}."] if each.default_text != each.example.strip('"') else []
    marks += ["Live."] if each.live else []
    return [f"# {line}" for line in wrap(" ".join(filter(None, (each.help, each.in_file, *marks))), _WIDTH - 2)]


def _said(token: Token | None) -> str:
    return "not set" if token is None else f"set, from {_printable(token.origin)}"


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return list(value)
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def _printable(text: str) -> str:
    return text if text.isprintable() else repr(text)
