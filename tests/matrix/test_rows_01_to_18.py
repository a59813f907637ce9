"""Rows 1 to 18 of the fault matrix: POSTs, DELETEs, lists, ports, restarts, idle ends and flapping peers.

What must hold is read from the node's own table; see :class:`tests.matrix.support.Matrix`.
"""

from __future__ import annotations

import json
import math
import os
import random
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, closing, nullcontext
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import pytest
import trio
import trio.testing
from trio.testing import MockClock

from tests.matrix.support import Matrix, in_each_namespace, matrix
from tests.worlds import NOBODY, World, state_of
from trio_sessions import (
    EndReason,
    Hoprd,
    MalformedReplyError,
    PoolReport,
    PoolStoppedError,
    PortRange,
    PortsUsedUpError,
    Session,
    SessionEndedError,
    SessionOpenError,
    SessionPool,
    State,
)
from trio_sessions.simulator import ListenerRecord, parse_fault

in_each_dialect = pytest.mark.parametrize("dialect", ["3", "4.0", "4.1"])

#: Each namespace; the shared one where lost replies can be settled, and where they cannot.
in_each_case = pytest.mark.parametrize(
    ("kind", "dialect"), [("dedicated", "4.1"), ("range", "4.0"), ("shared", "3"), ("shared", "4.1")]
)

#: Where each kind begins a sweep that takes every third step: together they take all.
OFFSETS = {"dedicated": 1, "range": 2, "shared": 3}

#: The longest that we wait for the reply to a POST through one relayer, seconds.
POST_TIMEOUT = 97.0


@pytest.fixture
def folder() -> Iterator[Path]:
    """For the journal; in memory where there is such a place: waiting for a disk would take most of the time."""
    with TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as name:
        yield Path(name)


# -- tools


class AtStep(trio.abc.Instrument):
    """Does something before the given step, of whatever task."""

    def __init__(self, step: int, act: Callable[[], None]) -> None:
        self._step = step
        self._act = act
        self.steps = 0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.steps += 1
        if self.steps == self._step:
            self._act()


@asynccontextmanager
async def acting(*acts: tuple[int, Callable[[], None]]) -> AsyncIterator[AtStep]:
    """Each act before its step, counted from here on; the first one's counter."""
    instruments = [AtStep(*act) for act in acts]
    for instrument in instruments:
        trio.lowlevel.add_instrument(instrument)
    try:
        yield instruments[0]
    finally:
        for instrument in instruments:
            trio.lowlevel.remove_instrument(instrument)


class Wire(httpx.AsyncBaseTransport):
    """The way to the node: it notes each call, may hold its reply back, and may change what a POST asks or is told."""

    def __init__(self, inner: httpx.AsyncBaseTransport) -> None:
        self._inner = inner
        self.calls: list[tuple[float, str, str]] = []
        #: Seconds from the node's answer to its arrival, by method.
        self.hold: dict[str, float] = {}
        self.change_body: Callable[[dict[str, Any]], None] | None = None
        self.change_reply: Callable[[dict[str, Any]], object] | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        method, path = request.method, request.url.path
        self.calls.append((trio.current_time(), method, path))
        if not path.startswith("/api/v4/session/udp"):
            return await self._inner.handle_async_request(request)
        if method == "POST" and self.change_body is not None:
            body = json.loads(await request.aread())
            self.change_body(body)
            headers = {name: value for name, value in request.headers.items() if name != "content-length"}
            request = httpx.Request(method, request.url, headers=headers, json=body, extensions=request.extensions)
        response = await self._inner.handle_async_request(request)
        if method == "POST" and response.status_code == 200 and self.change_reply is not None:
            reply = self.change_reply(json.loads(await response.aread()))
            response = httpx.Response(200, json=reply, request=request)
        await trio.sleep(self.hold.get(method, 0.0))
        return response

    def times(self, method: str) -> list[float]:
        """When the session calls of this method went out."""
        return [time for time, called, path in self.calls if called == method and path.startswith("/api/v4/session")]


@asynccontextmanager
async def on_a_wire(m: Matrix) -> AsyncIterator[tuple[Matrix, Wire]]:
    """The same node and strangers, at the end of a wire."""
    sim = m.world.sim
    wire = Wire(sim.transport)
    async with Hoprd(sim.url, token=sim.token, transport=wire) as hoprd:
        yield Matrix(m.kind, m.folder, World(sim, hoprd), m.strangers), wire


def rows(m: Matrix) -> int:
    """How many rows the journal has, of what may be at the node."""
    with closing(sqlite3.connect(f"file:{m.folder / 'journal'}?mode=ro", uri=True)) as db:
        count: int = db.execute("SELECT count(*) FROM listener WHERE state != 'resting'").fetchone()[0]
    return count


def check(m: Matrix, report: PoolReport) -> None:
    """L X F M, at the end of a run: also for what the node will still open, and in the journal too."""
    m.check(report)
    if m.world.sim.node.pending:
        assert any(left.listener is None for left in report.left)
    # The address of our own needs no journal.
    if m.kind != "dedicated":
        assert rows(m) >= len(report.left)
    assert_counts(report)


def check_clean(m: Matrix, report: PoolReport) -> None:
    """The same, and nothing is left anywhere, nor will be."""
    m.check_nothing_left(report)
    assert m.world.sim.node.pending == 0
    assert rows(m) == 0
    assert_counts(report)


def assert_counts(report: PoolReport) -> None:
    counts = report.sessions
    assert counts.opened - counts.closed - counts.lost in range(len(report.left) + 1)


async def check_settled(m: Matrix, **options: Any) -> None:
    """L over two runs: the next start leaves nothing."""
    check_clean(m, await m.settle(**options))


def key_of(session: Session) -> tuple[str, str, int]:
    assert session.info.listener is not None
    key = session.info.listener.key
    return (key.protocol, key.ip, key.port)


async def wait_closed(session: Session) -> None:
    with trio.fail_after(300.0):
        await session.wait_closed()


