"""Every line that the library logs has fields, and its text stays."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import trio_sessions

FILES = sorted(Path(trio_sessions.__file__).parent.glob("_*.py"))


def log_calls(file: Path) -> list[ast.Call]:
    """The calls of a logger of the module."""
    return [
        node
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == "_log"
        and node.func.attr != "isEnabledFor"
    ]


def test_there_are_such_calls() -> None:
    assert sum(len(log_calls(file)) for file in FILES) > 20


@pytest.mark.parametrize("file", [file for file in FILES if log_calls(file)], ids=lambda file: file.name)
def test_every_line_has_fields_or_a_traceback(file: Path) -> None:
    for call in log_calls(file):
        given = {keyword.arg for keyword in call.keywords}
        assert "extra" in given or call.func.attr == "exception", ast.unparse(call)  # type: ignore[attr-defined]
