"""SIGINT and SIGTERM: one asks a command to stop. SIGHUP asks it to read its configuration again.

None of them ever breaks into what a command does.
"""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

import trio

__all__ = ["has_terminal", "hold_signals", "receive_signals", "reload_signals"]

_STOPPING = (signal.SIGINT, signal.SIGTERM)


def reload_signals() -> tuple[signal.Signals, ...]:
    """SIGHUP, unless this process was told to ignore it, as by ``nohup``: then it stays so."""
    return () if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else (signal.SIGHUP,)


def has_terminal() -> bool:
    """Whether there is a terminal that this process belongs to: SIGHUP comes, too, when that is closed."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True


@contextmanager
def hold_signals(*others: signal.Signals) -> Iterator[None]:
    """Let the signals wait until :func:`receive_signals` takes them, and drop those that come too late for it.

    Without this, one that comes while modules are imported, or after the stop but before the report was written,
    would end the process at once.

    Args:
        others: signals besides those that ask for a stop.
    """
    held = (*_STOPPING, *others)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, held)
    # The mask is this thread's alone: one that another thread gets, as Trio's for host names, must not kill either.
    handlers = {each: signal.signal(each, _drop) for each in held}
    try:
        yield
    finally:
        while signal.sigtimedwait(held, 0) is not None:
            pass  # It asked for a stop, and stopped is what we are.
        # SIGINT's is the last: one that another thread took a moment ago may interrupt as soon as that is back.
        interrupt = handlers.pop(signal.SIGINT)
        for each, handler in handlers.items():
            signal.signal(each, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        with suppress(KeyboardInterrupt):
            signal.signal(signal.SIGINT, interrupt)


def _drop(number: int, frame: FrameType | None) -> None:
    """Do nothing with a signal that came where none is waited for."""


@contextmanager
def receive_signals(*others: signal.Signals) -> Iterator[AsyncIterator[int]]:
    """The signals as they come, those held back first; for use inside :func:`hold_signals`, with the same ones."""
    held = (*_STOPPING, *others)
    with trio.open_signal_receiver(*held) as signals:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, held)
        try:
            yield signals
        finally:
            # Trio raises again what nobody took: blocked, it waits to be dropped.
            signal.pthread_sigmask(signal.SIG_BLOCK, held)
