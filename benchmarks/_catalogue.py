"""All works, and the plan of a run: which cases, in which order."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import attrs

from benchmarks._case import Case, Figure, Promise, Quotient, Work
from benchmarks._works import floor, journal, open_storm, paced, relay, rest, scale, startup, stop

__all__ = ["WORKS", "Plan", "UnknownWorkError", "find_case", "make_plan"]

#: In the order in which they run: those that others refer to first.
_ALL: tuple[Work, ...] = (
    floor.WORK,
    relay.RELAY,
    relay.BARE,
    relay.SLOW,
    paced.SUSTAINED,
    paced.RAMP,
    rest.WORK,
    open_storm.WORK,
    scale.WORK,
    stop.WORK,
    journal.WORK,
    startup.WORK,
)
WORKS: dict[str, Work] = {work.name: work for work in _ALL}


class UnknownWorkError(ValueError):
    """A name that is no work's, and no case's; its message is one line."""


@attrs.frozen
class Plan:
    """What is run.

    Attributes:
        cases: ``"work/case"``, in order.
        asked: those of them that were asked for, and are not only referred to by others.
    """

    cases: tuple[str, ...]
    asked: frozenset[str]

    def round(self, number: int) -> tuple[str, ...]:
        """The cases of a round, from 0."""
        return tuple(key for key in self.cases if number == 0 or not find_case(key).once)

    def restricted_to(self, cases: Collection[str]) -> Plan:
        """What of this plan is among ``cases``."""
        return Plan(tuple(key for key in self.cases if key in cases), self.asked & frozenset(cases))

    @property
    def works(self) -> tuple[Work, ...]:
        """Those of which something was asked for."""
        return tuple(work for work in WORKS.values() if any(key.split("/")[0] == work.name for key in self.asked))

    @property
    def quotients(self) -> tuple[Quotient, ...]:
        """Those of the works whose both sides are measured."""
        known = set(self.cases)
        return tuple(
            each
            for work in self.works
            for each in work.quotients
            if {each.over.split(":")[0], each.under.split(":")[0]} <= known
        )

    @property
    def promises(self) -> tuple[Promise, ...]:
        """Those of the works that this plan can tell about."""
        names = {each.name for each in self.quotients}
        return tuple(
            each
            for work in self.works
            for each in work.promises
            if each.about in names or each.about.split(":")[0] in self.cases
        )


def find_case(key: str) -> Case:
    """The case of ``"work/case"``."""
    work, _, name = key.partition("/")
    return WORKS[work].case(name)


def find_figure(key: str) -> Figure:
    """The figure of ``"work/case:figure"``."""
    case, _, name = key.partition(":")
    return find_case(case).figures[name]


def make_plan(names: Iterable[str], *, quick: bool) -> Plan:
    """The plan for works, or single cases (``work/case``), of these names; for none, all.

    A quick plan leaves out the cases that take long, unless they are named themselves.

    Raises:
        UnknownWorkError: there is none of that name.
    """
    asked: set[str] = set()
    for name in tuple(names) or tuple(WORKS):
        work, slash, case = name.partition("/")
        if work not in WORKS:
            raise UnknownWorkError(f"there is no work {name!r}; there are {', '.join(WORKS)}")
        cases = [each.name for each in WORKS[work].cases]
        if slash:
            if case not in cases:
                raise UnknownWorkError(f"{work} has no case {case!r}; it has {', '.join(cases)}")
            asked.add(name)
        else:
            asked |= {f"{work}/{each.name}" for each in WORKS[work].cases if each.quick or not quick}
    works = {key.split("/")[0] for key in asked}
    wanted = asked | {need for work in works for need in WORKS[work].needs}
    order = [f"{work.name}/{case.name}" for work in WORKS.values() for case in work.cases]
    return Plan(tuple(key for key in order if key in wanted), frozenset(asked))
