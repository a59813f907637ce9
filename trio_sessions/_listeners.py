"""The life of a listener as the janitor sees it: one pure table, and the records that move through it.

::

    INTENT ──> POSTING ──> REGISTERED ──> CLOSING ──> GONE or LEFT
       │          │            └────────────│───────> DETACHED
       │          ├──> UNKNOWN ─────────────┘
       │          │       └─────────────────────────> GONE or LEFT
       └──────────┴─────────────────────────────────> GONE

From POSTING on, the node may have a listener of ours, and somebody of ours answers for it: the janitor in POSTING,
UNKNOWN and CLOSING, the session in REGISTERED, the journal in LEFT and DETACHED.
"""

from __future__ import annotations

from enum import Enum
from math import inf

import attrs

from trio_sessions._errors import SessionsError
from trio_sessions._instruments import Origin
from trio_sessions._latch import Latch
from trio_sessions._lifecycle import IllegalTransitionError
from trio_sessions._listing import Listing
from trio_sessions._model import Listener, SessionRequest

__all__ = ["Claim", "ListenerEvent", "ListenerState", "next_listener_state"]

#: Seconds for which something received proves that a listener is there: no node restarts, and gives its port to
#: another, so fast.
_FRESH = 1.0


class ListenerState(Enum):
    """Where a listener stands."""

    # A member is itself alone. Enum's own hash, of its name, is written in Python, and all is looked up by these.
    __hash__ = object.__hash__

    INTENT = "intent"
    """Wanted; no request was sent."""
    POSTING = "posting"
    """The request is under way."""
    UNKNOWN = "unknown"
    """The request was sent and its reply never came: the node may have the listener."""
    REGISTERED = "registered"
    """The node has it and a session holds it."""
    CLOSING = "closing"
    """It is to be deleted, and perhaps is already."""
    GONE = "gone"
    """The node has confirmed that it is not, or never was, there."""
    LEFT = "left"
    """We stopped before we knew: it is named in the report."""
    DETACHED = "detached"
    """It was left at the node on purpose, for somebody else's use: the journal alone remembers it."""


class ListenerEvent(Enum):
    """What happens to a listener."""

    # A member is itself alone. Enum's own hash, of its name, is written in Python, and all is looked up by these.
    __hash__ = object.__hash__

    POST = "post"
    OPENED = "opened"
    REFUSED = "refused"
    REPLY_LOST = "reply lost"
    FOUND = "found"
    NOT_FOUND = "not found"
    RELEASED = "released"
    CONFIRMED = "confirmed"
    GIVEN_UP = "given up"
    HANDED_OVER = "handed over"


_S, _E = ListenerState, ListenerEvent
_TABLE = {
    (_S.INTENT, _E.POST): _S.POSTING,
    (_S.INTENT, _E.GIVEN_UP): _S.GONE,
    (_S.POSTING, _E.OPENED): _S.REGISTERED,
    (_S.POSTING, _E.REFUSED): _S.GONE,
    (_S.POSTING, _E.REPLY_LOST): _S.UNKNOWN,
    (_S.UNKNOWN, _E.FOUND): _S.CLOSING,
    (_S.UNKNOWN, _E.NOT_FOUND): _S.GONE,
    (_S.UNKNOWN, _E.GIVEN_UP): _S.LEFT,
    (_S.REGISTERED, _E.RELEASED): _S.CLOSING,
    (_S.REGISTERED, _E.HANDED_OVER): _S.DETACHED,
    (_S.CLOSING, _E.CONFIRMED): _S.GONE,
    (_S.CLOSING, _E.GIVEN_UP): _S.LEFT,
}

_TERMINAL = frozenset({_S.GONE, _S.LEFT, _S.DETACHED})


def next_listener_state(state: ListenerState, event: ListenerEvent) -> ListenerState:
    """The state that ``event`` leads to.

    Raises:
        IllegalTransitionError: there is none.
    """
    try:
        return _TABLE[state, event]
    except KeyError:
        raise IllegalTransitionError(f"a listener that is {state.value} cannot take {event.value!r}") from None


@attrs.define(eq=False)
class Claim:
    """Our claim on one listener, from the intent to the node's word that it is gone. The janitor alone changes it.

    Attributes:
        request: what was, or will be, posted.
        route: the session's route as text, for people.
        state: see :class:`ListenerState`.
        posted_at: when the POST was sent, by Trio's clock.
        before: what the node listed before the POST: none of that can be ours. Without it nothing is taken for ours.
        listener: known from REGISTERED on, and when an unknown one was found.
        error: why the POST, or the last try of a DELETE, failed.
        abandoned: nobody waits for the POST's outcome any more.
        alive_at: when something came from the listener last, by Trio's clock.
        tried_at: when the last try of a DELETE was over.
        missed: the last look did not find the listener.
        delisted: the listener answers, but the node does not list it any more (contract §3.2).
        refused: what the reply to the POST named, and we could not use.
        is_ambiguous: there was a moment when its listener could not be told from a stranger's.
        origin: where an orphan of ours comes from; ``None`` while it is, or was, a session's.
        row: its number in the journal, once it is written there.
        answered: set when the POST's outcome is known, or known to be unknown.
        settled: set when the state is GONE, LEFT or DETACHED.
    """

    request: SessionRequest
    route: str
    state: ListenerState = ListenerState.INTENT
    posted_at: float = 0.0
    before: Listing | None = None
    listener: Listener | None = None
    error: SessionsError | None = None
    abandoned: bool = False
    alive_at: float = -inf
    tried_at: float = -inf
    missed: bool = False
    delisted: bool = False
    refused: Listener | None = None
    is_ambiguous: bool = False
    origin: Origin | None = None
    row: int | None = None
    answered: Latch = attrs.field(factory=Latch)
    settled: Latch = attrs.field(factory=Latch)

    def apply(self, event: ListenerEvent) -> None:
        """Move to the state that ``event`` leads to; an illegal event raises and changes nothing."""
        self.state = next_listener_state(self.state, event)
        if self.state in _TERMINAL:
            self.settled.set()

    def is_alive(self, now: float) -> bool:
        """Whether something came from the listener just now, so that it must be there."""
        return self.alive_at > now - _FRESH
