"""Check what a plain ``pip install .`` put into the environment that runs this: trio, httpx, attrs and what they bring.

Exits with 1 and one line for each thing that is wrong.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib import metadata

OURS = "trio-sessions"
WANTED = ["attrs", "httpx", "trio"]
#: Where pip was, before anything was installed.
SEEDS = {"pip", "setuptools", "wheel"}


def normal(name: str) -> str:
    """``name`` as registries compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def brought_by(names: list[str]) -> set[str]:
    """All that pip would install for ``names`` alone, themselves included."""
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed", "--report", "-"]
    answer = subprocess.run([*pip, *names], check=True, stdout=subprocess.PIPE)  # noqa: S603
    return {normal(item["metadata"]["name"]) for item in json.loads(answer.stdout)["install"]}


def main() -> None:
    requirements = [line for line in metadata.requires(OURS) or [] if "extra ==" not in line]
    direct = sorted(normal(re.split(r"[^\w.-]", line, maxsplit=1)[0]) for line in requirements)
    installed = {normal(each.metadata["Name"]) for each in metadata.distributions()} - SEEDS - {OURS}
    found = []
    if direct != WANTED:
        found.append(f"requires {direct}, not {WANTED}")
    if extra := sorted(installed - brought_by(WANTED)):
        found.append(f"installed besides: {extra}")
    if found:
        sys.exit("\n".join(found))
    sys.stdout.write(f"{sorted(installed)}\n")


if __name__ == "__main__":
    main()
