"""The life of a session: every state, every event, and the one table that joins them. Pure: no I/O, no clock.

::

    OPENING ──> ACTIVE <──> UNREACHABLE ──> DRAINING ──> CLOSING ──> CLOSED
       │           │             │              │
       │           └─────────────┴──────────────┴──> LOST
       └──> CLOSED

The owning task looks up what an event means (:func:`next_state`) and then performs it; an event that has no place in
the table raises and leaves the state untouched.
"""

from __future__ import annotations

from enum import Enum

__all__ = ["ENDED", "USABLE", "EndReason", "Event", "IllegalTransitionError", "State", "next_state"]


class State(Enum):
    """Where a session stands."""

    # A member is itself alone. Enum's own hash, of its name, is written in Python, and all is looked up by these.
    __hash__ = object.__hash__

    OPENING = "opening"
    """Its listener is asked for, perhaps for the second or third time."""
    ACTIVE = "active"
    """Open, and its relayer is reachable as far as we know."""
    UNREACHABLE = "unreachable"
    """Open and usable; its relayer is out of sight and the grace period runs."""
    DRAINING = "draining"
    """Takes no new messages; those under way are waited for."""
    CLOSING = "closing"
    """Its socket is closed; the janitor has its listener."""
    CLOSED = "closed"
    """Over: the listener is gone, never came to be, or is named in the report as left."""
    LOST = "lost"
    """Over: the listener vanished at the node."""


class Event(Enum):
    """What happens to a session."""

    # A member is itself alone. Enum's own hash, of its name, is written in Python, and all is looked up by these.
    __hash__ = object.__hash__

    OPENED = "opened"
    OPEN_FAILED = "open failed"
    PEER_LOST = "peer lost"
    PEER_BACK = "peer back"
    END = "end"
    """The grace period expired, the pool stops, nobody wants it any more, or its socket or task failed."""
    DRAINED = "drained"
    LISTENER_GONE = "listener gone"
    SETTLED = "settled"
    """The janitor has closed the listener, or has given it up and named it."""


class EndReason(Enum):
    """Why a session ended."""

    STOPPED = "stopped"
    CLOSED_BY_USER = "closed by its user"
    UNWANTED = "no longer wanted"
    DESTINATION_UNWANTED = "its destination is no longer wanted"
    GRACE_EXPIRED = "grace expired"
    LISTENER_GONE = "listener gone"
    SOCKET_FAILED = "replaced: its local socket failed"
    OPEN_FAILED = "open failed"
    CRASHED = "its task crashed"


class IllegalTransitionError(RuntimeError):
    """An event met a state in which it cannot happen: a bug of ours, never of a caller or of the node."""


#: Messages may be sent in these. A tuple, as it is asked for each batch: to look it up in a set would hash the state.
USABLE = (State.ACTIVE, State.UNREACHABLE)
#: Nothing happens after these.
ENDED = (State.CLOSED, State.LOST)

_TABLE = {
    (State.OPENING, Event.OPENED): State.ACTIVE,
    (State.OPENING, Event.OPEN_FAILED): State.CLOSED,
    # The POST, if one is under way, belongs to the janitor: the session itself has nothing to close.
    (State.OPENING, Event.END): State.CLOSED,
    (State.ACTIVE, Event.PEER_LOST): State.UNREACHABLE,
    (State.ACTIVE, Event.END): State.DRAINING,
    (State.ACTIVE, Event.LISTENER_GONE): State.LOST,
    (State.UNREACHABLE, Event.PEER_BACK): State.ACTIVE,
    (State.UNREACHABLE, Event.END): State.DRAINING,
    (State.UNREACHABLE, Event.LISTENER_GONE): State.LOST,
    (State.DRAINING, Event.DRAINED): State.CLOSING,
    (State.DRAINING, Event.LISTENER_GONE): State.LOST,
    (State.CLOSING, Event.SETTLED): State.CLOSED,
}


def next_state(state: State, event: Event) -> State:
    """The state that ``event`` leads to.

    Raises:
        IllegalTransitionError: there is none.
    """
    try:
        return _TABLE[state, event]
    except KeyError:
        raise IllegalTransitionError(f"a session that is {state.value} cannot take the event {event.value!r}") from None
