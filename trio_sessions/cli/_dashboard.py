"""The live view of a run as lines that fit the terminal: a pure function of what is to be shown and of the size.

What does not fit is left out whole, a column or a part of a line, the least needed first: no number is ever cut.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

import attrs
from rich.console import Group
from rich.text import Text

from trio_sessions import State
from trio_sessions.cli._dashboard_model import LOSSY, NO_SESSION, Row, View
from trio_sessions.cli._figures import (
    NOTHING,
    count,
    milliseconds,
    percent,
    quantile,
    seconds,
    shorten,
    shorten_all,
)
from trio_sessions.cli._progress_line import progress_parts, round_trips_text, time_text

__all__ = ["SMALLEST_HEIGHT", "SMALLEST_WIDTH", "dashboard"]

#: Below this size there is one line of progress instead.
SMALLEST_HEIGHT: Final = 7
SMALLEST_WIDTH: Final = 40
#: From this height on there are blank lines between the parts, and a second line of heading.
_ROOMY: Final = 18
#: Lines of events at the most, and their share of what heading and totals leave.
_MOST_EVENTS: Final = 12
_EVENTS_SHARE: Final = 4

_GAP: Final = "  "
_ADDRESS_WIDTHS: Final = (42, 24, 17, 11)

#: Colours say nothing that the words don't.
_STATE_STYLES: Final = {
    State.ACTIVE.value: "green",
    State.UNREACHABLE.value: "yellow",
    State.OPENING.value: "cyan",
    State.LOST.value: "red",
    NO_SESSION: "red",
}
_QUIET: Final = "dim"
_HEAD: Final = "bold"
_WORRYING: Final = "yellow"
_BAD: Final = "red"


@attrs.frozen
class _Column:
    """A column; ``rank`` says how soon it is given up, the highest first. Numbers stand to the right."""

    title: str
    width: int
    rank: int
    text: Callable[[Row], str]
    style: Callable[[Row], str] = lambda row: ""
    is_number: bool = True


def _loss_style(share: float | None) -> str:
    if not share:
        return ""
    return _BAD if share >= LOSSY else _WORRYING


_COLUMNS: Final = (
    _Column("relayer", 11, 0, lambda row: row.name, is_number=False),
    _Column(
        "state",
        11,
        0,
        lambda row: row.state,
        lambda row: _STATE_STYLES.get(row.state, _QUIET),
        is_number=False,
    ),
    _Column("grace", 6, 4, lambda row: seconds(row.grace_left), lambda row: _WORRYING if row.grace_left else _QUIET),
    _Column("rtt ms", 6, 1, lambda row: milliseconds(quantile(row.round_trips, 0.5))),
    _Column("p99 ms", 6, 5, lambda row: milliseconds(quantile(row.round_trips, 0.99))),
    _Column("loss %", 6, 0, lambda row: percent(row.loss), lambda row: _loss_style(row.loss)),
    _Column("answered", 8, 2, lambda row: count(row.answered)),
    _Column("accepted", 8, 3, lambda row: count(row.accepted)),
    _Column("destination", 11, 6, lambda row: row.destination or NOTHING, lambda row: _QUIET, is_number=False),
    _Column("listener", 21, 7, lambda row: row.listener or NOTHING, lambda row: _QUIET, is_number=False),
)


def dashboard(view: View, events: Sequence[str], width: int, height: int) -> Group:
    """The view as at most ``height`` lines of at most ``width`` cells; ``events`` are the last ones, newest last."""
    if height < SMALLEST_HEIGHT or width < SMALLEST_WIDTH:
        return Group(_joined([(part, "") for part in progress_parts(view)], width, ", "))
    is_roomy = height >= _ROOMY
    top = _heading(view, width, is_roomy=is_roomy)
    foot = Text(_first_that_fits(_FOOTERS if view.stopping is None else _STOPPING, width), style=_QUIET)
    blanks = 2 if is_roomy else 0
    room = height - len(top) - 2 - blanks
    lines_of_events = min(len(events), _MOST_EVENTS, max(1, room // _EVENTS_SHARE)) if room > 3 else 0
    # Events have what the rows leave, too.
    spare = room - len(view.rows)
    lines_of_events = min(len(events), _MOST_EVENTS, max(lines_of_events, spare))
    table = _table(view.rows, width, room - lines_of_events)
    address = _fitting(width)[0].width
    told = [_event(text, width, address) for text in events[len(events) - lines_of_events :]]
    blank = [Text()] if is_roomy else []
    body = [*top, *blank, *table, *blank, *told]
    padding = [Text()] * (height - len(body) - 1)
    return Group(*body, *padding, foot)


_FOOTERS: Final = (
    "Ctrl-C stops; a second one waits for no more answers",
    "Ctrl-C stops, twice: without answers",
)
_STOPPING: Final = (
    "Ctrl-C waits for no more answers; what is open is closed in any case",
    "Ctrl-C waits for no more answers",
)


def _heading(view: View, width: int, *, is_roomy: bool) -> list[Text]:
    heading, totals = view.heading, view.totals
    health, style = _health(view)
    first = [
        (f"running {time_text(view)}" if view.stopping is None else time_text(view), _HEAD),
        (health, style),
        (heading.url, ""),
        (f"hoprd {view.dialect}" if view.dialect else "", _QUIET),
    ]
    # In order of need; shown in order of reading.
    kept = _kept([text for text, _ in first], width, len(_GAP))
    shown = [first[index] for index in (2, 3, 1, 0) if index in kept and first[index][0]]
    lines = [_joined(shown, width, _GAP)]
    if is_roomy:
        lines.append(
            _joined([(f"instance {heading.instance}", _QUIET), (f"namespace {heading.namespace}", _QUIET)], width, _GAP)
        )
    lines.append(_joined([("sessions", _HEAD), *_states(totals.states)], width, _GAP))
    lines.append(
        _joined(
            [
                ("messages", _HEAD),
                (f"{totals.rate:.1f}/s", ""),
                (f"loss {percent(totals.loss)} %", _loss_style(totals.loss)),
                (round_trips_text(totals.rtt), ""),
                (f"answered {count(totals.answered)} of {count(totals.accepted)}", ""),
                (f"undelivered {count(totals.undelivered)}" if totals.undelivered else "", _WORRYING),
            ],
            width,
            _GAP,
        )
    )
    return lines


def _health(view: View) -> tuple[str, str]:
    if view.healthy is None:
        return "NO ANSWER", _BAD
    return ("healthy", "green") if view.healthy else ("NOT HEALTHY", _WORRYING)


def _states(states: Mapping[str, int]) -> list[tuple[str, str]]:
    order = [*(state.value for state in State), NO_SESSION]
    return [(f"{states[state]} {state}", _STATE_STYLES.get(state, _QUIET)) for state in order if states.get(state)]


def _table(rows: Sequence[Row], width: int, room: int) -> list[Text]:
    """The title line and at most ``room`` more: rows, those first that need attention where not all have room."""
    columns = _fitting(width)
    title = Text(_GAP.join(_aligned(column.title, column) for column in columns).rstrip(), style="bold")
    shown, rest = list(rows), list[Row]()
    if len(rows) > room:
        ordered = sorted(rows, key=lambda row: row.attention)
        shown, rest = ordered[: max(0, room - 1)], ordered[max(0, room - 1) :]
    lines = [title, *(_row(row, columns) for row in shown)]
    if rest and room > 0:
        lines.append(
            _joined([(f"… and {len(rest)} more:", _QUIET), *_states(Counter(row.state for row in rest))], width, " ")
        )
    return lines


def _fitting(width: int) -> list[_Column]:
    columns = list(_COLUMNS)
    while _width(columns) > width:
        columns.remove(max(columns, key=lambda column: column.rank))
    for title in ("relayer", "destination"):
        for number, column in enumerate(columns):
            if column.title == title:
                spare = width - _width(columns) + column.width
                columns[number] = attrs.evolve(column, width=next(w for w in _ADDRESS_WIDTHS if w <= spare))
    return columns


def _width(columns: Sequence[_Column]) -> int:
    return sum(column.width for column in columns) + len(_GAP) * (len(columns) - 1)


def _aligned(text: str, column: _Column) -> str:
    text = shorten(text, column.width)
    return text.rjust(column.width) if column.is_number else text.ljust(column.width)


def _row(row: Row, columns: Sequence[_Column]) -> Text:
    line = Text(no_wrap=True)
    for number, column in enumerate(columns):
        if number:
            line.append(_GAP)
        line.append(_aligned(column.text(row), column), style=column.style(row))
    return line


def _event(text: str, width: int, address: int) -> Text:
    """Addresses look as they do in the table, so that one finds them there."""
    line = Text(shorten_all(text, address), no_wrap=True)
    line.truncate(width, overflow="ellipsis")
    return line


def _kept(texts: Sequence[str], width: int, gap: int) -> set[int]:
    """Which of the texts fit beside each other, given in order of need; the first always."""
    kept: set[int] = set()
    used = -gap
    for number, text in enumerate(texts):
        if text and used + gap + len(text) <= width:
            kept.add(number)
            used += gap + len(text)
    return kept or {0}


def _joined(parts: Iterable[tuple[str, str]], width: int, between: str) -> Text:
    """The parts in a line, as many as fit; what is left out at the end is told by an ellipsis."""
    given = [part for part in parts if part[0]]
    line = Text(no_wrap=True)
    for number, (text, style) in enumerate(given):
        gap = between if number else ""
        is_last = number == len(given) - 1
        if line.cell_len + len(gap) + len(text) > width - (0 if is_last else 2):
            if line.cell_len + 2 <= width and number:
                line.append(" …", style=_QUIET)
            elif not number:
                line.append(shorten(text, width), style=style)
            break
        line.append(gap)
        line.append(text, style=style)
    return line


def _first_that_fits(texts: Sequence[str], width: int) -> str:
    return next((text for text in texts if len(text) <= width), texts[-1][:width])
