"""Listeners as lines: a table for a terminal, tab-separated text for a pipe, and data for programs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from trio_sessions._model import Listener, ListenerKey, Path
from trio_sessions._ownership import Owner, Sighting
from trio_sessions.cli._streams import write_stdout

__all__ = ["age_text", "as_data", "place", "rest_text", "shorten", "show_table", "via"]

_COLUMNS = ("LISTENER", "VIA", "DESTINATION", "OWNER", "AGE", "STATE")
#: Columns of a terminal from which on addresses of 42 characters stand there whole.
_WIDE = 150
#: Characters of a shortened address, and of an instance's name; and between two columns.
_SHORT = 10
_LONGEST_NAME = 15
_GAP = 2
_STYLES = {
    Owner.ORPHAN: "yellow",
    Owner.UNKNOWN: "yellow",
    Owner.STRANGER: "dim",
    Owner.RESTING: "dim",
    Owner.DETACHED: "cyan",
    Owner.RUNNING: "",
}


def place(key: ListenerKey | None) -> str:
    """``ip:port``, or a dash where nobody knows."""
    return "-" if key is None else str(key).partition("://")[2]


def via(sighting: Sighting) -> str:
    """The relayers, or the number of hops; a dash where the node hides them and no journal knows."""
    forward = _forward(sighting)
    if forward is None:
        return "-"
    if forward.via:
        return ",".join(forward.via)
    return f"{forward.hops} hop{'' if forward.hops == 1 else 's'}"


def shorten(text: str, length: int = _SHORT) -> str:
    """The text without its middle, where it is longer than ``length``."""
    if len(text) <= length:
        return text
    tail = (length - 1) // 2 - 1
    return f"{text[: length - 1 - tail]}…{text[-tail:]}"


def age_text(seconds: float | None) -> str:
    """An age in at most five characters; a dash where it is not known."""
    if seconds is None:
        return "-"
    for size, unit in ((86400.0, "d"), (3600.0, "h"), (60.0, "m")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f}{unit}"
    return f"{seconds:.0f}s"


def rest_text(sightings: Sequence[Sighting]) -> str:
    """What to say of ports that rest, behind a sentence; nothing where there are none."""
    resting = [each for each in sightings if each.owner is Owner.RESTING]
    if not resting:
        return ""
    what = "one port rests" if len(resting) == 1 else f"{len(resting)} ports rest"
    free_in = [each.free_in for each in resting if each.free_in is not None]
    return f"; {what} after use" + (f", until all are free in {age_text(max(free_in))}" if free_in else "")


def as_data(sighting: Sighting) -> dict[str, Any]:
    """The sighting as plain data."""
    key, row, forward = sighting.key, sighting.row, _forward(sighting)
    return {
        "listener": None if key is None else place(key),
        "protocol": None if key is None else key.protocol,
        "relayers": None if forward is None or forward.hops is not None else list(forward.via),
        "hops": None if forward is None else forward.hops,
        "destination": _destination(sighting),
        "owner": sighting.owner.value,
        "instance": sighting.instance,
        "proof": None if sighting.proof is None else sighting.proof.value,
        "journal": None if sighting.journal is None else sighting.journal.look.path,
        "state": None if row is None else sighting.state,
        "age": None if row is None else row.age,
        "listed": sighting.listener is not None,
        "rests": _rest(sighting),
    }


def show_table(sightings: Sequence[Sighting], *, wide: bool) -> None:
    """Write the sightings to stdout."""
    if sys.stdout is None or not sys.stdout.isatty():
        lines = [_COLUMNS, *(_cells(each, whole=True) for each in sightings)]
        write_stdout("\n".join("\t".join(line) for line in lines))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    whole = wide or console.width >= _WIDE
    lines = [_cells(each, whole=whole) for each in sightings]
    columns = range(len(_COLUMNS)) if wide else _fitting(lines, console.width)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(_COLUMNS[column], no_wrap=True, justify="right" if _COLUMNS[column] == "AGE" else "left")
    for each, line in zip(sightings, lines, strict=True):
        table.add_row(*(Text(line[column], style=_STYLES[each.owner]) for column in columns))
    # What other commands take is never cut, however narrow it is here.
    console.width = max(console.width, _width(lines, columns))
    # A reader that has gone is no error.
    with suppress(OSError):
        console.print(table)


def _fitting(lines: Sequence[tuple[str, ...]], width: int) -> Sequence[int]:
    """The columns that there is room for: the less telling ones go first."""
    columns = list(range(len(_COLUMNS)))
    for name in ("DESTINATION", "AGE", "VIA"):
        if _width(lines, columns) > width:
            columns.remove(_COLUMNS.index(name))
    return columns


def _width(lines: Sequence[tuple[str, ...]], columns: Sequence[int]) -> int:
    widest = (max(len(line[column]) for line in (_COLUMNS, *lines)) for column in columns)
    return sum(widest) + _GAP * (len(columns) - 1)


def _cells(sighting: Sighting, *, whole: bool) -> tuple[str, ...]:
    owner = sighting.owner.value
    if sighting.instance is not None:
        instance = sighting.instance if whole else shorten(sighting.instance, _LONGEST_NAME)
        # The name of a detached one says so already.
        says_all = sighting.owner in (Owner.RUNNING, Owner.RESTING) or instance.startswith(owner)
        owner = instance if says_all else f"{owner} {instance}"
    relayer, destination = via(sighting), _destination(sighting)
    return (
        sighting.rests_at or place(sighting.key),
        relayer if whole else shorten(relayer),
        destination if whole else shorten(destination),
        owner,
        age_text(None if sighting.row is None else sighting.row.age),
        sighting.state if sighting.free_in is None else f"{sighting.state}, free in {age_text(sighting.free_in)}",
    )


def _rest(sighting: Sighting) -> dict[str, Any] | None:
    if sighting.owner is not Owner.RESTING:
        return None
    return {"listen_host": sighting.rests_at, "free_in": sighting.free_in}


def _known(sighting: Sighting) -> Listener | None:
    return sighting.listener or (sighting.row.listener if sighting.row else None)


def _forward(sighting: Sighting) -> Path | None:
    # What was asked for says more than a list that prints ids of the node's own (contract §2.2).
    if sighting.row is not None:
        return sighting.row.request.forward
    listener = _known(sighting)
    return None if listener is None else listener.forward


def _destination(sighting: Sighting) -> str:
    listener = _known(sighting)
    if listener is not None:
        return listener.destination
    return sighting.row.request.destination if sighting.row is not None else "-"
