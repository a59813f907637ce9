"""Where a value comes from, and which of several values counts."""

from __future__ import annotations

from enum import IntEnum

import attrs

__all__ = ["DEFAULT", "Origin", "Source"]


class Source(IntEnum):
    """What a configuration is made of: the value of the highest source counts."""

    DEFAULT = 0
    USER_FILE = 1
    PROJECT_FILE = 2
    ENVIRONMENT = 3
    FLAG = 4

    @property
    def is_file(self) -> bool:
        """Whether it is one of the files."""
        return self in (Source.USER_FILE, Source.PROJECT_FILE)


@attrs.frozen
class Origin:
    """Where a value was said.

    Attributes:
        source: what kind of place it is.
        name: of the flag, of the variable or of the file; empty for a default.
        line: in the file.
    """

    source: Source
    name: str = ""
    line: int | None = None

    def __str__(self) -> str:
        if self.source is Source.DEFAULT:
            return "default"
        return self.name if self.line is None else f"{self.name}:{self.line}"


DEFAULT = Origin(Source.DEFAULT)
