"""Medians, quotients of one round, promises, and what counts as a change."""

from __future__ import annotations

import pytest

from benchmarks._case import Promise, Quotient
from benchmarks._compare import Change, compare, differences
from benchmarks._statistics import judge, quotient_values, spread_of
from tests.benchmarks.support import results

QUOTIENT = Quotient("part", "slow-relayers/10%:rate", "relay/plain:rate", share=0.9)


def test_a_spread() -> None:
    spread = spread_of([4.0, 1.0, 3.0])
    assert spread is not None
    assert (spread.median, spread.lowest, spread.highest, spread.rounds) == (3.0, 1.0, 4.0, 3)
    assert spread.half_range == 0.5
    assert spread_of([]) is None


def test_a_quotient_takes_both_sides_of_one_round_and_leaves_out_rounds_that_lack_one() -> None:
    made = results({"slow-relayers/10%:rate": [90.0, 45.0, 1.0], "relay/plain:rate": [100.0, 200.0]})
    assert quotient_values(made, QUOTIENT) == [1.0, 0.25]
    assert quotient_values(results({"relay/plain:rate": [1.0]}), QUOTIENT) == []
    assert quotient_values(results({"slow-relayers/10%:rate": [1.0], "relay/plain:rate": [0.0]}), QUOTIENT) == []


def test_promises_are_judged_by_their_medians() -> None:
    made = results(
        {"slow-relayers/10%:rate": [90.0, 10.0, 95.0], "relay/plain:rate": [100.0] * 3, "stop/x:stop": [2.0]}
    )
    promises = (
        Promise("", "part", 0.95),
        Promise("", "part", 1.01),
        Promise("", "stop/x:stop", 2.0, at_least=False),
        Promise("", "stop/x:stop", 2.1, at_least=False),
        Promise("", "stop/y:stop", 1.0),
    )
    verdicts = judge(made, promises, [QUOTIENT])
    assert [verdict.word for verdict in verdicts] == ["ok", "MISSED", "MISSED", "ok", "not measured"]
    assert verdicts[0].value == 1.0


def change(before: list[float], after: list[float], key: str = "relay/plain:rate") -> Change:
    (found,) = compare(results({key: before}), results({key: after}))
    return found


@pytest.mark.parametrize(
    ("before", "after", "word"),
    [
        pytest.param([10, 11, 12], [13, 14, 15], "better", id="apart, above"),
        pytest.param([10, 11, 12], [7, 8, 9], "worse", id="apart, below"),
        pytest.param([10, 11, 12], [12, 14, 15], "within noise", id="touching"),
        pytest.param([10, 11], [20, 21], "too few rounds", id="two rounds"),
        pytest.param([10], [20, 21, 22, 23, 24, 25, 26, 27, 28], "too few rounds", id="one and nine"),
        pytest.param([10, 11], [20, 21, 22, 23, 24], "better", id="two and five"),
    ],
)
def test_a_change_is_one_when_the_ranges_are_apart(before: list[float], after: list[float], word: str) -> None:
    assert change(before, after).word == word


def test_less_is_better_for_some_figures() -> None:
    assert change([10, 11, 12], [7, 8, 9], "relay/plain:cpu").word == "better"
    assert change([10, 11, 12], [17, 18, 19], "relay/plain:p99").word == "worse"


def test_a_figure_without_a_better_direction_changes() -> None:
    assert change([10, 10, 10], [11, 11, 11], "ramp/plain:steps").word == "changed"


def test_the_share_of_nothing_is_none() -> None:
    assert change([10.0, 10.0], [15.0, 15.0]).share == 0.5
    assert change([0.0], [1.0], "stop/dedicated-200:left").share is None


def test_only_what_both_have_is_compared_and_quotients_too() -> None:
    before = results({"relay/plain:rate": [5.0], "floor/plain:rate": [10.0], "relay/plain:p50": [1.0]})
    after = results({"relay/plain:rate": [6.0], "floor/plain:rate": [10.0], "relay/plain:p99": [1.0]})
    found = {each.key: each.share for each in compare(before, after)}
    assert found == {
        "floor/plain:rate": 0.0,
        "relay/plain:rate": pytest.approx(0.2),
        "relay of the floor": pytest.approx(0.2),
    }


def test_what_makes_runs_hard_to_compare_is_named() -> None:
    one = results({})
    assert differences(one, one) == []
    assert differences(one, results({}, quick=True)) == ["quick was False, and is True"]
