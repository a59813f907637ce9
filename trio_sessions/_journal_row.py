"""A row of the journal, as the rest of the library sees it."""

from __future__ import annotations

import attrs

from trio_sessions._model import Listener, SessionRequest

__all__ = ["RESTING", "JournalRow"]

#: The state of a row whose listener is gone, and whose port is in quarantine.
RESTING = "resting"
#: The words of the ListenerState that a row may be in, too; that module imports trio, this one doesn't.
_STATES = frozenset({"posting", "unknown", "registered", "closing", "left", "detached", RESTING})


@attrs.frozen
class JournalRow:
    """One listener that we may have at the node.

    Attributes:
        id: of the row; never used again for another listener.
        state: the value of its ``ListenerState``, one in which the node may have it; or :data:`RESTING`.
        route: its relayer, or destination and hops, for people.
        request: as posted, with the listen host.
        before: the listeners alike that the node listed before the POST; ``None``: nobody looked.
        listener: the listener, once it is known.
        age: seconds since the row was first written, also those that the machine was suspended for; ``None`` in rows
            to write, and where it isn't known since the machine was booted in between.
    """

    id: int
    state: str
    route: str
    request: SessionRequest
    before: tuple[Listener, ...] | None
    listener: Listener | None
    age: float | None = None

    def __attrs_post_init__(self) -> None:
        if self.state not in _STATES:
            raise ValueError(f"its state is none of {', '.join(sorted(_STATES))}")
