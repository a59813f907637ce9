"""A journal as others see it: read while its owner works with it, or after he died, and changed in nothing."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import attrs

from trio_sessions._journal_file import read_journal, refuse_foreign
from trio_sessions._journal_lock import hold_lock, look_at_lock, unlink_journal
from trio_sessions._journal_row import JournalRow
from trio_sessions._journal_sqlite import connect, translated

__all__ = ["JournalLook", "look_at_journal", "remove_empty_journal"]


@attrs.frozen
class JournalLook:
    """What a journal held at some moment.

    Attributes:
        path: of its file, as given.
        node: what tells its node from others; see ``node_key``.
        rows: in the order of their making.
        is_held: whether a process had it.
    """

    path: str
    node: str | None
    rows: tuple[JournalRow, ...]
    is_held: bool


def look_at_journal(path: str) -> JournalLook | None:
    """What the journal in the file ``path`` holds; ``None`` where there is no file, or an empty one.

    No file is written, made or removed, and no lock kept.

    Raises:
        InvalidInputError: it is no file, or may not be read.
        JournalError: it is not one of ours, damaged, or written by a newer version.
    """
    with translated(path):
        real = os.path.realpath(path)
        if not os.path.lexists(real):
            return None
        refuse_foreign(path, real)
        if os.path.getsize(real) == 0:
            return None
        with look_at_lock(real) as is_held:
            return _read(path, real, is_held=is_held)


def remove_empty_journal(path: str) -> bool:
    """Remove the journal and what stands beside it, if it remembers nothing; whether it was removed.

    Raises:
        InstanceInUseError: a process has it.
        InvalidInputError, JournalError: as :func:`look_at_journal`.
    """
    with translated(path), ExitStack() as held:
        real = os.path.realpath(path)
        if not os.path.exists(real):
            return False
        hold_lock(path, real, held)
        refuse_foreign(path, real)
        if os.path.getsize(real) and _read(path, real, is_held=False).rows:
            return False
        unlink_journal(real)
        return True


def _read(path: str, real: str, *, is_held: bool) -> JournalLook:
    is_logged = os.path.exists(f"{real}-wal")
    with _connection(real, is_held=is_held, is_logged=is_logged) as db:
        node, rows = read_journal(path, db, size=None if is_logged else os.path.getsize(real))
        return JournalLook(path, node, rows, is_held)


@contextmanager
def _connection(real: str, *, is_held: bool, is_logged: bool) -> Iterator[sqlite3.Connection]:
    """A connection that leaves no trace."""
    if not is_logged:
        with closing(connect(real, "mode=ro&immutable=1")) as db:
            yield db
    elif is_held:
        # The owner's locks order what both do.
        with closing(connect(real, "mode=ro")) as db:
            yield db
    else:
        # Whoever reads the log of a process that died rebuilds its index, in the file: so it is done with a copy.
        with TemporaryDirectory(prefix="trio-sessions-") as folder:
            copy = str(Path(folder) / "journal")
            for suffix in ("", "-wal"):
                shutil.copyfile(real + suffix, copy + suffix)
            with closing(connect(copy, "mode=rw")) as db:
                yield db
