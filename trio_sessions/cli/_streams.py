"""Writing to stdout and stderr: never a secret, and also when nobody may be reading any more."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TextIO

from trio_sessions.cli._redaction import clean
from trio_sessions.cli._status import CommandError

__all__ = ["say", "write_stdout"]


def say(line: str) -> None:
    """Write one line to stderr; when nobody reads it, it is lost."""
    if sys.stderr is not None:
        try:
            sys.stderr.write(f"{clean(line)}\n")
            sys.stderr.flush()
        except OSError:
            _silence(sys.stderr)


def write_stdout(text: str) -> None:
    """Write ``text`` and a line end to stdout, now. A reader that has gone, as in ``| head``, is no error.

    Raises:
        CommandError: it cannot be written, e.g. since the disk is full.
    """
    if sys.stdout is None:
        return
    try:
        sys.stdout.write(f"{clean(text)}\n")
        sys.stdout.flush()
    except BrokenPipeError:
        _silence(sys.stdout)
    except OSError as error:
        _silence(sys.stdout)
        raise CommandError(f"stdout cannot be written: {error.strerror or error}") from error


def _silence(stream: TextIO) -> None:
    """Lead ``stream`` nowhere: the interpreter flushes what is still in its buffer at the end, and fails loudly."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
