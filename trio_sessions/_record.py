"""The state of a session: one record that only its owning task may change, and the frozen view that others get."""

from __future__ import annotations

from typing import Any

import attrs
import trio

from trio_sessions._lifecycle import EndReason, Event, State, next_state
from trio_sessions._log_fields import about
from trio_sessions._model import Listener
from trio_sessions._route import Route

__all__ = ["ForeignWriteError", "SessionInfo", "SessionRecord"]


class ForeignWriteError(RuntimeError):
    """A task other than its owner tried to change a session's record: a bug, caught in the act."""


@attrs.frozen
class SessionInfo:
    """A session at one moment. Times are of Trio's clock, in seconds.

    Attributes:
        relayer: the pinned relayer, ``None`` for a session by hops.
        destination: the exit node; ``None`` until one was chosen.
        hops: for a session by hops.
        state: see :class:`~trio_sessions.State`.
        reason: why it ends or ended; ``None`` while it lives.
        listener: the node's side; ``None`` until it is open.
        opened_at: when the listener was there.
        grace_ends_at: when the grace period that is running ends.
        attempts: how many POSTs this session has tried.
        outstanding: batches that wait for answers.
        datagrams_dropped: received ones that nobody took from a full buffer.
        bytes_unread: received bytes that were no relay message.
        last_rtt: round trip of the answer in the middle of the last batch that had any, in seconds: its median, unless
            the batch was sent in parts.
        last_answered_at: when something came in last before that batch was over: mostly its last answer.
    """

    relayer: str | None
    destination: str | None
    hops: int | None
    state: State
    reason: EndReason | None
    listener: Listener | None
    opened_at: float | None
    grace_ends_at: float | None
    attempts: int
    outstanding: int = 0
    datagrams_dropped: int = 0
    bytes_unread: int = 0
    last_rtt: float | None = None
    last_answered_at: float | None = None


def _only_owner(record: SessionRecord, attribute: attrs.Attribute[Any], value: Any) -> Any:
    if record.owner is not trio.lowlevel.current_task():
        raise ForeignWriteError(f"only the session's own task may set its {attribute.name}")
    return value


@attrs.define(on_setattr=_only_owner, eq=False)
class SessionRecord:
    """What a session knows of itself; see :class:`SessionInfo` for the fields. Written by its owner alone."""

    route: Route
    state: State = State.OPENING
    reason: EndReason | None = None
    destination: str | None = None
    listener: Listener | None = None
    opened_at: float | None = None
    grace_ends_at: float | None = None
    attempts: int = 0
    #: The task that may write; set once, by itself, in :meth:`claim`.
    owner: trio.lowlevel.Task | None = attrs.field(default=None, init=False, on_setattr=attrs.setters.NO_OP)

    def claim(self) -> None:
        """Make the calling task the owner.

        Raises:
            ForeignWriteError: there is one already.
        """
        if self.owner is not None:
            raise ForeignWriteError("the session's record has an owner already")
        self.owner = trio.lowlevel.current_task()

    def apply(self, event: Event) -> None:
        """Move to the state that ``event`` leads to; an illegal event raises and changes nothing."""
        self.state = next_state(self.state, event)

    def about(self, error: BaseException | None = None) -> dict[str, dict[str, object]]:
        """What a line of the log about this session has as fields."""
        return about(
            error=error,
            route=self.route,
            destination=self.destination,
            listener=self.listener and self.listener.key,
            attempts=self.attempts,
        )

    def snapshot(self) -> SessionInfo:
        """A frozen copy for everybody else."""
        return SessionInfo(
            relayer=self.route.relayer,
            destination=self.destination or self.route.destination,
            hops=self.route.hops,
            state=self.state,
            reason=self.reason,
            listener=self.listener,
            opened_at=self.opened_at,
            grace_ends_at=self.grace_ends_at,
            attempts=self.attempts,
        )
