"""Which points a sweep visits: how they are counted, drawn, shared out and named; and what it refuses."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from itertools import count
from textwrap import dedent

import attrs
import pytest
import trio

from trio_sessions import InvalidInputError
from trio_sessions.testing import Found, SweepResult, Visited, sweep
from trio_sessions.testing._sweep import Sweeper
from trio_sessions.testing._sweep_result import Point, When, read_label
from trio_sessions.testing._sweep_run import Scenario


@attrs.define
class Journey:
    """What becomes of an operation that waits for three trains, of which one comes each second."""

    trains: trio.MemoryReceiveChannel[float]
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    arrived: list[float] = attrs.field(factory=list)


@asynccontextmanager
async def a_journey() -> AsyncIterator[Journey]:
    send, receive = trio.open_memory_channel[float](0)

    async def run_trains() -> None:
        while True:
            await trio.sleep(1)
            with suppress(trio.WouldBlock):
                send.send_nowait(trio.current_time())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_trains)
        yield Journey(receive)
        nursery.cancel_scope.cancel()


async def travel(journey: Journey) -> None:
    for _ in range(3):
        journey.arrived.append(await journey.trains.receive())


def test_a_cancel_comes_while_the_task_waits_and_when_it_may_go_on() -> None:
    arrived: dict[int, int] = {}

    def note(journey: Journey) -> None:
        arrived[len(arrived)] = len(journey.arrived)

    result = sweep(travel, setup=a_journey, invariant=note, pairs=0)
    assert result.checkpoints == 3
    assert result.singles == Visited(parked=3, runnable=4)
    # Uncancelled; before the first step; then in each wait, and after it: there what was waited for has happened.
    assert list(arrived.values()) == [3, 0, 0, 1, 1, 2, 2, 3]
    # The last cancel comes before a step without a checkpoint.
    assert result.delivered == 6


def test_a_deadline_lets_the_task_have_its_step() -> None:
    times: list[list[float]] = []

    async def go_twice(journey: Journey) -> None:
        with trio.move_on_after(10, shield=True):
            await travel(journey)
        await travel(journey)

    result = sweep(go_twice, setup=a_journey, invariant=lambda journey: times.append(journey.arrived), pairs=None)
    result.check()
    assert result.pairs.deadline > 0
    assert {len(arrived) for arrived in times} == {3, 4, 5, 6}


def test_the_first_point_may_be_a_cancel_of_another_scope() -> None:
    """The clean-up after it is what a second cancel disturbs: here it does so before the close."""

    async def tidy_up(journey: Journey) -> None:
        try:
            with journey.scope:
                await travel(journey)
        finally:
            journey.arrived.append(0.0)
            await trio.sleep(1)
            journey.arrived.remove(0.0)

    def is_tidy(journey: Journey) -> None:
        assert 0.0 not in journey.arrived

    result = sweep(
        tidy_up, setup=a_journey, invariant=is_tidy, first=lambda journey: journey.scope.cancel(), pairs=None
    )
    assert result.violations
    assert all("+" in violation.label for violation in result.violations)
    plain = sweep(tidy_up, setup=a_journey, invariant=is_tidy, pairs=0)
    assert plain.violations


def test_what_raises_at_the_first_point_is_found() -> None:
    result = sweep(travel, setup=a_journey, first=lambda journey: 1 / 0, pairs=0)
    assert {violation.found for violation in result.violations} == {Found.ERROR}


def test_points_are_drawn_by_the_seed_and_those_left_out_are_counted() -> None:
    def labels(seed: int) -> list[str]:
        """Everything is a violation, so all points have their labels in the result."""
        return [each.label for each in sweep(travel, setup=a_journey, invariant=fail, seed=seed, singles=3).violations]

    def fail(journey: Journey) -> None:
        assert len(journey.arrived) == 3

    result = sweep(travel, setup=a_journey, singles=3, pairs=2)
    assert (result.singles.total, result.singles.left_out) == (3, 4)
    whole = sweep(travel, setup=a_journey, singles=3, pairs=None)
    assert (result.pairs.total, result.pairs.total + result.pairs.left_out) == (2, whole.pairs.total)
    assert labels(0) == labels(0)
    assert len({tuple(labels(seed)) for seed in range(8)}) > 1


def test_shares_add_up_to_the_whole() -> None:
    scenario = Scenario(travel, a_journey, None, None, whole_world=False, seed=0, max_seconds=60, max_steps=1000)
    whole = Sweeper(scenario, "travel").sweep(singles=None, pairs=None)
    shares = [Sweeper(scenario, "travel", (number, 3)).sweep(singles=None, pairs=None) for number in range(3)]
    assert sum((share.singles for share in shares), Visited()) == whole.singles
    assert sum((share.pairs for share in shares), Visited()) == whole.pairs


def test_what_does_not_hold_uncancelled_is_not_swept() -> None:
    async def fail(journey: Journey) -> None:
        raise ConnectionError("nobody there")

    result = sweep(fail, setup=a_journey)
    assert [(each.label, each.found) for each in result.violations] == [("none", Found.ERROR)]
    assert result.singles.total == 0
    assert sweep(fail, setup=a_journey, only="none").violations


def test_a_run_that_does_not_repeat_itself_is_reported() -> None:
    numbers = count()

    async def differ(journey: Journey) -> None:
        await trio.sleep(next(numbers))
        await trio.sleep(1)

    result = sweep(differ, setup=a_journey, pairs=0)
    problems = [each.problem for each in result.violations if each.found is Found.NOT_DETERMINISTIC]
    assert any(re.fullmatch(r"step 2 was of task .*, at 3 s, and before of task .*, at 0 s", each) for each in problems)


def test_a_point_that_does_not_come_is_reported() -> None:
    numbers = count()

    async def end_early(journey: Journey) -> None:
        for _ in range(3 - (next(numbers) > 0)):
            await trio.sleep(1)

    result = sweep(end_early, setup=a_journey, pairs=0)
    assert any("it was over after 3 steps, before its point" in each.problem for each in result.violations)


@pytest.mark.parametrize(
    "label", ["", "3", "parked", "parked:x", "asleep:3", "parked:0", "deadline:3", "parked:5+parked:3"]
)
def test_a_label_that_is_none(label: str) -> None:
    with pytest.raises(InvalidInputError, match="is no point of a sweep"):
        sweep(travel, setup=a_journey, only=label)


def test_labels() -> None:
    assert read_label("none") == ()
    assert read_label("parked:3+deadline:5") == (Point(When.PARKED, 3), Point(When.DEADLINE, 5))
    result = sweep(travel, setup=a_journey, only="parked:1+runnable:2")
    assert (result.singles.total, result.pairs) == (0, Visited(runnable=1))


async def test_in_trio_it_says_how_to_call_it() -> None:
    with pytest.raises(RuntimeError, match="call it from a plain function"):
        sweep(travel, setup=a_journey)


def test_an_error_of_the_setup_comes_out_as_it_is() -> None:
    @asynccontextmanager
    async def broken() -> AsyncIterator[None]:
        int("nothing")
        yield

    async def nothing(_: None) -> None:
        pass

    with pytest.raises(ValueError, match="nothing"):
        sweep(nothing, setup=broken)


def test_a_way_out_of_the_setup_that_raises_is_found() -> None:
    @asynccontextmanager
    async def picky() -> AsyncIterator[Journey]:
        async with a_journey() as journey:
            yield journey
        assert len(journey.arrived) == 3, "it was cut short"

    result = sweep(travel, setup=picky, pairs=0)
    assert {each.found for each in result.violations} == {Found.INVARIANT}
    assert "AssertionError: it was cut short" in result.violations[0].problem
    assert str(result).endswith(str(result.violations[-1]))


def test_the_example_of_the_docstring() -> None:
    assert sweep.__doc__ is not None
    (example,) = re.findall(r"::\n\n(.*?)\n\n    What runs", sweep.__doc__, flags=re.DOTALL)
    names: dict[str, object] = {}
    exec(dedent(example), names)  # what it defines is called like a test
    test = names["test_a_cancelled_call_gives_its_connection_back"]
    assert callable(test)
    test()
    found = sweep(names["call"], setup=names["one_connection"])  # type: ignore[arg-type]
    assert isinstance(found, SweepResult)
    assert found.delivered > 0
