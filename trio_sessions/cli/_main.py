"""The commands, and what becomes of their errors: one line and an exit status, never a traceback."""

from __future__ import annotations

from collections.abc import Sequence

import click

from trio_sessions._errors import SessionsError
from trio_sessions.cli._config import config
from trio_sessions.cli._run import run
from trio_sessions.cli._simulate import simulate
from trio_sessions.cli._status import CLEAN, INTERRUPTED, CommandError, lines_of, status_of
from trio_sessions.cli._streams import say

__all__ = ["run_command"]

_PROGRAM = "trio-sessions"
_CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


@click.group(context_settings=_CONTEXT)
@click.version_option(package_name="trio-sessions", prog_name=_PROGRAM)
def _commands() -> None:
    """Sessions on a hoprd node: opened, kept through outages, relayed through, and nothing left behind.

    \b
    Examples:
      trio-sessions run --simulate --relayers 20 --duration 10
      trio-sessions simulate --port 3001
      trio-sessions COMMAND --help
    """


_commands.add_command(config)
_commands.add_command(run)
_commands.add_command(simulate)


def run_command(arguments: Sequence[str]) -> int:
    """Run the command line with ``arguments``; says what is wrong, line by line, and returns the exit status."""
    try:
        # Without click's own handling: it would need several lines for a wrong option, and exit.
        status = _commands.main(list(arguments), prog_name=_PROGRAM, standalone_mode=False)
    except (SessionsError, CommandError) as error:
        return _fail(lines_of(error), status_of(error))
    except click.exceptions.NoArgsIsHelpError as error:
        say(error.format_message())
        return error.exit_code
    except click.UsageError as error:
        return _fail([_usage(error)], error.exit_code)
    except click.exceptions.Abort:
        return INTERRUPTED
    return status if isinstance(status, int) else CLEAN


def _fail(messages: Sequence[str], status: int) -> int:
    for message in messages:
        say(f"{_PROGRAM}: error: {message}")
    return status


def _usage(error: click.UsageError) -> str:
    command = error.ctx.command_path if error.ctx is not None else _PROGRAM
    return f"{error.format_message().rstrip('.')}; see {command} --help"
