"""What holds for all tests."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def homes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Commands that tests run keep journals and configuration in temporary folders, and see none of the user's own."""
    before = dict(os.environ)
    for name in before:
        if name.startswith("TRIO_SESSIONS_"):
            del os.environ[name]
    for name in ("XDG_STATE_HOME", "XDG_CONFIG_HOME"):
        os.environ[name] = str(tmp_path_factory.mktemp(name.lower()))
    yield
    os.environ.clear()
    os.environ.update(before)
