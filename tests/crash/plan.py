"""What a round is going to do, drawn from the seed and the round's number alone."""

from __future__ import annotations

import random
from typing import Final

import attrs

__all__ = ["COMBINATIONS", "NAMESPACES", "STAGES", "Hold", "Plan", "Stranger", "combination", "make_plan"]

#: Where the victim is when it is killed.
STAGES: Final = {
    "before": "before the POST",
    "during": "during the POST",
    "committed": "after the commit, before the reply",
    "replied": "after the reply",
    "active": "while it relays",
    "closing": "while one session is being closed",
    "stop": "during the stop",
}
NAMESPACES: Final = ("dedicated", "range", "shared")
#: Round number K has combination K modulo their number.
COMBINATIONS: Final = tuple((stage, namespace) for namespace in NAMESPACES for stage in STAGES)

#: The stages that can be told from outside alone, so that the command line can be the victim.
_FOR_COMMAND: Final = frozenset({"before", "during", "committed", "active", "stop"})
_COMMAND_SHARE: Final = 0.3
#: Seconds after the moment is reached, at most.
_MAX_DELAY: Final = 0.02

#: What happens to the calls of a victim's closing or stop.
_CLOSE_FAULTS: Final = (
    "",
    "delay:close:seconds=0.3",
    "delay:close:seconds=1",
    "hang:close:count=1",
    "reply-hangs:close",
    "reply-lost:close:count=2",
    "status:close:status=500:count=3",
)
#: Those of them with which a DELETE has its effect soon.
_CLOSES_SOON: Final = frozenset({"", "delay:close:seconds=0.3", "reply-hangs:close", "reply-lost:close:count=2"})

#: What happens to the calls of the next start.
_LATER_FAULTS: Final = (
    "status:close:status=500:count=2",
    "reply-lost:close:count=2",
    "hang:close:count=1",
    "delay:close:seconds=0.3",
    "delay:open:after=1:seconds=0.4",
    "status:open:status=503:count=1",
)
#: The same for what a start must know to tell what a POST made: not both, and not when it is killed as well.
_LATER_LIST_FAULTS: Final = (
    "status:list:status=500:count=2",
    "empty:list:count=1",
    "null:list:count=1",
    "reset:list:count=1",
    "delay:list:seconds=0.3",
)
_LATER_OPEN_FAULT: Final = "reply-lost:open:count=1"


@attrs.frozen
class Hold:
    """Where the victim stands still.

    Attributes:
        where: ``posting``: its intent is written, nothing is sent; ``replied``: it has the reply and did nothing yet.
        number: at which of its POSTs, or of the replies, from 1.
    """

    where: str
    number: int


@attrs.frozen
class Stranger:
    """Somebody else's listener.

    Attributes:
        when: ``before`` the victim's start, ``with`` the victim, ``after`` the kill, or with the ``next`` start.
        like: ``ours``: same destination and relayer; ``path``: the relayer alone; ``other``: by hops; ``next door``: on
            the address next to a dedicated one; ``in our house``: on that one, which no stranger may do.
        relayer: the number of that relayer.
    """

    when: str
    like: str
    relayer: int


@attrs.frozen(kw_only=True)
class Plan:
    """A round.

    Attributes:
        number: of the round.
        dialect: of the simulator.
        by_command: the victim is ``trio-sessions run``, otherwise a script.
        journal: whether there is one.
        relayers: how many sessions the victim has.
        hold: where it stands still, if it does.
        faults: of the node, until the kill.
        always: of the node, until the end of the round.
        needed: how many sessions relay before the victim is told to close or to stop.
        moment: what is waited for before the kill: ``held``, ``opened``, ``looks``, ``opening``, ``committed``,
            ``relaying``, ``told``, ``deletes`` or ``closed``.
        count: how many of these.
        delay: seconds from that moment to the kill.
        pause: seconds from the kill to the next start.
        killed_again: seconds after which further starts are killed.
        later_faults: of the node, from the kill to the last stop.
        strangers: in the order of their coming.
    """

    number: int
    stage: str
    namespace: str
    dialect: str
    by_command: bool
    journal: bool
    relayers: int
    hold: Hold | None
    faults: tuple[str, ...]
    always: tuple[str, ...]
    needed: int
    moment: str
    count: int
    delay: float
    pause: float
    killed_again: tuple[float, ...]
    later_faults: tuple[str, ...]
    strangers: tuple[Stranger, ...]


@attrs.frozen
class _Moment:
    """The part of a plan that its stage decides."""

    what: str
    count: int = 1
    faults: tuple[str, ...] = ()
    hold: Hold | None = None


def combination(number: int) -> tuple[str, str]:
    """The stage and the namespace of a round."""
    return COMBINATIONS[number % len(COMBINATIONS)]


