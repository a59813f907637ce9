"""How long to wait before the next try."""

from __future__ import annotations

import random

import attrs

__all__ = ["Backoff"]

#: A wait is the planned one less up to this share of it, so that many who failed together don't return together.
_JITTER = 0.5


@attrs.define
class Backoff:
    """Exponential backoff with jitter.

    Attributes:
        first: seconds of the first wait, before jitter.
        limit: seconds that no wait exceeds.
    """

    first: float
    limit: float
    _rng: random.Random = attrs.field(factory=random.Random)
    _planned: float = attrs.field(default=0.0, init=False)

    def next(self) -> float:
        """Seconds to wait now; each call plans twice the time of the one before."""
        self._planned = min(self.limit, self._planned * 2 or self.first)
        return self._planned * (1 - _JITTER * self._rng.random())

    def reset(self) -> None:
        """A try succeeded: the next wait is the first one again."""
        self._planned = 0.0
