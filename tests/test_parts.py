"""The small parts: backoff, histogram, lane, leaves, report, sockets of the kernel."""

from __future__ import annotations

import json
import math
import random
import socket
import subprocess
import sys

import pytest
import trio
import trio.testing
from hypothesis import given, strategies as st
from trio.testing import MockClock

from trio_sessions import LeftListener, Messages, PoolReport, SessionCounts
from trio_sessions._backoff import Backoff
from trio_sessions._datagrams import connect_udp
from trio_sessions._histogram import Histogram
from trio_sessions._lane import Bounds, Lane, LaneClosedError
from trio_sessions._leaf import leaf, open_leaf_nursery

# -- backoff


@given(st.floats(0.01, 10), st.floats(1, 10), st.integers(0, 2**32))
def test_backoff_doubles_up_to_its_limit_with_jitter(first: float, factor: float, seed: int) -> None:
    limit = first * factor
    backoff = Backoff(first, limit, random.Random(seed))
    for _ in range(2):
        planned = first
        for _ in range(10):
            assert planned / 2 <= backoff.next() <= planned
            planned = min(limit, planned * 2)
        backoff.reset()


def test_backoff_is_the_same_for_the_same_seed_and_differs_otherwise() -> None:
    def waits(seed: int) -> list[float]:
        backoff = Backoff(1, 60, random.Random(seed))
        return [backoff.next() for _ in range(5)]

    assert waits(1) == waits(1)
    assert waits(1) != waits(2)


# -- histogram


@given(st.lists(st.floats(1e-5, 900), min_size=1, max_size=200), st.floats(0.001, 1))
def test_quantiles_are_right_within_a_bucket(values: list[float], q: float) -> None:
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    exact = sorted(values)[math.ceil(q * len(values)) - 1]
    found = histogram.quantile(q)
    assert found == pytest.approx(exact, rel=0.0101)
    assert len(histogram) == len(values)


def test_a_histogram_clamps_and_may_be_empty() -> None:
    histogram = Histogram()
    assert histogram.quantile(0.5) is None
    for value in (0.0, -1.0, 1e9):
        histogram.add(value)
    assert histogram.quantile(0.5) == pytest.approx(1e-6, rel=0.02)
    assert histogram.quantile(1.0) == pytest.approx(1000, rel=0.02)


# -- lane


async def test_a_lane_is_first_come_first_served(autojump_clock: MockClock) -> None:
    lane = Lane(Bounds(10, 1000, lanes=1))
    order: list[str] = []

    async def enter(name: str, count: int) -> None:
        await lane.enter(count)
        order.append(name)

    async with trio.open_nursery() as nursery:
        await lane.enter(6)
        for name, count in (("large", 8), ("small", 1), ("tiny", 1)):
            nursery.start_soon(enter, name, count)
            await trio.testing.wait_all_tasks_blocked()
        assert order == []
        assert not lane.enter_nowait(1)
        lane.leave(6)
        await trio.testing.wait_all_tasks_blocked()
        assert sorted(order) == ["large", "small", "tiny"]
        assert lane.used == 10


async def test_one_who_gives_up_waiting_took_nothing_and_holds_up_nobody(autojump_clock: MockClock) -> None:
    lane = Lane(Bounds(10, 1000, lanes=1))
    await lane.enter(8)
    async with trio.open_nursery() as nursery:
        with trio.move_on_after(1.0) as scope:
            nursery.start_soon(lane.enter, 5)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(lane.enter, 2)
            nursery.cancel_scope.cancel()
            await trio.sleep_forever()
    assert not scope.cancelled_caught
    assert (lane.used, lane.is_idle) == (8, False)
    with trio.CancelScope() as cancelled:
        cancelled.cancel()
        await lane.enter(1)
    assert lane.used == 8
    lane.leave(8)
    assert lane.is_idle
    with trio.fail_after(1.0):
        await lane.enter(10)


async def test_who_waits_behind_one_who_gives_up_is_served(autojump_clock: MockClock) -> None:
    lane = Lane(Bounds(10, 1000, lanes=1))
    await lane.enter(8)
    async with trio.open_nursery() as nursery:

        async def give_up() -> None:
            with trio.move_on_after(1.0):
                await lane.enter(5)

        nursery.start_soon(give_up)
        await trio.testing.wait_all_tasks_blocked()
        began = trio.current_time()
        await lane.enter(2)
        assert trio.current_time() == began + 1.0
    assert lane.used == 10


