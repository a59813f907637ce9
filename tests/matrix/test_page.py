"""The page of the fault matrix says which tests stand behind a row: it must be true."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from functools import cache
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
ROWS = range(1, 40)
#: Rows that other parts of the work come for.
LATER = {37, 38}

_LINE = re.compile(r"\| (\d+) \| ([^|]+) \| ([^|]+) \| ([^|]+) \|")
_TEST = re.compile(r"`([\w/]+\.py)::(\w+)`")


@cache
def functions_of(file: Path) -> set[str]:
    """The names of the test functions in a file."""
    found = ast.parse(file.read_text(encoding="utf-8")).body
    functions = [each for each in found if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)]
    return {each.name for each in functions if each.name.startswith("test_")}


def rows_of_the_page() -> dict[int, tuple[str, set[tuple[str, str]]]]:
    """Of each row what the last column says, and the tests that it names there: file and function."""
    rows = {}
    for line in (HERE / "README.md").read_text(encoding="utf-8").splitlines():
        if match := _LINE.fullmatch(line):
            number, _, _, behind = match.groups()
            assert int(number) not in rows
            rows[int(number)] = (behind, {(file, name) for file, name in _TEST.findall(behind)})
    return rows


def test_every_row_is_there_in_order() -> None:
    assert list(rows_of_the_page()) == list(ROWS)


def test_a_row_names_exactly_its_own_functions() -> None:
    there: dict[int, set[tuple[str, str]]] = defaultdict(set)
    for file in HERE.glob("test_*.py"):
        for name in functions_of(file):
            if match := re.match(r"test_row_(\d\d)_", name):
                there[int(match[1])].add((file.name, name))
    named = {
        number: {(file, name) for file, name in tests if name.startswith("test_row_")}
        for number, (_, tests) in rows_of_the_page().items()
    }
    assert {number: tests for number, tests in named.items() if tests} == there
    assert set(ROWS) - set(there) <= LATER


def test_every_test_that_is_named_exists() -> None:
    for number, (_, tests) in rows_of_the_page().items():
        for file, name in tests:
            path = HERE / file if "/" not in file else ROOT / file
            assert path.is_file(), f"row {number}: there is no {file}"
            assert name in functions_of(path), f"row {number}: there is no {name} in {file}"


def test_a_row_without_a_test_says_where_it_belongs() -> None:
    for number, (behind, tests) in rows_of_the_page().items():
        assert tests or re.search(r"issue \d", behind), f"row {number} names nothing"
        assert number not in LATER or re.search(r"issue \d", behind), f"row {number} is not done yet"
