"""What holds for all tests of the command line."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

_TOUCHED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.fixture(autouse=True)
def signal_handlers() -> Iterator[None]:
    """A test may call the program's main function, which in the end ignores these: later processes would inherit it."""
    before = [(each, signal.getsignal(each)) for each in _TOUCHED]
    yield
    for each, handler in before:
        signal.signal(each, handler)
