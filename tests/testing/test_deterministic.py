"""The same seed gives the same order of tasks, and other seeds give others."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from trio_sessions.testing import deterministic_schedule


def order(seed: int | str) -> tuple[int, ...]:
    """In which order six tasks take their five turns each."""
    turns: list[int] = []

    async def take_turns(number: int) -> None:
        for turn in range(5):
            turns.append(number)
            await trio.sleep(turn % 2)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            for number in range(6):
                nursery.start_soon(take_turns, number)

    with deterministic_schedule(seed):
        trio.run(main, clock=MockClock(autojump_threshold=0))
    return tuple(turns)


@pytest.mark.parametrize("seed", [0, 1, "a text"])
def test_the_same_seed_gives_the_same_order(seed: int | str) -> None:
    assert order(seed) == order(seed)


def test_seeds_give_different_orders() -> None:
    assert len({order(seed) for seed in range(20)}) > 15


def test_what_was_there_before_is_put_back() -> None:
    scheduler = trio._core._run

    def fail() -> None:
        with deterministic_schedule(3):
            assert scheduler._ALLOW_DETERMINISTIC_SCHEDULING
            raise ZeroDivisionError

    before = scheduler._ALLOW_DETERMINISTIC_SCHEDULING, scheduler._r.getstate()
    with pytest.raises(ZeroDivisionError):
        fail()
    assert (scheduler._ALLOW_DETERMINISTIC_SCHEDULING, scheduler._r.getstate()) == before
