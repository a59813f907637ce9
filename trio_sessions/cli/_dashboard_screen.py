"""The dashboard on a terminal: it has the whole of it while it runs, and gives it back as it was."""

from __future__ import annotations

import logging
from collections import deque
from contextlib import ExitStack, suppress
from datetime import datetime

from rich.console import Console
from rich.live import Live

from trio_sessions.cli._dashboard import dashboard
from trio_sessions.cli._dashboard_model import View
from trio_sessions.cli._log_lines import LineForm, one_line
from trio_sessions.cli._streams import say

__all__ = ["DashboardScreen"]

#: Seconds between two pictures.
_INTERVAL = 0.5
#: Events that are kept: more than any terminal shows. And lines of the log that are said again at the end.
_MOST_EVENTS = 50
_MOST_REPEATED = 20

_PREFIX = "trio-sessions: "


class DashboardScreen:
    """Draws the view on the terminal's second screen, from the first :meth:`show` on; before, lines are said as such.

    When it closes, the terminal shows what it showed before, and below that the last warnings and errors of the log:
    nobody shall miss them.
    """

    interval = _INTERVAL

    def __init__(self, form: LineForm, stack: ExitStack) -> None:
        self._form = form
        self._console = Console(stderr=True, highlight=False)
        self._live = Live(
            console=self._console, screen=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False
        )
        self._events: deque[str] = deque(maxlen=_MOST_EVENTS)
        self._to_repeat: deque[str] = deque(maxlen=_MOST_REPEATED)
        self._is_shown = False
        #: A terminal that was closed takes nothing more, and that is no reason to fail.
        self._is_there = True
        self._last: View | None = None
        stack.callback(self._close)

    def note(self, text: str, level: str = "info") -> None:
        """One more event."""
        line = self._form.note(text, level)
        self._event(line.removeprefix(_PREFIX))
        if not self._is_shown:
            say(line)
        elif self._last is not None:
            # Who presses Ctrl-C shall see at once that it was heard.
            self._draw(self._last)

    def log(self, line: str, level: int) -> None:
        """One more event; a warning is said again at the end."""
        self._event(line.partition("\n")[0].removeprefix(_PREFIX))
        if not self._is_shown:
            say(line)
        elif level >= logging.WARNING:
            self._to_repeat.append(line)

    def progress(self, text: str) -> None:
        """One line has no place here."""

    def show(self, view: View) -> None:
        """Draw the view."""
        for text in view.events:
            self._event(one_line(text))
        self._last = view
        self._draw(view)

    def _event(self, text: str) -> None:
        self._events.append(f"{datetime.now():%H:%M:%S} {text}")

    def _draw(self, view: View) -> None:
        if not self._is_there:
            return
        try:
            if not self._is_shown:
                self._is_shown = True
                self._live.start()
            width, height = self._console.size
            self._live.update(dashboard(view, tuple(self._events), width, height), refresh=True)
        except OSError:
            self._is_there = False

    def _close(self) -> None:
        if self._is_shown:
            with suppress(OSError):
                self._live.stop()
        for line in self._to_repeat:
            say(line)
