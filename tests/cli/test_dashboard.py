"""The dashboard: whatever the size, nothing is cut, and every relayer is shown or counted."""

from __future__ import annotations

import io
import re
from collections import Counter
from typing import Any

import attrs
import pytest
from hypothesis import given, settings, strategies as st
from rich.console import Console

from trio_sessions import (
    EndReason,
    Listener,
    ListenerKey,
    Messages,
    PoolReport,
    SessionCounts,
    SessionInfo,
    State,
)
from trio_sessions.cli._dashboard import dashboard
from trio_sessions.cli._dashboard_model import NO_SESSION, Heading, History, Row, Totals, View
from trio_sessions.cli._figures import count, milliseconds, percent, quantile, seconds, shorten, shorten_all

HEADING = Heading("http://127.0.0.1:3001", "default", "127.12.34.56")
REPORT = PoolReport(
    sessions=SessionCounts(opened=3, closed=1),
    left=(),
    messages=Messages(100, 90, 4, {}),
    by_relayer={},
    rtt={"p50": 0.0512, "p90": 0.06, "p99": 0.1, "p999": 1.25},
    duration=10.0,
    stop_duration=None,
    open_sessions=2,
)


def address(number: int) -> str:
    return f"0x{number:040x}"


def view(rows: tuple[Row, ...] = (), **changes: Any) -> View:
    totals = Totals(
        states=Counter(row.state for row in rows),
        rate=98.3,
        loss=0.0123,
        rtt=REPORT.rtt,
        answered=1_234_567,
        accepted=1_240_000,
        undelivered=7,
    )
    made = View(HEADING, "4.1", True, 12.0, None, None, rows, totals, REPORT)
    return attrs.evolve(made, **changes)


def drawn(shown: View, width: int, height: int, events: tuple[str, ...] = ()) -> list[str]:
    """The lines as they stand on a terminal of that size."""
    console = Console(file=io.StringIO(), width=width, height=height, record=True, force_terminal=True)
    console.print(dashboard(shown, events, width, height))
    return console.export_text().splitlines()


STATES = [*(state.value for state in State), NO_SESSION]
rows = st.builds(
    Row,
    name=st.integers(0, 10**9).map(address),
    state=st.sampled_from(STATES),
    grace_left=st.none() | st.floats(0, 1e9),
    round_trips=st.lists(st.floats(0, 1e4), max_size=3).map(tuple),
    loss=st.none() | st.floats(0, 1),
    answered=st.integers(0, 10**15),
    accepted=st.integers(0, 10**15),
    destination=st.none() | st.just(address(7)),
    listener=st.sampled_from([None, "127.0.0.1:9", "255.255.255.255:65535", "[2001:db8:1111:2222::3333]:65535"]),
)


@settings(max_examples=150, deadline=None)
@given(
    shown=st.lists(rows, max_size=60),
    width=st.integers(40, 200),
    height=st.integers(7, 60),
    events=st.lists(st.text(st.characters(exclude_categories=["C", "Zl", "Zp"]), max_size=150), max_size=20),
    stopping=st.none() | st.just(3.0),
)
def test_every_size(shown: list[Row], width: int, height: int, events: list[str], stopping: float | None) -> None:
    console = Console(file=io.StringIO(), width=width, height=height)
    group = dashboard(view(tuple(shown), stopping=stopping), tuple(events), width, height)
    assert all(line.cell_len <= width for line in group.renderables)  # type: ignore[union-attr]
    lines = [line.plain for line in group.renderables]  # type: ignore[union-attr]
    assert len(lines) == height
    # What the console makes of it: not one line more.
    assert len(console.render_lines(group, pad=False)) == height
    text = "\n".join(lines)
    # The states of all are counted, as far as a very narrow terminal has room; the rows that are shown have their own.
    more = re.search(r"… and (\d+) more", text)
    table = next(number for number, line in enumerate(lines) if line.startswith("relayer"))
    in_rows = [line for line in lines[table + 1 :] if line.startswith("0x") and any(state in line for state in STATES)]
    assert len(in_rows) + (int(more[1]) if more else 0) >= len(shown)
    if width >= 120:
        for state, number in Counter(row.state for row in shown).items():
            assert f"{number} {state}" in text


@pytest.mark.parametrize("width", [40, 60, 80, 100, 120, 160, 200])
def test_columns_stand_where_they_stood_whatever_the_numbers(width: int) -> None:
    small = Row(address(1), "active", None, (0.001,), 0.0, 1, 1, address(7), "127.0.0.1:1")
    large = Row(address(2), "unreachable", 1e5, (99.0,), 1.0, 10**9, 10**9, address(7), "255.255.255.255:65535")
    lines = drawn(view((small, large)), width, 30)
    [title] = [line for line in lines if line.startswith("relayer")]
    first, second = (next(line for line in lines if line.startswith(shorten(address(n), 11)[:5])) for n in (1, 2))
    second = lines[lines.index(first) + 1]
    # Right-aligned titles end where the numbers do.
    for column in ("rtt ms", "p99 ms", "loss %", "answered", "accepted"):
        if column in title:
            end = title.index(column) + len(column)
            for line in (first, second):
                assert line[end - 1] != " "
                assert line[end : end + 1] in ("", " ")


