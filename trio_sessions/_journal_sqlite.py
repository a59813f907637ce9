"""SQLite as the journal's file uses it: connections, transactions, and whatever goes wrong as one of our errors."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import shorten
from typing import Any

from trio_sessions._errors import InvalidInputError, JournalError

__all__ = ["DAMAGED", "FOREIGN", "connect", "fetch", "transaction", "translated"]

#: Seconds to wait for another program that holds a lock on the file; a reader never holds one that we need.
_BUSY_TIMEOUT = 2.0

#: Characters of what SQLite says: it may quote a whole table's definition.
_LONGEST = 80

# What can be wrong with the file, and what to do.
_LOCKED = ("it is locked by another program", "end the program that writes to it")
_READ_ONLY = ("it is read-only", "make the file and its folder writable, or name another file")
_NO_ROOM = ("there is no room to write to it", "make room on its disk, or raise the quota or the limit of file sizes")
FOREIGN = ("it is not a journal of this program", "name another file")
# Nothing stays for ever without the journal (contract §3.5).
DAMAGED = ("it is damaged", "move it away to begin a new one: the node ends unused listeners by itself")
_FAILED = ("it cannot be used", "check the file, its folder and its disk")

# A code stands for the codes that extend it, too: the extended ones are looked up first.
_SQLITE_PROBLEMS = {
    sqlite3.SQLITE_ERROR: FOREIGN,  # no such table, no such column
    sqlite3.SQLITE_NOTADB: FOREIGN,
    sqlite3.SQLITE_BUSY: _LOCKED,
    sqlite3.SQLITE_LOCKED: _LOCKED,
    sqlite3.SQLITE_READONLY: _READ_ONLY,
    sqlite3.SQLITE_FULL: _NO_ROOM,
    # SQLite calls only ENOSPC a full disk; quotas and limits of file sizes come as these.
    sqlite3.SQLITE_IOERR_WRITE: _NO_ROOM,
    sqlite3.SQLITE_IOERR_SHMSIZE: _NO_ROOM,
    sqlite3.SQLITE_CORRUPT: DAMAGED,
}

_SYSTEM_PROBLEMS = {
    errno.EROFS: _READ_ONLY,
    errno.ENOSPC: _NO_ROOM,
    errno.EDQUOT: _NO_ROOM,
    errno.EFBIG: _NO_ROOM,
}


def connect(real: str, mode: str) -> sqlite3.Connection:
    """A connection to the file, with these parameters of SQLite's; transactions are begun by :func:`transaction`."""
    # check_same_thread: the threads that call take turns. isolation_level: transactions are begun where they are meant.
    return sqlite3.connect(
        f"{Path(real).as_uri()}?{mode}",
        uri=True,
        timeout=_BUSY_TIMEOUT,
        check_same_thread=False,
        isolation_level=None,
    )


def fetch(db: sqlite3.Connection, query: str) -> tuple[Any, ...]:
    """The first row of the answer, or ``()``."""
    rows: list[tuple[Any, ...]] = db.execute(query).fetchall()
    return rows[0] if rows else ()


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """All changes of the block, or none."""
    try:
        db.execute("BEGIN IMMEDIATE")
        yield
        db.execute("COMMIT")
    except BaseException:
        # Of some errors SQLite rolls back by itself.
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


@contextmanager
def translated(path: str) -> Iterator[None]:
    """The one edge where errors of the system and of SQLite become ours."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InvalidInputError("journal", path, "its folder does not exist", "create it first") from error
    except PermissionError as error:
        rule = "the file or its folder may not be read or written by this user"
        raise InvalidInputError("journal", path, rule, "change its rights, or name another file") from error
    except OSError as error:
        problem, remedy = _SYSTEM_PROBLEMS.get(error.errno or 0, _FAILED)
        raise JournalError(path, f"{problem} ({error.strerror})", remedy) from error
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", None) or 0
        problem, remedy = _SQLITE_PROBLEMS.get(code) or _SQLITE_PROBLEMS.get(code & 0xFF) or _FAILED
        raise JournalError(path, f"{problem} ({shorten(str(error), _LONGEST)})", remedy) from error
    except UnicodeDecodeError as error:
        # SQLite's own message, when it quotes what is damaged.
        raise JournalError(path, *DAMAGED) from error
