"""One call for all who ask at the same time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from math import inf
from typing import Generic, TypeVar

import attrs
import trio

from trio_sessions._errors import NodeError

__all__ = ["SingleFlight"]

T = TypeVar("T")


@attrs.define(eq=False)
class _Flight(Generic[T]):
    """A call under way; over with neither result nor error when it was cancelled."""

    started_at: float = attrs.field(factory=trio.current_time)
    over: trio.Event = attrs.field(factory=trio.Event)
    results: list[T] = attrs.field(factory=list)
    error: NodeError | None = None


class SingleFlight(Generic[T]):
    """Makes a call to the node for whoever asks; those who ask meanwhile wait for it, and share its result or error."""

    def __init__(self, call: Callable[[], Awaitable[T]]) -> None:
        self._call = call
        self._flight: _Flight[T] | None = None

    async def get(self, since: float = -inf) -> T:
        """The result of a call that began at or after ``since`` (Trio's clock): the one under way, or a new one.

        If the one who makes the call is cancelled, one of the others makes it again.

        Raises:
            NodeError: the call failed.
        """
        while self._flight is not None:
            flight = self._flight
            await flight.over.wait()
            if flight.started_at >= since:
                if flight.error is not None:
                    raise _twin(flight.error) from flight.error
                if flight.results:
                    return flight.results[0]
        return await self._fly()

    def forget(self) -> None:
        """What is under way is of no use to those who ask from now on."""
        self._flight = None

    async def _fly(self) -> T:
        flight = self._flight = _Flight()
        try:
            flight.results.append(await self._call())
        except NodeError as error:
            flight.error = error
            raise
        finally:
            if self._flight is flight:
                self._flight = None
            flight.over.set()
        return flight.results[0]


def _twin(error: NodeError) -> NodeError:
    """Another exception of the same content: one object raised in many tasks gathers the tracebacks of all."""
    twin = type(error).__new__(type(error), *error.args)
    twin.__dict__.update(error.__dict__)
    return twin
