"""A command's work at a node: one look whether it is there, signals that end it, and errors with their status."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

import trio

from trio_sessions import (
    Hoprd,
    NodeError,
    NodeUnavailableError,
    NotReadyError,
    OutcomeUnknownError,
    PortsUsedUpError,
    RejectedError,
    ServerFailureError,
    SessionOpenError,
    SessionsError,
)
from trio_sessions._leaf import open_leaf_nursery
from trio_sessions.cli._access import Access
from trio_sessions.cli._signals import receive_signals
from trio_sessions.cli._status import TRY_AGAIN, CommandError, one_line, status_of

__all__ = ["explained", "open_node", "quiet_log", "run_at_node"]

#: Seconds between two tries of a node that is waited for, and that one of them may take.
_WAIT_INTERVAL = 0.5
_PATIENCE = 10.0
#: What a node that is coming up, or a proxy before it, does.
_AWAY = (NodeUnavailableError, OutcomeUnknownError, NotReadyError, ServerFailureError)
#: What may work the next time without anybody changing anything.
_TEMPORARY = (OutcomeUnknownError, ServerFailureError, NotReadyError, RejectedError, PortsUsedUpError)


def run_at_node(work: Callable[[], Awaitable[int | None]], interrupt: Callable[[], bool] | None = None) -> int:
    """Run ``work`` and return its exit status; inside of hold_signals.

    A signal cancels it, and the status is 130 or 143 then, as it is when ``work`` returns none.

    Args:
        interrupt: called at a signal: True when the work ends by itself now, and is not to be cancelled.

    Raises:
        CommandError: what went wrong, with its status.
    """
    return trio.run(_run, work, interrupt or (lambda: False))


async def _run(work: Callable[[], Awaitable[int | None]], interrupt: Callable[[], bool]) -> int:
    status: int | None = None
    signalled = 0
    with receive_signals() as signals, quiet_log():
        async with open_leaf_nursery() as nursery:

            async def obey() -> None:
                nonlocal signalled
                async for number in signals:
                    signalled = signalled or number
                    if not interrupt():
                        nursery.cancel_scope.cancel()

            nursery.start_soon(obey)
            try:
                status = await work()
            except SessionsError as error:
                raise explained(error) from error
            nursery.cancel_scope.cancel()
    return 128 + signalled if status is None else status


@contextmanager
def quiet_log() -> Iterator[None]:
    """Keep the library's log from stderr: a command says of each listener itself what became of it."""
    logger, handler = logging.getLogger("trio_sessions"), logging.NullHandler()
    propagate, logger.propagate = logger.propagate, False
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagate


def explained(error: SessionsError) -> CommandError:
    """The error as a command says it: of one that could not open, the status is that of the cause."""
    cause = error.__cause__
    decisive = cause if isinstance(error, SessionOpenError) and isinstance(cause, SessionsError) else error
    status = status_of(decisive)
    if isinstance(decisive, _TEMPORARY) and not isinstance(decisive, NodeUnavailableError):
        status = TRY_AGAIN
    if decisive is error and isinstance(error, SessionOpenError):
        status = TRY_AGAIN
    return CommandError(one_line(error), status)


@asynccontextmanager
async def open_node(access: Access, wait: float = 0.0) -> AsyncIterator[Hoprd]:
    """A client of the node, which is there; one that isn't up is waited for, so many seconds.

    Raises:
        NodeError: it is not there, or refuses us.
    """
    async with Hoprd(access.url, token=access.token, timeout=_PATIENCE) as hoprd:
        deadline = trio.current_time() + wait
        while True:
            try:
                # The one call that needs the token and nothing else, and that tells a hoprd from other servers.
                await hoprd.addresses()
                break
            except NodeError as error:
                is_away = isinstance(error, _AWAY)
                if not is_away or trio.current_time() >= deadline:
                    raise
            await trio.sleep(min(_WAIT_INTERVAL, max(0.0, deadline - trio.current_time())))
        yield hoprd
