"""The second wall before secrets: whatever a command prints goes through here. The first is that nobody prints them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from urllib.parse import quote

__all__ = ["Redactor", "clean", "hide", "redacting"]

#: What stands where a secret was.
_TOKEN = "<token>"  # noqa: S105 - the word that is shown instead of one
_CREDENTIALS = "<credentials>"

#: Characters of the shortest token that a node takes (contract §1.2). The client refuses a shorter one before it is
#: used, and to replace "a" everywhere would leave nothing to read.
_SHORTEST = 8

#: ``user:password@`` of a URL.
_IN_URL = re.compile(r"(?<=://)[^\s/@\"'<>]+@")
#: The value of a header that authorises, however header and value are written.
_IN_HEADER = re.compile(
    r"(?P<name>\b(?:authorization|x-auth-token)\\?[\"']?\s*[:=,]\s*(?:b(?=[\"']))?\\?[\"']?)"
    r"(?:(?:bearer|basic)\s+)?[^\s\"'\\,;}\])<>]+",
    re.IGNORECASE,
)
_BEARER = re.compile(r"(?P<name>\bBearer\s+)[!#-&*-+\--:=?-\[\]-z|~]{8,}")


class Redactor:
    """Replaces secrets in texts: those it was told, and what by its place can only be one."""

    def __init__(self) -> None:
        #: Every form of every secret, the longest first: one may be a part of another.
        self._forms: tuple[str, ...] = ()

    def hide(self, secret: str) -> None:
        """Show ``secret`` no more, nor as JSON, Python or a URL write it."""
        if len(secret) < _SHORTEST:
            return
        in_json = json.dumps(secret)[1:-1]
        forms = {
            secret,
            in_json,
            repr(secret)[1:-1],
            in_json.replace("'", "\\'"),
            quote(secret, safe=""),
            quote(secret),
        }
        self._forms = tuple(sorted({*self._forms, *forms}, key=lambda form: (-len(form), form)))

    def clean(self, text: str) -> str:
        """``text`` without them."""
        for form in self._forms:
            text = text.replace(form, _TOKEN)
        if "://" in text:
            text = _IN_URL.sub(f"{_CREDENTIALS}@", text)
        text = _IN_HEADER.sub(rf"\g<name>{_TOKEN}", text)
        return _BEARER.sub(rf"\g<name>{_TOKEN}", text)


_current: ContextVar[Redactor | None] = ContextVar("redactor", default=None)
#: Where no command runs there is no secret to know, but there may be one to recognise.
_STRANGER = Redactor()


@contextmanager
def redacting() -> Iterator[None]:
    """For as long as the block lasts, :func:`hide` is remembered, in all its tasks and threads; may be nested."""
    if _current.get() is not None:
        yield
        return
    before = _current.set(Redactor())
    try:
        yield
    finally:
        _current.reset(before)


def hide(secret: str | None) -> None:
    """Show ``secret`` nowhere from now on, while a command runs. Whoever reads one calls this first of all."""
    redactor = _current.get()
    if redactor is not None and secret is not None:
        redactor.hide(secret)


def clean(text: str) -> str:
    """``text`` without any secret."""
    return (_current.get() or _STRANGER).clean(text)
