"""Reading one configuration file: TOML into the classes of the schema, and all that is wrong with it."""

from __future__ import annotations

import re
import stat
import tomllib
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trio_sessions._errors import InvalidInputError
from trio_sessions.cli.settings._lines import key_lines, line_of
from trio_sessions.cli.settings._origin import Origin, Source
from trio_sessions.cli.settings._problem import Problem, nearest, of_value
from trio_sessions.cli.settings._schema import SECTIONS, SETTINGS, Settings
from trio_sessions.cli.settings._setting import Setting

if TYPE_CHECKING:
    import cattrs

__all__ = ["Found", "UnreadableError", "read_file", "read_text"]

#: Bytes: far above any configuration, and it ends the reading of what has no end.
_LONGEST = 1024 * 1024
_TOML_PLACE = re.compile(r"(?P<what>.*) \(at line (?P<line>\d+), column (?P<column>\d+)\)", re.DOTALL)
_TOML_END = " (at end of document)"

#: Values by the names of their settings, with where they stand.
Found = dict[str, tuple[Any, Origin]]

_BY_PATH = {(each.section, each.key): each for each in SETTINGS.values()}


class UnreadableError(Exception):
    """The file cannot be read; its text says why, and what to do."""


def read_file(path: Path, source: Source) -> tuple[Found, list[Problem]]:
    """What a file says, and what is wrong with it: where something is, the rest is for the eye alone.

    Raises:
        UnreadableError: it isn't there, or cannot be read.
    """
    return read_text(_content(path), path, source)


def read_text(content: bytes, path: Path, source: Source) -> tuple[Found, list[Problem]]:
    """The same for what was read of a file already."""
    try:
        text = content.decode("utf-8-sig").replace("\r\n", "\n")
        raw = tomllib.loads(text)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        return {}, [Problem(Origin(source, str(path), line), "is no UTF-8 text; save it as such")]
    except RecursionError:
        return {}, [Problem(Origin(source, str(path)), "is nested too deeply; write it with fewer brackets")]
    except ValueError as error:
        return {}, [_syntax(str(error), content, path, source)]
    places = _Places(str(path), source, text)
    import cattrs

    try:
        settings = _converter().structure(raw, Settings)
    except cattrs.ClassValidationError as errors:
        problems = sorted(_problems(errors, places, ()), key=lambda problem: problem.origin.line or 0)
        return _what_is_right(raw, places), problems
    found: Found = {}
    for section, keys in raw.items():
        for key in keys:
            each, origin = _BY_PATH[section, key], places.of((section, key))
            try:
                found[each.name] = (_placed(each, settings.of(each), path), origin)
            except RuntimeError:
                unknown = InvalidInputError(each.path, keys[key], "names the home of a user that is not known")
                return {}, [of_value(each, origin, unknown)]
    return found, []


def _what_is_right(raw: dict[str, Any], places: _Places) -> Found:
    """The settings that can be read of a file in which others cannot."""
    found: Found = {}
    for (section, key), each in _BY_PATH.items():
        keys = raw.get(section)
        if isinstance(keys, dict) and key in keys:
            with suppress(InvalidInputError):
                found[each.name] = (each.kind.from_toml(keys[key]), places.of((section, key)))
    return found


class _Places:
    """Where each key of a file stands."""

    def __init__(self, file: str, source: Source, text: str) -> None:
        self._file = file
        self._source = source
        self._lines = key_lines(text)

    def of(self, path: tuple[str, ...]) -> Origin:
        """The place of a key, by its path."""
        return Origin(self._source, self._file, line_of(self._lines, path))


def _content(path: Path) -> bytes:
    try:
        if stat.S_ISFIFO(path.stat().st_mode):
            # Read again, it would have nothing, or never end.
            raise UnreadableError("is a pipe; write a file")
        with path.open("rb") as stream:
            content = stream.read(_LONGEST + 1)
    except FileNotFoundError:
        raise UnreadableError("there is no such file; check the path, or write one by config init") from None
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise UnreadableError(f"cannot be read: {why}; check path and permissions") from None
    if len(content) > _LONGEST:
        raise UnreadableError(f"has more than {_LONGEST} bytes; that is no configuration")
    return content


