"""Which node a command speaks to, as whom, and what there is ours: the options that most commands share."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from trio_sessions._errors import InvalidInputError
from trio_sessions._namespaces import DedicatedAddress, Namespace, Shared
from trio_sessions.cli._flags import setting_flags, take_flags
from trio_sessions.cli._speech import warn
from trio_sessions.cli._token import Token, find_token
from trio_sessions.cli.settings import Configuration, Sources

__all__ = ["Access", "node_options", "token_of", "warnings_of"]

#: Where a node's API is unless its configuration says otherwise (contract §1.1).
DEFAULT_URL = "http://127.0.0.1:3001"

#: The settings that say so.
_NAMES = ("url", "token_file", "namespace", "instance", "journal", "connect_host")


@attrs.frozen(kw_only=True)
class Access:
    """A node, and what is ours at it.

    Attributes:
        url: of the API.
        token: for it.
        namespace: of our listeners.
        instance: the name of this one among several at the node.
        journal: the file that was named; ``None``: the one in the state folder, where the namespace needs one.
        no_journal: remember nothing.
        connect_host: where the listeners are reached, if not where the node says.
    """

    url: str = DEFAULT_URL
    token: str | None = attrs.field(default=None, repr=False)
    namespace: Namespace = attrs.field(factory=Shared)
    instance: str = "default"
    journal: str | None = None
    no_journal: bool = False
    connect_host: str | None = None

    def __attrs_post_init__(self) -> None:
        if self.no_journal and self.journal is not None:
            raise InvalidInputError("--journal", self.journal, "is given together with --no-journal", "leave one out")

    @classmethod
    def of(cls, configuration: Configuration, token: str | None) -> Access:
        """The access that a configuration gives."""
        journal = configuration.value("journal")
        return cls(
            url=configuration.value("url") or DEFAULT_URL,
            token=token,
            namespace=configuration.value("namespace"),
            instance=configuration.value("instance"),
            journal=journal if isinstance(journal, str) else None,
            no_journal=journal is False,
            connect_host=configuration.value("connect_host"),
        )

    @property
    def needs_journal(self) -> bool:
        """Whether what is open must be remembered on disk: an address of our own needs no memory."""
        return not self.no_journal and not isinstance(self.namespace, DedicatedAddress)


def node_options(command: Callable[..., int]) -> Callable[..., int]:
    """Give a command the options that make an :class:`Access`, which it gets as its argument ``access``."""

    @functools.wraps(command)
    def with_access(*, config: str | None, **options: Any) -> int:
        configuration = Sources(flags=take_flags(options, _NAMES), config=config).read()
        token = token_of(configuration)
        warn(warnings_of(configuration, token))
        return command(access=Access.of(configuration, None if token is None else token.value), **options)

    return setting_flags(_NAMES)(with_access)


def token_of(configuration: Configuration, environ: Mapping[str, str] = os.environ) -> Token | None:
    """The API token, wherever it is.

    Raises:
        InvalidInputError: the file that a flag names has none.
        ConfigError: the same of a file that was named elsewhere.
    """
    try:
        return find_token(configuration.value("token_file"), environ)
    except InvalidInputError as error:
        raise configuration.blame(error) from None


def warnings_of(configuration: Configuration, token: Token | None) -> tuple[str, ...]:
    """What may be a mistake in a configuration."""
    of_token = () if token is None or not token.warning else (token.warning,)
    return (*configuration.warnings, *of_token)
