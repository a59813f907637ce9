"""Long lists of listeners: what stands as it stood is not read again, and is read alike."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, strategies as st

from trio_sessions._replies import ListenersReader, Misshapen, decode_json

from .support import RELAYER, listener_json

TRICKY = st.sampled_from(["#0", "},{", '"},{"', "[{", "}]", "\\", "\u00fc", "a b"])
ITEMS = st.lists(
    st.builds(
        lambda port, target, paths: listener_json(port=port, target=target, forwardPath=paths, returnPath=paths),
        st.integers(1, 4),
        TRICKY,
        st.sampled_from([{"Hops": 1}, {"IntermediatePath": [RELAYER]}, {"IntermediatePath": [{"a": 1}, {"b": 2}]}]),
    ),
    max_size=5,
)
FORMS: Any = st.sampled_from([{"separators": (",", ":")}, {}, {"separators": (",", ":"), "ensure_ascii": False}])


def whole(body: bytes) -> object:
    """What the slow way makes of it."""
    try:
        return ListenersReader("udp").read(decode_json(body))
    except Misshapen:
        return None


@given(st.lists(st.tuples(ITEMS, FORMS), max_size=4))
def test_lists_are_read_alike_by_their_parts(lists: list[tuple[list[dict[str, object]], dict[str, Any]]]) -> None:
    reader = ListenersReader("udp")
    for items, form in lists:
        body = json.dumps(items, **form).encode()
        assert reader.read_again(body) in (None, whole(body))


@given(st.binary(max_size=40), st.sampled_from([b"[{%b}]", b"[{%b},{%b}]", b"%b"]))
def test_what_is_no_list_is_left_to_the_slow_way(rest: bytes, frame: bytes) -> None:
    body = frame.replace(b"%b", rest)
    assert ListenersReader("udp").read_again(body) in (None, whole(body))


@pytest.mark.parametrize("wrong", [{"port": 0}, {"protocol": "tcp"}, {"hoprMtu": "x"}], ids=str)
def test_one_that_is_wrong_is_found_by_the_slow_way(wrong: dict[str, object]) -> None:
    reader = ListenersReader("udp")
    body = json.dumps([listener_json(), listener_json(**wrong)], separators=(",", ":")).encode()
    assert reader.read_again(body) is None
    with pytest.raises(Misshapen) as caught:
        reader.read(decode_json(body))
    assert caught.value.where.startswith("[1].")


def test_what_stands_as_it_stood_is_not_made_again() -> None:
    def body(*ports: int) -> bytes:
        return json.dumps([listener_json(port=port) for port in ports], separators=(",", ":")).encode()

    reader = ListenersReader("udp")
    first = reader.read_again(body(1, 2, 3))
    second = reader.read_again(body(4, 3, 1))
    assert first is not None
    assert second is not None
    assert second[1] is first[2]
    assert second[2] is first[0]
    # Nothing is kept of what is not listed any more.
    assert len(reader._known) == 3
    assert reader.read_again(b"[]") is None