def keys(records: list[ListenerRecord]) -> set[tuple[str, str, int]]:
    return {record.key for record in records}


def add(m: Matrix, *faults: str) -> None:
    for fault in faults:
        m.world.sim.node.add_fault(parse_fault(fault))


def closes(m: Matrix) -> int:
    return m.world.sim.node.counters.closes


def can_tell(kind: str, dialect: str) -> bool:
    """Whether a listener that nobody heard of can be told from a stranger's."""
    return kind != "shared" or dialect == "3"


# -- row 1


@in_each_namespace
@in_each_dialect
@pytest.mark.parametrize("fault", ["reply-lost:open:count=1", "reply-hangs:open:count=1"])
async def test_row_01_a_post_whose_reply_is_lost(
    autojump_clock: MockClock, folder: Path, kind: str, dialect: str, fault: str
) -> None:
    async with matrix(kind, folder, fault, dialect=dialect) as m:
        async with m.pool() as pool:
            # A stranger's listener of the same route was there before.
            session = await pool.session(m.relayers[0], destination=m.world.sim.node.destinations[0])
            assert session.info.attempts == 2
            await trio.sleep(15.0)
            assert key_of(session) in keys(m.ours())
            assert len(m.ours()) == (1 if can_tell(kind, dialect) else 2)
            assert (await session.relay(3)).answered == 3
        if can_tell(kind, dialect):
            check_clean(m, pool.report)
        else:
            check(m, pool.report)
            assert [left.listener for left in pool.report.left] == [None]
            assert closes(m) == 1
            await check_settled(m)


@in_each_case
@pytest.mark.parametrize("until", ["found", "idled out"])
async def test_row_01_a_stranger_like_ours_opens_meanwhile(
    autojump_clock: MockClock, folder: Path, kind: str, dialect: str, until: str
) -> None:
    """After our look at what was there before: what is new and alike may be his, also when ours has idled out."""
    async with matrix(kind, folder, "reply-lost:open:count=1", dialect=dialect, open_latency=1.0) as m:
        destination = m.world.sim.node.destinations[0]

        async def ask() -> None:
            with pytest.raises(SessionOpenError):
                await pool.session(m.relayers[0], destination=destination)

        async with m.pool(open_attempts=1) as pool, trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await trio.sleep(0.5)
            m.add_stranger(relayer=m.relayers[0], destination=destination)
            await trio.sleep(15.0 if until == "found" else 250.0)
            assert len(m.ours()) == (kind == "shared" and until == "found")
            assert closes(m) == (kind != "shared")
        check(m, pool.report)
        m.check_strangers()


# -- row 2


@in_each_case
@pytest.mark.parametrize("seconds", [0.0, 1.0, 30.0, 92.0, 96.9, 97.1, 100.0])
async def test_row_02_a_post_slower_than_our_timeout(
    autojump_clock: MockClock, folder: Path, kind: str, dialect: str, seconds: float
) -> None:
    """The node goes on opening it when we have given up."""
    faults = (f"delay:open:seconds={seconds}:count=1", "leave-after-disconnect:open:count=1")
    async with matrix(kind, folder, *faults, dialect=dialect) as m:
        is_late = seconds > POST_TIMEOUT
        async with m.pool() as pool:
            session = await pool.session(m.relayers[0])
            assert session.info.attempts == 1 + is_late
            await trio.sleep_until(120.0)
            assert m.world.sim.node.counters.opens_late == is_late
            assert len(m.ours()) == (1 if can_tell(kind, dialect) or not is_late else 2)
            assert (await session.relay(1)).answered == 1
        if can_tell(kind, dialect) or not is_late:
            check_clean(m, pool.report)
        else:
            check(m, pool.report)
            await check_settled(m)


@in_each_namespace
@pytest.mark.parametrize("seconds", [3.9, 4.1, 60.0])
async def test_row_02_callers_that_wait_for_less_than_the_node_needs(
    autojump_clock: MockClock, folder: Path, kind: str, seconds: float
) -> None:
    """They come back every 30 s, and wait for 4 s each time, as the program did that we replace."""
    async with matrix(kind, folder, f"delay:open:seconds={seconds}", "leave-after-disconnect:open") as m:
        async with m.pool() as pool:
            for _ in range(4):
                with trio.move_on_after(4.0):
                    session = await pool.session(m.relayers[0])
                    assert (await session.relay(1)).answered == 1
                await trio.sleep(30.0)
            assert m.world.sim.node.counters.opens_started == 1
            assert len(m.ours()) == 1
        check_clean(m, pool.report)


# -- row 3


@in_each_case
@pytest.mark.parametrize(
    ("latency", "fault", "times"),
    [
        pytest.param(1.0, "", (0.0, 0.5, 0.999, 1.0, 1.001), id="slow"),
        pytest.param(1.0, "reply-lost:open:count=1", (0.999, 1.0, 1.2), id="reply-lost"),
        pytest.param(1.0, "reply-hangs:open:count=1", (0.5, 50.0), id="reply-hangs"),
        pytest.param(8.0, "leave-after-disconnect:open", (0.5, 3.0, 3.1), id="committed-during-the-stop"),
        pytest.param(60.0, "leave-after-disconnect:open", (0.5, 50.0, 54.9), id="committed-after-the-stop"),
        pytest.param(1.0, "hang:open", (0.5,), id="hangs"),
    ],
)
async def test_row_03_stop_during_a_post(
    autojump_clock: MockClock,
    folder: Path,
    kind: str,
    dialect: str,
    latency: float,
    fault: str,
    times: tuple[float, ...],
) -> None:
    for at in times:
        async with matrix(kind, folder, *filter(None, [fault]), dialect=dialect, open_latency=latency) as m:
            start = trio.current_time()
            async with m.pool() as pool, trio.open_nursery() as nursery:
                nursery.start_soon(ask_in_vain, pool, m.relayers[0])
                await trio.sleep_until(start + at)
                pool.stop()
            assert pool.report.stop_duration is not None
            assert pool.report.stop_duration <= 10.0
            if fault:
                check(m, pool.report)
                await check_settled(m)
            else:
                check_clean(m, pool.report)


