"""What all sessions of a pool share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import attrs

from trio_sessions._datagrams import Connect
from trio_sessions._gate import Gate
from trio_sessions._janitor import Janitor
from trio_sessions._lifecycle import Event
from trio_sessions._model import Listener, SessionRequest
from trio_sessions._route import Route

if TYPE_CHECKING:
    from trio_sessions._keeper import Keeper

__all__ = ["Surroundings"]


@attrs.define(eq=False)
class Surroundings:
    """What a session has of its pool. Periods, intervals and time-outs are the pool's to change.

    Attributes:
        touch: resets the idle timer of a listener, as well as it can.
        request: makes the POST's body for a route, after choosing a destination where the route leaves that open.
        own_address: of the node, as the sender that messages name.
        drain_deadline: until when a session that ends now may wait for answers.
        on_event: called after each event of the session's life.
    """

    janitor: Janitor
    gate: Gate
    connect: Connect
    connect_host: str | None
    grace_period: float
    keepalive_interval: float
    touch: Callable[[Listener], Awaitable[None]]
    reply_timeout: float
    open_attempts: int
    wait_for_node: bool
    request: Callable[[Route], Awaitable[SessionRequest]]
    own_address: Callable[[], Awaitable[str]]
    drain_deadline: Callable[[], float]
    on_event: Callable[[Keeper, Event], None]
