"""The journal on disk: what listeners we may have at the node, in an SQLite file that outlives ``kill -9``.

One instance owns a file, others may read it meanwhile. Everything here blocks, and is called by one thread at a time.
A file that is refused stays as it was: it is looked at through connections that cannot write until it has proved to
be a sound journal of this node.
"""

from __future__ import annotations

import errno
import fcntl
import os
import sqlite3
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from textwrap import shorten
from typing import Any
from zlib import crc32

from trio_sessions._errors import InstanceInUseError, InvalidInputError, JournalError
from trio_sessions._journal_codec import (
    dump_listener,
    dump_listeners,
    dump_request,
    load_listener,
    load_listeners,
    load_request,
)
from trio_sessions._journal_row import JournalRow

__all__ = ["JournalFile"]

#: Seconds to wait for another program that holds a lock on the file; a reader never holds one that we need.
_BUSY_TIMEOUT = 2.0

#: "TrSj": tells our files from other SQLite databases.
_APPLICATION_ID = 0x5472536A

_VERSION = 1

#: Characters of what SQLite says: it may quote a whole table's definition.
_LONGEST = 80

# AUTOINCREMENT remembers the highest id that was ever used. The columns boot and at say when the row was first written.
_SCHEMA = f"""
PRAGMA application_id = {_APPLICATION_ID};
PRAGMA user_version = {_VERSION};
CREATE TABLE meta (name TEXT PRIMARY KEY, value);
CREATE TABLE listener (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    state TEXT NOT NULL,
    route TEXT NOT NULL,
    request TEXT NOT NULL,
    alike TEXT,
    listener TEXT,
    checksum INTEGER NOT NULL,
    boot TEXT NOT NULL,
    at REAL NOT NULL
);
"""

_UPSERT = """
INSERT INTO listener VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET state = excluded.state, route = excluded.route, request = excluded.request,
    alike = excluded.alike, listener = excluded.listener, checksum = excluded.checksum
"""

_SELECT = "SELECT id, state, route, request, alike, listener, checksum, boot, at FROM listener ORDER BY id"

_NEXT_ID = """
SELECT 1 + max((SELECT coalesce(max(id), 0) FROM listener), (SELECT coalesce(max(seq), 0) FROM sqlite_sequence))
"""

# What can be wrong with the file, and what to do.
_LOCKED = ("it is locked by another program", "end the program that writes to it")
_READ_ONLY = ("it is read-only", "make the file and its folder writable, or name another file")
_NO_ROOM = ("there is no room to write to it", "make room on its disk, or raise the quota or the limit of file sizes")
_FOREIGN = ("it is not a journal of this program", "name another file")
# Nothing stays for ever without the journal (contract §3.5).
_DAMAGED = ("it is damaged", "move it away to begin a new one: the node ends unused listeners by itself")
_FAILED = ("it cannot be used", "check the file, its folder and its disk")

# A code stands for the codes that extend it, too: the extended ones are looked up first.
_SQLITE_PROBLEMS = {
    sqlite3.SQLITE_ERROR: _FOREIGN,  # no such table, no such column
    sqlite3.SQLITE_NOTADB: _FOREIGN,
    sqlite3.SQLITE_BUSY: _LOCKED,
    sqlite3.SQLITE_LOCKED: _LOCKED,
    sqlite3.SQLITE_READONLY: _READ_ONLY,
    sqlite3.SQLITE_FULL: _NO_ROOM,
    # SQLite calls only ENOSPC a full disk; quotas and limits of file sizes come as these.
    sqlite3.SQLITE_IOERR_WRITE: _NO_ROOM,
    sqlite3.SQLITE_IOERR_SHMSIZE: _NO_ROOM,
    sqlite3.SQLITE_CORRUPT: _DAMAGED,
}

_SYSTEM_PROBLEMS = {
    errno.EROFS: _READ_ONLY,
    errno.ENOSPC: _NO_ROOM,
    errno.EDQUOT: _NO_ROOM,
    errno.EFBIG: _NO_ROOM,
}


