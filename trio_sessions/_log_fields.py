"""What a line of the log is about, as fields for programs: the text stays for people."""

from __future__ import annotations

from typing import Final

__all__ = ["KEY", "OUTAGE", "about"]

#: The attribute of a ``LogRecord`` that has the fields: the package's own name, which nobody else's can be.
KEY: Final = "trio_sessions"
#: The field ``fault`` of every line that says, in whatever words, that the node as a whole does not answer.
OUTAGE: Final = "outage"


def about(*, error: BaseException | None = None, **fields: object) -> dict[str, dict[str, object]]:
    """The argument ``extra`` of a log call.

    Numbers and texts stay what they are, anything else becomes its text, and what is ``None`` is left out. An error
    becomes its class's name, ``error``, and its text, ``error_text``.
    """
    found = {name: _plain(value) for name, value in fields.items() if value is not None}
    if error is not None:
        found["error"] = type(error).__name__
        found["error_text"] = str(error)
    return {KEY: found}


def _plain(value: object) -> object:
    return value if isinstance(value, (str, int, float)) else str(value)