async def test_a_closed_lane_refuses_who_waits_and_who_comes_but_not_who_was_admitted(
    autojump_clock: MockClock,
) -> None:
    lane = Lane(Bounds(10, 1000, lanes=1))
    heard: list[str] = []

    async def enter(name: str, count: int) -> None:
        try:
            await lane.enter(count)
        except LaneClosedError:
            heard.append(f"{name} refused")
        else:
            heard.append(f"{name} admitted")

    async with trio.open_nursery() as nursery:
        await lane.enter(10)
        for name, count in (("first", 10), ("second", 1)):
            nursery.start_soon(enter, name, count)
            await trio.testing.wait_all_tasks_blocked()
        # The first is granted its room before the lane closes, though it hears of it after that.
        lane.leave(10)
        lane.close()
        lane.close()
        await trio.testing.wait_all_tasks_blocked()
        assert sorted(heard) == ["first admitted", "second refused"]
    assert lane.used == 10
    with pytest.raises(LaneClosedError):
        lane.enter_nowait(1)


def test_lanes_share_the_total_and_an_empty_one_takes_any_batch() -> None:
    bounds = Bounds(each=100, total=300, lanes=2)
    lanes = [Lane(bounds), Lane(bounds)]
    assert all(lane.enter_nowait(100) for lane in lanes)
    assert not lanes[0].enter_nowait(1)
    # With ten lanes each has 30, whatever the others do with theirs.
    bounds.lanes = 10
    lane = Lane(bounds)
    assert lane.enter_nowait(25)
    assert not lane.enter_nowait(6)
    assert lane.enter_nowait(5)
    bounds.lanes = 1000
    assert Lane(bounds).enter_nowait(1000)


# -- leaves


async def test_one_error_comes_out_bare() -> None:
    async def fail() -> None:
        raise KeyError("mine")

    async def block() -> None:
        async with open_leaf_nursery() as nursery:
            nursery.start_soon(fail)
            await trio.sleep_forever()

    with pytest.raises(KeyError, match="mine"):
        await block()


async def test_the_blocks_own_error_wins_and_keeps_its_cause() -> None:
    async def fail() -> None:
        raise KeyError("theirs")

    cause = OSError("cause")

    async def block() -> None:
        async with open_leaf_nursery() as nursery:
            nursery.start_soon(fail)
            try:
                await trio.sleep_forever()
            finally:
                raise ValueError("the block's") from cause

    with pytest.raises(ValueError, match="the block's") as caught:
        await block()
    assert caught.value.__cause__ is cause


async def test_a_cancel_from_outside_stays_a_cancel() -> None:
    with trio.move_on_after(0) as scope:
        async with open_leaf_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            await trio.sleep_forever()
    assert scope.cancelled_caught


async def test_a_child_tasks_error_is_not_hidden_by_the_cancels_that_it_causes() -> None:
    async def fail() -> None:
        raise KeyError("the cause")

    async def block() -> None:
        async with open_leaf_nursery() as nursery:
            nursery.start_soon(fail)
            # Cancelled in two places, so that a group of cancels comes out of the inner one.
            async with trio.open_nursery() as inner:
                inner.start_soon(trio.sleep_forever)
                await trio.sleep_forever()

    with pytest.raises(KeyError, match="the cause"):
        await block()


def test_other_errors_are_noted_on_the_first() -> None:
    first, second = KeyError("first"), KeyError("second")
    found = leaf(ExceptionGroup("outer", [ExceptionGroup("inner", [first]), second]))
    assert found is first
    assert "second" in "".join(found.__notes__)


def test_an_interrupt_is_not_hidden_by_an_error() -> None:
    interrupt = KeyboardInterrupt()
    assert leaf(BaseExceptionGroup("both", [ValueError("first"), interrupt])) is interrupt


# -- report


def report(**changes: object) -> PoolReport:
    values: dict[str, object] = {
        "sessions": SessionCounts(opened=2, closed=1, lost=1),
        "left": (),
        "messages": Messages(10, 7, 2, {"stopped": 1}),
        "by_relayer": {},
        "rtt": {"p50": 0.2},
        "duration": 3.0,
        "stop_duration": 0.5,
        "open_sessions": 0,
    }
    return PoolReport(**{**values, **changes})  # type: ignore[arg-type]