def _syntax(said: str, content: bytes, path: Path, source: Source) -> Problem:
    what = said.removesuffix(_TOML_END)
    if what != said:
        return Problem(Origin(source, str(path), len(content.splitlines())), f"is no valid TOML: {what}, at its end")
    place = _TOML_PLACE.fullmatch(said)
    if place is None:
        return Problem(Origin(source, str(path)), f"is no valid TOML: {said}")
    text = f"column {place['column']}: is no valid TOML: {place['what']}"
    return Problem(Origin(source, str(path), int(place["line"])), text)


def _placed(each: Setting, value: Any, file: Path) -> Any:
    """A path from the file's folder on, with the user's home for a ``~``."""
    if not each.kind.is_path or not isinstance(value, str):
        return value
    return str(file.absolute().parent / Path(value).expanduser())


# -- cattrs


@cache
def _converter() -> cattrs.Converter:
    import cattrs
    from cattrs.gen import make_dict_structure_fn, override

    def section(cls: type[Any], name: str) -> Any:
        hooks: dict[str, Any] = {
            each.key: override(struct_hook=_reader(each)) for each in SETTINGS.values() if each.section == name
        }
        structure: Any = make_dict_structure_fn(cls, converter, _cattrs_forbid_extra_keys=True, **hooks)

        def checked(value: object, kind: Any) -> Any:
            if not isinstance(value, dict):
                raise InvalidInputError(name, None, "is a section", f"write it as a line of its own, [{name}]")
            return structure(value, kind)

        return override(struct_hook=checked)

    converter = cattrs.Converter(detailed_validation=True)
    sections: dict[str, Any] = {name: section(cls, name) for name, cls in SECTIONS.items()}
    structure = make_dict_structure_fn(Settings, converter, _cattrs_forbid_extra_keys=True, **sections)
    converter.register_structure_hook(Settings, structure)
    return converter


def _reader(each: Setting) -> Any:
    return lambda value, _: each.kind.from_toml(value)


def _problems(errors: cattrs.ClassValidationError, places: _Places, path: tuple[str, ...]) -> Iterator[Problem]:
    import cattrs

    with_notes, others = errors.group_exceptions()
    for error, note in with_notes:
        inner = (*path, str(note.name))
        if isinstance(error, cattrs.ClassValidationError):
            yield from _problems(error, places, inner)
        elif isinstance(error, InvalidInputError):
            each = _BY_PATH.get((inner[0], inner[-1])) if len(inner) > 1 else None
            if each is None:
                yield Problem(places.of(inner), str(error), ".".join(inner))
            else:
                yield of_value(each, places.of(inner), error)
        else:
            raise error
    for error in others:
        if not isinstance(error, cattrs.ForbiddenExtraKeysError):
            raise error
        for key in sorted(error.extra_fields):
            unknown = (*path, key)
            yield Problem(places.of(unknown), _unknown(unknown), ".".join(unknown))


def _unknown(path: tuple[str, ...]) -> str:
    """What to say of a key or a section that there isn't. Its value is not shown: it may be a secret."""
    *section, key = path
    shown = ".".join(part if part.isprintable() else repr(part) for part in path)
    if key.lower().replace("-", "_") in ("token", "api_token"):
        return (
            f"{shown}: a token has no place in this file; write it into a file of its own, for you alone to read, and"
            " name that as token_file in [node]"
        )
    elsewhere = [each for each in SETTINGS.values() if each.key == key]
    if elsewhere:
        return f"{shown}: {key} belongs to another section; write it below [{elsewhere[0].section}]"
    if section:
        known = [each.key for each in SETTINGS.values() if each.section == section[0]]
        close = nearest(key, known)
        return f"{shown}: there is no such key; " + (
            f"did you mean {close}?" if close else f"[{section[0]}] has {', '.join(known)}"
        )
    close = nearest(key, SECTIONS)
    return f"{shown}: there is no such section; " + (
        f"did you mean [{close}]?" if close else f"there are {', '.join(f'[{name}]' for name in SECTIONS)}"
    )
