"""Signals that come when nobody can take them.

Sent to this thread and not to the process: a thread that an earlier test left idle would get them otherwise.
"""

from __future__ import annotations

import signal
import subprocess
import sys

import trio

from trio_sessions.cli._signals import hold_signals, receive_signals


def test_one_that_comes_early_is_taken_later() -> None:
    async def main() -> int:
        with receive_signals() as signals:
            return await anext(signals)

    with hold_signals():
        signal.raise_signal(signal.SIGTERM)
        assert trio.run(main) == signal.SIGTERM


def test_those_that_come_too_late_are_dropped() -> None:
    async def main() -> None:
        with receive_signals():
            signal.raise_signal(signal.SIGTERM)
            await trio.lowlevel.checkpoint()

    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    with hold_signals():
        trio.run(main)
        signal.raise_signal(signal.SIGINT)
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before
    assert not signal.sigpending()


def test_a_signal_that_another_thread_gets_is_dropped_too() -> None:
    """In a process of its own, which it would end: a thread from before does not have the mask."""
    code = """if True:
        import os, signal, threading
        from trio_sessions.cli._signals import hold_signals
        done = threading.Event()
        thread = threading.Thread(target=done.wait, daemon=True)
        thread.start()
        with hold_signals():
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGINT)
        done.set()
        thread.join()
        print("alive")
    """
    it = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=20)
    assert (it.returncode, it.stdout) == (0, "alive\n"), it.stderr
