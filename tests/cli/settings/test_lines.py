"""On which line a key stands, whatever the file looks like."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given, strategies as st

from trio_sessions.cli.settings._lines import key_lines, line_of

TEXT = '''\
# [not.a.table] = 1
top = 1
dotted . "quoted key" = 'a # b'

[ sessions ]  # a comment = 3
text = """
[inside]
key = 1 \\"""
""" # end
lines = \'\'\'
[also] = 2\'\'\'\'\'
list = [
  "a = 1", # b = 2
  [1, 2],
  { c = 3 },
]
inline = { d = "]", e.f = 2 }
after = 1
[a."b.c".'d']
e = 0x10
[[many]]
x = 1
[[many]]
y = 2
'''


def test_lines_of_all_that_toml_has() -> None:
    tomllib.loads(TEXT)
    assert key_lines(TEXT) == {
        ("top",): 2,
        ("dotted",): 3,
        ("dotted", "quoted key"): 3,
        ("sessions",): 5,
        ("sessions", "text"): 6,
        ("sessions", "lines"): 10,
        ("sessions", "list"): 12,
        ("sessions", "inline"): 17,
        ("sessions", "after"): 18,
        ("a", "b.c", "d"): 19,
        ("a", "b.c", "d", "e"): 20,
        ("many",): 21,
        ("many", "x"): 22,
        ("many", "y"): 24,
    }


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("sessions", "inline", "d"), 17),
        (("a",), 19),
        (("a", "b.c"), 19),
        (("sessions", "nowhere"), 5),
        (("nowhere",), None),
    ],
)
def test_what_has_no_line_of_its_own(path: tuple[str, ...], line: int | None) -> None:
    assert line_of(key_lines(TEXT), path) == line


KEYS = st.text("abc-_9", min_size=1, max_size=3)
QUOTED = st.text("a.='#[] ü", max_size=4).map(lambda key: f'"{key}"')
VALUES = st.sampled_from(
    ["1", "-0.5e3", "true", '"#"', "'['", '"""\n\n= ]"""', "'''a\n'''", "[\n1,\n]", "{}", '{ "]" = 1 }', "1979-05-27"]
)
FILLING = st.sampled_from(["", "# x = 1", "   ", "\t# [y]"])


@given(
    st.lists(
        st.tuples(
            st.one_of(KEYS, QUOTED), st.lists(st.tuples(st.one_of(KEYS, QUOTED), VALUES, FILLING), max_size=4), FILLING
        ),
        max_size=4,
    )
)
def test_every_key_is_found_where_it_was_written(tables: list[tuple[str, list[tuple[str, str, str]], str]]) -> None:
    text, seen = "", set()
    wanted: dict[tuple[str, ...], int] = {}
    for name, entries, filling in tables:
        table = next(iter(tomllib.loads(f"{name} = 1")))
        if table in seen:
            continue
        seen.add(table)
        text += f"{filling}\n"
        wanted[table,] = text.count("\n") + 1
        text += f"[{name}]\n"
        for written, value, after in entries:
            key = next(iter(tomllib.loads(f"{written} = 1")))
            if (table, key) not in wanted:
                wanted[table, key] = text.count("\n") + 1
                text += f"{written} = {value} {after}\n"
    tomllib.loads(text)
    assert key_lines(text) == wanted
