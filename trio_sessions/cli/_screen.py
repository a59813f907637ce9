"""What a running command shows on stderr: lines, the library's log, and one line of progress."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Protocol

from trio_sessions.cli._streams import say

__all__ = ["Screen", "open_screen"]

#: Seconds between two looks at the progress: for a person, and for a log file.
_LIVE_INTERVAL = 0.5
_PLAIN_INTERVAL = 3.0


class Screen(Protocol):
    """Where a running command shows what it does.

    Attributes:
        interval: seconds between two calls of :meth:`progress`.
    """

    interval: float

    def note(self, line: str) -> None:
        """Say one line."""

    def progress(self, line: str) -> None:
        """Show how far it is."""


class _PlainScreen:
    interval = _PLAIN_INTERVAL

    def note(self, line: str) -> None:
        say(f"trio-sessions: {line}")

    def progress(self, line: str) -> None:
        self.note(line)


class _LiveScreen:
    """One line that changes at the bottom of a terminal; notes go above it."""

    interval = _LIVE_INTERVAL

    def __init__(self, stack: ExitStack) -> None:
        from rich.console import Console
        from rich.live import Live
        from rich.text import Text

        self._text = Text
        self._console = Console(stderr=True, highlight=False)
        # No thread that refreshes it: the progress is the one thing that changes it.
        self._live = Live(console=self._console, auto_refresh=False, transient=True, redirect_stdout=False)
        #: A terminal that was closed takes nothing more, and that is no reason to fail.
        self._is_there = True
        self._attempt(self._live.start)
        if self._is_there:
            stack.callback(self._close)

    def note(self, line: str) -> None:
        self._attempt(lambda: self._console.print(self._text(f"trio-sessions: {line}"), soft_wrap=True))

    def progress(self, line: str) -> None:
        text = self._text(line, style="cyan", no_wrap=True, overflow="ellipsis")
        self._attempt(lambda: self._live.update(text, refresh=True))

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
def open_screen(verbosity: int) -> Iterator[Screen]:
    """A screen for as long as the block lasts, with the library's log on it.

    Args:
        verbosity: 0 shows the log's warnings and worse, one line each; 1 what happens, too; 2 everything.
    """
    with ExitStack() as stack:
        screen = _LiveScreen(stack) if _is_terminal() else _PlainScreen()
        stack.enter_context(_log_on(screen, verbosity))
        yield screen


def _is_terminal() -> bool:
    return sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM") not in (None, "", "dumb")


@contextmanager
def _log_on(screen: Screen, verbosity: int) -> Iterator[None]:
    logger = logging.getLogger("trio_sessions")
    level, propagate = logger.level, logger.propagate
    handler = _ScreenHandler(screen)
    handler.setFormatter(_Formatter(with_traceback=verbosity > 0))
    logger.setLevel((logging.WARNING, logging.INFO, logging.DEBUG)[min(verbosity, 2)])
    logger.propagate = False
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagate


class _ScreenHandler(logging.Handler):
    def __init__(self, screen: Screen) -> None:
        super().__init__()
        self._screen = screen

    def emit(self, record: logging.LogRecord) -> None:
        self._screen.note(self.format(record))


class _Formatter(logging.Formatter):
    """``warning: message``, and an exception in the same line unless a traceback was asked for."""

    def __init__(self, *, with_traceback: bool) -> None:
        super().__init__()
        self._with_traceback = with_traceback

    def format(self, record: logging.LogRecord) -> str:
        line = f"{record.levelname.lower()}: {record.getMessage()}"
        error = record.exc_info[1] if record.exc_info else None
        if error is None:
            return line
        if self._with_traceback:
            return f"{line}\n{self.formatException((type(error), error, error.__traceback__))}"
        return f"{line}: {type(error).__name__}: {error}"
