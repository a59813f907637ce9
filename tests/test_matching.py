"""Whose is a listener that nobody claims: each thing that the list shows counts, and in doubt it is nobody's."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from trio_sessions._listeners import Claim, ListenerState
from trio_sessions._listing import Listing
from trio_sessions._matching import (
    answers,
    chose_port,
    fits,
    is_ambiguous,
    is_certain,
    is_where_asked,
    recognise,
)
from trio_sessions._model import Listener, ListenerKey, Path, SessionRequest

EXIT, OTHER = "0x" + "aB" * 20, "0x" + "cd" * 20
R1, R2 = "0x" + "1E" * 20, "0x" + "2f" * 20
VIA = Path(via=(R1,))
REQUEST = SessionRequest(destination=EXIT, forward=VIA, back=VIA)
EMPTY = Listing(0.0, {})


def listener(port: int = 4000, **changes: Any) -> Listener:
    made = Listener(ListenerKey("udp", "127.0.0.1", port), EXIT, "#0", VIA, VIA, 1018, 395, clients=(f"c{port}",))
    return attrs.evolve(made, **changes)


def waiting(
    request: SessionRequest = REQUEST, state: ListenerState = ListenerState.UNKNOWN, before: Listing | None = EMPTY
) -> Claim:
    return Claim(request, "a route", state, before=before)


# -- one request, one listener


@pytest.mark.parametrize(
    "shown",
    [
        {"key": ListenerKey("tcp", "127.0.0.1", 4000)},
        {"destination": OTHER},
        {"target": "#1"},
        {"target": "0"},
        {"forward": Path(via=(R2,))},
        {"forward": Path(hops=1)},
        {"forward": Path(via=(R1, R2))},
        {"back": Path(via=(R2,))},
        {"back": Path(hops=1)},
    ],
    ids=lambda shown: f"{next(iter(shown))}",
)
def test_what_was_not_asked_for_is_another_ones(shown: dict[str, Any]) -> None:
    assert answers(REQUEST, listener())
    assert not answers(REQUEST, listener(**shown))
    assert not fits(waiting(), listener(**shown))


def test_addresses_are_the_same_in_either_case_and_a_path_that_is_not_shown_may_be_any() -> None:
    lower = Path(via=(R1.lower(),))
    assert answers(REQUEST, listener(destination=EXIT.lower(), forward=lower, back=lower))
    assert answers(attrs.evolve(REQUEST, forward=lower), listener())
    assert answers(REQUEST, listener(forward=None, back=None))


def test_hops_are_compared_by_their_number() -> None:
    by_hops = attrs.evolve(REQUEST, forward=Path(hops=1), back=Path(hops=2))
    assert answers(by_hops, listener(forward=Path(hops=1), back=Path(hops=2)))
    assert not answers(by_hops, listener(forward=Path(hops=2), back=Path(hops=2)))
    assert not answers(by_hops, listener(forward=Path(hops=1), back=Path(hops=1)))


def test_a_target_of_text_is_shown_as_it_is() -> None:
    there = attrs.evolve(REQUEST, target="example.org:80")
    assert answers(there, listener(target="example.org:80"))
    assert not answers(there, listener(target="#example.org:80"))


@pytest.mark.parametrize(
    ("asked", "is_there"),
    [
        (None, True),
        ("127.0.0.1:4000", True),
        ("127.0.0.1:0", True),
        ("127.0.0.1", True),
        (":4000", True),
        (":0", True),
        ("127.0.0.1:4001", False),
        ("127.0.0.1:1", False),
        ("127.0.0.2:4000", False),
        ("127.0.0.2", False),
        (":4001", False),
    ],
)
def test_where_it_was_asked_for(asked: str | None, is_there: bool) -> None:
    request = attrs.evolve(REQUEST, listen_host=asked)
    assert is_where_asked(listener().key, request) == is_there
    assert answers(request, listener()) == is_there


def test_one_address_may_be_written_in_two_ways() -> None:
    request = attrs.evolve(REQUEST, listen_host="[::1]:4000")
    assert is_where_asked(ListenerKey("udp", "::1", 4000), request)
    assert is_where_asked(ListenerKey("udp", "0:0:0:0:0:0:0:1", 4000), request)
    assert not is_where_asked(ListenerKey("udp", "::2", 4000), request)


@pytest.mark.parametrize(
    ("asked", "ours"),
    [(None, False), ("127.0.0.1", False), ("127.0.0.1:0", False), (":4000", True), ("127.0.0.1:4000", True)],
)
def test_who_chose_the_port(asked: str | None, ours: bool) -> None:
    assert chose_port(attrs.evolve(REQUEST, listen_host=asked)) == ours


def test_what_was_there_before_is_not_ours_and_its_successor_on_the_port_may_be() -> None:
    old = listener()
    before = Listing(0.0, {old.key: old})
    assert not fits(waiting(before=before), old)
    assert fits(waiting(before=before), listener(clients=("later",)))
    # Without a list from before, all that is alike fits, and nothing is certain.
    assert fits(waiting(before=None), old)


@pytest.mark.parametrize(
    ("claim", "shown", "certain"),
    [
        (waiting(), {}, True),
        (waiting(), {"forward": None}, False),
        (waiting(), {"back": None}, False),
        (waiting(attrs.evolve(REQUEST, listen_host=":4000")), {"forward": None, "back": None}, True),
        (waiting(attrs.evolve(REQUEST, listen_host="127.0.0.1")), {"forward": None, "back": None}, False),
        (waiting(before=None), {}, False),
        (waiting(attrs.evolve(REQUEST, listen_host=":4000"), before=None), {}, False),
    ],
    ids=["all shown", "no way there", "no way back", "our port", "our address", "no list before", "nor with our port"],
)
def test_what_it_takes_to_be_certain(claim: Claim, shown: dict[str, Any], certain: bool) -> None:
    assert is_certain(claim, listener(**shown)) == certain
    claim.is_ambiguous = True
    assert not is_certain(claim, listener(**shown))


# -- several


def test_a_single_one_that_fits_is_recognised() -> None:
    claim = waiting()
    assert recognise(claim, [claim], [listener(destination=OTHER), listener(4001)]) == listener(4001)
    assert recognise(claim, [claim], [listener(destination=OTHER)]) is None
    assert recognise(claim, [claim], []) is None


@pytest.mark.parametrize(
    ("state", "is_taken"),
    [(state, state is not ListenerState.POSTING) for state in ListenerState],
    ids=lambda value: getattr(value, "value", None),
)
def test_what_somebody_of_ours_still_waits_for_is_left_to_him(state: ListenerState, is_taken: bool) -> None:
    claim, other = waiting(), waiting(state=state)
    assert (recognise(claim, [claim, other], [listener()]) is not None) == is_taken
    # Who waits for something else is no rival.
    elsewhere = waiting(attrs.evolve(REQUEST, target="a:1"), ListenerState.POSTING)
    assert recognise(claim, [claim, elsewhere], [listener()]) == listener()


def test_of_two_alike_one_may_be_a_strangers_unless_two_of_ours_made_them() -> None:
    claim, twin = waiting(), waiting()
    alike = [listener(4000), listener(4001)]
    assert is_ambiguous(claim, [claim], alike)
    assert recognise(claim, [claim], alike) is None
    assert not is_ambiguous(claim, [claim, twin], alike)
    assert recognise(claim, [claim, twin], alike) == alike[0]
    assert is_ambiguous(claim, [claim, twin], [*alike, listener(4002)])
    # One alone, or none, is never in doubt.
    assert not is_ambiguous(claim, [claim], alike[:1])
    assert not is_ambiguous(claim, [], alike[:1])
    assert not is_ambiguous(claim, [claim], [])


@pytest.mark.parametrize("state", ListenerState, ids=lambda state: state.value)
def test_only_a_post_without_a_reply_can_have_made_one(state: ListenerState) -> None:
    claim, other = waiting(), waiting(state=state)
    counts = state in (ListenerState.POSTING, ListenerState.UNKNOWN)
    assert is_ambiguous(claim, [claim, other], [listener(4000), listener(4001)]) == (not counts)


def test_who_asks_counts_whatever_his_state() -> None:
    claim = waiting(state=ListenerState.CLOSING)
    twin = waiting()
    assert not is_ambiguous(claim, [claim, twin], [listener(4000), listener(4001)])


def test_a_rival_who_may_have_made_another_one_explains_none_of_them() -> None:
    """His may be the third one, and then one of these two is a stranger's."""
    claim = waiting()
    wide = waiting(before=None)
    old = listener(4002)
    claim.before = Listing(0.0, {old.key: old})
    assert is_ambiguous(claim, [claim, wide], [listener(4000), listener(4001), old])


def test_a_lost_reply_of_something_else_explains_none_of_them() -> None:
    claim = waiting()
    elsewhere = waiting(attrs.evolve(REQUEST, target="a:1"))
    alike = [listener(4000), listener(4001)]
    assert is_ambiguous(claim, [claim, elsewhere], alike)
    assert recognise(claim, [claim, elsewhere], alike) is None


def test_what_is_not_certain_is_not_recognised() -> None:
    claim = waiting()
    assert recognise(claim, [claim], [listener(forward=None)]) is None
    claim.is_ambiguous = True
    assert recognise(claim, [claim], [listener()]) is None
