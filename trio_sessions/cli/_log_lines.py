"""The library's log as lines on stderr: for people or as JSON, without secrets, and seldom where a fault repeats."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Protocol

from trio_sessions._log_fields import KEY
from trio_sessions._repeats import REPEAT_INTERVAL, Repeats
from trio_sessions.cli._logs import LogOptions
from trio_sessions.cli._redaction import clean
from trio_sessions.cli._status import checklist

__all__ = ["JsonForm", "LineForm", "LogLine", "RepeatFilter", "TextForm", "form_of", "logging_to", "one_line"]

#: On a record: how many like it were not shown.
_HELD_BACK = "trio_sessions_held_back"

_LOGGER = "trio_sessions"
#: The logger of what the command itself says.
_COMMAND = f"{_LOGGER}.cli"


class LineForm(Protocol):
    """How a line on stderr is written."""

    def note(self, text: str, level: str = "info") -> str:
        """What the command itself says."""

    def complaint(self, text: str, steps: Sequence[str]) -> str:
        """Why the command fails, and what to check, likeliest first."""

    def bug(self, error: Exception) -> str:
        """An error that ends the command and is our own mistake, with its traceback."""

    def record(self, record: logging.LogRecord) -> str:
        """What the library logged."""


#: Takes a line and its level.
LogLine = Callable[[str, int], None]


def one_line(text: str) -> str:
    """``text`` fit for one line: no secret, no control character, no line end."""
    text = clean(text)
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else " " if char.isspace() else "\N{REPLACEMENT CHARACTER}" for char in text
    )


class TextForm:
    """``trio-sessions: warning: message``; with a traceback behind it where that was asked for."""

    def __init__(self, *, with_traceback: bool = False) -> None:
        self._with_traceback = with_traceback

    def note(self, text: str, level: str = "info") -> str:
        """One line with the program's name, and the level where that is more than info."""
        return f"trio-sessions: {'' if level == 'info' else f'{level}: '}{one_line(text)}"

    def complaint(self, text: str, steps: Sequence[str]) -> str:
        """A line, and below it one for each step."""
        return "\n".join((self.note(text, "error"), *checklist(steps)))

    def bug(self, error: Exception) -> str:
        """The traceback, as the interpreter writes it."""
        return _traceback(error)

    def record(self, record: logging.LogRecord) -> str:
        """One line with the level and, in brackets, how many like it were not shown."""
        line = f"{record.levelname.lower()}: {record.getMessage()}"
        error = record.exc_info[1] if record.exc_info else None
        if error is not None and not self._with_traceback:
            line = f"{line}: {type(error).__name__}: {error}"
        held_back = getattr(record, _HELD_BACK, 0)
        if held_back:
            line = f"{line} ({held_back} more like it since the last such line)"
        line = self.note(line)
        return f"{line}\n{_traceback(error)}" if error is not None and self._with_traceback else line


