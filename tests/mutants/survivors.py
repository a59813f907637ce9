"""The survivors that are accepted, each with the reason."""

from __future__ import annotations

import tomllib
from pathlib import Path

__all__ = ["load_survivors"]


def load_survivors(path: Path) -> dict[str, str]:
    """The reasons, by the mutants' ids.

    Raises:
        ValueError: the file is not of its form: an entry without a reason, or an id that is there twice.
    """
    reasons: dict[str, str] = {}
    entries = tomllib.loads(path.read_text(encoding="utf-8")).get("accepted", []) if path.exists() else []
    for entry in entries:
        reason = entry.get("reason", "").strip()
        changes = entry.get("changes", [])
        if not reason or not changes:
            raise ValueError(f"{path}: an entry needs a reason and changes: {entry}")
        for change in changes:
            name = change.split()[0]
            if name in reasons:
                raise ValueError(f"{path}: {name} is there twice")
            reasons[name] = reason
    return reasons
