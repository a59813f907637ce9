"""Who has a journal: a lock on a file beside it, which the kernel lets go when its process dies."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from trio_sessions._errors import InstanceInUseError

__all__ = ["hold_lock", "look_at_lock", "unlink_journal"]

#: What stands beside a journal: SQLite's own files and the lock, which goes last of all.
_COMPANIONS = ("-wal", "-shm", "-journal", ".new", ".lock")


def hold_lock(path: str, real: str, held: ExitStack) -> None:
    """Hold the journal until ``held`` is closed.

    Raises:
        InstanceInUseError: another process has it, or this one.
    """
    while True:
        lock = os.open(f"{real}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            remedy = "stop that one, or give this one a name or a journal of its own"
            raise InstanceInUseError(f"the journal {path}", remedy) from None
        except BaseException:
            os.close(lock)
            raise
        if _is_there(lock, f"{real}.lock"):
            held.callback(os.close, lock)
            return
        # Whoever removed the journal did so between the two calls: this locks nothing that another one would open.
        os.close(lock)


@contextmanager
def look_at_lock(real: str) -> Iterator[bool]:
    """Whether a process has the journal; while nobody has it, nobody gets it in the block.

    Nothing is written. An owner that starts at this very moment has to try again: see :func:`own_grounds`.
    """
    try:
        lock = os.open(f"{real}.lock", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield False
        return
    try:
        try:
            # Shared with all who look.
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            yield True
        else:
            yield False
    finally:
        os.close(lock)


def unlink_journal(real: str) -> None:
    """Remove a journal with all that stands beside it; for who holds its lock."""
    for suffix in ("", *_COMPANIONS):
        with suppress(FileNotFoundError):
            os.unlink(real + suffix)


def _is_there(lock: int, path: str) -> bool:
    """Whether this is the file of that name still."""
    try:
        named = os.stat(path)
    except FileNotFoundError:
        return False
    return os.path.samestat(os.fstat(lock), named)
