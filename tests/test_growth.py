"""Work that grows with the number of sessions and no faster: counted, not timed."""

from __future__ import annotations

import json
import random

import pytest
import trio
from hypothesis import given, settings, strategies as st
from trio.testing import MockClock

from tests.client.support import RELAYER, listener_json
from tests.worlds import in_namespace, memory_world
from trio_sessions import _replies
from trio_sessions._destinations import Destinations
from trio_sessions._errors import MalformedReplyError
from trio_sessions._replies import ListenersReader, Misshapen, decode_json
from trio_sessions._route import Route
from trio_sessions.simulator import SimulatorConfig, parse_fault


class Count:
    """Counts the calls of a function, which does what it always does."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, module: object, name: str) -> None:
        self.calls = 0
        inner = getattr(module, name)

        def counting(*args: object, **kwargs: object) -> object:
            self.calls += 1
            return inner(*args, **kwargs)

        monkeypatch.setattr(module, name, counting)


async def open_and_close(kind: str, sessions: int) -> dict[str, int]:
    """How many calls of each kind it takes to open so many sessions, to keep them for a while and to close them."""
    config = SimulatorConfig(dialect="3", relayers=sessions, max_sessions=sessions, open_latency=0.05)
    async with memory_world(config) as world:
        options = in_namespace(kind, opens_per_second=400.0, stop_timeout=60.0)
        async with world.pool(options) as pool:
            async with trio.open_nursery() as nursery:
                for relayer in world.relayers:
                    nursery.start_soon(pool.session, relayer)
            await trio.sleep(11.0)
            assert len(pool.sessions()) == sessions
        assert pool.report.clean
        assert pool.report.sessions.opened == pool.report.sessions.closed == sessions
        world.assert_nothing_left()
        calls = world.sim.node.counters.calls
    return {name: calls[name] for name in sorted(calls)}


@pytest.mark.parametrize(("kind", "few", "many"), [("dedicated", 100, 1000), ("shared", 60, 300)])
async def test_calls_and_entries_that_are_read_grow_with_the_sessions(
    autojump_clock: MockClock, kind: str, few: int, many: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {}
    for sessions in (few, many):
        reading = Count(monkeypatch, _replies, "_listener")
        calls = await open_and_close(kind, sessions)
        assert calls["open"] == sessions
        # All at once, or each by itself.
        assert calls["close"] == (1 if kind == "dedicated" else sessions)
        found[sessions] = calls["list"], reading.calls
        # Each entry is read when its reply comes, and when it is listed for the first time.
        assert reading.calls <= 2 * sessions + 10
    growth = many / few
    # One look a second while they open, and one every ten seconds.
    assert found[many][0] <= growth * found[few][0]
    assert found[many][1] <= growth * found[few][1] + 10


async def test_what_there_is_to_choose_from_is_worked_out_once_for_all(autojump_clock: MockClock) -> None:
    async with memory_world(SimulatorConfig(call_latency=0.5, destinations=5)) as world:
        destinations = Destinations(world.hoprd, (), random.Random(0))
        choices = []

        async def choose(relayer: str) -> None:
            assert (await destinations.choose(Route(relayer))).lower() != relayer.lower()
            choices.append(destinations._choice)

        for _ in range(2):
            async with trio.open_nursery() as nursery:
                for number in range(100):
                    nursery.start_soon(choose, world.relayers[number % len(world.relayers)])
        assert len(choices) == 200
        assert len(set(map(id, choices))) == 1
        await trio.sleep(11.0)
        await choose(world.relayers[0])
        assert choices[-1] is not choices[0]
        assert sum(world.sim.node.counters.calls.values()) <= 8


# -- lists that are read by their parts

ENTRIES = st.lists(
    st.builds(
        lambda port, target, path, extra: listener_json(port=port, target=target, forwardPath=path, extra=extra),
        st.integers(1, 3),
        st.sampled_from(["#0", "},{", '"},{"', '\\"},{\\"', "[{", "}]", "{%b}", "ü"]),
        st.sampled_from([{"Hops": 1}, {"IntermediatePath": [RELAYER]}, None, [{"a": 1}, {"b": {}}]]),
        st.sampled_from([None, [], [{}, {}], {"a": {"b": [{"c": "},{"}]}}]),
    ),
    max_size=4,
)
COMPACT = (",", ":")


def by_parts(reader: ListenersReader, body: bytes) -> object:
    """What the client makes of a body."""
    again = reader.read_again(body)
    try:
        return reader.read(decode_json(body)) if again is None else again
    except Misshapen as error:
        return error.where, error.rule


def as_a_whole(body: bytes) -> object:
    try:
        return ListenersReader("udp").read(decode_json(body))
    except Misshapen as error:
        return error.where, error.rule


@settings(max_examples=120, deadline=None)
@given(
    st.lists(ENTRIES, min_size=1, max_size=3),
    st.data(),
    st.sampled_from([COMPACT, (", ", ": "), (" ,", ":"), (",\n", ":\t")]),
)
def test_a_list_that_was_cut_or_mended_anywhere_is_read_as_if_it_were_the_first(
    lists: list[list[dict[str, object]]], data: st.DataObject, separators: tuple[str, str]
) -> None:
    reader = ListenersReader("udp")
    for entries in lists:
        body = json.dumps(entries, separators=separators).encode()
        assert by_parts(reader, body) == as_a_whole(body)
        # Some bytes are left out, doubled, or others.
        start = data.draw(st.integers(0, len(body)))
        stop = data.draw(st.integers(start, min(len(body), start + 12)))
        instead = data.draw(
            st.sampled_from([b"", body[start:stop] * 2, b"},{", b" ", b'"', b"}", b"NaN", b"\xff", b"]"])
        )
        broken = body[:start] + instead + body[stop:]
        assert by_parts(reader, broken) == as_a_whole(broken)
        assert by_parts(reader, body) == as_a_whole(body)


async def test_a_broken_list_is_an_error_that_says_where(autojump_clock: MockClock) -> None:
    async with memory_world() as world, world.pool() as pool:
        await pool.session(world.relayers[0])
        await world.hoprd.list_sessions()
        world.sim.node.add_fault(parse_fault("garbage:list"))
        with pytest.raises(MalformedReplyError):
            await world.hoprd.list_sessions()
        world.sim.node.clear_faults()
        [listener] = await world.hoprd.list_sessions()
        assert listener.key.port == world.sim.node.listeners()[0].port