class JournalFile:
    """An open journal: see :meth:`open`.

    Attributes:
        path: as it was given.
    """

    def __init__(self, path: str, db: sqlite3.Connection, next_id: int, held: ExitStack) -> None:
        self.path = path
        self._db = db
        self._held = held
        self._boot = _boot_id()
        self._next_id = next_id

    @classmethod
    def open(cls, path: str, node: str) -> JournalFile:
        """Open the journal of ``node`` for this process alone; a missing or empty file becomes a new one.

        Whatever is wrong shows here, and not when the first listener is to be written: the file is read as a whole,
        and written to. A file that is refused stays as it was.

        Args:
            path: the file; beside it SQLite's own ones (``-wal``, ``-shm``) and a ``.lock`` come to stand.
            node: what identifies the node, e.g. ``"127.0.0.1:3001"``.

        Raises:
            InvalidInputError: there can be no journal at ``path``, or we may not write there.
            InstanceInUseError: another process, or this one, has it open.
            JournalError: anything else that is wrong with it.
        """
        with _translated(path), ExitStack() as held:
            # Symbolic links to one file share its lock.
            real = os.path.realpath(path)
            _refuse_foreign(path, real)
            _lock(path, real, held)
            exists = os.path.exists(real)
            if exists and not os.access(real, os.W_OK):
                raise PermissionError(errno.EACCES, "may not be written")
            if not exists or os.path.getsize(real) == 0:
                _create(real, node)
            next_id = _verify(path, real, node)
            db = held.enter_context(closing(_connect(real, "mode=rw")))
            _fetch(db, "PRAGMA journal_mode = WAL")
            # What is committed stays so also when the power fails.
            db.execute("PRAGMA synchronous = FULL")
            with _transaction(db):
                db.execute("UPDATE meta SET value = value + 1 WHERE name = 'openings'")
            return cls(path, db, next_id, held.pop_all())

    @property
    def next_id(self) -> int:
        """Above every id that the file ever held."""
        return self._next_id

    def rows(self) -> tuple[JournalRow, ...]:
        """What the file holds, in order of id.

        Raises:
            JournalError: it cannot be read, or a row makes no sense.
        """
        with _translated(self.path):
            return _read_rows(self.path, self._db, self._boot)

    def commit(self, changes: Mapping[int, JournalRow | None]) -> None:
        """Write the row of each id, or delete it where there is none: all of them durably, or nothing.

        A row that is written again keeps the time of its first write.

        Raises:
            JournalError: nothing was stored. Another commit may do better, when there is room again for example.
        """
        if not changes:
            return
        now = _uptime()
        with _translated(self.path), _transaction(self._db):
            for id_, row in changes.items():
                if row is None:
                    self._db.execute("DELETE FROM listener WHERE id = ?", (id_,))
                else:
                    columns = _columns(id_, row)
                    self._db.execute(_UPSERT, (*columns, _checksum(*columns), self._boot, now))
        written = (id_ for id_, row in changes.items() if row is not None)
        self._next_id = max(self._next_id, 1 + max(written, default=0))

    def close(self) -> None:
        """Let go of the file. Idempotent; using a closed journal raises JournalError."""
        self._held.close()


# -- opening


def _refuse_foreign(path: str, real: str) -> None:
    """Refuse what is not a journal, before even a lock file is put beside it."""
    try:
        found = os.stat(real)
    except FileNotFoundError:
        return
    if not stat.S_ISREG(found.st_mode):
        what = "is a folder" if stat.S_ISDIR(found.st_mode) else "is not a regular file"
        raise InvalidInputError("journal", path, what, "name a file")
    if not os.access(real, os.R_OK):
        raise PermissionError(errno.EACCES, "may not be read")
    if found.st_size == 0:
        return
    # SQLite reads it, and not we: closing a file of our own would drop all of this process's POSIX locks on it, those
    # of a connection that has it open included. "immutable" takes no lock and leaves a journal of the file's alone.
    with closing(_connect(real, "mode=ro&immutable=1")) as db:
        (application,) = _fetch(db, "PRAGMA application_id")
    if application != _APPLICATION_ID:
        raise JournalError(path, *_FOREIGN)


