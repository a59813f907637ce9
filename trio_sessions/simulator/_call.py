"""What a route's handler is given."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from trio_sessions.simulator._faults import Fired
from trio_sessions.simulator._http import Request
from trio_sessions.simulator._world import World

__all__ = ["Call"]


@attrs.frozen
class Call:
    """One call of a route.

    Attributes:
        parameters: the named parts of the path, decoded.
        now: the time at which the handler starts.
        fired: the faults that happen to it.
    """

    world: World
    request: Request
    parameters: Mapping[str, str]
    now: float
    fired: Fired