def test_at_80_and_160_columns() -> None:
    row = Row(address(1), "unreachable", 46.0, (0.02, 0.021, 0.5), 0.1, 132, 210, address(7), "127.0.0.1:49532")
    narrow, wide = (drawn(view((row,)), width, 24) for width in (80, 160))
    assert [line for line in narrow if line.startswith("0x")] == [
        "0x000…00001  unreachable    46 s    21.0   500.0    10.0       132       210"
    ]
    [whole] = [line for line in wide if line.startswith("0x")]
    assert whole.startswith(address(1))
    assert "127.0.0.1:49532" in whole
    assert narrow[0] == "http://127.0.0.1:3001  hoprd 4.1  healthy  running 12 s"
    assert narrow[1] == "instance default  namespace 127.12.34.56"
    assert narrow[2] == "sessions  1 unreachable"
    assert narrow[3].startswith("messages  98.3/s  loss 1.2 %  rtt p50 51.2 p99 100.0 ms")
    assert narrow[-1] == "Ctrl-C stops; a second one waits for no more answers"


def test_those_that_need_attention_come_first_where_there_is_no_room_for_all() -> None:
    calm = [Row(address(n), "active", loss=0.0) for n in range(50)]
    some = [
        Row(address(97), "active", loss=0.5),
        Row(address(96), "opening"),
        Row(address(95), "unreachable", 200.0),
        Row(address(94), "unreachable", 20.0),
        Row(address(93), NO_SESSION),
    ]
    lines = drawn(view((*calm, *some)), 80, 20, ("one", "two", "three"))
    shown = [line for line in lines if line.startswith("0x")]
    assert [line[6:11] for line in shown[:5]] == [address(n)[-5:] for n in (93, 94, 95, 96, 97)]
    [more] = [line for line in lines if line.startswith("…")]
    assert more == f"… and {55 - len(shown)} more: {55 - len(shown)} active"
    assert "three" in lines
    # With room for all they are in the order of their addresses.
    lines = drawn(view((*calm[:3], *some)), 80, 24)
    assert next(line[6:11] for line in lines if line.startswith("0x")) == "00000"


@pytest.mark.parametrize(("width", "height"), [(80, 6), (39, 24), (80, 1), (20, 3), (1, 1)])
def test_a_tiny_terminal_has_one_line(width: int, height: int) -> None:
    lines = drawn(view((Row(address(1), "active"),)), width, height)
    assert len(lines) == 1
    assert len(lines[0]) <= width
    whole = "12 s: 2 sessions open, 98.3 msg/s, loss 4.26 %, rtt p50 51.2 p99 100.0 ms"
    if width == 80:
        assert lines == [whole]
    else:
        # Parts are left out whole.
        assert lines[0].removesuffix(" …").removesuffix("…") in whole or "…" in lines[0]


# -- what follows from snapshots


def info(number: int, state: State, *, opened_at: float | None = 1.0, **more: Any) -> SessionInfo:
    listener = Listener(
        key=ListenerKey("udp", "127.0.0.1", 9000 + number),
        target="#0",
        destination=address(7),
        forward=None,
        back=None,
        hopr_mtu=1000,
        surb_len=400,
    )
    made = SessionInfo(address(number), address(7), None, state, None, listener, opened_at, None, 1)
    return attrs.evolve(made, **more)


def look(history: History, now: float, *infos: SessionInfo, healthy: bool | None = True, **report: Any) -> View:
    made = attrs.evolve(REPORT, **report)
    return history.view(now, sessions=infos, report=made, healthy=healthy, dialect="4.1")


def test_what_happens_is_told_once() -> None:
    history = History(HEADING, None, began=0.0)
    one = address(1)
    events = [
        look(history, 1.0, info(1, State.OPENING, opened_at=None)).events,
        look(history, 2.0, info(1, State.ACTIVE)).events,
        look(history, 3.0, info(1, State.ACTIVE)).events,
        look(history, 4.0, info(1, State.UNREACHABLE, grace_ends_at=304.0)).events,
        look(history, 5.0, info(1, State.ACTIVE), healthy=None).events,
        look(history, 6.0, info(1, State.CLOSING, reason=EndReason.GRACE_EXPIRED)).events,
        look(history, 7.0).events,
        look(history, 8.0, info(1, State.OPENING, opened_at=None)).events,
        look(history, 9.0).events,
        look(history, 10.0, *(info(n, State.ACTIVE) for n in range(1, 9))).events,
        # Another session, before anybody looked.
        look(
            history, 11.0, info(1, State.ACTIVE, opened_at=10.5), *(info(n, State.ACTIVE) for n in range(2, 9))
        ).events,
    ]
    assert events == [
        (),
        (f"{one}: session open",),
        (),
        (f"{one}: out of sight, grace period of 300 s",),
        ("the node does not answer", f"{one}: back in sight"),
        ("the node is back", f"{one}: session over: grace expired"),
        (),
        (),
        (f"{one}: could not be opened",),
        ("8 relayers: session open",),
        (f"{one}: session open",),
    ]


