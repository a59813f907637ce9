"""Check the report of an undisturbed run: ``check_report.py FILE RELAYERS``.

Exits with 1 and one line for each thing that is wrong.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def problems(report: dict[str, Any], relayers: int) -> list[str]:
    """What is wrong with ``report``, of a run through ``relayers`` relayers that nothing disturbed."""
    sessions = {key: report["sessions"][key] for key in ("opened", "closed", "lost", "failed")}
    left = report["listeners"]["left"]
    messages = report["messages"]
    undelivered = sum(messages["undelivered"].values())
    accounted = messages["answered"] + messages["unanswered"] + undelivered
    rules = {
        f"clean is {report['clean']!r}, not true": report["clean"] is True,
        f"listeners were left: {left}": left == [],
        f"fewer than {relayers} sessions were opened: {sessions}": sessions["opened"] >= relayers,
        f"opened is not closed + lost: {sessions}": sessions["opened"] == sessions["closed"] + sessions["lost"],
        f"sessions were lost, or failed to open: {sessions}": sessions["lost"] == sessions["failed"] == 0,
        f"the message ledger does not balance: {messages}": messages["accepted"] == accounted,
        f"no message was answered: {messages}": messages["answered"] > 0,
    }
    return [problem for problem, holds in rules.items() if not holds]


def main(path: str, relayers: str) -> None:
    report = json.loads(Path(path).read_text(encoding="utf-8"))
    try:
        found = problems(report, int(relayers))
    except (KeyError, TypeError, AttributeError) as error:
        found = [f"not the report's shape: {error!r} in {report!r}"]
    if found:
        sys.exit("\n".join(found))
    sys.stdout.write(f"{report['sessions']} {report['messages']}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
