"""How many sessions a node holds at once, by what is known of its dialect (contract §3.4). Pure."""

from __future__ import annotations

import attrs

__all__ = ["Capacity", "capacity"]


@attrs.frozen
class Capacity:
    """The limit of a node's session manager, which counts sessions that come in from other nodes, too.

    Attributes:
        sessions: the limit by default.
        advice: where it comes from, and whether anything raises it.
    """

    sessions: int
    advice: str


_OLD = Capacity(
    2048, "hoprd 3.x takes 2048 sessions by default, incoming ones included, and its configuration can raise that"
)
_NEW = Capacity(
    100,
    "hoprd 4.0.3 takes 100 sessions, incoming ones included, whatever `maximum_sessions` says; early builds of 4.0"
    " take 2048, and what later ones take is not written down",
)


def capacity(dialect: str | None) -> Capacity | None:
    """What is known for the dialect of this name; ``None`` where there is no name."""
    if dialect is None:
        return None
    return _OLD if dialect.startswith("3") else _NEW