def make_plan(seed: int, number: int) -> Plan:
    """The plan of a round: always the same for the same seed and number."""
    rng = random.Random(f"{seed}:{number}")
    stage, namespace = combination(number)
    by_command = stage in _FOR_COMMAND and rng.random() < _COMMAND_SHARE
    relayers = rng.randint(1, 4)
    lags = stage in ("active", "closing", "stop") and relayers > 1 and rng.random() < 0.4
    needed = relayers - 1 if lags else relayers
    moment = _MOMENTS[stage](rng, namespace, by_command, needed)
    faults = [*moment.faults]
    if lags:
        faults.append(f"delay:open:after={needed}:seconds={rng.uniform(0.5, 2):.2f}")
    if rng.random() < 0.7:
        # Not with a probability: the simulator draws from a source of its own, which other rounds have used, too.
        faults.append(f"leave-after-disconnect:open:after={rng.choice([0, 0, rng.randrange(relayers)])}")
    killed_again = tuple(round(rng.uniform(0.25, 1.2), 3) for _ in range(rng.choice([0, 0, 0, 0, 1, 1, 2])))
    return Plan(
        number=number,
        stage=stage,
        namespace=namespace,
        dialect="3" if namespace == "shared" else rng.choices(["4.1", "4.0", "3"], [6, 2, 2])[0],
        by_command=by_command,
        journal=namespace != "dedicated" or rng.random() < 0.3,
        relayers=relayers,
        hold=moment.hold,
        faults=tuple(faults),
        always=_always(rng, namespace),
        needed=needed,
        moment=moment.what,
        count=moment.count,
        delay=round(rng.uniform(0, _MAX_DELAY), 4),
        pause=rng.choice([0.0, 0.0, round(rng.uniform(0, 0.3), 3)]),
        killed_again=killed_again,
        later_faults=_later_faults(rng, is_killed=bool(killed_again)),
        strangers=_strangers(rng, namespace, relayers),
    )


# -- the moments


def _before(rng: random.Random, namespace: str, by_command: bool, needed: int) -> _Moment:
    faults: tuple[str, ...] = ("delay:open:seconds=0.5",) if rng.random() < 0.5 else ()
    if by_command or rng.random() < 0.4:
        # A slow look: surely before the intent. A fast one: the kill comes around the intent and the POST.
        slow = ("delay:list:seconds=0.5",) if rng.random() < 0.5 else ()
        return _Moment("looks", 1, (*faults, *slow))
    return _Moment("held", 1, faults, Hold("posting", rng.randint(1, needed)))


def _during(rng: random.Random, namespace: str, by_command: bool, needed: int) -> _Moment:
    slow = rng.randrange(needed)
    delay = f"delay:open:after={slow}:seconds={rng.uniform(0.4, 2):.2f}"
    return _Moment("opening", rng.randint(1, needed - slow), (delay,))


def _committed(rng: random.Random, namespace: str, by_command: bool, needed: int) -> _Moment:
    passed = rng.randrange(needed)
    fault = rng.choice(["reply-hangs:open:after={}", "reply-hangs:open:after={}", "reply-lost:open:after={}:count=2"])
    return _Moment("committed", rng.randint(passed + 1, needed), (fault.format(passed),))


def _replied(rng: random.Random, namespace: str, by_command: bool, needed: int) -> _Moment:
    if rng.random() < 0.5:
        return _Moment("held", 1, (), Hold("replied", rng.randint(1, needed)))
    return _Moment("opened", rng.randint(1, needed))


def _active(rng: random.Random, namespace: str, by_command: bool, needed: int) -> _Moment:
    faults = ("reply-lost:open:count=1",) if rng.random() < 0.3 else ()
    return _Moment("relaying", needed, faults)


def _closing(rng: random.Random, namespace: str, by_command: bool, needed: int) -> _Moment:
    return _close_moment(rng, deletes=1)


def _stop(rng: random.Random, namespace: str, by_command: bool, needed: int) -> _Moment:
    # On an address of our own there is one DELETE for all.
    return _close_moment(rng, deletes=1 if namespace == "dedicated" else rng.randint(1, needed))


def _close_moment(rng: random.Random, deletes: int) -> _Moment:
    fault = rng.choice(_CLOSE_FAULTS)
    what = rng.choice(["told", "deletes", "closed"] if fault in _CLOSES_SOON else ["told", "deletes"])
    return _Moment(what, deletes if what == "deletes" else 1, (fault,) if fault else ())


_MOMENTS: Final = {
    "before": _before,
    "during": _during,
    "committed": _committed,
    "replied": _replied,
    "active": _active,
    "closing": _closing,
    "stop": _stop,
}


# -- the rest of the world


def _always(rng: random.Random, namespace: str) -> tuple[str, ...]:
    faults = []
    if namespace != "dedicated" and rng.random() < 0.5:
        faults.append(rng.choice(["reuse:close", "reuse:close:after=1"]))
    if namespace == "shared" and rng.random() < 0.3:
        faults.append("low-port:open")
    return tuple(faults)


def _later_faults(rng: random.Random, *, is_killed: bool) -> tuple[str, ...]:
    faults = rng.sample(_LATER_FAULTS, rng.choice([0, 0, 1, 2]))
    doubt = rng.random()
    if doubt < 0.3 and not is_killed:
        faults.append(rng.choice(_LATER_LIST_FAULTS))
    elif doubt > 0.85:
        faults.append(_LATER_OPEN_FAULT)
    return tuple(faults)


def _strangers(rng: random.Random, namespace: str, relayers: int) -> tuple[Stranger, ...]:
    likes = ["ours", "path", "other"] + ["next door"] * (namespace == "dedicated")
    # See the docstring of this package: in the shared namespace, only those of before may be just like ours.
    later = ["other"] if namespace == "shared" else likes
    before = [Stranger("before", rng.choice(likes), rng.randrange(relayers)) for _ in range(rng.randint(1, 4))]
    coming = [
        Stranger(when, rng.choice(later), rng.randrange(relayers))
        for when in ("with", "after", "next")
        for _ in range(rng.randint(0, 2))
    ]
    return (*before, *coming)