async def ask_in_vain(pool: SessionPool, relayer: str) -> None:
    """Ask for a session of a pool that stops meanwhile, and use it if it is there."""
    try:
        session = await pool.session(relayer)
        await session.relay(1)
    except (PoolStoppedError, SessionEndedError):
        pass


@in_each_namespace
@pytest.mark.parametrize("fault", ["", "reply-lost:open:count=1"])
async def test_row_03_stop_at_each_step(autojump_clock: MockClock, folder: Path, kind: str, fault: str) -> None:
    """At each step of all tasks, from the demand to the first answer."""

    async def once(step: int) -> int:
        async with matrix(kind, folder, *filter(None, [fault]), dialect="3") as m:
            async with m.pool() as pool, acting((step, pool.stop)) as counter:
                await ask_in_vain(pool, m.relayers[0])
            assert pool.report.stop_duration is not None
            assert pool.report.stop_duration <= 10.0
            if fault:
                check(m, pool.report)
                assert m.ours() == []
                await check_settled(m)
            else:
                check_clean(m, pool.report)
                assert pool.report.stop_duration < 1.0
        return counter.steps

    steps = await once(-1)
    assert steps > 30
    for step in range(OFFSETS[kind], steps + 1, 3 if not fault else 9):
        await once(step)


# -- rows 4 and 5


Operation = Callable[[Matrix, SessionPool], Awaitable[None]]


async def open_use_and_close(m: Matrix, pool: SessionPool) -> None:
    """Two sessions, side by side; one is closed, the other's relayer goes out of sight."""

    async def use(relayer: str) -> None:
        session = await pool.session(relayer)
        await session.relay(3)
        if relayer == m.relayers[0]:
            session.close()
            await wait_closed(session)

    async with trio.open_nursery() as nursery:
        for relayer in m.relayers[:2]:
            nursery.start_soon(use, relayer)
    pool.set_reachable(m.relayers[1], False)
    await trio.sleep(0.01)


async def cancelled_run(m: Matrix, *steps: int, operation: Operation = open_use_and_close) -> tuple[PoolReport, int]:
    """A pool in nested scopes that are cancelled from the inside out, each before its step; the steps it took."""
    reports: list[Callable[[], PoolReport]] = []
    scopes = [trio.CancelScope() for _ in steps]
    async with acting(*zip(steps, [scope.cancel for scope in scopes], strict=True)) as counter:
        with ExitStack() as stack:
            for scope in reversed(scopes):
                stack.enter_context(scope)
            async with m.pool() as pool:
                reports.append(lambda: pool.report)
                await operation(m, pool)
    if not reports:
        # Cancelled before there was a pool: the next one says whether anything is left.
        return await m.settle(1.0), counter.steps
    return reports[0](), counter.steps


@in_each_namespace
async def test_row_04_cancel_at_any_checkpoint(autojump_clock: MockClock, folder: Path, kind: str) -> None:
    async def once(step: int) -> int:
        async with matrix(kind, folder) as m:
            report, steps = await cancelled_run(m, step)
            check_clean(m, report)
            assert (report.stop_duration or 0.0) < 2.0
        return steps

    steps = await once(-1)
    assert steps > 100
    for step in range(OFFSETS[kind], steps + 1, 3):
        await once(step)


@in_each_case
async def test_row_04_cancel_while_replies_are_lost(
    autojump_clock: MockClock, folder: Path, kind: str, dialect: str
) -> None:
    """Every POST's and every DELETE's first reply; whatever is left is named, and gone after the next start."""

    async def once(step: int) -> int:
        faults = ("reply-lost:open:count=2", "reply-lost:close:count=2")
        async with matrix(kind, folder, *faults, dialect=dialect) as m:
            report, steps = await cancelled_run(m, step)
            if can_tell(kind, dialect):
                check_clean(m, report)
            else:
                check(m, report)
                await check_settled(m)
        return steps

    for step in range(OFFSETS[kind], await once(-1) + 1, 37):
        await once(step)