def _lock(path: str, real: str, held: ExitStack) -> None:
    """Hold the journal until ``held`` is closed; the kernel lets it go when the process dies.

    The lock file is never deleted: who had it open already would lock the deleted one, and the next one a new one.
    """
    lock = os.open(f"{real}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    held.callback(os.close, lock)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        remedy = "stop that one, or give this one a name or a journal of its own"
        raise InstanceInUseError(f"the journal {path}", remedy) from None


def _create(real: str, node: str) -> None:
    """Write an empty journal beside the file and move it there: so it is whole, or it isn't there."""
    new = f"{real}.new"
    # Of a process that was killed here.
    _remove(new)
    os.close(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    try:
        with closing(_connect(new, "mode=rw")) as db:
            # No rollback, so no second file to clean up: half a file is removed anyway, and a whole one synced below.
            _fetch(db, "PRAGMA journal_mode = OFF")
            db.execute("PRAGMA synchronous = OFF")
            db.executescript(_SCHEMA)
            db.execute("INSERT INTO meta VALUES ('node', ?), ('openings', 0)", (node,))
        _sync(new)
        # What a deleted journal left would be played into this one.
        for suffix in ("-wal", "-shm", "-journal"):
            _remove(real + suffix)
        os.replace(new, real)
    except BaseException:
        _remove(new)
        raise
    _sync(os.path.dirname(real))


def _verify(path: str, real: str, node: str) -> int:
    """Refuse what is not a sound journal of ``node``, through a connection that cannot change it; the next id."""
    # Reading a file in WAL mode needs a -wal: where there is none, "immutable" keeps SQLite from leaving one behind.
    logged = os.path.exists(f"{real}-wal")
    with closing(_connect(real, "mode=ro" if logged else "mode=ro&immutable=1")) as db:
        (version,) = _fetch(db, "PRAGMA user_version")
        if version > _VERSION:
            problem = f"it was written by a newer version (schema {version}, known is {_VERSION})"
            raise JournalError(path, problem, "use that version, or name another file")
        (found,) = _fetch(db, "PRAGMA quick_check(1)")
        (size,) = _fetch(db, "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size")
        # SQLite takes zeros for the end of a page that was cut off. With a log, the file itself may be short.
        if version != _VERSION or found != "ok" or (size > os.path.getsize(real) and not logged):
            raise JournalError(path, *_DAMAGED)
        holder = _fetch(db, "SELECT value FROM meta WHERE name = 'node'")
        if holder != (node,):
            whose = repr(holder[0]) if holder else "no node"
            raise JournalError(path, f"it belongs to {whose}, not to {node!r}", "give each node a journal of its own")
        _read_rows(path, db, "")
        next_id: int = _fetch(db, _NEXT_ID)[0]
        return next_id


# -- rows


def _columns(id_: int, row: JournalRow) -> tuple[Any, ...]:
    """The columns of a row that its checksum covers: all that decides what is closed."""
    return (
        id_,
        row.state,
        row.route,
        dump_request(row.request),
        None if row.before is None else dump_listeners(row.before),
        None if row.listener is None else dump_listener(row.listener),
    )


def _checksum(*columns: object) -> int:
    """SQLite keeps none: without it, one flipped bit makes another port of ours, and that may be a stranger's."""
    # Not repr, whose text depends on the Unicode tables of the Python.
    return crc32(ascii(columns).encode())


def _read_rows(path: str, db: sqlite3.Connection, boot: str) -> tuple[JournalRow, ...]:
    now = _uptime()
    rows = []
    for columns in db.execute(_SELECT).fetchall():
        try:
            rows.append(_read_row(columns, boot, now))
        except ValueError as error:
            raise JournalError(path, f"its row {columns[0]} is damaged: {error}", _DAMAGED[1]) from error
    return tuple(rows)


def _read_row(columns: tuple[Any, ...], boot: str, now: float) -> JournalRow:
    """The row, or ValueError, if it is damaged or was not written by us."""
    *covered, checksum, born_boot, born = columns
    if checksum != _checksum(*covered):
        raise ValueError("its checksum is wrong")
    id_, state, route, request, before, listener = covered
    return JournalRow(
        id=id_,
        state=state,
        route=route,
        request=load_request(request),
        before=None if before is None else load_listeners(before),
        listener=None if listener is None else load_listener(listener),
        age=now - born if boot and born_boot == boot and type(born) is float and born <= now else None,
    )


# -- the machine


def _uptime() -> float:
    """Seconds since the machine was booted, suspended ones included where the system counts them."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)


def _boot_id() -> str:
    """What differs from boot to boot; ``""`` where the system has no such thing."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _sync(path: str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _remove(path: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(path)


# -- SQLite


def _connect(real: str, mode: str) -> sqlite3.Connection:
    # check_same_thread: the threads that call take turns. isolation_level: transactions are begun where they are meant.
    return sqlite3.connect(
        f"{Path(real).as_uri()}?{mode}",
        uri=True,
        timeout=_BUSY_TIMEOUT,
        check_same_thread=False,
        isolation_level=None,
    )


def _fetch(db: sqlite3.Connection, query: str) -> tuple[Any, ...]:
    """The first row of the answer, or ``()``."""
    rows: list[tuple[Any, ...]] = db.execute(query).fetchall()
    return rows[0] if rows else ()


@contextmanager
def _transaction(db: sqlite3.Connection) -> Iterator[None]:
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
def _translated(path: str) -> Iterator[None]:
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
        raise JournalError(path, *_DAMAGED) from error