class JsonForm:
    """One JSON object: time (UTC), level, logger, message and, where there are any, fields, error and traceback."""

    def __init__(self, *, with_traceback: bool = False) -> None:
        self._with_traceback = with_traceback

    def note(self, text: str, level: str = "info") -> str:
        """By the logger of the command line."""
        return self._line(time.time(), level, _COMMAND, text)

    def complaint(self, text: str, steps: Sequence[str]) -> str:
        """The steps are the field ``advice``."""
        more = {"fields": {"advice": list(steps)}} if steps else {}
        return self._line(time.time(), "error", _COMMAND, text, **more)

    def bug(self, error: Exception) -> str:
        """At the level critical, always with the traceback."""
        raised = {"class": type(error).__name__, "text": str(error)}
        text = f"a bug of trio-sessions: {raised['class']}: {raised['text']}"
        return self._line(time.time(), "critical", _COMMAND, text, traceback=_traceback(error), error=raised)

    def record(self, record: logging.LogRecord) -> str:
        """``held_back`` is how many like it were not shown."""
        more: dict[str, Any] = {}
        if held_back := getattr(record, _HELD_BACK, 0):
            more["held_back"] = held_back
        fields = dict(getattr(record, KEY, {}))
        error = {"class": fields.pop("error", None), "text": fields.pop("error_text", None)}
        if fields:
            more["fields"] = fields
        raised = record.exc_info[1] if record.exc_info else None
        if raised is not None:
            error = {"class": type(raised).__name__, "text": str(raised)}
            if self._with_traceback:
                more["traceback"] = _traceback(raised)
        if error["class"] is not None:
            more["error"] = error
        return self._line(record.created, record.levelname.lower(), record.name, record.getMessage(), **more)

    def _line(self, moment: float, level: str, logger: str, message: str, **more: Any) -> str:
        stamp = datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        # As ASCII, so that no reader takes a character of it for the end of a line.
        return json.dumps(_cleaned({"time": stamp, "level": level, "logger": logger, "message": message, **more}))


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, dict):
        return {key: _cleaned(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_cleaned(each) for each in value]
    return value


def _traceback(error: BaseException) -> str:
    text = logging.Formatter().formatException((type(error), error, error.__traceback__))
    return "\n".join(one_line(line) for line in text.splitlines())


def form_of(options: LogOptions) -> LineForm:
    """The form that ``options`` ask for."""
    with_traceback = options.level == "debug"
    return (
        JsonForm(with_traceback=with_traceback) if options.format == "json" else TextForm(with_traceback=with_traceback)
    )


class RepeatFilter(logging.Filter):
    """Holds back warnings and errors that repeat: the first is shown at once, then one a minute with their number.

    Alike are those of one ``fault`` (see :mod:`trio_sessions._log_fields`), or else of one logger, level and text with
    one class of error: whose session it is makes no difference. What is below a warning is not held back: whoever asks
    for that wants all of it.

    Args:
        clock: seconds, never going back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, interval: float = REPEAT_INTERVAL) -> None:
        super().__init__()
        self._clock = clock
        self._repeats = Repeats(interval)

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is to be shown; notes on it how many were not."""
        if record.levelno < logging.WARNING:
            return True
        held_back = self._repeats.take(_fault(record), self._clock())
        setattr(record, _HELD_BACK, held_back or 0)
        return held_back is not None

    @property
    def held_back(self) -> int:
        """How many were not shown, and have not been counted in a later line."""
        return sum(self._repeats.held_back.values())


def _fault(record: logging.LogRecord) -> tuple[object, ...]:
    fields = getattr(record, KEY, {})
    if "fault" in fields:
        return (fields["fault"],)
    error = record.exc_info[0] if record.exc_info else None
    return record.name, record.levelno, str(record.msg), error.__name__ if error else fields.get("error")


class _Handler(logging.Handler):
    def __init__(self, form: LineForm, show: LogLine) -> None:
        super().__init__()
        self._form = form
        self._show = show

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self._form.record(record)
        except Exception as error:  # noqa: BLE001 - a line that cannot be written is no reason to fail
            # Not the standard library's way, which would show the arguments as they are.
            line = self._form.note(f"a line of the log could not be written: {record.msg}: {type(error).__name__}")
        self._show(line, record.levelno)


@contextmanager
def logging_to(
    show: LogLine, form: LineForm, level: str, *, repeats: RepeatFilter | None = None
) -> Iterator[Callable[[str], None]]:
    """The library's log goes to ``show`` as lines, for as long as the block lasts.

    The value is a function that changes the level, one of :data:`~trio_sessions.cli._logs.LEVELS`.
    """
    logger = logging.getLogger(_LOGGER)
    before, propagate = logger.level, logger.propagate
    repeats = repeats or RepeatFilter()
    handler = _Handler(form, show)
    handler.addFilter(repeats)

    def set_level(name: str) -> None:
        logger.setLevel(name.upper())

    set_level(level)
    logger.propagate = False
    logger.addHandler(handler)
    try:
        yield set_level
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)
        logger.propagate = propagate
        if repeats.held_back:
            show(form.note(f"{repeats.held_back} more warnings like those above were not shown"), logging.WARNING)
