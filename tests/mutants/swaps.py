"""What stands for what: signs, words and constants, and those that they are exchanged for."""

from __future__ import annotations

import ast

__all__ = ["ARITHMETIC", "NAMES", "ORDERS", "other_constant", "word_and_other"]

#: A sign, and the other one.
ARITHMETIC: dict[type[ast.operator], tuple[str, str]] = {
    ast.Add: ("+", "-"),
    ast.Sub: ("-", "+"),
    ast.Mult: ("*", "+"),
    ast.Div: ("/", "*"),
    ast.FloorDiv: ("//", "*"),
    ast.Mod: ("%", "*"),
    ast.Pow: ("**", "*"),
}

#: Only the boundary moves: a condition as a whole is changed elsewhere.
ORDERS: dict[type[ast.cmpop], tuple[str, str]] = {
    ast.Lt: ("<", "<="),
    ast.LtE: ("<=", "<"),
    ast.Gt: (">", ">="),
    ast.GtE: (">=", ">"),
}

_NEGATIONS: dict[type[ast.cmpop], tuple[str, str]] = {
    ast.Eq: ("==", "!="),
    ast.NotEq: ("!=", "=="),
    ast.Is: ("is", "is not"),
    ast.IsNot: ("is not", "is"),
    ast.In: ("in", "not in"),
    ast.NotIn: ("not in", "in"),
}

#: Names of functions, methods and constants that have a natural opposite.
NAMES = {
    "min": "max",
    "max": "min",
    "any": "all",
    "all": "any",
    "inf": "0.0",
    "popleft": "pop",
    "startswith": "endswith",
    "endswith": "startswith",
    "rfind": "find",
}


def word_and_other(op: ast.cmpop) -> tuple[str, str]:
    """How a comparison is written, and what is written in its place."""
    return ORDERS.get(type(op)) or _NEGATIONS[type(op)]


def other_constant(value: object, text: str) -> str | None:
    """What stands for a constant that is written as ``text``; nothing for those that are left alone."""
    match value:
        case bool():
            return str(not value)
        case int():
            return str(value + 1)
        case float():
            return str(value * 2 or 1.0)
        case str() | bytes() if value:
            mark = "b'~'" if isinstance(value, bytes) else "'~'"
            return f"({text} + {mark})"
    return None
