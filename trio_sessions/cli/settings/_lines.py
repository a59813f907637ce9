"""On which line of a TOML text each key stands: tomllib reads the values, and does not tell."""

from __future__ import annotations

import re
import tomllib

__all__ = ["key_lines", "line_of"]

#: All that a valid TOML text is made of; the closing of a long string may have up to two quotes of the string before.
_PIECE = re.compile(
    r'''
    """ (?: \\. | [^\\] )*? """ "{0,2}
    | \'{3} .*? \'{3} '{0,2}
    | " (?: \\. | [^"\\] )* "
    | ' [^']* '
    | \# [^\n]*
    | \n
    | [ \t\r]+
    | [\[\]{},.=]
    | [^\s\[\]{},.="'\#]+
    ''',
    re.DOTALL | re.VERBOSE,
)


def key_lines(text: str) -> dict[tuple[str, ...], int]:
    """The line, from 1 up, of every table's header and every key, by its path; of the first one where it has several.

    What is inside of a value, as in an inline table, has no line of its own.

    Args:
        text: that :mod:`tomllib` could read.
    """
    lines: dict[tuple[str, ...], int] = {}
    table: tuple[str, ...] = ()
    key: list[str] = []
    line, depth, in_value = 1, 0, False
    for piece in _PIECE.findall(text):
        if piece == "\n":
            if not depth:
                key, in_value = [], False
        elif piece.startswith("#") or piece.isspace():
            pass
        elif in_value:
            depth += (piece in ("[", "{")) - (piece in ("]", "}"))
        elif piece == "]" and key:
            table, key = tuple(key), []
            lines.setdefault(table, line)
        elif piece == "=":
            path = (*table, *key)
            for length in range(len(table) + 1, len(path) + 1):
                lines.setdefault(path[:length], line)
            in_value = True
        elif piece not in ("[", "]", "."):
            key.append(_unquoted(piece))
        line += piece.count("\n")
    return lines


def line_of(lines: dict[tuple[str, ...], int], path: tuple[str, ...]) -> int | None:
    """The line of a path, or of the nearest thing around it that has one, or of the first thing inside of it."""
    for length in range(len(path), 0, -1):
        if path[:length] in lines:
            return lines[path[:length]]
        inside = [line for other, line in lines.items() if other[:length] == path[:length]]
        if inside:
            return min(inside)
    return None


def _unquoted(piece: str) -> str:
    return next(iter(tomllib.loads(f"{piece} = 0"))) if piece[0] in "\"'" else piece
