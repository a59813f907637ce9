"""The journal at work: changes are collected and written in one transaction at a time, off the event loop."""

from __future__ import annotations

import logging
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import attrs
import trio

from trio_sessions._errors import JournalError
from trio_sessions._journal_row import JournalRow
from trio_sessions._log_fields import about
from trio_sessions._repeats import Repeats

if TYPE_CHECKING:
    from trio_sessions._journal_file import JournalFile

__all__ = ["InThread", "Journal", "open_journal"]

_log = logging.getLogger("trio_sessions.journal")

#: Runs a function off the event loop, like :func:`trio.to_thread.run_sync`.
InThread = Callable[..., Awaitable[Any]]

#: Seconds that a change which nobody waits for may wait for others, to be written with them.
_LINGER = 0.005
#: Seconds until what could not be written is tried again.
_RETRY = 1.0
#: Seconds that closing the file may take, after the stop's own deadline: a disk that hangs holds up nobody.
_CLOSE_TIMEOUT = 0.5


@attrs.define(eq=False)
class _Batch:
    """Changes that are written together: what each row is to be, or that it is to be no more."""

    changes: dict[int, JournalRow | None] = attrs.field(factory=dict)
    written: trio.Event = attrs.field(factory=trio.Event)
    error: JournalError | None = None


@asynccontextmanager
async def open_journal(path: str, node: str, in_thread: InThread) -> AsyncIterator[Journal]:
    """The journal in the file ``path``, for the node that ``node`` tells apart from others.

    Raises:
        InvalidInputError: the path is no place for a file.
        InstanceInUseError: another process has it.
        JournalError: it cannot be read, or not be written.
    """
    # Here, since most who import the library have no journal, and SQLite takes its time.
    from trio_sessions._journal_file import JournalFile  # noqa: PLC0415

    journal = Journal(await in_thread(JournalFile.open, path, node), in_thread)
    try:
        await journal.load()
        yield journal
    finally:
        with trio.move_on_after(_CLOSE_TIMEOUT, shield=True):
            await journal.close()


class Journal:
    """What we have at the node, as an earlier run of ours left it and as the next one will find it.

    Changes never wait for the disk, except an intent: no POST goes out before it is durable. Many at a time are
    written in one transaction.
    """

    def __init__(self, file: JournalFile, in_thread: InThread) -> None:
        self._file = file
        #: Of the thread that works with the file.
        self._lock = threading.Lock()
        self._in_thread = in_thread
        self._rows: tuple[JournalRow, ...] = ()
        self._next_id = file.next_id
        self._batch = _Batch()
        #: Set when there is something to write, and when somebody waits for that.
        self._wake = trio.Event()
        self._hasten = trio.Event()
        self._writing = False
        self._repeats = Repeats()

    async def load(self) -> None:
        """Read what is there.

        Raises:
            JournalError: it cannot be read.
        """
        self._rows = await self._in_thread(self._file.rows)

    @property
    def rows(self) -> tuple[JournalRow, ...]:
        """What was there at the start."""
        return self._rows

    def new_id(self) -> int:
        """The number of another row."""
        self._next_id += 1
        return self._next_id - 1

    def put(self, row: JournalRow) -> None:
        """Have the row written soon. Never waits."""
        self._change(row.id, row)

    def drop(self, row_id: int) -> None:
        """Have the row removed soon. Never waits."""
        self._change(row_id, None)

    async def write(self, row: JournalRow) -> None:
        """Write the row, and wait until it is durable. When cancelled, it may be written nevertheless.

        Raises:
            JournalError: it could not be written.
        """
        self._change(row.id, row)
        self._hasten.set()
        batch = self._batch
        await batch.written.wait()
        if batch.error is not None:
            # An error object for each who waits: a shared one would collect the tracebacks of all.
            raise JournalError(batch.error.path, batch.error.problem, batch.error.remedy) from batch.error

    async def flush(self) -> None:
        """Wait until all changes so far were written, or have failed to be."""
        while self._batch.changes or self._writing:
            batch = self._batch
            self._wake.set()
            self._hasten.set()
            await batch.written.wait()
            if batch.error is not None:
                return

    async def run(self) -> None:
        """Write what is to be written, until cancelled."""
        while True:
            await self._wake.wait()
            with trio.move_on_after(_LINGER):
                await self._hasten.wait()
            self._wake, self._hasten = trio.Event(), trio.Event()
            batch, self._batch = self._batch, _Batch()
            self._writing = True
            try:
                # A disk that hangs must not hold up a stop: then the thread is left to itself.
                await self._in_thread(self._commit, batch.changes, abandon_on_cancel=True)
            except JournalError as error:
                batch.error = error
                self._failed(batch, error)
            except trio.Cancelled:
                batch.error = JournalError(self._file.path, "was not written before the stop", "start again")
                raise
            except Exception as error:  # noqa: BLE001 - such as of a thread that cannot start; sessions live on
                batch.error = JournalError(self._file.path, f"was not written: {error!r}", "see what the system lacks")
                self._failed(batch, batch.error)
            finally:
                self._writing = False
                batch.written.set()
            if batch.error is not None:
                with trio.move_on_after(_RETRY):
                    await self._wake.wait()
                self._wake.set()

    async def close(self) -> None:
        """Close the file; where a thread hangs with it, that is when it hangs no more, whoever waits."""
        await self._in_thread(self._close, abandon_on_cancel=True)

    def _commit(self, changes: dict[int, JournalRow | None]) -> None:
        with self._lock:
            self._file.commit(changes)

    def _close(self) -> None:
        with self._lock:
            self._file.close()

    def _change(self, row_id: int, row: JournalRow | None) -> None:
        self._batch.changes[row_id] = row
        self._wake.set()

    def _failed(self, batch: _Batch, error: JournalError) -> None:
        """Keep what was not written, unless something newer is there; only the newest state of a row matters."""
        self._batch.changes = batch.changes | self._batch.changes
        if self._repeats.allows("write", trio.current_time()):
            _log.error("%s", error, extra=about(error=error))