def test_a_report_has_the_keys_that_programs_rely_on() -> None:
    left = LeftListener("udp://127.0.0.1:4000", "0xaa", "0xbb", "timed out")
    assert json.loads(json.dumps(report(left=(left,)).to_json())) == {
        "sessions": {"opened": 2, "closed": 1, "lost": 1, "failed": 0},
        "listeners": {
            "left": [
                {"listener": "udp://127.0.0.1:4000", "route": "0xaa", "destination": "0xbb", "reason": "timed out"}
            ]
        },
        "messages": {"accepted": 10, "answered": 7, "unanswered": 2, "undelivered": {"stopped": 1}},
        "rtt": {"p50": 0.2},
        "duration": 3.0,
        "stop_duration": 0.5,
        "clean": False,
    }


@pytest.mark.parametrize(
    ("changes", "clean"),
    [
        ({}, True),
        ({"left": (LeftListener(None, "0xaa", "0xbb", "hangs"),)}, False),
        ({"open_sessions": 1}, False),
        ({"messages": Messages(10, 7, 2, {})}, False),
        ({"messages": Messages(10, 7, 2, {}, pending=1)}, False),
    ],
    ids=["all well", "left", "a session is open", "a message is missing", "a message is pending"],
)
def test_clean_is_when_nothing_is_left_and_the_books_balance(changes: dict[str, object], clean: bool) -> None:
    assert report(**changes).clean is clean


# -- sockets of the kernel


async def test_a_kernel_socket_sends_receives_and_closes() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer, trio.fail_after(5):
        peer.bind(("127.0.0.1", 0))
        mine = connect_udp("127.0.0.1", peer.getsockname()[1])
        with pytest.raises(BlockingIOError):
            mine.receive_nowait()
        await mine.wait_writable()
        mine.send_nowait(b"ping")
        data, address = peer.recvfrom(16_384)
        assert data == b"ping"
        peer.sendto(b"x" * 16_384, address)
        await mine.wait_readable()
        assert mine.receive_nowait() == b"x" * 16_384

        async with trio.open_nursery() as nursery:

            async def wait() -> None:
                with pytest.raises(trio.ClosedResourceError):
                    await mine.wait_readable()

            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            mine.close()
        mine.close()
        with pytest.raises(trio.ClosedResourceError):
            await mine.wait_writable()


async def test_a_closed_port_refuses() -> None:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as peer:
        peer.bind(("::1", 0))
        port = peer.getsockname()[1]
    mine = connect_udp("::1", port)
    try:
        mine.send_nowait(b"anybody?")
        with trio.fail_after(5):
            await mine.wait_readable()
        with pytest.raises(ConnectionRefusedError):
            mine.receive_nowait()
    finally:
        mine.close()


def test_a_socket_that_cannot_be_connected_is_not_left_open() -> None:
    with pytest.raises(OSError, match=r".+"):
        connect_udp("not an address", 1)


# -- the package


def test_importing_the_library_brings_in_nothing_of_the_command_line() -> None:
    code = "import sys, trio_sessions; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    loaded = set(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    )
    assert {"trio", "attr"} <= loaded
    # httpx comes when a client is made: with the command line's extra it imports click and rich for its own one.
    others = {"httpx", "click", "rich", "hypercorn", "prometheus_client", "pytest", "hypothesis", "asyncio"}
    assert not loaded & others


def test_the_pure_modules_import_neither_trio_nor_httpx() -> None:
    modules = ["_errors", "_address", "_model", "_lifecycle", "_wire", "_units", "_budget", "_histogram"]
    # Not through the package, whose table of contents imports everything.
    code = (
        "import sys, types; package = types.ModuleType('trio_sessions');"
        "package.__path__ = [sys.argv[1]]; sys.modules['trio_sessions'] = package;"
        "import importlib; [importlib.import_module('trio_sessions.' + name) for name in sys.argv[2:]];"
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    import trio_sessions

    (folder,) = trio_sessions.__path__
    out = subprocess.run([sys.executable, "-c", code, folder, *modules], capture_output=True, text=True, check=True)
    assert not set(out.stdout.split()) & {"trio", "httpx"}


def test_everything_public_is_there() -> None:
    import trio_sessions

    assert sorted(trio_sessions.__all__) == list(trio_sessions.__all__)
    assert all(hasattr(trio_sessions, name) for name in trio_sessions.__all__)
