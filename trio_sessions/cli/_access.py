"""Which node a command speaks to, as whom, and what there is ours: the options that most commands share."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import attrs
import click

from trio_sessions._errors import InvalidInputError
from trio_sessions._namespaces import DedicatedAddress, Namespace, Shared, check_instance, parse_namespace
from trio_sessions.cli._params import CheckedType
from trio_sessions.cli._token import TOKEN_VARIABLE, read_token

__all__ = ["Access", "node_options"]

#: Where a node's API is unless its configuration says otherwise (contract §1.1).
DEFAULT_URL = "http://127.0.0.1:3001"


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

    @property
    def needs_journal(self) -> bool:
        """Whether what is open must be remembered on disk: an address of our own needs no memory."""
        return not self.no_journal and not isinstance(self.namespace, DedicatedAddress)


_OPTIONS = (
    click.option("--url", metavar="URL", default=DEFAULT_URL, show_default=True, help="The hoprd node's REST API."),
    click.option("--token-file", metavar="FILE", help=f"File with the API token; without it, {TOKEN_VARIABLE} has it."),
    click.option(
        "--namespace",
        type=CheckedType("namespace", parse_namespace),
        metavar="NS",
        default="shared",
        show_default=True,
        help="Which listeners are ours: see run --help.",
    ),
    click.option(
        "--instance",
        type=CheckedType("instance", check_instance),
        metavar="NAME",
        default="default",
        show_default=True,
        help="Name of this one among several at the same node.",
    ),
    click.option("--journal", metavar="FILE", help="The journal.  [default: one in the state folder]"),
    click.option("--no-journal", is_flag=True, help="Remember nothing."),
    click.option("--connect-host", metavar="IP", help="Where listeners are reached, if not where the node says."),
)


def node_options(command: Callable[..., int]) -> Callable[..., int]:
    """Give a command the options that make an :class:`Access`, which it gets as its argument ``access``."""

    @functools.wraps(command)
    def with_access(*, url: str, token_file: str | None, **options: Any) -> int:
        names = [field.name for field in attrs.fields(Access) if field.name in options]
        given = {name: options.pop(name) for name in names}
        return command(access=Access(url=url, token=read_token(token_file), **given), **options)

    for option in reversed(_OPTIONS):
        with_access = option(with_access)
    return with_access
