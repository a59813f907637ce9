"""SIGINT and SIGTERM: one asks a command to stop, and none of them ever breaks into what it does."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from types import FrameType

import trio

__all__ = ["hold_signals", "receive_signals"]

_STOPPING = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def hold_signals() -> Iterator[None]:
    """Let the signals wait until :func:`receive_signals` takes them, and drop those that come too late for it.

    Without this, one that comes while modules are imported, or after the stop but before the report was written,
    would end the process at once.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _STOPPING)
    # The mask is this thread's alone: one that another thread gets, as Trio's for host names, must not kill either.
    handlers = {each: signal.signal(each, _drop) for each in _STOPPING}
    try:
        yield
    finally:
        while signal.sigtimedwait(_STOPPING, 0) is not None:
            pass  # It asked for a stop, and stopped is what we are.
        for each, handler in handlers.items():
            signal.signal(each, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _drop(number: int, frame: FrameType | None) -> None:
    """Do nothing with a signal that came where none is waited for."""


@contextmanager
def receive_signals() -> Iterator[AsyncIterator[int]]:
    """The signals as they come, those held back first; for use inside :func:`hold_signals`."""
    with trio.open_signal_receiver(*_STOPPING) as signals:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPPING)
        try:
            yield signals
        finally:
            # Trio raises again what nobody took: blocked, it waits to be dropped.
            signal.pthread_sigmask(signal.SIG_BLOCK, _STOPPING)
