"""The catalogue hangs together: whatever refers to a case or a figure refers to one that there is."""

from __future__ import annotations

import pytest

from benchmarks._catalogue import WORKS, UnknownWorkError, find_case, find_figure, make_plan

#: In the order in which they run.
NAMES = (
    "floor",
    "relay",
    "relay-bare",
    "slow-relayers",
    "sustained",
    "ramp",
    "rest",
    "open-storm",
    "scale",
    "stop",
    "journal",
    "startup",
)


def test_the_works() -> None:
    assert tuple(WORKS) == NAMES
    for work in WORKS.values():
        assert len({case.name for case in work.cases}) == len(work.cases)


@pytest.mark.parametrize("name", NAMES)
def test_quotients_and_promises_refer_to_what_there_is(name: str) -> None:
    work = WORKS[name]
    quotients = {quotient.name for quotient in work.quotients}
    for quotient in work.quotients:
        for key in (quotient.over, quotient.under):
            find_figure(key)
            case = key.split(":")[0]
            assert case in work.needs or case.split("/")[0] == name, f"{quotient.name} needs {case}"
    for promise in work.promises:
        assert promise.about in quotients or find_figure(promise.about).better is not None


def test_names_of_quotients_are_unique() -> None:
    names = [quotient.name for work in WORKS.values() for quotient in work.quotients]
    assert len(names) == len(set(names))


def test_a_plan_has_what_others_refer_to_and_has_it_first() -> None:
    plan = make_plan(["relay"], quick=False)
    assert plan.cases == ("floor/plain", "floor/gso", "relay/plain", "relay/gso")
    assert plan.asked == {"relay/plain", "relay/gso"}
    assert [work.name for work in plan.works] == ["relay"]
    assert len(plan.promises) == 1


def test_a_single_case() -> None:
    plan = make_plan(["relay/gso"], quick=True)
    assert "relay/plain" not in plan.cases
    assert "relay of the floor, both with offload" in {quotient.name for quotient in plan.quotients}
    assert plan.promises == ()


def test_a_quick_plan_has_the_works_that_matter() -> None:
    quick = make_plan([], quick=True)
    assert {work.name for work in quick.works} == set(NAMES) - {"journal", "startup"}
    assert set(quick.cases) < set(make_plan([], quick=False).cases)


def test_what_is_measured_once_is_in_the_first_round_only() -> None:
    plan = make_plan(["rest"], quick=False)
    assert find_case("rest/httpx-waiting").once
    assert "rest/httpx-waiting" in plan.round(0)
    assert set(plan.round(0)) - set(plan.round(1)) == {"rest/httpx-waiting"}


@pytest.mark.parametrize("name", ["relays", "relay/fast", "", "relay/"])
def test_a_name_that_is_none(name: str) -> None:
    with pytest.raises(UnknownWorkError):
        make_plan([name], quick=False)
