"""Signals that come when nobody can take them."""

from __future__ import annotations

import os
import signal

import trio

from trio_sessions.cli._signals import hold_signals, receive_signals


def test_one_that_comes_early_is_taken_later() -> None:
    async def main() -> int:
        with receive_signals() as signals:
            return await anext(signals)

    with hold_signals():
        os.kill(os.getpid(), signal.SIGTERM)
        assert trio.run(main) == signal.SIGTERM


def test_those_that_come_too_late_are_dropped() -> None:
    async def main() -> None:
        with receive_signals():
            os.kill(os.getpid(), signal.SIGTERM)
            await trio.lowlevel.checkpoint()

    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    with hold_signals():
        trio.run(main)
        os.kill(os.getpid(), signal.SIGINT)
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before
    assert not signal.sigpending()
