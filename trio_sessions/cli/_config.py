"""``trio-sessions config``: write a configuration file, check it, and show what counts."""

from __future__ import annotations

import json
import os
import tempfile
from contextlib import suppress
from pathlib import Path

import click

from trio_sessions._errors import InvalidInputError
from trio_sessions.cli._access import token_of, warnings_of
from trio_sessions.cli._plan import Plan
from trio_sessions.cli._speech import warn
from trio_sessions.cli._status import CLEAN, CONFIG, CommandError, ConfigError, lines_of
from trio_sessions.cli._streams import say, write_stdout
from trio_sessions.cli._token import Token
from trio_sessions.cli.settings import PROJECT_FILE, Configuration, Problem, Sources, user_file

__all__ = ["config"]

_CONFIG = click.option("--config", metavar="FILE", help=f"Read this file in the place of ./{PROJECT_FILE}.")
_JSON = click.option("--json", "wants_json", is_flag=True, help="Print one JSON object on stdout.")


@click.group(short_help="Write, check and show the configuration.")
def config() -> None:
    """Write a configuration file, check it, and show which values count and where they come from.

    What is said in several places counts in this order: a command's options; the environment (each setting has a
    variable, e.g. TRIO_SESSIONS_GRACE_PERIOD; an empty one says nothing, and commas separate the parts of a list);
    trio-sessions.toml in the current folder, or in its place the file that --config or TRIO_SESSIONS_CONFIG names;
    trio-sessions/config.toml in $XDG_CONFIG_HOME, the user's own; the defaults. With run --simulate, what files and
    variables say of a real node doesn't count.

    The API token is in a file that token_file names, in the variable TRIO_SESSIONS_TOKEN, or in systemd's credential
    trio-sessions-token; the first of these counts.

    \b
    Examples:
      trio-sessions config init
      trio-sessions config check --json
      TRIO_SESSIONS_GRACE_PERIOD=60 trio-sessions config show
    """


@config.command(short_help="Write a file to begin with.")
@click.option("--user", is_flag=True, help="Write the user's own file.  [default: trio-sessions.toml in this folder]")
@click.option("--force", is_flag=True, help="Overwrite the file that is there.")
@_JSON
def init(*, user: bool, force: bool, wants_json: bool) -> int:
    """Write a configuration file with every setting, its default and what it is, for its owner alone to read.

    \b
    Example:
      trio-sessions config init && $EDITOR trio-sessions.toml

    \b
    Exit status:
      0   written; its path is on stdout
      1   it could not be written, or is there already
    """
    from trio_sessions.cli.settings._text import template

    path = user_file(os.environ) if user else PROJECT_FILE
    if path is None:
        raise CommandError("no home folder is known: set XDG_CONFIG_HOME, or write the project's file, without --user")
    try:
        if user:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write(path, template(), force=force)
    except FileExistsError as error:
        raise CommandError(f"{path} is there already: edit it, or overwrite it with --force") from error
    except OSError as error:
        raise CommandError(f"{path} cannot be written: {error.strerror or error}; check the folder") from error
    write_stdout(json.dumps({"schema": 1, "file": str(path.absolute())}) if wants_json else str(path))
    return CLEAN


@config.command(short_help="Say all that is wrong.")
@click.argument("file", required=False)
@_JSON
def check(*, file: str | None, wants_json: bool) -> int:
    """Check FILE, or without it all that counts for a command here and now: files, environment, token.

    All that is wrong is said, a line for each thing, on stderr; with --json, on stdout.

    \b
    Example:
      trio-sessions config check && systemctl reload trio-sessions

    \b
    Exit status:
      0   all is right
      2   FILE cannot be read
      78  something is wrong
    """
    # Alone: as if there were neither variables nor any other file.
    sources = Sources() if file is None else Sources(config=file, environ={"XDG_CONFIG_HOME": os.devnull})
    files: tuple[str, ...] = ()
    problems: list[object] = []
    try:
        configuration, token = _read(sources)
    except ConfigError as error:
        problems = list(error.problems)
    except InvalidInputError as error:
        if error.what == "--config":
            raise InvalidInputError("FILE", error.value, error.rule, error.remedy) from None
        problems = list(lines_of(error))
    else:
        files = configuration.files
        warn(warnings_of(configuration, token))
    if wants_json:
        told = [each.to_json() if isinstance(each, Problem) else {"text": str(each)} for each in problems]
        write_stdout(json.dumps({"schema": 1, "ok": not problems, "files": list(files), "problems": told}))
    elif problems:
        for problem in problems:
            say(f"trio-sessions: error: {problem}")
    else:
        write_stdout(f"ok: {', '.join(files) or 'there is no file, and the environment is right'}")
    return CONFIG if problems else CLEAN


@config.command(short_help="Show every value and where it was said.")
@_CONFIG
@_JSON
def show(*, config: str | None, wants_json: bool) -> int:
    """Show every setting's value and where it was said: a file and its line, a variable, or the default.

    What is printed is a configuration file itself. Of the API token it is shown where it is, and never what.

    \b
    Example:
      trio-sessions config show | grep -v '# default'

    \b
    Exit status:
      0   shown
      78  the configuration is wrong
    """
    from trio_sessions.cli.settings._text import as_json, as_text

    configuration, token = _read(Sources(config=config))
    warn(warnings_of(configuration, token))
    write_stdout(json.dumps(as_json(configuration, token)) if wants_json else as_text(configuration, token))
    return CLEAN


def _read(sources: Sources) -> tuple[Configuration, Token | None]:
    """What counts, checked as ``run`` would."""
    configuration = sources.read()
    token = token_of(configuration, sources.environ)
    Plan.of(configuration, simulate=False, token=None, seed=None)
    return configuration, token


def _write(path: Path, text: str, *, force: bool) -> None:
    """Write a file that its owner alone can read: whole, or not at all."""
    if not force:
        # In one step with the look whether it is there.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
        return
    target = path.resolve()
    descriptor, temporary = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with open(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
        Path(temporary).replace(target)
    except BaseException:
        with suppress(OSError):
            Path(temporary).unlink()
        raise
