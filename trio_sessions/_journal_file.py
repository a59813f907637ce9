"""The journal on disk: what listeners we may have at the node, in an SQLite file that outlives ``kill -9``.

One instance owns a file, others may read it meanwhile. Everything here blocks, and is called by one thread at a time.
A file that is refused stays as it was: it is looked at through connections that cannot write until it has proved to
be a sound journal of this node.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import stat
import time
from collections.abc import Mapping
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any
from zlib import crc32

from trio_sessions._errors import InvalidInputError, JournalError
from trio_sessions._journal_codec import (
    dump_listener,
    dump_listeners,
    dump_request,
    load_listener,
    load_listeners,
    load_request,
)
from trio_sessions._journal_lock import hold_lock
from trio_sessions._journal_row import JournalRow
from trio_sessions._journal_sqlite import DAMAGED, FOREIGN, connect, fetch, transaction, translated

__all__ = ["JournalFile", "read_journal", "refuse_foreign"]

#: "TrSj": tells our files from other SQLite databases.
_APPLICATION_ID = 0x5472536A

_VERSION = 1

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
        with translated(path), ExitStack() as held:
            # Symbolic links to one file share its lock.
            real = os.path.realpath(path)
            refuse_foreign(path, real)
            hold_lock(path, real, held)
            exists = os.path.exists(real)
            if exists and not os.access(real, os.W_OK):
                raise PermissionError(errno.EACCES, "may not be written")
            if not exists or os.path.getsize(real) == 0:
                _create(real, node)
            next_id = _verify(path, real, node)
            db = held.enter_context(closing(connect(real, "mode=rw")))
            fetch(db, "PRAGMA journal_mode = WAL")
            # What is committed stays so also when the power fails.
            db.execute("PRAGMA synchronous = FULL")
            with transaction(db):
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
        with translated(self.path):
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
        with translated(self.path), transaction(self._db):
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


def refuse_foreign(path: str, real: str) -> None:
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
    with closing(connect(real, "mode=ro&immutable=1")) as db:
        (application,) = fetch(db, "PRAGMA application_id")
    if application != _APPLICATION_ID:
        raise JournalError(path, *FOREIGN)


def _create(real: str, node: str) -> None:
    """Write an empty journal beside the file and move it there: so it is whole, or it isn't there."""
    new = f"{real}.new"
    # Of a process that was killed here.
    _remove(new)
    os.close(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    try:
        with closing(connect(new, "mode=rw")) as db:
            # No rollback, so no second file to clean up: half a file is removed anyway, and a whole one synced below.
            fetch(db, "PRAGMA journal_mode = OFF")
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
    is_logged = os.path.exists(f"{real}-wal")
    with closing(connect(real, "mode=ro" if is_logged else "mode=ro&immutable=1")) as db:
        found, _ = read_journal(path, db, size=None if is_logged else os.path.getsize(real))
        if found != node:
            whose = "no node" if found is None else repr(found)
            raise JournalError(path, f"it belongs to {whose}, not to {node!r}", "give each node a journal of its own")
        next_id: int = fetch(db, _NEXT_ID)[0]
        return next_id


def read_journal(path: str, db: sqlite3.Connection, *, size: int | None) -> tuple[str | None, tuple[JournalRow, ...]]:
    """The node of a journal and its rows, when it is sound as a whole.

    Args:
        path: to name in errors.
        db: its file.
        size: of the file in bytes; ``None`` where it may be short, since there is a log of later changes.

    Raises:
        JournalError: it was written by a newer version, or is damaged.
    """
    (version,) = fetch(db, "PRAGMA user_version")
    if version > _VERSION:
        problem = f"it was written by a newer version (schema {version}, known is {_VERSION})"
        raise JournalError(path, problem, "use that version, or name another file")
    (found,) = fetch(db, "PRAGMA quick_check(1)")
    (pages,) = fetch(db, "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size")
    # SQLite takes zeros for the end of a page that was cut off.
    if version != _VERSION or found != "ok" or (size is not None and pages > size):
        raise JournalError(path, *DAMAGED)
    node = fetch(db, "SELECT value FROM meta WHERE name = 'node'")
    return (node[0] if node else None), _read_rows(path, db, _boot_id())


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
            raise JournalError(path, f"its row {columns[0]} is damaged: {error}", DAMAGED[1]) from error
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