def test_the_end_that_nobody_saw_is_told_by_the_counts() -> None:
    history = History(HEADING, None, began=0.0)
    look(history, 1.0, info(1, State.ACTIVE), info(2, State.OPENING, opened_at=None))
    gone = look(history, 2.0, info(2, State.ACTIVE), sessions=SessionCounts(opened=3, lost=1)).events
    assert gone == (f"{address(1)}: session over: listener gone", f"{address(2)}: session open")
    look(history, 3.0, info(1, State.OPENING, opened_at=None), info(2, State.ACTIVE))
    # Of the one that was being opened there is nothing to say: it is not its failure.
    assert look(history, 4.0, stop_duration=0.5).events == (f"{address(2)}: session over: stopped",)


def test_a_relayer_without_a_session_keeps_its_row_and_its_count() -> None:
    history = History(HEADING, None, began=0.0)
    look(history, 1.0, info(1, State.ACTIVE))
    [row] = look(history, 2.0, by_relayer={address(1): Messages(10, 8, 2)}).rows
    assert (row.state, row.answered, row.accepted, row.loss) == (NO_SESSION, 8, 10, 0.2)
    [row] = look(history, 3.0, by_relayer={address(1): Messages(10, 8, 2)}, stop_duration=1.0).rows
    assert row.state == "closed"


def test_loss_is_that_of_the_last_minute() -> None:
    history = History(HEADING, None, began=0.0)
    losses = []
    for now in range(0, 300, 5):
        lost = 10 * min(now, 100)  # it stops at 100 s
        books = {address(1): Messages(20 * now, 20 * now - lost, lost)}
        losses.append(look(history, float(now), info(1, State.ACTIVE), by_relayer=books).rows[0].loss)
    assert losses[10] == 0.5
    assert losses[-1] == 0.0


def test_round_trips_are_those_of_new_batches_and_are_forgotten() -> None:
    history = History(HEADING, None, began=0.0)
    row = Row("", "")
    for now in range(1, 200):
        # A batch in two looks.
        at = float(now - now % 2)
        row = look(history, float(now), info(1, State.ACTIVE, last_rtt=now / 1000, last_answered_at=at)).rows[0]
    assert len(row.round_trips) == 64
    old = info(1, State.ACTIVE, last_rtt=0.198, last_answered_at=198.0)
    assert look(history, 300.0, old).rows[0].round_trips == ()


def test_sessions_by_hops_have_their_rows() -> None:
    history = History(HEADING, None, began=0.0)
    by_hops = attrs.evolve(info(1, State.ACTIVE), relayer=None, hops=1)
    assert look(history, 1.0, by_hops).rows[0].name == f"1 hop to {address(7)}"


# -- figures


@given(st.floats(0, 1e12))
def test_no_figure_is_wider_than_its_column(value: float) -> None:
    assert len(milliseconds(value)) <= 6
    assert len(seconds(value)) <= 6
    assert len(count(int(value))) <= 8


@given(st.floats(0, 1))
def test_a_share_is_all_or_nothing_only_if_it_is(share: float) -> None:
    assert len(percent(share)) <= 5
    assert (percent(share) == "0.0") is (share == 0)
    assert (percent(share) == "100.0") is (share == 1)


def test_figures() -> None:
    assert [milliseconds(v) for v in (None, 0.0, 0.02051, 0.99994, 1.2345, 1e9)] == [
        "-", "0.0", "20.5", "999.9", "1234", "999999",
    ]  # fmt: skip
    assert [seconds(v) for v in (None, 0.4, 299.6, 9999, 36_000, 864_000)] == [
        "-", "0 s", "300 s", "9999 s", "10.0 h", "10 d",
    ]  # fmt: skip
    assert [count(v) for v in (0, 999_999, 1_234_567, 999_999_999, 10**12)] == [
        "0", "999999", "1.23M", "999.99M", "1.00T",
    ]  # fmt: skip
    assert quantile((), 0.5) is None
    assert quantile((3.0, 1.0, 2.0), 0.5) == 2.0
    assert quantile((3.0, 1.0, 2.0), 0.99) == 3.0
    assert shorten("0123456789", 5) == "01…89"
    assert shorten_all(f"via {address(1)}: bad", 11) == "via 0x000…00001: bad"