@in_each_namespace
async def test_row_05_a_second_cancel_during_the_clean_up(autojump_clock: MockClock, folder: Path, kind: str) -> None:
    async def once(first: int, second: int) -> int:
        async with matrix(kind, folder, "status:close:status=500:count=1", delete_latency=0.5) as m:
            report, steps = await cancelled_run(m, first, second)
            check_clean(m, report)
        return steps

    whole = await once(-1, -1)
    for first in (whole // 4, whole // 2, 3 * whole // 4):
        steps = await once(first, -1)
        assert steps > first + 10
        for second in range(first + OFFSETS[kind], steps + 1, 9):
            await once(first, second)


@in_each_namespace
async def test_row_05_a_cancel_during_a_stop(autojump_clock: MockClock, folder: Path, kind: str) -> None:
    async def stop(m: Matrix, pool: SessionPool) -> None:
        await open_use_and_close(m, pool)
        stopped_at.append(counter.steps)
        pool.stop()

    async def once(step: int) -> int:
        async with matrix(kind, folder, "status:close:status=500:count=1", delete_latency=0.5) as m:
            report, steps = await cancelled_run(m, step, operation=stop)
            check_clean(m, report)
        return steps

    stopped_at: list[int] = []
    async with acting((-1, lambda: None)) as counter:
        steps = await once(-1)
    # Those of making the world come on top.
    begin = stopped_at[0] - (counter.steps - steps)
    assert steps - begin > 10
    for step in range(begin + OFFSETS[kind], steps + 1, 3):
        await once(step)


# -- row 6


@in_each_namespace
@pytest.mark.parametrize(("fault", "posts"), [("", 1), ("reply-lost:open:count=1", 2)])
async def test_row_06_fifty_callers_open_the_same_relayer(
    autojump_clock: MockClock, folder: Path, kind: str, fault: str, posts: int
) -> None:
    """One after the other while it opens, and half of them leave before it is open."""
    async with matrix(kind, folder, *filter(None, [fault]), dialect="3", open_latency=1.0) as m:
        got: list[Session] = []

        async def ask(number: int) -> None:
            with trio.move_on_after(0.3 if number % 2 else math.inf):
                got.append(await pool.session(m.relayers[0] if number % 3 else m.relayers[0].lower()))

        async with m.pool() as pool:
            async with trio.open_nursery() as nursery:
                for number in range(50):
                    nursery.start_soon(ask, number)
                    await trio.sleep(0.01)
            assert len(got) == 25
            assert len({key_of(session) for session in got}) == 1
            assert m.world.sim.node.counters.calls["open"] == posts
            await trio.sleep(10.0)
            assert keys(m.ours()) == {key_of(got[0])}
        check_clean(m, pool.report)


# -- row 7


@in_each_namespace
@pytest.mark.parametrize("hold", [0.4, 3.0])
async def test_row_07_a_list_fetched_before_and_read_after_a_session_opened(
    autojump_clock: MockClock, folder: Path, caplog: pytest.LogCaptureFixture, kind: str, hold: float
) -> None:
    """Sessions open and close at every tenth of a second between two looks; no echo comes to save them."""
    async with matrix(kind, folder, "loss", relayers=12) as plain, on_a_wire(plain) as (m, wire):
        wire.hold["GET"] = hold
        async with m.pool(reconcile_interval=0.3) as pool:
            sessions = []
            for number, relayer in enumerate(m.relayers):
                await trio.sleep_until(5.0 * number + 0.1 * number)
                sessions.append(await pool.session(relayer))
                if number % 3 == 1:
                    sessions[number - 1].close()
            await trio.sleep(10.0)
            alive = [session for number, session in enumerate(sessions) if number % 3]
            assert [state_of(session) for session in alive] == [State.ACTIVE] * 8
            assert keys(m.ours()) == {key_of(session) for session in alive}
            assert (closes(m), pool.report.sessions.lost) == (4, 0)
            # Those that were still on their way out in an old list were not taken for orphans.
            assert m.world.sim.node.counters.closes_missed == 0
            assert "nobody of us holds" not in caplog.text
        check_clean(m, pool.report)


# -- rows 8 and 9


@in_each_namespace
@pytest.mark.parametrize(
    ("fault", "costs"),
    [
        ("status:close:status=500:count=4", 0.0),
        ("status:close:status=503:count=4", 0.0),
        ("status:close:status=429:count=4", 0.0),
        ("reset:close:count=4", 0.0),
        ("hang:close:count=4", 5.0),
    ],
)
async def test_row_08_a_delete_that_fails_is_tried_again(
    autojump_clock: MockClock, folder: Path, kind: str, fault: str, costs: float
) -> None:
    """With longer and longer waits, which a stop cuts short."""
    async with matrix(kind, folder) as plain, on_a_wire(plain) as (m, wire):
        async with m.pool() as pool:
            session, other = [await pool.session(relayer) for relayer in m.relayers[:2]]
            await session.relay(1)
            add(m, fault)
            session.close()
            await wait_closed(session)
            tries = wire.times("DELETE")
            waits = [later - sooner - costs for sooner, later in pairwise(tries)]
            assert len(waits) == 4
            for wait, plan in zip(waits, (0.2, 0.4, 0.8, 1.6), strict=True):
                assert plan / 2 <= wait <= plan + 1e-9
            assert keys(m.ours()) == {key_of(other)}
            add(m, "status:close:status=500")
            other.close()
            # By now the next try is up to half a minute away.
            await trio.sleep(100.0)
            m.world.sim.node.clear_faults()
        check_clean(m, pool.report)
        assert pool.report.stop_duration is not None
        assert pool.report.stop_duration <= 2.1


@in_each_namespace
@pytest.mark.parametrize("fault", ["status:close:status=500", "status:close:status=504", "hang:close"])
@pytest.mark.parametrize("lasts", [4.0, 1000.0])
async def test_row_08_deletes_that_fail_at_the_stop(
    autojump_clock: MockClock, folder: Path, kind: str, fault: str, lasts: float
) -> None:
    """For a part of the stop's time: all is closed. For longer: all is named, and closed by the next start."""
    async with matrix(kind, folder, relayers=6) as m:
        async with m.pool() as pool:
            for relayer in m.relayers:
                await pool.session(relayer)
            add(m, f"{fault}:until={lasts}")
        assert pool.report.stop_duration is not None
        if lasts < 10.0:
            check_clean(m, pool.report)
            assert pool.report.stop_duration <= 9.0
        else:
            check(m, pool.report)
            assert pool.report.stop_duration == pytest.approx(10.0)
            assert len(m.ours()) == len(pool.report.left) == 6
            if kind != "dedicated":
                assert rows(m) == 6
            m.world.sim.node.clear_faults()
            check_clean(m, await m.settle(30.0))


@in_each_namespace
@pytest.mark.parametrize("fault", ["reply-lost:close", "reply-hangs:close"])
@pytest.mark.parametrize("how", ["close", "stop"])
async def test_row_09_a_delete_whose_reply_is_lost(
    autojump_clock: MockClock, folder: Path, kind: str, fault: str, how: str
) -> None:
    """The next session of ours gets the node's lowest free port, where the node chooses: that of the closed one."""
    async with matrix(kind, folder, "low-port:open") as m:
        async with m.pool() as pool:
            session, other = [await pool.session(relayer) for relayer in m.relayers[:2]]
            add(m, f"{fault}:count=1")
            if how == "close":
                session.close()
                await trio.sleep(0.05)
                again = await pool.session(m.relayers[2])
                await wait_closed(session)
                await trio.sleep(20.0)
                assert keys(m.ours()) == {key_of(other), key_of(again)}
                assert (await again.relay(2)).answered == 2
        check_clean(m, pool.report)
        assert pool.report.stop_duration is not None
        assert pool.report.stop_duration <= 8.0


# -- row 10


def take_port(m: Matrix, session: Session) -> ListenerRecord:
    """A stranger gets the port that the session's listener had, for the same route; never on our own address."""
    _, ip, port = key_of(session)
    return m.add_stranger(ip="127.0.0.1" if m.kind == "dedicated" else ip, port=port, relayer=session.info.relayer)


@pytest.mark.parametrize("kind", ["range", "shared"])
@pytest.mark.parametrize("how", ["close", "stop"])
@pytest.mark.parametrize("fault", ["reply-lost:close:count=1", "reply-hangs:close:count=1", "status:close:count=1"])
async def test_row_10_a_stranger_gets_the_port_of_a_delete(
    autojump_clock: MockClock, folder: Path, kind: str, how: str, fault: str
) -> None:
    """As soon as it is free, while we don't know yet that our DELETE has worked. Nobody else is on our own address."""
    async with matrix(kind, folder) as m:
        node = m.world.sim.node
        async with m.pool() as pool:
            session = await pool.session(m.relayers[0], destination=node.destinations[0])
            await session.relay(1)
            key = key_of(session)
            add(m, fault)
            if fault.startswith("reply"):
                add(m, "reuse:close:count=1")
            if how == "close":
                session.close()
                await wait_closed(session)
        reused = fault.startswith("reply")
        assert (key in keys([record for record in node.listeners() if record.stranger])) == reused
        check_clean(m, pool.report)
        assert closes(m) == 1


@in_each_namespace
@pytest.mark.parametrize("how", ["close", "stop", "reconcile"])
@pytest.mark.parametrize("ending", ["restart", "idle end"])
async def test_row_10_a_stranger_gets_the_port_of_a_listener_that_ended(
    autojump_clock: MockClock, folder: Path, kind: str, how: str, ending: str
) -> None:
    """Before we have noticed that ours is gone."""
    async with matrix(kind, folder) as m:
        interval = 10.0 if how == "reconcile" else 10_000.0
        async with m.pool(reconcile_interval=interval) as pool:
            session = await pool.session(m.relayers[0], destination=m.world.sim.node.destinations[0])
            await session.relay(1)
            if ending == "restart":
                m.world.sim.node.restart()
                m.strangers.clear()
            else:
                await trio.sleep(205.0)
                assert m.ours() == []
            take_port(m, session)
            if how == "close":
                session.close()
            if how != "stop":
                await wait_closed(session)
                m.check_strangers()
        check_clean(m, pool.report)
        assert closes(m) == 0


# -- row 11


@pytest.mark.parametrize("dialect", ["3", "4.1"])
async def test_row_11_the_end_of_an_old_listener_delists_its_successor(
    autojump_clock: MockClock, folder: Path, caplog: pytest.LogCaptureFixture, dialect: str
) -> None:
    faults = ("low-port:open", "late-removal:close:count=1")
    async with matrix("shared", folder, *faults, dialect=dialect) as m:
        async with m.pool() as pool:
            old = await pool.session(m.relayers[0])
            old.close()
            await wait_closed(old)
            await trio.sleep(0.1)
            new = await pool.session(m.relayers[1])
            assert key_of(new) == key_of(old)
            await trio.sleep(30.0)
            assert keys(list(m.world.sim.node.delisted())) == {key_of(new)}
            assert "does not list" in caplog.text
            assert state_of(new) is State.ACTIVE
            assert (await new.relay(10)).answered == 10
            assert m.world.sim.node.counters.opens_committed == 2
        check(m, pool.report)
        (left,) = pool.report.left
        assert left.listener == str(new.info.listener and new.info.listener.key)
        assert "does not list it any more" in left.reason
        await check_settled(m)


@pytest.mark.parametrize("kind", ["dedicated", "range"])
async def test_row_11_cannot_happen_where_we_choose_the_ports(
    autojump_clock: MockClock, folder: Path, kind: str
) -> None:
    """A port of ours is not asked for again before the node is done with it."""
    async with matrix(kind, folder, "late-removal:close:seconds=30") as m:
        async with m.pool() as pool:
            used = set()
            for _ in range(40):
                session = await pool.session(m.relayers[0])
                assert key_of(session) not in used
                used.add(key_of(session))
                session.close()
                await wait_closed(session)
            kept = await pool.session(m.relayers[0])
            await trio.sleep(60.0)
            assert keys(list(m.world.sim.node.listeners())) >= {key_of(kept)}
            assert list(m.world.sim.node.delisted()) == []
        check_clean(m, pool.report)


@pytest.mark.parametrize(("after", "opens"), [(209.9, False), (210.1, True)])
async def test_row_11_a_range_that_is_too_small_waits(
    autojump_clock: MockClock, folder: Path, after: float, opens: bool
) -> None:
    async with matrix("range", folder) as m:
        async with m.pool(namespace=PortRange(41_000, 41_000), open_attempts=1) as pool:
            session = await pool.session(m.relayers[0])
            session.close()
            await wait_closed(session)
            await trio.sleep(after)
            if opens:
                assert key_of(await pool.session(m.relayers[0])) == key_of(session)
            else:
                with pytest.raises(SessionOpenError) as caught:
                    await pool.session(m.relayers[0])
                assert isinstance(caught.value.__cause__, PortsUsedUpError)
                assert m.world.sim.node.counters.opens_started == 1
        check_clean(m, pool.report)


# -- row 12


@in_each_namespace
async def test_row_12_two_sessions_are_handed_the_same_port(
    autojump_clock: MockClock, folder: Path, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    async with matrix(kind, folder, strangers=0) as m:
        async with m.pool(open_attempts=1) as pool:
            first = await pool.session(m.relayers[0])
            add(m, "same-port:open:count=1")
            if kind == "shared":
                with pytest.raises(SessionOpenError) as caught:
                    await pool.session(m.relayers[1])
                cause = caught.value.__cause__
                assert isinstance(cause, MalformedReplyError)
                assert "in use by the session via" in str(cause)
                assert "refused what the node handed out" in caplog.text
                assert closes(m) == 0
            else:
                # They name their ports, and the node refuses one that is taken.
                assert key_of(await pool.session(m.relayers[1])) != key_of(first)
            assert (await first.relay(1)).sent == 1
        check(m, pool.report)
        await check_settled(m)


@in_each_namespace
async def test_row_12_a_reply_names_the_port_of_another_session(
    autojump_clock: MockClock, folder: Path, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    async with matrix(kind, folder) as plain, on_a_wire(plain) as (m, wire):
        async with m.pool(open_attempts=1) as pool:
            first = await pool.session(m.relayers[0])
            wire.change_reply = lambda reply: reply | {"port": key_of(first)[2]}
            with pytest.raises(SessionOpenError) as caught:
                await pool.session(m.relayers[1])
            wire.change_reply = None
            assert isinstance(caught.value.__cause__, MalformedReplyError)
            assert "refused what the node handed out" in caplog.text
            await trio.sleep(30.0)
            assert state_of(first) is State.ACTIVE
            assert (await first.relay(3)).answered == 3
            assert key_of(first) in keys(m.ours())
        m.check_strangers()


# -- row 13


REPLIES: dict[str, Callable[[dict[str, Any]], object]] = {
    "port 0": lambda reply: reply | {"port": 0},
    "port below 0": lambda reply: reply | {"port": -1},
    "port too high": lambda reply: reply | {"port": 65536},
    "port as text": lambda reply: reply | {"port": str(reply["port"])},
    "port is true": lambda reply: reply | {"port": True},
    "no port": lambda reply: {key: value for key, value in reply.items() if key != "port"},
    "ip is a name": lambda reply: reply | {"ip": "localhost"},
    "no ip": lambda reply: reply | {"ip": None},
    "another protocol": lambda reply: reply | {"protocol": "tcp"},
    "another destination": lambda reply: reply | {"destination": NOBODY},
    "no room for a message": lambda reply: reply | {"surbLen": reply["hoprMtu"]},
    "a list": lambda reply: [reply],
    "an empty object": lambda reply: {},
    "a text": lambda reply: "opened",
}


async def refused_then_opened(m: Matrix, pool: SessionPool, dialect: str) -> None:
    """The first attempt is refused, the second one opens; what the first one made is found, where that can be."""
    session = await pool.session(m.relayers[0])
    assert session.info.attempts == 2
    await trio.sleep(15.0)
    assert key_of(session) in keys(m.ours())
    assert len(m.ours()) == (1 if can_tell(m.kind, dialect) else 2)
    assert closes(m) == (1 if can_tell(m.kind, dialect) else 0)
    assert (await session.relay(1)).answered == 1


def assert_no_wild_delete(m: Matrix, wire: Wire) -> None:
    """Every DELETE names one port, or the whole address of our own."""
    for _, method, path in wire.calls:
        if method == "DELETE":
            ip, port = path.split("/")[-2:]
            assert port.isdigit()
            assert port != "0" or (m.kind == "dedicated" and ip.startswith("127.") and ip != "127.0.0.1")


@in_each_namespace
@pytest.mark.parametrize("reply", REPLIES)
async def test_row_13_a_malformed_reply(autojump_clock: MockClock, folder: Path, kind: str, reply: str) -> None:
    dialect = "3"
    async with matrix(kind, folder, dialect=dialect) as plain, on_a_wire(plain) as (m, wire):
        spoil = REPLIES[reply]

        def once(sent: dict[str, Any]) -> object:
            wire.change_reply = None
            return spoil(sent)

        wire.change_reply = once
        async with m.pool() as pool:
            await refused_then_opened(m, pool, dialect)
        assert_no_wild_delete(m, wire)
        check_clean(m, pool.report)


@in_each_case
@pytest.mark.parametrize("fault", ["port0", "garbage", "null", "empty"])
async def test_row_13_a_reply_that_says_nothing(
    autojump_clock: MockClock, folder: Path, kind: str, dialect: str, fault: str
) -> None:
    async with (
        matrix(kind, folder, f"{fault}:open:count=1", dialect=dialect) as plain,
        on_a_wire(plain) as (m, wire),
    ):
        async with m.pool() as pool:
            await refused_then_opened(m, pool, dialect)
        assert_no_wild_delete(m, wire)
        if can_tell(kind, dialect):
            check_clean(m, pool.report)
        else:
            check(m, pool.report)
            await check_settled(m)


@in_each_namespace
@pytest.mark.parametrize("with_id", [True, False])
async def test_row_13_a_reply_names_a_strangers_listener(
    autojump_clock: MockClock, folder: Path, kind: str, with_id: bool
) -> None:
    """Well-formed, and wrong; with or without the id of a session. Whoever acts on it closes the stranger's."""
    async with matrix(kind, folder) as plain, on_a_wire(plain) as (m, wire):
        destination = m.world.sim.node.destinations[0]
        stranger = m.add_stranger(relayer=m.relayers[0], destination=destination)

        def lie(reply: dict[str, Any]) -> object:
            return reply | {"ip": stranger.ip, "port": stranger.port} | ({} if with_id else {"activeClients": []})

        wire.change_reply = lie
        async with m.pool(open_attempts=1) as pool:
            expected = "as asked" if with_id else "names no session"
            # Where the node chooses the port, nothing else may show that the listener isn't ours.
            hides = kind == "shared" and with_id
            with nullcontext() if hides else pytest.raises(SessionOpenError, match=expected):
                (await pool.session(m.relayers[0], destination=destination)).close()
            await trio.sleep(15.0)
            m.check_strangers()
        m.check_strangers()


# -- row 14


@in_each_namespace
@pytest.mark.parametrize(("at", "down_for"), [(0.02, 0.0), (0.05, 20.0), (1.0, 0.0), (1.53, 20.0), (3.0, 0.0)])
async def test_row_14_the_node_restarts(
    autojump_clock: MockClock, folder: Path, kind: str, at: float, down_for: float
) -> None:
    """While sessions open, relay, rest and close; strangers get the old ports. Sessions are reopened on demand."""
    async with matrix(kind, folder, open_latency=0.04) as m:
        asked = answered = 0

        async def use(pool: SessionPool, relayer: str) -> None:
            nonlocal asked, answered
            for turn in range(8):
                session = await pool.session(relayer)
                try:
                    asked += 5
                    outcome = await session.relay(5)
                    answered += outcome.answered
                except SessionEndedError:
                    pass
                await trio.sleep(0.5)
                if turn % 3 == 2:
                    session.close()

        async def restart() -> None:
            await trio.sleep(at)
            before = keys(m.ours())
            m.world.sim.node.restart(down_for)
            m.strangers.clear()
            for protocol, ip, port in before:
                m.add_stranger(protocol=protocol, ip="127.0.0.1" if kind == "dedicated" else ip, port=port)

        async with m.pool() as pool:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(restart)
                for relayer in m.relayers:
                    nursery.start_soon(use, pool, relayer)
            opened = m.world.sim.node.counters.opens_committed
            assert opened >= 8
            # A POST that died with the node is looked for until it cannot be completed any more.
            await trio.sleep(150.0)
            assert m.world.sim.node.counters.opens_committed == opened
        check_clean(m, pool.report)
        messages = pool.report.messages
        assert messages.answered == answered > 0.7 * asked
        # Those that a lost session refused were not accepted.
        assert asked - 15 <= messages.accepted <= asked


# -- row 15


@in_each_namespace
@pytest.mark.parametrize(
    "fault", ["empty:list", "null:list", "garbage:list", "status:list:status=500", "stale:list:seconds=30", "hang:list"]
)
async def test_row_15_a_list_that_fails_or_lies_for_a_while(
    autojump_clock: MockClock, folder: Path, kind: str, fault: str
) -> None:
    async with matrix(kind, folder, relayers=10) as m:
        async with m.pool() as pool:
            sessions = [await pool.session(relayer) for relayer in m.relayers]
            await trio.sleep(3.0)
            add(m, f"{fault}:until=100")
            await trio.sleep(120.0)
            assert [state_of(session) for session in sessions] == [State.ACTIVE] * 10
            assert keys(m.ours()) == {key_of(session) for session in sessions}
            assert (closes(m), pool.report.sessions.lost) == (0, 0)
            assert m.world.sim.node.counters.closes_missed == 0
            assert [(await session.relay(1)).answered for session in sessions] == [1] * 10
        check_clean(m, pool.report)


@in_each_namespace
@pytest.mark.parametrize(("lasts", "state"), [(5.9, State.ACTIVE), (30.0, State.LOST)])
async def test_row_15_it_takes_two_looks_and_no_sign_of_life_to_give_a_session_up(
    autojump_clock: MockClock, folder: Path, kind: str, lasts: float, state: State
) -> None:
    """No echo comes. Not even then anything is deleted that might be a stranger's, before a list shows it again."""
    async with matrix(kind, folder, "loss", relayers=10) as m:
        async with m.pool() as pool:
            sessions = [await pool.session(relayer) for relayer in m.relayers]
            await trio.sleep_until(5.0)
            # The first look comes at 10.0, the second at 11.0.
            add(m, f"empty:list:until={lasts}")
            await trio.sleep_until(34.9)
            assert [state_of(session) for session in sessions] == [state] * 10
            # On an address or a port of ours, what is given up can be closed whatever the list says.
            given_up = 10 if state is State.LOST and kind != "shared" else 0
            assert (closes(m), len(m.ours())) == (given_up, 10 - given_up)
            await trio.sleep(15.0)
            assert len(m.ours()) == (10 if state is State.ACTIVE else 0)
        check_clean(m, pool.report)


@in_each_namespace
async def test_row_15_what_was_given_up_is_named_when_it_cannot_be_closed(
    autojump_clock: MockClock, folder: Path, kind: str
) -> None:
    """It vanished from the list, it is back at the stop, and no DELETE works."""
    async with matrix(kind, folder, "loss") as m:
        async with m.pool() as pool:
            await pool.session(m.relayers[0])
            await trio.sleep(5.0)
            add(m, "empty:list:until=10", "hang:close:until=60")
            await trio.sleep(8.0)
            assert pool.report.sessions.lost == 1
            await trio.sleep(5.0)
        check(m, pool.report)
        assert len(m.ours()) == len(pool.report.left) == 1
        await check_settled(m)


# -- row 16


@in_each_namespace
@pytest.mark.parametrize(("seed", "interval"), [(0, 10.0), (1, 10.0), (2, 1.0), (3, 7.0)])
async def test_row_16_an_idle_end_is_noticed(
    autojump_clock: MockClock, folder: Path, kind: str, seed: int, interval: float
) -> None:
    async with matrix(kind, folder, seed=seed) as m:
        async with m.pool(reconcile_interval=interval) as pool:
            session = await pool.session(m.relayers[0])
            assert (await session.relay(4)).answered == 4
            await wait_closed(session)
            ((ended_at, _),) = m.world.events("idle_end")
            assert 180.0 < ended_at < 203.0
            assert ended_at <= trio.current_time() <= ended_at + interval
            assert session.info.reason is EndReason.LISTENER_GONE
            with pytest.raises(SessionEndedError):
                await session.relay(3)
            assert (await (await pool.session(m.relayers[0])).relay(3)).answered == 3
        check_clean(m, pool.report)
        assert (pool.report.messages.accepted, pool.report.messages.answered) == (7, 7)


@in_each_namespace
async def test_row_16_sending_alone_does_not_hold_a_listener(
    autojump_clock: MockClock, folder: Path, kind: str
) -> None:
    """All echoes are lost: the node ends it although we send, and a datagram that is refused tells at once."""
    async with matrix(kind, folder, "loss") as m:
        async with m.pool(reconcile_interval=1000.0) as pool:
            session = await pool.session(m.relayers[0])
            sent = 0
            while state_of(session) is State.ACTIVE and sent < 200:
                sent += 2
                await session.relay(2)
                await trio.sleep(3.0)
            ((ended_at, _),) = m.world.events("idle_end")
            assert 180.0 < ended_at < 203.0
            assert trio.current_time() <= ended_at + 10.0
        check_clean(m, pool.report)
        messages = pool.report.messages
        assert (messages.accepted, messages.answered) == (sent, 0)
        assert messages.unanswered + sum(messages.undelivered.values()) == sent


# -- rows 17 and 18


@asynccontextmanager
async def fed(m: Matrix, pool: SessionPool, interval: float) -> AsyncIterator[None]:
    """The pool is told which peers the node sees, as often as that."""

    async def feed() -> None:
        while True:
            pool.set_connected(peer.address for peer in await m.world.hoprd.peers())
            await trio.sleep(interval)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(feed)
        yield
        nursery.cancel_scope.cancel()


@in_each_namespace
@pytest.mark.parametrize(("seconds", "count"), [(1.0, 40), (17.0, 6), (60.0, 3), (120.0, 3)])
async def test_row_17_a_flapping_peer(
    autojump_clock: MockClock, folder: Path, kind: str, seconds: float, count: int
) -> None:
    """A message every twenty seconds, whether it is in sight or not."""
    async with matrix(kind, folder, f"flap:relayer=0:at=5:seconds={seconds}:count={count}") as m:
        async with m.pool() as pool, fed(m, pool, max(0.5, seconds / 5)):
            session = await pool.session(m.relayers[0])
            seen = set()
            asked = 0
            while trio.current_time() < 10.0 + 2 * seconds * count:
                assert key_of(await pool.session(m.relayers[0])) == key_of(session)
                await session.relay(1)
                asked += 1
                seen.add(state_of(session))
                await trio.sleep(19.3)
            assert len(m.world.events("peer_down")) == count
            assert seen == {State.ACTIVE, State.UNREACHABLE}
            assert [event for _, event in m.world.events("open", "close", "idle_end")] == ["open"]
        check_clean(m, pool.report)
        messages = pool.report.messages
        assert (messages.accepted, messages.answered + messages.unanswered) == (asked, asked)
        assert 0 < messages.answered < asked


@in_each_namespace
async def test_row_17_many_flapping_peers(autojump_clock: MockClock, folder: Path, kind: str) -> None:
    """Each out of sight for 1 to 120 s, and in sight for as long, again and again."""
    rng = random.Random(OFFSETS[kind])
    async with matrix(kind, folder, relayers=8) as m:

        async def flap(relayer: str) -> None:
            for turn in range(8):
                await trio.sleep(rng.uniform(1.0, 120.0))
                m.world.sim.node.set_connected(relayer, bool(turn % 2))
                pool.set_reachable(relayer, bool(turn % 2))

        async def use(relayer: str) -> None:
            session = await pool.session(relayer, destination=m.world.sim.node.destinations[0])
            for _ in range(20):
                await session.relay(1)
                await trio.sleep(30.0)

        async with m.pool() as pool:
            async with trio.open_nursery() as nursery:
                for relayer in m.relayers:
                    nursery.start_soon(use, relayer)
                    nursery.start_soon(flap, relayer)
            assert len(m.ours()) == 8
            assert [event for _, event in m.world.events("open", "close", "idle_end")] == ["open"] * 8
        check_clean(m, pool.report)
        assert pool.report.messages.accepted == 160


async def at_the_boundary(m: Matrix, offset: int) -> bool:
    """A peer comes back so many of the clock's smallest steps from the end of its grace period: did its session live?

    Whatever it is, it is one outcome: the session is as it was, or is closed once, and for good.
    """
    node = m.world.sim.node
    before = node.counters.opens_committed
    async with m.pool() as pool:
        session = await pool.session(m.relayers[0])
        await session.relay(1)
        pool.set_reachable(m.relayers[0], False)
        await trio.sleep(1.0)
        back_at = session.info.grace_ends_at
        assert back_at is not None
        for _ in range(abs(offset)):
            back_at = math.nextafter(back_at, math.copysign(math.inf, offset))
        await trio.sleep_until(back_at)
        assert trio.current_time() == back_at
        pool.set_reachable(m.relayers[0], True)
        await trio.sleep(5.0)
        lives = state_of(session) is State.ACTIVE
        if lives:
            assert session.info.grace_ends_at is None
            assert keys(m.ours()) == {key_of(session)}
            await trio.sleep(60.0)
            assert (await session.relay(1)).answered == 1
        else:
            assert (state_of(session), session.info.reason) == (State.CLOSED, EndReason.GRACE_EXPIRED)
            assert m.ours() == []
            with pytest.raises(SessionEndedError, match="grace expired"):
                await session.relay(1)
        again = await pool.session(m.relayers[0])
        assert (key_of(again) == key_of(session)) == lives
        assert (await again.relay(1)).answered == 1
        assert node.counters.opens_committed - before == (1 if lives else 2)
    check_clean(m, pool.report)
    assert (pool.report.sessions.opened, pool.report.sessions.lost) == (1 if lives else 2, 0)
    return lives


@in_each_namespace
@pytest.mark.parametrize(("offset", "lives"), [(-2, {True}), (-1, {True}), (0, {True, False}), (1, {False})])
async def test_row_18_the_grace_boundary(
    autojump_clock: MockClock, folder: Path, kind: str, offset: int, lives: set[bool]
) -> None:
    async with matrix(kind, folder) as m:
        # Which task runs first at the same time is a matter of chance.
        for _ in range(1 if offset else 4):
            assert await at_the_boundary(m, offset) in lives
