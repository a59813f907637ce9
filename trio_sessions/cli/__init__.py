"""The command line, ``trio-sessions``: it needs the extra ``cli``, and says so where that is missing."""

from __future__ import annotations

import signal
import sys

__all__ = ["main"]

#: What the extra ``cli`` brings.
_EXTRA = ("cattrs", "click", "hypercorn", "prometheus_client", "rich")


def main() -> None:
    """Run the command line, and exit with its status."""
    try:
        from trio_sessions.cli._main import run_program

        status = run_program(sys.argv[1:])
    except KeyboardInterrupt:
        # While modules were imported: nothing has begun. It is the status that shells give to such an end.
        sys.exit(130)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in _EXTRA:
            raise
        remedy = "pip install 'trio-sessions[cli]', or '.[cli]' in a checkout"
        sys.exit(f"trio-sessions: error: {missing} is not installed: {remedy}")
    # All is done and said: a signal during the interpreter's own end must not change the status.
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)
    sys.exit(status)
