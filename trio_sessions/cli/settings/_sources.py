"""All places that a configuration comes from, read together: flags > environment > project file > user file > defaults.

Reading changes nothing, and may be done again while a command runs.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from trio_sessions._errors import InvalidInputError
from trio_sessions.cli.settings._configuration import Configuration
from trio_sessions.cli.settings._file import Found, UnreadableError, read_file
from trio_sessions.cli.settings._origin import DEFAULT, Origin, Source
from trio_sessions.cli.settings._problem import Problem, as_error, nearest, of_value
from trio_sessions.cli.settings._schema import SETTINGS
from trio_sessions.cli.settings._setting import PREFIX

__all__ = ["CONFIG_VARIABLE", "PROJECT_FILE", "Sources", "user_file"]

#: In the current folder.
PROJECT_FILE = Path("trio-sessions.toml")
CONFIG_VARIABLE = f"{PREFIX}CONFIG"
#: Variables of ours that are no settings.
_OTHERS = (CONFIG_VARIABLE, f"{PREFIX}TOKEN")


def user_file(environ: Mapping[str, str]) -> Path | None:
    """The user's own file, as the XDG base directory specification has it; ``None`` for a user without a home."""
    named = Path(environ.get("XDG_CONFIG_HOME", ""))
    try:
        folder = named if named.is_absolute() else Path.home() / ".config"
    except RuntimeError:
        return None
    return folder / "trio-sessions" / "config.toml"


@attrs.define
class _Gathered:
    """What was found in all places together, and what is wrong there."""

    found: Found = attrs.field(factory=dict)
    problems: list[Problem] = attrs.field(factory=list)
    files: list[str] = attrs.field(factory=list)
    #: Of the file that was named on the command line.
    refusal: InvalidInputError | None = None


@attrs.frozen(kw_only=True)
class Sources:
    """Where a command's configuration comes from.

    Attributes:
        flags: the values that were given on the command line, by the names of their settings.
        config: the file that was named there; it stands in the project file's place.
        simulate: the node is a simulated one: what files and variables say of a node does not count.
        environ: the environment.
    """

    flags: Mapping[str, Any] = attrs.field(factory=dict)
    config: str | None = None
    simulate: bool = False
    environ: Mapping[str, str] = attrs.field(default=os.environ, repr=False)

    def read(self) -> Configuration:
        """Read them all.

        Raises:
            ConfigError: a file or a variable is wrong; it names all that is wrong in any of them.
            InvalidInputError: the file that was named on the command line cannot be read.
        """
        gathered = self._gather()
        if gathered.refusal is not None:
            raise gathered.refusal
        if gathered.problems:
            raise as_error(gathered.problems)
        return Configuration.of(gathered.found, files=tuple(gathered.files), warnings=self._warnings())

    def peek(self, name: str) -> Any:
        """The value of one setting, as far as it can be read, whatever is wrong elsewhere; ``None``: none is given."""
        return self._gather().found.get(name, (None, DEFAULT))[0]

    def _gather(self) -> _Gathered:
        it = _Gathered()
        for path, source, named_by in self._files():
            try:
                values, wrong = read_file(path, source)
            except UnreadableError as error:
                rule, _, remedy = str(error).partition("; ")
                if named_by == "--config":
                    it.refusal = InvalidInputError("--config", str(path), rule, remedy)
                    continue
                if named_by is None and not os.path.lexists(path):
                    continue
                values, wrong = {}, [_unreadable(path, source, named_by, str(error))]
            it.files.append(str(path))
            it.found |= values
            it.problems += wrong
        values, wrong = self._environment()
        it.found |= values
        it.problems += wrong
        if self.simulate:
            it.found = {name: value for name, value in it.found.items() if not SETTINGS[name].of_node}
        it.found |= {name: (value, Origin(Source.FLAG, _flag(name, value))) for name, value in self.flags.items()}
        return it

    def _files(self) -> Iterator[tuple[Path, Source, str | None]]:
        """The files, the lowest first, each with the flag or variable that names it."""
        own = user_file(self.environ)
        if own is not None:
            yield own, Source.USER_FILE, None
        if self.config is not None:
            yield Path(self.config), Source.PROJECT_FILE, "--config"
        elif self.environ.get(CONFIG_VARIABLE):
            yield Path(self.environ[CONFIG_VARIABLE]), Source.PROJECT_FILE, CONFIG_VARIABLE
        else:
            yield PROJECT_FILE, Source.PROJECT_FILE, None

    def _environment(self) -> tuple[Found, list[Problem]]:
        """What the variables say; an empty one says nothing."""
        found: Found = {}
        problems = []
        for each in SETTINGS.values():
            text = self.environ.get(each.variable)
            if text:
                origin = Origin(Source.ENVIRONMENT, each.variable)
                try:
                    found[each.name] = (each.kind.from_text(text), origin)
                except InvalidInputError as error:
                    problems.append(of_value(each, origin, error))
        return found, problems

    def _warnings(self) -> tuple[str, ...]:
        """Variables of our prefix that mean nothing: they may be another program's, so they are no error."""
        known = [*(each.variable for each in SETTINGS.values()), *_OTHERS]
        warnings = []
        for name in sorted(self.environ):
            if name.startswith(PREFIX) and name not in known:
                close = nearest(name.removeprefix(PREFIX), [each.removeprefix(PREFIX).lower() for each in known])
                remedy = f"; did you mean {PREFIX}{close.upper()}?" if close else ""
                warnings.append(f"{name}: there is no such setting{remedy}")
        return tuple(warnings)


def _unreadable(path: Path, source: Source, named_by: str | None, text: str) -> Problem:
    if named_by is None:
        return Problem(Origin(source, str(path)), text)
    return Problem(Origin(Source.ENVIRONMENT, named_by), str(InvalidInputError(named_by, str(path), text)))


def _flag(name: str, value: Any) -> str:
    return "--no-journal" if name == "journal" and value is False else SETTINGS[name].flag
