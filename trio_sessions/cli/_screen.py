"""What a running command shows on stderr: lines, the library's log, and how far it is."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Protocol

from trio_sessions._errors import InvalidInputError
from trio_sessions.cli._dashboard_model import View
from trio_sessions.cli._log_lines import LineForm, RepeatFilter, form_of, logging_to
from trio_sessions.cli._logs import LogOptions
from trio_sessions.cli._progress_line import progress_line
from trio_sessions.cli._streams import say

__all__ = ["Screen", "open_screen"]

#: Seconds between two looks at the progress: for a person, and for a log file.
_LIVE_INTERVAL = 0.5
_PLAIN_INTERVAL = 3.0


class Screen(Protocol):
    """Where a running command shows what it does.

    Attributes:
        interval: seconds between two calls of :meth:`show`, or of :meth:`progress`.
    """

    interval: float

    def note(self, text: str, level: str = "info") -> None:
        """Say one line."""

    def log(self, line: str, level: int) -> None:
        """Show a line of the log that is written as it shall be."""

    def progress(self, text: str) -> None:
        """Show in one line how far it is."""

    def show(self, view: View) -> None:
        """Show how far a run is, at whatever length."""


class _PlainScreen:
    """Lines one below the other."""

    interval = _PLAIN_INTERVAL

    def __init__(self, form: LineForm, *, with_progress: bool) -> None:
        self._form = form
        self._with_progress = with_progress

    def note(self, text: str, level: str = "info") -> None:
        say(self._form.note(text, level))

    def log(self, line: str, level: int) -> None:
        say(line)

    def progress(self, text: str) -> None:
        if self._with_progress:
            self.note(text)

    def show(self, view: View) -> None:
        self.progress(progress_line(view))


class _LineScreen:
    """One line that changes at the bottom of a terminal; all others go above it."""

    interval = _LIVE_INTERVAL

    def __init__(self, form: LineForm, stack: ExitStack) -> None:
        from rich.console import Console
        from rich.live import Live
        from rich.text import Text

        self._form = form
        self._text = Text
        self._console = Console(stderr=True, highlight=False)
        # No thread that refreshes it: the progress is the one thing that changes it.
        self._live = Live(console=self._console, auto_refresh=False, transient=True, redirect_stdout=False)
        #: A terminal that was closed takes nothing more, and that is no reason to fail.
        self._is_there = True
        self._attempt(self._live.start)
        if self._is_there:
            stack.callback(self._close)

    def note(self, text: str, level: str = "info") -> None:
        self.log(self._form.note(text, level), 0)

    def log(self, line: str, level: int) -> None:
        self._attempt(lambda: self._console.print(self._text(line), soft_wrap=True))

    def progress(self, text: str) -> None:
        shown = self._text(text, style="cyan", no_wrap=True, overflow="ellipsis")
        self._attempt(lambda: self._live.update(shown, refresh=True))

    def show(self, view: View) -> None:
        self.progress(progress_line(view))

    def _attempt(self, show: Callable[[], None]) -> None:
        if self._is_there:
            try:
                show()
            except OSError:
                self._is_there = False

    def _close(self) -> None:
        # Also when nobody sees it: it gives sys.stderr back.
        with suppress(OSError):
            self._live.stop()


@contextmanager
def open_screen(
    log: LogOptions | None = None, view: str = "line", *, repeats: RepeatFilter | None = None
) -> Iterator[Screen]:
    """A screen for as long as the block lasts, with the library's log on it.

    Args:
        log: what of the log is shown, and how.
        view: one of :data:`~trio_sessions.cli._logs.VIEWS`; ``"auto"``: the dashboard on a terminal, else lines.
        repeats: what holds back the lines that repeat.

    Raises:
        InvalidInputError: a dashboard where none can be.
    """
    log = log or LogOptions()
    form = form_of(log)
    with ExitStack() as stack:
        screen = _screen(form, _possible(view, log), stack)
        stack.enter_context(logging_to(screen.log, form, log.level, repeats=repeats))
        yield screen


def _possible(view: str, log: LogOptions) -> str:
    """The view to use, ``"plain"`` among them: where stderr is a file, or holds objects for programs."""
    is_live = _is_terminal() and log.format == "text"
    if view == "dashboard" and not is_live:
        rule = "needs a terminal that can move its cursor, and the log as text"
        raise InvalidInputError("--view", view, rule, "leave it out")
    if view == "auto":
        view = "dashboard"
    return view if is_live or view == "none" else "plain"


def _screen(form: LineForm, view: str, stack: ExitStack) -> Screen:
    if view == "dashboard":
        from trio_sessions.cli._dashboard_screen import DashboardScreen

        return DashboardScreen(form, stack)
    if view == "line":
        return _LineScreen(form, stack)
    return _PlainScreen(form, with_progress=view != "none")


def _is_terminal() -> bool:
    return sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM") not in (None, "", "dumb")
