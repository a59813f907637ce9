"""One small fault: a piece of a source file, and what stands there instead."""

from __future__ import annotations

import hashlib

import attrs

__all__ = ["Mutant"]


@attrs.frozen
class Mutant:
    """A change of one piece of a file.

    Attributes:
        file: the file, seen from the project's root.
        scope: the class or function that it stands in; empty at the top of the file.
        kind: which sort of change.
        before: the piece.
        after: what stands there instead.
        number: of those that are alike in all of the above, in their order.
        start: the first byte of the piece in the file.
        lines: the first and the last line of the statement, or of its head, that the piece belongs to.
        is_inside: it stands in the body of a function, so it shows in a module that is already imported, too.
    """

    file: str
    scope: str
    kind: str
    before: str
    after: str
    number: int
    start: int
    lines: tuple[int, int]
    is_inside: bool

    @property
    def id(self) -> str:
        """A name that stays when lines move."""
        parts = (self.file, self.scope, self.kind, self.before, self.after, str(self.number))
        return hashlib.sha256("\0".join(" ".join(part.split()) for part in parts).encode()).hexdigest()[:8]

    @property
    def text(self) -> str:
        """The change in one line."""
        number = f" (number {self.number + 1})" if self.number else ""
        return f"{' '.join(self.before.split())}  ->  {' '.join(self.after.split())}{number}"

    def apply(self, source: bytes) -> bytes:
        """``source`` with the change."""
        end = self.start + len(self.before.encode())
        assert source[self.start : end] == self.before.encode()
        return source[: self.start] + self.after.encode() + source[end:]
