"""Faults as data: a seeded plan of what goes wrong, when, and with which call."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Final

import attrs

from trio_sessions._errors import InvalidInputError

__all__ = [
    "CALLS",
    "DATAGRAM_KINDS",
    "FAULT_HELP",
    "LATE_REMOVAL",
    "LOW_PORTS",
    "NOTHING",
    "Fault",
    "FaultPlan",
    "Fired",
    "parse_fault",
]

#: The kinds of calls that a fault can be put on; ``any`` is every one of them.
CALLS: Final = (
    "any",
    "open",
    "close",
    "list",
    "config",
    "peers",
    "channels",
    "account",
    "version",
    "info",
    "status",
    "configuration",
    "ping",
    "health",
    "openapi",
    "metrics",
    "other",
)

#: The ports of ``low-port``: below those that systems give out by themselves, so that nobody else is in the way.
LOW_PORTS: Final = (20_000, 32_767)

#: Seconds until a ``late-removal`` that names none: time enough for a successor to open.
LATE_REMOVAL: Final = 1.0

#: Other words for a call, which people write.
_ALIASES: Mapping[str, str] = MappingProxyType({"delete": "close", "post": "open"})

_CALL_KINDS: Mapping[str, str] = MappingProxyType(
    {
        "hang": "the call is never answered and has no effect",
        "delay": "the call takes `seconds` longer (an open is prolonged while it holds its port)",
        "status": "the call is answered with `status` (500) and has no effect",
        "reset": "the connection dies before the call has an effect",
        "reply-lost": "the call has its effect, then the connection dies",
        "reply-hangs": "the call has its effect, then no reply comes",
        "garbage": "the reply is no JSON",
        "empty": "the reply of list, peers and channels has no items; any other has no body",
        "null": "the reply is the JSON null",
    }
)
_LIST_KINDS: Mapping[str, str] = MappingProxyType(
    {
        "stale": "the list is the one of `seconds` ago",
    }
)
_OPEN_KINDS: Mapping[str, str] = MappingProxyType(
    {
        "port0": "the reply names port 0; the listener has another one",
        "same-port": "the listener shares the port that it asks for, or else that of an older one (contract §3.2)",
        "low-port": f"a listener that asks for no port gets the lowest free one from {LOW_PORTS[0]} up",
        "ports-used-up": "the node has no port to give",
        "cap": "the node has no session slot left",
        "exit-full": "the exit rejects the session",
        "leave-after-disconnect": "an open whose client has left is committed all the same, when it is due",
    }
)
_CLOSE_KINDS: Mapping[str, str] = MappingProxyType(
    {
        "reuse": "a stranger's listener takes the port as soon as it is free",
        "late-removal": f"after `seconds` ({LATE_REMOVAL:g}) the node delists whoever has the port, and lets it live",
    }
)
_DATAGRAM_KINDS: Mapping[str, str] = MappingProxyType(
    {
        "loss": "a datagram or its echo is lost",
        "duplicate": "an echo comes twice",
        "reorder": "an echo comes late, behind others",
        "merge": "an echo is joined to the one before it, as far as a frame holds both",
        "split": "an echo comes in two datagrams",
    }
)
_TIMED_KINDS: Mapping[str, str] = MappingProxyType(
    {
        "flap": "relayer number `relayer` is out of sight `at` this time for `seconds`, `count` times",
        "restart": "the node restarts `at` this time and is down for `seconds`",
    }
)

#: Faults of the data path; they select by relayer, not by call.
DATAGRAM_KINDS: Final = frozenset(_DATAGRAM_KINDS)

_ALL_KINDS = {**_CALL_KINDS, **_LIST_KINDS, **_OPEN_KINDS, **_CLOSE_KINDS, **_DATAGRAM_KINDS, **_TIMED_KINDS}
#: The one call that a kind of fault belongs to, where it has one.
_ONLY_CALL = (
    dict.fromkeys(_LIST_KINDS, "list") | dict.fromkeys(_OPEN_KINDS, "open") | dict.fromkeys(_CLOSE_KINDS, "close")
)


@attrs.frozen(kw_only=True)
class Fault:
    """One fault of a plan. Times are seconds since the plan started, or since the fault was added to it.

    Attributes:
        kind: what goes wrong; see :data:`FAULT_HELP`.
        call: the kind of call it happens to, one of :data:`CALLS`.
        after: how many matching calls, or datagrams, pass before the first.
        count: how often it happens; ``None`` is always.
        p: its probability for each matching call or datagram.
        since: matching begins at this time.
        until: matching ends at this time.
        seconds: how long a delay, an outage or a list's age is, or how late a removal.
        status: the HTTP status of ``status``.
        relayer: only what goes through the relayer of this number; ``None`` is all.
        at: the time of ``flap`` and ``restart``.

    Raises:
        InvalidInputError: an unknown kind or call, or a value out of its range.
    """

    kind: str
    call: str = "any"
    after: int = 0
    count: int | None = None
    p: float = 1.0
    since: float = 0.0
    until: float = math.inf
    seconds: float = 0.0
    status: int = 500
    relayer: int | None = None
    at: float = 0.0

    def __attrs_post_init__(self) -> None:
        if self.kind not in _ALL_KINDS:
            raise InvalidInputError("fault", self.kind, "unknown kind", f"use one of {', '.join(_ALL_KINDS)}")
        if self.call not in CALLS:
            raise InvalidInputError("fault", self.call, "unknown call", f"use one of {', '.join(CALLS)}")
        only = _ONLY_CALL.get(self.kind)
        if only is not None and self.call == "any":
            object.__setattr__(self, "call", only)
        if only is not None and self.call != only:
            raise InvalidInputError("fault", self.kind, f"happens to {only} alone", f"write {self.kind}:{only}")
        if self.kind in DATAGRAM_KINDS | _TIMED_KINDS.keys() and self.call != "any":
            raise InvalidInputError("fault", self.kind, "takes no call", f"leave out {self.call}")
        self._check_values()

    def _check_values(self) -> None:
        if self.kind == "flap" and self.relayer is None:
            raise InvalidInputError("fault", self.kind, "needs a relayer", "write e.g. flap:relayer=0:seconds=60")
        if not 0 <= self.p <= 1:
            raise InvalidInputError("fault p", self.p, "must be 0 to 1")
        if not 200 <= self.status <= 599:
            raise InvalidInputError("fault status", self.status, "must be 200 to 599")
        for name in ("after", "count", "relayer", "seconds", "at", "since"):
            value = getattr(self, name)
            if value is not None and not value >= 0:
                raise InvalidInputError(f"fault {name}", value, "must not be negative")


_NUMBERS: Mapping[str, tuple[str, Callable[[str], float]]] = MappingProxyType(
    {
        "after": ("after", int),
        "count": ("count", int),
        "p": ("p", float),
        "from": ("since", float),
        "until": ("until", float),
        "seconds": ("seconds", float),
        "status": ("status", int),
        "relayer": ("relayer", int),
        "at": ("at", float),
    }
)


def parse_fault(text: str) -> Fault:
    """The fault that ``text`` describes, in the grammar of :data:`FAULT_HELP`.

    Raises:
        InvalidInputError: with a message of one line.
    """
    kind, *parts = text.strip().split(":")
    values: dict[str, object] = {}
    if parts and "=" not in parts[0]:
        call = parts.pop(0)
        values["call"] = _ALIASES.get(call, call)
    for part in parts:
        name, _, number = part.partition("=")
        if name not in _NUMBERS:
            raise InvalidInputError("fault", text, f"unknown setting {name!r}", f"use one of {', '.join(_NUMBERS)}")
        field, convert = _NUMBERS[name]
        try:
            values[field] = convert(number)
        except ValueError:
            raise InvalidInputError("fault", text, f"{name} needs a number, not {number!r}") from None
    return Fault(kind=kind, **values)  # type: ignore[arg-type]


def _help_lines(title: str, kinds: Mapping[str, str]) -> list[str]:
    return [title, *(f"  {kind:<24}{meaning}" for kind, meaning in kinds.items()), ""]


#: The grammar of :func:`parse_fault`, for a command's help.
FAULT_HELP: Final = "\n".join(
    [
        "A fault is KIND[:CALL][:NAME=NUMBER]..., e.g. hang:close:after=3:count=2 or loss:p=0.01",
        "",
        *_help_lines("Faults of any call:", _CALL_KINDS),
        *_help_lines("Faults of list:", _LIST_KINDS),
        *_help_lines("Faults of open:", _OPEN_KINDS),
        *_help_lines("Faults of close:", _CLOSE_KINDS),
        *_help_lines("Faults of datagrams (no CALL):", _DATAGRAM_KINDS),
        *_help_lines("Faults at a time (no CALL):", _TIMED_KINDS),
        f"CALL is one of {', '.join(CALLS)}; delete means close, post means open.",
        "",
        "NAME is one of",
        "  after    skip the first so many that match",
        "  count    happen so often at most",
        "  p        probability, 0 to 1, drawn from the simulator's seed",
        "  from     not before so many seconds since the start",
        "  until    not after so many seconds since the start",
        "  relayer  only through the relayer of this number, from 0",
        "  seconds, status, at: see the kinds",
    ]
)


@attrs.frozen
class Fired:
    """The faults that happen to one call."""

    faults: tuple[Fault, ...] = ()

    def get(self, kind: str) -> Fault | None:
        """The first fault of this ``kind``, if there is one."""
        return next((fault for fault in self.faults if fault.kind == kind), None)

    def has(self, kind: str) -> bool:
        """Whether a fault of this ``kind`` happens."""
        return self.get(kind) is not None

    @property
    def delay(self) -> float:
        """Seconds that the call takes longer."""
        return sum(fault.seconds for fault in self.faults if fault.kind == "delay")


#: A call to which nothing happens.
NOTHING: Final = Fired()


class _Armed:
    """A fault with its state: how many it let pass, how often it happened."""

    __slots__ = ("fault", "fired", "origin", "rng", "seen")

    def __init__(self, fault: Fault, origin: float, rng: random.Random) -> None:
        self.fault = fault
        self.origin = origin
        self.rng = rng
        self.seen = 0
        self.fired = 0

    def happens(self, now: float) -> bool:
        """Decide for one match; every match counts, so that a seed gives the same run."""
        fault = self.fault
        if not fault.since <= now - self.origin <= fault.until:
            return False
        if fault.count is not None and self.fired >= fault.count:
            return False
        self.seen += 1
        if self.seen <= fault.after or (fault.p < 1 and self.rng.random() >= fault.p):
            return False
        self.fired += 1
        return True


class FaultPlan:
    """The armed faults of a simulator.

    Attributes:
        on_data: the armed faults of the data path; empty in the fast case.
        by_relayer: whether a fault selects calls by relayer, so that the front has to find that out.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._serial = 0
        self._on_calls: list[_Armed] = []
        self.on_data: list[_Armed] = []
        self.by_relayer = False

    def add(self, fault: Fault, now: float) -> None:
        """Arm ``fault``; each has random numbers of its own, so that one doesn't shift those of another."""
        self._serial += 1
        armed = _Armed(fault, now, random.Random(f"{self._seed}:fault:{self._serial}"))
        if fault.kind in DATAGRAM_KINDS:
            self.on_data.append(armed)
        elif fault.kind not in _TIMED_KINDS:
            self._on_calls.append(armed)
            self.by_relayer = self.by_relayer or fault.relayer is not None

    def clear(self) -> None:
        """Disarm everything; outages that have begun run their course."""
        self._on_calls.clear()
        self.on_data.clear()
        self.by_relayer = False

    def fire(self, call: str, relayers: Iterable[int], now: float) -> Fired:
        """The faults that happen to a ``call`` through these ``relayers``."""
        if not self._on_calls:
            return NOTHING
        through = frozenset(relayers)
        return Fired(
            tuple(
                armed.fault
                for armed in self._on_calls
                if armed.fault.call in ("any", call)
                and (armed.fault.relayer is None or armed.fault.relayer in through)
                and armed.happens(now)
            )
        )

    def fire_data(self, relayers: frozenset[int], now: float) -> dict[str, random.Random]:
        """The faults that happen to a datagram, by kind, each with the random numbers to shape it."""
        return {
            armed.fault.kind: armed.rng
            for armed in self.on_data
            if (armed.fault.relayer is None or armed.fault.relayer in relayers) and armed.happens(now)
        }
