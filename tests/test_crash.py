"""SIGKILL at every stage of a real process, in every namespace: row 25 of the fault matrix, and row 10 with it.

Few rounds of what ``python -m tests.crash`` plays at length.
"""

from __future__ import annotations

import attrs
import trio

from tests.crash.campaign import play, run_rounds
from tests.crash.node import Nodes, closed_strangers
from tests.crash.plan import COMBINATIONS, NAMESPACES, STAGES, Stranger, make_plan
from tests.crash.rounds import Outcome

SEED = 375


#: Each stage in one of the namespaces, and the most delicate one in all of them.
FEW = [
    number
    for number, (stage, namespace) in enumerate(COMBINATIONS)
    if stage == "committed" or list(STAGES).index(stage) % len(NAMESPACES) == NAMESPACES.index(namespace)
]


def number_of(stage: str, namespace: str) -> int:
    """The first round of this stage and namespace."""
    return COMBINATIONS.index((stage, namespace))


async def test_nothing_is_left_and_no_stranger_closed_wherever_the_kill_comes() -> None:
    outcomes: list[Outcome] = []
    await run_rounds(FEW, SEED, 3, outcomes.append)
    assert {(outcome.plan.stage, outcome.plan.namespace) for outcome in outcomes} == {COMBINATIONS[n] for n in FEW}
    bad = [outcome for outcome in outcomes if outcome.violations]
    again = f"python -m tests.crash --seed {SEED} --round"
    stories = [f"{each.violations}\nagain: {again} {each.plan.number}\n{each.story}" for each in bad]
    assert not bad, "\n\n".join(stories)


async def test_a_start_that_forgets_everything_is_found_out() -> None:
    outcomes: list[Outcome] = []

    async def forget(nodes: Nodes, job: int, namespace: str) -> None:
        plan = make_plan(SEED, number_of("active", namespace))
        plan = attrs.evolve(plan, faults=(), later_faults=(), killed_again=(), by_command=False, needed=1, count=1)
        outcomes.append(await play(nodes, plan, job=job, patience=3.0, forget=True))

    async with trio.open_nursery() as nursery:
        nodes = Nodes(nursery)
        async with trio.open_nursery() as playing:
            for job, namespace in enumerate(NAMESPACES):
                playing.start_soon(forget, nodes, job, namespace)
        nursery.cancel_scope.cancel()
    for outcome in outcomes:
        assert outcome.left
        assert outcome.settled_in is None
        assert all(what in " ".join(outcome.violations) for what in ("not settled", "left: udp://"))
    assert len(outcomes) == len(NAMESPACES)


async def test_a_start_that_closes_a_strangers_listener_is_found_out() -> None:
    plan = make_plan(SEED, number_of("active", "dedicated"))
    plan = attrs.evolve(plan, killed_again=(), strangers=(Stranger("before", "in our house", 0),))
    async with trio.open_nursery() as nursery:
        outcome = await play(Nodes(nursery), plan)
        nursery.cancel_scope.cancel()
    assert outcome.strangers_closed == 1
    assert "strangers closed" in " ".join(outcome.violations)


def test_only_the_end_of_a_strangers_listener_counts() -> None:
    ours, theirs = ["udp", "127.0.0.1", 1], ["udp", "127.0.0.1", 2]
    end = (4.0, "close", theirs)
    events = [(1.0, "open", ours), (2.0, "stranger", theirs), (3.0, "close", ours), end, (5.0, "close", theirs)]
    assert closed_strangers(events) == [end]
    # Its port is reused by a stranger, and later by one of ours.
    events = [(1.0, "open", ours), (2.0, "close", ours), (3.0, "stranger", ours)]
    assert closed_strangers(events) == []
    assert closed_strangers([*events, (4.0, "idle_end", ours)]) == [(4.0, "idle_end", ours)]


def test_the_same_seed_and_number_are_the_same_plan() -> None:
    plans = [make_plan(SEED, number) for number in range(210)]
    assert plans == [make_plan(SEED, number) for number in range(210)]
    assert plans != [make_plan(SEED + 1, number) for number in range(210)]
