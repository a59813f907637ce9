"""Where the command line keeps what must outlive it."""

from __future__ import annotations

import os
import re
from pathlib import Path

from trio_sessions._errors import InvalidInputError
from trio_sessions._namespaces import node_key

__all__ = ["default_journal", "journal_path"]


def default_journal(url: str, instance: str) -> str:
    """The journal's file for a node and an instance; its folder is made if it isn't there.

    Raises:
        InvalidInputError: the folder cannot be made.
    """
    path = journal_path(url, instance)
    folder = Path(path).parent
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        rule = f"the folder for it cannot be made: {error.strerror}"
        raise InvalidInputError(
            "journal", str(folder), rule, "name a file with --journal, or use --no-journal"
        ) from error
    return path


def journal_path(url: str, instance: str) -> str:
    """The same without making anything."""
    name = re.sub(r"[^A-Za-z0-9.]+", "_", f"{node_key(url)} {instance}")
    return str(_state_home() / "trio-sessions" / f"{name}.journal")


def _state_home() -> Path:
    """As the XDG base directory specification has it: a relative path does not count."""
    named = os.environ.get("XDG_STATE_HOME", "")
    return Path(named) if Path(named).is_absolute() else Path.home() / ".local" / "state"
