"""The result page ``tests/PROOF.md``: each command that proves something writes its own section, and nobody else does.

A section says what was run, at which commit, when, for how long, and what came out.
"""

from __future__ import annotations

import argparse
import datetime as dt
import platform
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

__all__ = ["PAGE", "add_record_option", "commit", "record"]

ROOT = Path(__file__).parent.parent
#: The page, seen from the root.
PAGE = Path("tests/PROOF.md")

_HEAD = """# Proof

What the commands below found, written by themselves (`--record`); nobody edits this page by hand. Each section names
the commit it was made at: it holds for that commit, and the commands are there to ask anew.
"""

#: The sections in their order on the page.
SECTIONS = {
    "sweep": "Cancellation sweep",
    "campaign": "Campaigns",
    "mutants": "Mutants",
    "crash": "Crashes",
    "soak": "Soak",
}


def add_record_option(parser: argparse.ArgumentParser) -> None:
    """The option ``--record`` of such a command."""
    parser.add_argument("--record", action="store_true", help=f"write the result into {PAGE}")


def commit(root: Path = ROOT) -> str:
    """The commit that is checked out, in short; with a plus where the tree, but for the page, differs from it."""

    def git(*arguments: str) -> str:
        return subprocess.run(("git", *arguments), cwd=root, check=True, capture_output=True, text=True).stdout.strip()

    changed = git("status", "--porcelain", "--", ".", f":(exclude){PAGE}")
    return git("rev-parse", "--short=12", "HEAD") + ("+changes" if changed else "")


def record(
    section: str,
    *,
    command: str,
    facts: Mapping[str, object],
    seconds: float,
    lines: Sequence[str] = (),
    at: str | None = None,
    root: Path = ROOT,
) -> None:
    """Write a section of the page, in the place of the one from before.

    Args:
        section: one of :data:`SECTIONS`.
        command: what to type to get it again.
        facts: the numbers, by what they count.
        seconds: how long it took.
        lines: Markdown below the table.
        at: the commit that was examined: :func:`commit` at the start of a run, in which others may commit meanwhile.
        root: of the project.
    """
    path = root / PAGE
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    kept = dict(re.findall(r"<!-- (\w+) -->\n(.*?)\n<!-- end -->", before, flags=re.DOTALL))
    now = dt.datetime.now(dt.UTC)
    kept[section] = "\n".join(
        [
            f"## {SECTIONS[section]}",
            "",
            f"`{command}`",
            "",
            f"At commit {at or commit(root)}, {now:%Y-%m-%d}, Python {platform.python_version()}, {seconds:,.0f} s.",
            "",
            "| what | |",
            "|---|---|",
            *(f"| {name} | {_shown(value)} |" for name, value in facts.items()),
            *(["", *lines] if lines else []),
        ]
    )
    sections = [f"<!-- {name} -->\n{kept[name]}\n<!-- end -->\n" for name in SECTIONS if name in kept]
    path.write_text("\n".join([_HEAD, *sections]), encoding="utf-8")


def _shown(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)
