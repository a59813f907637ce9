"""The sweep finds bugs that were planted, each by its name, and nothing in correct code."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Literal

import attrs
import pytest
import trio

from trio_sessions.testing import Found, sweep


@attrs.define
class Resource:
    """Has to be closed by whoever opens it, and takes time for both."""

    opened: int = 0
    closed: int = 0
    lock: trio.Lock = attrs.field(factory=trio.Lock)
    #: What is to be closed at the end, by whoever has registered it.
    registered: list[Resource] = attrs.field(factory=list)
    nursery: trio.Nursery | None = None

    async def open(self) -> None:
        await trio.sleep(0.1)
        self.opened += 1

    async def talk(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep, 0.1)
            nursery.start_soon(trio.sleep, 0.2)

    async def say_goodbye(self) -> None:
        await trio.sleep(0.1)

    def close(self) -> None:
        self.closed += 1


@asynccontextmanager
async def a_resource() -> AsyncIterator[Resource]:
    resource = Resource()
    async with trio.open_nursery() as resource.nursery:
        yield resource
        for registered in resource.registered:
            registered.close()
        resource.registered.clear()
        resource.nursery.cancel_scope.cancel()


def nothing_is_open(resource: Resource) -> None:
    for registered in resource.registered:
        registered.close()
    resource.registered.clear()
    assert resource.opened == resource.closed, "it is open"
    assert not resource.lock.locked(), "the lock is held"


# -- correct code


async def careful(resource: Resource) -> None:
    """Closes first, without a checkpoint, then says goodbye: shielded, with a deadline."""
    async with resource.lock:
        await resource.open()
        try:
            await resource.talk()
        finally:
            resource.close()
            with trio.move_on_after(1, shield=True):
                await resource.say_goodbye()


async def registers_at_once(resource: Resource) -> None:
    await resource.open()
    resource.registered.append(resource)
    await resource.talk()


async def has_time_limits(resource: Resource) -> None:
    """Catches the Cancelled of scopes of its own, shielded ones too."""
    with trio.move_on_after(0.05):
        await resource.talk()
    with trio.move_on_after(0.05, shield=True):
        await trio.sleep_forever()


async def uses_the_worlds_nursery(resource: Resource) -> None:
    """What lives on there ends with the world."""
    assert resource.nursery is not None
    resource.nursery.start_soon(resource.talk)
    await resource.say_goodbye()


async def waits_for_a_task(resource: Resource) -> None:
    assert resource.nursery is not None
    done = trio.Event()

    async def work() -> None:
        await resource.talk()
        done.set()

    resource.nursery.start_soon(work)
    await done.wait()


CORRECT = [careful, registers_at_once, has_time_limits, uses_the_worlds_nursery, waits_for_a_task]


@pytest.mark.parametrize("operation", CORRECT, ids=lambda operation: operation.__name__)
@pytest.mark.parametrize("tasks", ["own", "all"])
def test_in_correct_code_nothing_is_found(
    operation: Callable[[Resource], Awaitable[None]], tasks: Literal["own", "all"]
) -> None:
    result = sweep(operation, setup=a_resource, invariant=nothing_is_open, tasks=tasks, pairs=None)
    result.check()
    assert result.violations == ()
    assert result.singles.parked >= result.checkpoints / 2
    assert result.singles.runnable >= result.checkpoints
    assert result.delivered > 0
    assert result.singles.left_out == result.pairs.left_out == 0


# -- planted bugs


async def a_checkpoint_before_the_close(resource: Resource) -> None:
    await resource.open()
    try:
        await resource.talk()
    finally:
        await resource.say_goodbye()
        resource.close()


async def registered_after_an_await(resource: Resource) -> None:
    await resource.open()
    await trio.lowlevel.checkpoint()
    resource.registered.append(resource)


async def a_swallowed_cancelled(resource: Resource) -> None:
    try:
        await resource.talk()
    except BaseException:  # noqa: BLE001 - the bug
        return


async def a_swallowed_cancelled_in_a_loop(resource: Resource) -> None:
    while True:
        try:
            await resource.talk()
        except BaseException:  # noqa: BLE001 - the bug
            continue
        else:
            return


async def another_error_instead_of_cancelled(resource: Resource) -> None:
    try:
        await resource.talk()
    except BaseException as error:
        raise ConnectionError("nobody answers") from error


async def a_shield_without_a_deadline(resource: Resource) -> None:
    answer = trio.Event()
    try:
        await resource.talk()
        answer.set()
    finally:
        with trio.CancelScope(shield=True):
            await answer.wait()


async def a_lock_not_released(resource: Resource) -> None:
    await resource.lock.acquire()
    await resource.talk()
    resource.lock.release()


async def a_task_left_behind(resource: Resource) -> None:
    woken = trio.Event()
    trio.lowlevel.spawn_system_task(woken.wait, name="the orphan")
    await resource.talk()
    woken.set()


PLANTED = [
    (a_checkpoint_before_the_close, Found.INVARIANT, "it is open"),
    (registered_after_an_await, Found.INVARIANT, "it is open"),
    (a_swallowed_cancelled, Found.SWALLOWED, "returned as if it had not been cancelled"),
    (a_swallowed_cancelled_in_a_loop, Found.HANG, "not within 3000 steps"),
    (another_error_instead_of_cancelled, Found.ERROR, "ConnectionError: nobody answers"),
    (a_shield_without_a_deadline, Found.HANG, "not within 3600 s of virtual time"),
    (a_lock_not_released, Found.INVARIANT, "the lock is held"),
    (a_task_left_behind, Found.LEFT_BEHIND, "the orphan"),
]


@pytest.mark.parametrize(
    ("operation", "found", "words"), PLANTED, ids=[operation.__name__ for operation, _, _ in PLANTED]
)
@pytest.mark.parametrize("tasks", ["own", "all"])
def test_a_planted_bug_is_found(
    operation: Callable[[Resource], Awaitable[None]], found: Found, words: str, tasks: Literal["own", "all"]
) -> None:
    result = sweep(operation, setup=a_resource, invariant=nothing_is_open, tasks=tasks, max_steps=3_000)
    problems = [violation for violation in result.violations if violation.found is found]
    assert problems
    assert any(words in violation.problem for violation in problems), str(result)
    with pytest.raises(AssertionError, match=operation.__name__):
        result.check()
    # Its label visits the point again, and nothing else.
    first = problems[0]
    again = sweep(
        operation,
        setup=a_resource,
        invariant=nothing_is_open,
        tasks=tasks,
        max_steps=3_000,
        only=first.label,
    )
    assert [(each.label, each.found, each.problem) for each in again.violations if each.found is found] == [
        (each.label, each.found, each.problem) for each in problems if each.label == first.label
    ]
    assert again.singles.total + again.pairs.total == 1
