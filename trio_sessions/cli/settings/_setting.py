"""One setting: what is said once of it, and what follows from that."""

from __future__ import annotations

from typing import Any

import attrs

from trio_sessions.cli.settings._kinds import Kind

__all__ = ["PREFIX", "Setting", "setting", "settings_of"]

#: Of the names of all variables.
PREFIX = "TRIO_SESSIONS_"

_METADATA = "trio_sessions.setting"


@attrs.frozen(kw_only=True)
class _Definition:
    kind: Kind
    help: str
    name: str | None
    flag: str | None
    in_file: str
    as_flag: str
    default_text: str | None
    example: str | None
    live: bool
    of_node: bool


@attrs.frozen(kw_only=True)
class Setting:
    """A setting.

    Attributes:
        section: of the file.
        key: in it.
        name: by which the program knows it, and from which the names of flag and variable follow.
        flag: e.g. ``--grace-period``.
        kind: what values it may have.
        default: the value where nobody says one.
        help: what it is, in one sentence or two.
        in_file: what is to be said besides of its value in a file.
        as_flag: what is to be said besides of its flag.
        default_text: what the default means, where the value doesn't say it.
        example: a value as a file has it, where the default is none.
        live: whether it can change while a run goes on.
        of_node: whether it speaks of one node, so that it means nothing for a simulated one.
    """

    section: str
    key: str
    name: str
    flag: str
    kind: Kind
    default: Any
    help: str
    in_file: str
    as_flag: str
    default_text: str
    example: str
    live: bool
    of_node: bool

    @property
    def path(self) -> str:
        """The setting as errors name it, e.g. ``sessions.grace_period``."""
        return f"{self.section}.{self.key}"

    @property
    def variable(self) -> str:
        """The name of the environment's variable."""
        return PREFIX + self.name.upper()


def setting(
    kind: Kind,
    default: Any,
    help_text: str,
    *,
    name: str | None = None,
    flag: str | None = None,
    in_file: str = "",
    as_flag: str = "",
    default_text: str | None = None,
    example: str | None = None,
    live: bool = False,
    of_node: bool = False,
) -> Any:
    """Define a setting, as a field of its section's class; see :class:`Setting`. The name is the key unless said."""
    definition = _Definition(
        kind=kind,
        help=help_text,
        name=name,
        flag=flag,
        in_file=in_file,
        as_flag=as_flag,
        default_text=default_text,
        example=example,
        live=live,
        of_node=of_node,
    )
    return attrs.field(default=default, metadata={_METADATA: definition})


def settings_of(section: str, cls: type[attrs.AttrsInstance]) -> list[Setting]:
    """The settings that the fields of a section's class define."""
    return [_made(section, field) for field in attrs.fields(cls)]


def _made(section: str, field: attrs.Attribute[Any]) -> Setting:
    said: _Definition = field.metadata[_METADATA]
    name = said.name or field.name
    default = said.kind.to_toml(field.default)
    return Setting(
        section=section,
        key=field.name,
        name=name,
        flag=said.flag or f"--{name.replace('_', '-')}",
        kind=said.kind,
        default=field.default,
        help=said.help,
        in_file=said.in_file,
        as_flag=said.as_flag,
        default_text=said.default_text or default.strip('"'),
        example=said.example or default,
        live=said.live,
        of_node=said.of_node,
    )
