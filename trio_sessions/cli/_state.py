"""Where the command line keeps what must outlive it."""

from __future__ import annotations

import os
import re
from pathlib import Path

from trio_sessions._errors import InvalidInputError
from trio_sessions._namespaces import node_key

__all__ = ["default_journal", "instance_of", "journal_path", "state_folder"]

_SUFFIX = ".journal"


def default_journal(url: str, instance: str) -> str:
    """The journal's file for a node and an instance; its folder is made if it isn't there.

    Raises:
        InvalidInputError: the folder cannot be made.
    """
    path = journal_path(url, instance)
    folder = state_folder()
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
    # An instance's name can stand in a file's name as it is, so it can be read from there.
    return str(state_folder() / f"{_node_part(url)}_{instance}{_SUFFIX}")


def instance_of(path: str, url: str) -> str:
    """The instance that a journal of the node belongs to, as :func:`default_journal` names it; else the file's name."""
    name = Path(path).name.removesuffix(_SUFFIX)
    return name.removeprefix(f"{_node_part(url)}_")


def state_folder() -> Path:
    """Where the journals are; it may not be there yet."""
    return _state_home() / "trio-sessions"


def _node_part(url: str) -> str:
    return re.sub(r"[^A-Za-z0-9.]+", "_", node_key(url)).strip("_")


def _state_home() -> Path:
    """As the XDG base directory specification has it: a relative path does not count."""
    named = os.environ.get("XDG_STATE_HOME", "")
    return Path(named) if Path(named).is_absolute() else Path.home() / ".local" / "state"
