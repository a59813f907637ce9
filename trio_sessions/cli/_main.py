"""The commands, and what becomes of their errors: one line and an exit status, never a traceback."""

from __future__ import annotations

from collections.abc import Sequence

import click

from trio_sessions._errors import SessionsError
from trio_sessions.cli._close import close
from trio_sessions.cli._config import config
from trio_sessions.cli._doctor import doctor
from trio_sessions.cli._list import list_
from trio_sessions.cli._log_lines import JsonForm, LineForm, TextForm
from trio_sessions.cli._open import open_
from trio_sessions.cli._reap import reap
from trio_sessions.cli._redaction import redacting
from trio_sessions.cli._relay import relay
from trio_sessions.cli._run import run
from trio_sessions.cli._simulate import simulate
from trio_sessions.cli._speech import complain, complain_of_bug, speaking
from trio_sessions.cli._status import CLEAN, FAILED, INTERRUPTED, CommandError, lines_of, status_of, steps_of
from trio_sessions.cli._streams import say
from trio_sessions.cli.settings import Sources

__all__ = ["run_command", "run_program"]

_PROGRAM = "trio-sessions"
_CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


@click.group(context_settings=_CONTEXT)
@click.version_option(package_name="trio-sessions", prog_name=_PROGRAM)
def _commands() -> None:
    """Sessions on a hoprd node: opened, kept through outages, relayed through, and nothing left behind.

    \b
    Examples:
      trio-sessions run --simulate --relayers 20 --duration 10
      trio-sessions doctor --url http://127.0.0.1:3001 --token-file token
      trio-sessions simulate --port 3001
      trio-sessions COMMAND --help
    """


for _command in (run, list_, open_, close, reap, relay, doctor, config, simulate):
    _commands.add_command(_command)


def run_program(arguments: Sequence[str]) -> int:
    """The same for a process of its own: a bug of ours ends it with a traceback, and that shows no secret either."""
    with redacting(), speaking(_form(arguments)):
        try:
            return _run_command(arguments)
        except ModuleNotFoundError:
            # What is not installed is said where the program begins.
            raise
        except Exception as error:  # noqa: BLE001 - it is shown, and ends the program
            complain_of_bug(error)
            return FAILED


def run_command(arguments: Sequence[str]) -> int:
    """Run the command line with ``arguments``; says what is wrong, line by line, and returns the exit status."""
    with redacting(), speaking(_form(arguments)):
        return _run_command(arguments)


def _form(arguments: Sequence[str]) -> LineForm:
    """How ``run`` shall say what it says: known before click reads the arguments, since those may be wrong."""
    if arguments[:1] != ["run"]:
        return TextForm()
    given = {name: _given(arguments, name) for name in ("--config", "--log-format")}
    flags = {"log_format": given["--log-format"]} if given["--log-format"] else {}
    sources = Sources(flags=flags, config=given["--config"], simulate="--simulate" in arguments)
    return JsonForm() if sources.peek("log_format") == "json" else TextForm()


def _given(arguments: Sequence[str], option: str) -> str | None:
    """What stands behind an option, if it is there; behind the last one, as click has it."""
    value = None
    for argument, following in zip(arguments, [*arguments[1:], None], strict=True):
        if argument == option:
            value = following
        elif argument.startswith(f"{option}="):
            value = argument.removeprefix(f"{option}=")
    return value


def _run_command(arguments: Sequence[str]) -> int:
    try:
        # Without click's own handling: it would need several lines for a wrong option, and exit.
        status = _commands.main(list(arguments), prog_name=_PROGRAM, standalone_mode=False)
    except (SessionsError, CommandError) as error:
        return _fail(lines_of(error), status_of(error), steps_of(error))
    except click.exceptions.NoArgsIsHelpError as error:
        say(error.format_message())
        return error.exit_code
    except click.UsageError as error:
        return _fail([_usage(error)], error.exit_code)
    except click.exceptions.Abort:
        return INTERRUPTED
    return status if isinstance(status, int) else CLEAN


def _fail(messages: Sequence[str], status: int, steps: Sequence[str] = ()) -> int:
    *others, last = messages
    for message in others:
        complain(message)
    complain(last, steps)
    return status


def _usage(error: click.UsageError) -> str:
    command = error.ctx.command_path if error.ctx is not None else _PROGRAM
    return f"{error.format_message().rstrip('.')}; see {command} --help"
