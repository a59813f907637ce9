"""The findings for people, as they come: aligned lines, on a terminal in colour and with what is going on."""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Protocol

from trio_sessions.cli._streams import write_stdout
from trio_sessions.cli.doctor._examination import Check
from trio_sessions.cli.doctor._finding import Finding, Verdict

__all__ = ["Display", "lines_of", "open_display"]

#: Columns of the verdict and of the name.
_VERDICT, _NAME = 5, 10
_LABELS = {Verdict.OK: "ok", Verdict.WARN: "warn", Verdict.FAIL: "fail", Verdict.SKIPPED: "skip"}
_STYLES = {Verdict.OK: "green", Verdict.WARN: "yellow", Verdict.FAIL: "bold red", Verdict.SKIPPED: "dim"}
#: A line gets no longer on a terminal, however wide that is.
_WIDEST = 120
_NARROWEST = 40


class Display(Protocol):
    """Where the doctor shows what it finds."""

    def begin(self, check: Check) -> None:
        """This check is under way."""

    def end(self, finding: Finding) -> None:
        """It is over."""


def lines_of(finding: Finding, *, arrow: str = "→", width: int | None = None) -> list[str]:
    """A finding as lines: what was found, then each remedy, indented.

    Args:
        finding: of an examination.
        arrow: before each remedy.
        width: at which to break lines; ``None``: never, as for files and other programs.
    """
    column = " " * (_VERDICT + 1 + _NAME + 1)
    head = f"{_LABELS[finding.verdict]:<{_VERDICT}} {finding.name:<{_NAME}} "
    lines = _broken(finding.found, head, column, width)
    for step in finding.remedy:
        lines += _broken(step, f"{' ' * _VERDICT} {arrow} ", " " * (_VERDICT + 2 + len(arrow)), width)
    return lines


def _broken(text: str, head: str, column: str, width: int | None) -> list[str]:
    if width is None:
        return [f"{head}{text}"]
    inside = max(width, _NARROWEST) - len(column)
    first, *rest = textwrap.wrap(text, inside, break_on_hyphens=False) or [""]
    return [f"{head}{first}", *(f"{column}{line}" for line in rest)]


class _Lines:
    """For a pipe or a file: each line whole, at once."""

    def begin(self, check: Check) -> None:
        pass

    def end(self, finding: Finding) -> None:
        encoding = (sys.stdout and sys.stdout.encoding) or "utf-8"
        text = "\n".join(lines_of(finding, arrow="→" if _can("→", encoding) else "->"))
        # A node's text may have what this stream cannot show.
        write_stdout(text.encode(encoding, "replace").decode(encoding))


class _Nothing:
    """For --json, whose one object comes at the end."""

    def begin(self, check: Check) -> None:
        pass

    def end(self, finding: Finding) -> None:
        pass


class _Terminal:
    """Lines in colour, and at the bottom what is going on."""

    def __init__(self, stack: ExitStack) -> None:
        from rich.console import Console
        from rich.live import Live
        from rich.text import Text

        self._text = Text
        self._console = Console(highlight=False)
        # No thread that refreshes it: it changes with the checks alone.
        self._live = Live(console=self._console, auto_refresh=False, transient=True, redirect_stderr=False)
        stack.enter_context(self._live)

    def begin(self, check: Check) -> None:
        line = f"{'...':<{_VERDICT}} {check.name:<{_NAME}} {check.doing}"
        self._live.update(self._text(line, style="dim", no_wrap=True, overflow="ellipsis"), refresh=True)

    def end(self, finding: Finding) -> None:
        self._live.update(self._text(""), refresh=True)
        arrow = "→" if _can("→", self._console.encoding) else "->"
        first, *rest = lines_of(finding, arrow=arrow, width=min(self._console.width - 1, _WIDEST))
        style = _STYLES[finding.verdict]
        shown = self._text()
        shown.append(first[:_VERDICT], style=style)
        shown.append(first[_VERDICT : _VERDICT + _NAME + 1], style="bold")
        shown.append(first[_VERDICT + _NAME + 1 :], style="dim" if finding.verdict is Verdict.SKIPPED else "")
        for line in rest:
            shown.append(f"\n{line}")
        self._console.print(shown, soft_wrap=True)


def _can(text: str, encoding: str) -> bool:
    try:
        text.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True


@contextmanager
def open_display(*, wants_json: bool) -> Iterator[Display]:
    """A display on stdout for as long as the block lasts."""
    with ExitStack() as stack:
        if wants_json:
            yield _Nothing()
        elif sys.stdout is not None and sys.stdout.isatty() and os.environ.get("TERM") not in (None, "", "dumb"):
            yield _Terminal(stack)
        else:
            yield _Lines()
