"""Errors are leaves: what came out of our nurseries as a group leaves us as the one error that matters."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import trio

__all__ = ["leaf", "open_leaf_nursery"]


@asynccontextmanager
async def open_leaf_nursery() -> AsyncIterator[trio.Nursery]:
    """Like :func:`trio.open_nursery`, but what comes out is one error and no group.

    An error of the block itself comes out as it is, even when it is a group of the caller's own making.
    """
    body_error: BaseException | None = None
    try:
        async with trio.open_nursery() as nursery:
            try:
                yield nursery
            except BaseException as error:
                body_error = error
                raise
    except BaseExceptionGroup as group:
        outcome = leaf(group) if body_error is None or _is_cancelled(body_error) else body_error
    else:
        return
    # Outside of the handler, so that neither cause nor context of the caller's error is changed.
    raise outcome


def leaf(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first error of ``group`` that is no :class:`trio.Cancelled`, or else a Cancelled of it.

    One that is no :class:`Exception`, such as KeyboardInterrupt, comes before those that are. Others, which a crash of
    several tasks at once can bring, are noted on the one returned.
    """
    leaves = list(_leaves(group))
    errors = [error for error in leaves if not isinstance(error, trio.Cancelled)]
    if not errors:
        return leaves[0]
    first, *others = sorted(errors, key=lambda error: isinstance(error, Exception))
    for other in others:
        first.add_note(f"and at the same time: {other!r}")
    return first


def _is_cancelled(error: BaseException) -> bool:
    """Whether ``error`` says only that its task was cancelled; several at once come as a group."""
    return all(isinstance(each, trio.Cancelled) for each in _leaves(error))


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from _leaves(each)
    else:
        yield error
