"""The two tables of states: every step that they allow, and that nothing else happens."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given, strategies as st

from trio_sessions import EndReason, State
from trio_sessions._lifecycle import ENDED, USABLE, Event, IllegalTransitionError, next_state
from trio_sessions._listeners import ListenerEvent, ListenerState, next_listener_state
from trio_sessions._record import SessionRecord
from trio_sessions._route import Route

SESSION_STEPS = {
    (State.OPENING, Event.OPENED): State.ACTIVE,
    (State.OPENING, Event.OPEN_FAILED): State.CLOSED,
    (State.OPENING, Event.END): State.CLOSED,
    (State.ACTIVE, Event.PEER_LOST): State.UNREACHABLE,
    (State.ACTIVE, Event.END): State.DRAINING,
    (State.ACTIVE, Event.LISTENER_GONE): State.LOST,
    (State.UNREACHABLE, Event.PEER_BACK): State.ACTIVE,
    (State.UNREACHABLE, Event.END): State.DRAINING,
    (State.UNREACHABLE, Event.LISTENER_GONE): State.LOST,
    (State.DRAINING, Event.DRAINED): State.CLOSING,
    (State.DRAINING, Event.LISTENER_GONE): State.LOST,
    (State.CLOSING, Event.SETTLED): State.CLOSED,
}

LISTENER_STEPS = {
    (ListenerState.INTENT, ListenerEvent.POST): ListenerState.POSTING,
    (ListenerState.INTENT, ListenerEvent.GIVEN_UP): ListenerState.GONE,
    (ListenerState.POSTING, ListenerEvent.OPENED): ListenerState.REGISTERED,
    (ListenerState.POSTING, ListenerEvent.REFUSED): ListenerState.GONE,
    (ListenerState.POSTING, ListenerEvent.REPLY_LOST): ListenerState.UNKNOWN,
    (ListenerState.UNKNOWN, ListenerEvent.FOUND): ListenerState.CLOSING,
    (ListenerState.UNKNOWN, ListenerEvent.NOT_FOUND): ListenerState.GONE,
    (ListenerState.UNKNOWN, ListenerEvent.GIVEN_UP): ListenerState.LEFT,
    (ListenerState.REGISTERED, ListenerEvent.RELEASED): ListenerState.CLOSING,
    (ListenerState.REGISTERED, ListenerEvent.HANDED_OVER): ListenerState.DETACHED,
    (ListenerState.CLOSING, ListenerEvent.CONFIRMED): ListenerState.GONE,
    (ListenerState.CLOSING, ListenerEvent.GIVEN_UP): ListenerState.LEFT,
}


@pytest.mark.parametrize(("state", "event"), list(product(State, Event)), ids=lambda value: value.name)
def test_session_table(state: State, event: Event) -> None:
    if (state, event) in SESSION_STEPS:
        assert next_state(state, event) is SESSION_STEPS[state, event]
    else:
        with pytest.raises(IllegalTransitionError, match=state.value):
            next_state(state, event)


@pytest.mark.parametrize(("state", "event"), list(product(ListenerState, ListenerEvent)), ids=lambda value: value.name)
def test_listener_table(state: ListenerState, event: ListenerEvent) -> None:
    if (state, event) in LISTENER_STEPS:
        assert next_listener_state(state, event) is LISTENER_STEPS[state, event]
    else:
        with pytest.raises(IllegalTransitionError, match=state.value):
            next_listener_state(state, event)


@given(st.lists(st.sampled_from(Event), max_size=30))
async def test_record_never_leaves_the_table(events: list[Event]) -> None:
    record = SessionRecord(Route(relayer="0x" + "1" * 40))
    record.claim()
    for event in events:
        before = record.snapshot()
        try:
            record.apply(event)
        except IllegalTransitionError:
            assert record.snapshot() == before
        else:
            assert SESSION_STEPS[before.state, event] is record.state
        assert before.state not in ENDED or record.state is before.state


def test_an_ended_session_is_not_usable() -> None:
    assert not set(USABLE) & set(ENDED)
    assert all(state not in ENDED for state, _ in SESSION_STEPS)
    assert len({reason.value for reason in EndReason}) == len(EndReason)
