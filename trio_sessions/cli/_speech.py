"""What a command says of itself on stderr, beside the library's log: lines for people, or records like the log's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

from trio_sessions.cli._log_lines import LineForm, TextForm
from trio_sessions.cli._streams import say

__all__ = ["complain", "complain_of_bug", "speaking", "warn"]

_form: ContextVar[LineForm | None] = ContextVar("form", default=None)


@contextmanager
def speaking(form: LineForm) -> Iterator[None]:
    """For as long as the block lasts, what is said here is written in this form."""
    before = _form.set(form)
    try:
        yield
    finally:
        _form.reset(before)


def warn(warnings: Iterable[str]) -> None:
    """Say what may be a mistake."""
    for warning in warnings:
        say(_current().note(warning, "warning"))


def complain(text: str, steps: Sequence[str] = ()) -> None:
    """Say what went wrong, and what to check, likeliest first."""
    say(_current().complaint(text, steps))


def complain_of_bug(error: Exception) -> None:
    """Say all that is known of an error that is nobody's but ours."""
    say(_current().bug(error))


def _current() -> LineForm:
    return _form.get() or TextForm()
