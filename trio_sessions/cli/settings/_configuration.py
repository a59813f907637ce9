"""What a command's configuration came to: every setting's value, and where it was said."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from trio_sessions._errors import InvalidInputError
from trio_sessions.cli._status import ConfigError
from trio_sessions.cli.settings._origin import DEFAULT, Origin, Source
from trio_sessions.cli.settings._problem import as_error, of_value
from trio_sessions.cli.settings._schema import SECTIONS, SETTINGS, Settings
from trio_sessions.cli.settings._setting import Setting

__all__ = ["Configuration"]

#: Settings of which one alone can have a value.
_EXCLUSIVE = ("hops", "relayers")


@attrs.frozen(kw_only=True)
class Configuration:
    """Every setting's value with its origin.

    Attributes:
        settings: the values.
        origins: by the names of the settings.
        files: that were read, the lowest first.
        warnings: what may be a mistake.
    """

    settings: Settings
    origins: Mapping[str, Origin]
    files: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, found: Mapping[str, tuple[Any, Origin]], *, files: tuple[str, ...] = (), warnings: tuple[str, ...] = ()
    ) -> Configuration:
        """The configuration in which ``found`` counts, and for all else the defaults."""
        given = dict(found)
        _settle_exclusive(given)
        sections: dict[str, Any] = {
            section: made(**{each.key: given[each.name][0] for each in _of_section(section) if each.name in given})
            for section, made in SECTIONS.items()
        }
        origins = {name: given[name][1] if name in given else DEFAULT for name in SETTINGS}
        return cls(settings=Settings(**sections), origins=origins, files=files, warnings=warnings)

    def value(self, name: str) -> Any:
        """The value of a setting by its name."""
        return self.settings.of(SETTINGS[name])

    def blame(self, error: InvalidInputError) -> InvalidInputError | ConfigError:
        """An error about a setting's value, told with the place where it was said: that may be no flag."""
        each = _setting_called(error.what)
        if each is None:
            return error
        origin = self.origins[each.name]
        if origin.source in (Source.DEFAULT, Source.FLAG):
            return error
        return as_error([of_value(each, origin, error)])


def _of_section(section: str) -> Iterator[Setting]:
    return (each for each in SETTINGS.values() if each.section == section)


def _settle_exclusive(found: dict[str, tuple[Any, Origin]]) -> None:
    """Of settings that exclude each other, let the one of the higher source count; if both are of one, both stay."""
    rivals = [name for name in _EXCLUSIVE if name in found and found[name][0] is not None]
    if rivals:
        highest = max(found[name][1].source for name in rivals)
        for name in rivals:
            if found[name][1].source < highest:
                del found[name]


def _setting_called(what: str) -> Setting | None:
    """The setting that an error of the library or of the command line means."""
    name = what.removeprefix("--").replace("-", "_").replace(" ", "_")
    return next((each for each in SETTINGS.values() if what == each.flag or name in (each.name, each.key)), None)
