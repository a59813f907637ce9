"""Rows 22 to 36 and 39 of the fault matrix: what comes in, what dies, and who else is there.

The oracle is the node's own table. In memory and under a virtual clock, except where processes, signals and real
connections are the matter.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import random
import resource
import shutil
import signal
import socket
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import attrs
import httpx
import pytest
import trio
import trio.testing
from trio.testing import MockClock

from tests.cli.support import TOKEN, Ended, Simulator, running, simulator
from tests.matrix.support import Matrix, in_each_namespace, matrix
from tests.worlds import Breakable, in_namespace, inline, state_of
from trio_sessions import (
    EndReason,
    Hoprd,
    InstanceInUseError,
    InvalidInputError,
    JournalError,
    Node,
    PoolStoppedError,
    PortRange,
    PortsUsedUpError,
    RejectedError,
    Session,
    SessionEndedError,
    SessionOpenError,
    SessionPool,
    SessionsError,
    State,
    UnauthorizedError,
    open_pool,
)
from trio_sessions._datagrams import Connect, DatagramSocket, connect_udp, send_singly
from trio_sessions._journal_file import JournalFile
from trio_sessions._journal_row import RESTING
from trio_sessions._namespaces import Namespace, node_key
from trio_sessions.simulator import MemorySocket, SimulatedNode, SimulatorConfig, parse_fault, serve_node

#: The dialect in which the listener of a lost reply can be found: in the shared namespace only where lists show paths.
FINDS = {"dedicated": "4.1", "range": "4.1", "shared": "3"}
#: Seconds until an idle end: what is gone was closed by us.
NEVER = 1e9
#: Seconds in which a start settles a POST whose listener never came, and all that is easier.
SETTLED = 150.0


@pytest.fixture
def folder() -> Iterator[Path]:
    """For the journal; in memory where there is such a place: waiting for a disk would take most of the time."""
    with TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as name:
        yield Path(name)


# -- what the rows need


@asynccontextmanager
async def pool_of(
    it: Matrix,
    *,
    hoprd: Hoprd | None = None,
    connect: Connect | None = None,
    in_thread: Callable[..., Awaitable[Any]] = inline,
    **options: Any,
) -> AsyncIterator[SessionPool]:
    """Like ``it.pool()``, with another client, socket or thread."""
    async with open_pool(
        hoprd or it.world.hoprd,
        in_namespace(it.kind, None if "journal" in options else it.folder, **options),
        rng=random.Random(0),
        connect=connect or it.world.sim.connect,
        in_thread=in_thread,
    ) as pool:
        yield pool


class Mortal(httpx.AsyncBaseTransport):
    """A transport whose process can be killed: its connections die, and it hears nothing any more."""

    def __init__(self, it: Matrix) -> None:
        self._inner = it.world.sim.transport
        self._in_flight: set[trio.CancelScope] = set()
        self._killed = False

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        with trio.CancelScope() as connection:
            self._in_flight.add(connection)
            try:
                if not self._killed:
                    reply = await self._inner.handle_async_request(request)
                    if not self._killed:
                        return reply
            finally:
                self._in_flight.discard(connection)
        await trio.sleep_forever()
        raise AssertionError

    def kill(self) -> None:
        self._killed = True
        for connection in self._in_flight:
            connection.cancel()


@asynccontextmanager
async def mortal(it: Matrix) -> AsyncIterator[tuple[Hoprd, Mortal]]:
    """A client that can be killed, and what kills it."""
    transport = Mortal(it)
    async with Hoprd(it.world.sim.url, token=it.world.sim.token, transport=transport) as hoprd:
        yield hoprd, transport


def arm(it: Matrix, *faults: str) -> None:
    for fault in faults:
        it.world.sim.node.add_fault(parse_fault(fault))


def heal(it: Matrix) -> None:
    it.world.sim.node.clear_faults()


def opens(it: Matrix) -> int:
    """POSTs of sessions that reached the node."""
    return it.world.sim.node.counters.calls["open"]


def ids(it: Matrix) -> set[str]:
    """Which of ours the node has."""
    return {record.session_id for record in it.ours()}


def in_journal(it: Matrix) -> list[str]:
    """What the journal names: listeners, and ``?`` for a POST without a reply."""
    with closing(JournalFile.open(str(it.folder / "journal"), node_key(it.world.hoprd.url))) as journal:
        rows = [row for row in journal.rows() if row.state != RESTING]
    return sorted("?" if row.listener is None else str(row.listener.key) for row in rows)


def keys(it: Matrix) -> list[str]:
    """The same of the node's table."""
    return sorted(f"{record.protocol}://{record.ip}:{record.port}" for record in it.ours())


def copy_journal(it: Matrix, to: Path) -> None:
    """What a kill leaves on the disk at this moment."""
    to.mkdir()
    for name in ("journal", "journal-wal"):
        shutil.copy(it.folder / name, to / name)


def breakable(it: Matrix, made: list[Breakable]) -> Connect:
    def connect(ip: str, port: int) -> DatagramSocket:
        made.append(Breakable(it.world.sim.connect(ip, port)))
        return made[-1]

    return connect


async def insist(pool: SessionPool, relayer: str) -> Session:
    """Ask again at once, whatever the answer."""
    while True:
        try:
            return await pool.session(relayer)
        except SessionOpenError:
            await trio.lowlevel.checkpoint()


async def use(pool: SessionPool, relayer: str, *, pause: float = 0.7) -> None:
    """Open, relay, close, and again."""
    while True:
        session = await insist(pool, relayer)
        await session.relay(2)
        await trio.sleep(pause)
        session.close()
        await session.wait_closed()


# -- 22 to 24: datagrams and sockets


class Tapped:
    """A socket that remembers what it sent; its echoes can be handed in once more."""

    def __init__(self, inner: MemorySocket) -> None:
        self._inner = inner
        self.sent: list[bytes] = []
        self.take = inner.take
        self.receive_nowait = inner.receive_nowait
        self.wait_writable = inner.wait_writable
        self.wait_readable = inner.wait_readable
        self.close = inner.close

    def send_nowait(self, data: bytes) -> None:
        self._inner.send_nowait(data)
        self.sent.append(data)

    def send_stream_nowait(self, stream: bytes, size: int, start: int, stop: int) -> int:
        return send_singly(self, stream, size, start, stop)


@in_each_namespace
async def test_row_22_foreign_or_late_datagrams_are_ignored(
    autojump_clock: MockClock, kind: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Timestamps on the wire are wall-clock milliseconds, of which a virtual minute may have none.
    monkeypatch.setattr(time, "time_ns", lambda: int(trio.current_time() * 1e9))
    sockets: list[Tapped] = []
    async with matrix(kind, folder) as it:

        def connect(ip: str, port: int) -> DatagramSocket:
            sockets.append(Tapped(it.world.sim.connect(ip, port)))
            return sockets[-1]

        async def relay_beside(session: Session, *others: bytes) -> None:
            before = session.info.outstanding
            async with trio.open_nursery() as nursery:

                async def relay() -> None:
                    outcome = await session.relay(10)
                    assert (outcome.answered, outcome.duplicates) == (10, 0)
                    # Nobody else's answer came first.
                    assert outcome.rtts == pytest.approx([0.02] * 10)

                nursery.start_soon(relay)
                await trio.testing.wait_all_tasks_blocked()
                assert session.info.outstanding == before + 1
                for data in others:
                    sockets[-1].take(data)

        async with pool_of(it, connect=connect) as pool:
            session = await pool.session(it.relayers[0])
            arm(it, "loss")
            assert (await session.relay(10)).unanswered == 10
            late = tuple(sockets[0].sent)
            heal(it)
            await trio.sleep(3.0)
            foreign = (b"", b"\0", b"nobody's", late[0][:40], late[0].replace(b"0x", b"1x"), bytes(600), late[0][50:])
            await relay_beside(session, *late, *foreign, *late)
            session.close()
            await session.wait_closed()
            # The next one counts its batches from the same number.
            again = await pool.session(it.relayers[0])
            assert len(sockets) == 2
            await relay_beside(again, *late)
        assert (pool.report.messages.accepted, pool.report.messages.answered) == (30, 20)
        it.check_nothing_left(pool.report)


async def test_row_22_a_datagram_from_elsewhere_does_not_arrive() -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as node,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other,
    ):
        node.bind(("127.0.0.1", 0))
        ours = connect_udp(*node.getsockname())
        with closing(ours):
            ours.send_nowait(b"hello")
            _, source = node.recvfrom(100)
            other.sendto(b"foreign", source)
            with pytest.raises(BlockingIOError):
                ours.receive_nowait()
            node.sendto(b"echo", source)
            with trio.fail_after(5):
                await ours.wait_readable()
            assert ours.receive_nowait() == b"echo"


@in_each_namespace
async def test_row_23_empty_or_oversized_payloads_are_refused(
    autojump_clock: MockClock, kind: str, folder: Path
) -> None:
    async with matrix(kind, folder) as it:
        async with it.pool() as pool:
            session = await pool.session(it.relayers[0])
            for payload in (b"", bytes(session.payload_size + 1), bytes(100_000)):
                with pytest.raises(InvalidInputError) as caught:
                    await session.send(payload)
                assert "\n" not in str(caught.value)
            (record,) = it.ours()
            assert record.datagrams == 0
            await session.send(b"x" * session.payload_size)
            assert len(await session.receive()) == session.payload_size
            assert (await session.relay(3)).answered == 3
        it.check_nothing_left(pool.report)


@in_each_namespace
@pytest.mark.parametrize("moment", ["idle", "while answers are awaited"])
async def test_row_24_a_dead_socket_ends_the_whole_session(
    autojump_clock: MockClock, kind: str, folder: Path, moment: str
) -> None:
    sockets: list[Breakable] = []
    async with matrix(kind, folder, echo_latency=0.5) as it:
        async with pool_of(it, connect=breakable(it, sockets)) as pool:
            session, sibling = [await pool.session(relayer) for relayer in it.relayers[:2]]
            (old, kept) = sorted(it.ours(), key=lambda record: record.opened_at)
            async with trio.open_nursery() as nursery:
                if moment != "idle":
                    nursery.start_soon(session.relay, 5)
                    await trio.sleep(0.1)
                sockets[0].broken = OSError(errno.ENETDOWN, "Network is down")
                with pytest.raises(SessionEndedError):
                    await session.send(b"x")
            await session.wait_closed()
            assert session.info.reason is EndReason.SOCKET_FAILED
            assert ids(it) == {kept.session_id}
            again = await pool.session(it.relayers[0])
            assert old.session_id not in ids(it)
            assert (await again.relay(5)).answered == (await sibling.relay(5)).answered == 5
            assert it.world.sim.open_sockets == 2
        it.check_nothing_left(pool.report)


# -- 25: kill -9


@in_each_namespace
@pytest.mark.parametrize("moment", [0.03, 0.2, 0.45, 0.8, 1.3, 1.5, 1.75, 4.6])
async def test_row_25_a_killed_pool_leaves_nothing_to_the_next_start(
    autojump_clock: MockClock, kind: str, folder: Path, moment: float
) -> None:
    """The journal as it is at that moment; the POSTs under way are committed although their client has gone."""
    faults = ("leave-after-disconnect:open", "reply-lost:open:p=0.2", "reply-lost:close:p=0.2")
    config: dict[str, Any] = {"open_latency": 0.4, "delete_latency": 0.2, "call_latency": 0.02}
    async with matrix(kind, folder, *faults, dialect=FINDS[kind], idle_timeout=NEVER, **config) as it:
        async with mortal(it) as (hoprd, transport), trio.open_nursery() as nursery:
            async with pool_of(it, hoprd=hoprd) as pool:
                for relayer in it.relayers:
                    nursery.start_soon(use, pool, relayer)
                await trio.sleep(moment)
                nursery.cancel_scope.cancel()
                transport.kill()
                copy_journal(it, folder / "copy")
        heal(it)
        had = ids(it)
        it.folder = folder / "copy"
        async with it.pool() as after:
            # It is used meanwhile, and by the same relayers.
            session = await after.session(it.relayers[0])
            await trio.sleep(SETTLED)
            assert (await session.relay(1)).answered == 1
            assert len(it.ours()) == 1
            assert not had & ids(it)
        it.check_nothing_left(after.report)
        assert in_journal(it) == []


@pytest.mark.parametrize("moment", [0.2, 0.45, 1.3, 4.6])
async def test_row_25_an_address_of_our_own_needs_no_journal(
    autojump_clock: MockClock, folder: Path, moment: float
) -> None:
    faults = ("leave-after-disconnect:open", "reply-lost:open:p=0.2", "reply-lost:close:p=0.2")
    async with matrix("dedicated", folder, *faults, idle_timeout=NEVER, open_latency=0.4) as it:
        async with mortal(it) as (hoprd, transport), trio.open_nursery() as nursery:
            async with pool_of(it, hoprd=hoprd, journal=None) as pool:
                for relayer in it.relayers:
                    nursery.start_soon(use, pool, relayer)
                await trio.sleep(moment)
                nursery.cancel_scope.cancel()
                transport.kill()
        assert it.ours()
        heal(it)
        async with it.world.pool(in_namespace("dedicated")) as after:
            await after.session(it.relayers[0])
            assert len(it.ours()) == 1
        it.check_nothing_left(after.report)


async def test_row_25_many_kills_in_a_row(autojump_clock: MockClock, folder: Path) -> None:
    """Each start is killed while it still settles what the last one left."""
    faults = ("leave-after-disconnect:open", "reply-lost:open:p=0.2", "reply-lost:close:p=0.2")
    for kind, dialect in FINDS.items():
        place = folder / f"{kind}-0"
        place.mkdir()
        async with matrix(kind, place, *faults, dialect=dialect, idle_timeout=NEVER, open_latency=0.4) as it:
            for number in range(1, 5):
                async with mortal(it) as (hoprd, transport), trio.open_nursery() as nursery:
                    async with pool_of(it, hoprd=hoprd) as pool:
                        for relayer in it.relayers:
                            nursery.start_soon(use, pool, relayer)
                        await trio.sleep(number * 0.47)
                        nursery.cancel_scope.cancel()
                        transport.kill()
                        copy_journal(it, folder / f"{kind}-{number}")
                it.folder = folder / f"{kind}-{number}"
            assert it.ours()
            heal(it)
            it.check_nothing_left(await it.settle(SETTLED))


async def test_row_25_a_stranger_that_came_long_after_the_killed_post_is_not_its_listener(
    autojump_clock: MockClock, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The POST had no effect, and later than any POST can take a stranger opens what looks the same."""
    monkeypatch.setattr("trio_sessions._journal_file._uptime", trio.current_time)
    async with matrix("shared", folder, "hang:open", dialect="3", idle_timeout=NEVER) as it:
        relayer, destination = it.relayers[1], it.world.sim.node.destinations[0]
        async with mortal(it) as (hoprd, transport), trio.open_nursery() as nursery:
            async with pool_of(it, hoprd=hoprd) as pool:
                nursery.start_soon(partial(pool.session, relayer, destination=destination))
                await trio.sleep(1.0)
                nursery.cancel_scope.cancel()
                transport.kill()
                copy_journal(it, folder / "copy")
        assert opens(it) == 1
        heal(it)
        it.folder = folder / "copy"
        assert in_journal(it) == ["?"]
        await trio.sleep(150.0)
        it.add_stranger(relayer=relayer, destination=destination)
        await trio.sleep(50.0)
        await it.settle(SETTLED)
        it.check_strangers()


async def test_row_25_a_post_whose_listener_the_sweep_has_closed_is_settled(
    autojump_clock: MockClock, folder: Path
) -> None:
    """On an address of our own the next start sees it where it was asked for, and closes it with the rest."""
    async with matrix("dedicated", folder, "leave-after-disconnect:open", open_latency=0.5) as it:
        async with mortal(it) as (hoprd, transport), trio.open_nursery() as nursery:
            async with pool_of(it, hoprd=hoprd) as pool:
                nursery.start_soon(pool.session, it.relayers[0])
                await trio.sleep(0.4)
                nursery.cancel_scope.cancel()
                transport.kill()
                copy_journal(it, folder / "copy")
        assert len(it.ours()) == 1
        it.folder = folder / "copy"
        assert in_journal(it) == ["?"]
        report = await it.settle(2.0)
        assert report.stop_duration == pytest.approx(0.0, abs=1.0)
        it.check_nothing_left(report)


def run_arguments(sim: Simulator, kind: str, folder: Path, *more: str) -> tuple[str, ...]:
    """Of a real run in this namespace; the folder's name is the instance's."""
    folder.mkdir(exist_ok=True)
    namespace = {"range": "41000-41199"}.get(kind, kind)
    given = ("--namespace", namespace, "--instance", folder.name, "--journal", str(folder / "journal"), "--json", *more)
    return ("run", "--url", sim.url, *given)


@asynccontextmanager
async def control(sim: Simulator) -> AsyncIterator[httpx.AsyncClient]:
    """The simulator's own routes."""
    headers = {"X-Auth-Token": TOKEN}
    # Without TLS: its set-up would take longer than all else here.
    async with httpx.AsyncClient(base_url=f"{sim.url}/simulator", headers=headers, verify=False) as client:
        yield client


async def add_strangers(sim: Simulator) -> set[str]:
    """Three strangers, one of them much like ours."""
    async with control(sim) as client:
        added = (await client.post("/strangers", json={"count": 2})).raise_for_status().json()["listeners"]
        like_ours = {"relayer": sim.ready["relayers"][0]}
        added.append((await client.post("/strangers", json=like_ours)).raise_for_status().json())
    return ids_of(added)


def ids_of(listeners: list[dict[str, Any]]) -> set[str]:
    return {each["session_id"] for each in listeners}


async def ours_when(sim: Simulator, condition: Callable[[list[dict[str, Any]]], bool]) -> set[str]:
    """Wait until ``condition`` holds for those of ours that the simulator itself has."""
    async with control(sim) as client:
        with trio.fail_after(20):
            while True:
                listeners = (await client.get("/state")).raise_for_status().json()["listeners"]
                ours = [each for each in listeners if not each["stranger"]]
                if condition(ours):
                    return ids_of(ours)
                await trio.sleep(0.05)


def used(count: int) -> Callable[[list[dict[str, Any]]], bool]:
    """So many, and each of them has echoed something."""
    return lambda ours: len(ours) == count and all(each["echoes"] for each in ours)


@in_each_namespace
async def test_row_25_a_killed_process_leaves_nothing_to_the_next_start(kind: str, folder: Path) -> None:
    """Killed while one of three is being opened; the node goes on with that all the same."""
    faults = ("--fault", "delay:open:seconds=1:relayer=2:count=1", "--fault", "leave-after-disconnect:open:count=3")
    async with simulator("--relayers", "3", "--dialect", FINDS[kind], *faults) as sim:
        strangers = await add_strangers(sim)
        async with running(*run_arguments(sim, kind, folder)) as first:
            await ours_when(sim, used(2))
            await first.end(signal.SIGKILL)
        # The third listener comes to stand although nobody waits for it.
        killed = await ours_when(sim, lambda ours: len(ours) == 3)
        async with running(*run_arguments(sim, kind, folder, "--stop-timeout", "2")) as second:
            await ours_when(sim, lambda ours: not killed & ids_of(ours))
            await second.end(signal.SIGTERM)
        assert ids_of(await sim.listeners()) == strangers


# -- 26: the journal


@contextmanager
def no_room(room: int = 0) -> Iterator[None]:
    """No file of this process may grow beyond so many bytes; Python ignores the signal, so writing fails with EFBIG."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@attrs.define
class Disk:
    """Stands in for threads; what they do has no room while it is full."""

    full: bool = False

    async def in_thread(self, work: Callable[..., Any], *args: object, abandon_on_cancel: bool = False) -> Any:
        await trio.lowlevel.checkpoint()
        if not self.full:
            return work(*args)
        with no_room():
            return work(*args)


async def killed_journal(it: Matrix) -> None:
    """Make the journal one of a killed run that had two listeners open, in one file."""
    async with mortal(it) as (hoprd, transport):
        async with pool_of(it, hoprd=hoprd) as pool:
            for relayer in it.relayers[:2]:
                await pool.session(relayer)
            transport.kill()
    (it.folder / "journal.lock").unlink()


def tear(journal: Path) -> None:
    content = journal.read_bytes()
    journal.write_bytes(content[: len(content) // 2])


def spoil_a_page(journal: Path) -> None:
    content = bytearray(journal.read_bytes())
    content[-2000:] = random.Random(0).randbytes(2000)
    journal.write_bytes(content)


def make_a_letter(journal: Path) -> None:
    journal.write_text("Dear aunt, this is no journal at all. " * 100)


def make_a_folder(journal: Path) -> None:
    journal.unlink()
    journal.mkdir()


@in_each_namespace
@pytest.mark.parametrize("damage", [tear, spoil_a_page, make_a_letter, make_a_folder])
async def test_row_26_nothing_is_opened_with_a_journal_that_cannot_be_used(
    autojump_clock: MockClock, kind: str, folder: Path, damage: Callable[[Path], None]
) -> None:
    async with matrix(kind, folder, idle_timeout=NEVER) as it:
        await killed_journal(it)
        calls = it.world.sim.node.counters.calls.copy()
        had = ids(it)
        assert len(had) == 2
        damage(folder / "journal")
        with pytest.raises((JournalError, InvalidInputError)) as caught:
            async with it.pool():
                pytest.fail("it started")
        assert "journal" in str(caught.value)
        assert "\n" not in str(caught.value)
        assert it.world.sim.node.counters.calls == calls
        assert ids(it) == had
        it.check_strangers()


@in_each_namespace
async def test_row_26_nothing_is_opened_where_no_journal_can_be(
    autojump_clock: MockClock, kind: str, folder: Path
) -> None:
    disk = Disk(full=True)
    async with matrix(kind, folder) as it:
        # Root may write to most read-only places, but not to this one.
        for place in (folder / "missing", Path("/sys")):
            it.folder = place
            with pytest.raises(InvalidInputError):
                async with it.pool():
                    pytest.fail("it started")
        it.folder = folder
        with pytest.raises(JournalError, match="no room"):
            async with pool_of(it, in_thread=disk.in_thread):
                pytest.fail("it started")
        assert it.world.sim.node.counters.calls.total() == 0
        disk.full = False
        async with pool_of(it, in_thread=disk.in_thread) as pool:
            await pool.session(it.relayers[0])
        it.check_nothing_left(pool.report)


@in_each_namespace
async def test_row_26_no_post_goes_out_while_the_disk_is_full(
    autojump_clock: MockClock, kind: str, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    disk = Disk()
    async with matrix(kind, folder) as it:
        async with pool_of(it, in_thread=disk.in_thread) as pool:
            first, second = [await pool.session(relayer) for relayer in it.relayers[:2]]
            disk.full = True
            for _ in range(3):
                with pytest.raises(SessionOpenError) as caught:
                    await pool.session(it.relayers[2])
                assert isinstance(caught.value.__cause__, JournalError)
                assert "no room" in str(caught.value)
            assert opens(it) == 2
            # What is open goes on, and can be closed.
            assert (await first.relay(3)).answered == 3
            second.close()
            await second.wait_closed()
            assert len(it.ours()) == 1
            await trio.sleep(300.0 - trio.current_time())
            complaints = [record for record in caplog.records if record.name == "trio_sessions.journal"]
            assert 1 <= len(complaints) <= 6
            disk.full = False
            assert (await (await pool.session(it.relayers[2])).relay(3)).answered == 3
            assert (await (await pool.session(it.relayers[1])).relay(3)).answered == 3
        it.check_nothing_left(pool.report)
        assert in_journal(it) == []


@in_each_namespace
async def test_row_26_what_could_not_be_struck_out_harms_nobody_at_the_next_start(
    autojump_clock: MockClock, kind: str, folder: Path
) -> None:
    """The disk is full at the stop: the journal names listeners that are gone, and strangers have their ports."""
    disk = Disk()
    async with matrix(kind, folder) as it:
        async with pool_of(it, in_thread=disk.in_thread) as pool:
            for relayer in it.relayers:
                await pool.session(relayer)
            ports = [record.port for record in it.ours()]
            await trio.sleep(0.1)
            disk.full = True
        it.check_nothing_left(pool.report)
        await trio.sleep(1.0)
        for port in ports:
            it.add_stranger(port=port)
        assert len(in_journal(it)) == 3
        it.check_nothing_left(await it.settle(30.0))
        assert in_journal(it) == []


# -- 27: signals


async def test_row_27_signals_stop_cleanly(folder: Path) -> None:
    """Two processes in each namespace, all at one node; half of them get a second signal while they stop."""
    signals = {"once": (signal.SIGTERM,), "twice": (signal.SIGINT, signal.SIGTERM)}
    ports = {"once": "41200-41299", "twice": "41300-41399"}
    over: list[Ended] = []
    async with simulator("--relayers", "2") as sim:
        strangers = await add_strangers(sim)

        async def run(kind: str, name: str) -> None:
            more = ("--namespace", ports[name]) if kind == "range" else ()
            place = folder / f"{kind}-{name}"
            async with running(*run_arguments(sim, kind, place, "--stop-timeout", "8", *more)) as process:
                await all_used.wait()
                over.append(await process.end(*signals[name]))

        all_used = trio.Event()
        async with trio.open_nursery() as nursery:
            for kind in FINDS:
                for name in signals:
                    nursery.start_soon(run, kind, name)
            await ours_when(sim, used(12))
            all_used.set()
        assert ids_of(await sim.listeners()) == strangers
    assert len(over) == 6
    for it in over:
        assert it.status == 0, it.err
        report = it.report
        assert report["clean"]
        assert report["sessions"]["closed"] == report["sessions"]["opened"] == 2
        assert report["stop_duration"] < 8
        messages = report["messages"]
        assert messages["accepted"] > 0
        counted = messages["answered"] + messages["unanswered"] + sum(messages["undelivered"].values())
        assert messages["accepted"] == counted


# -- 28: a node that hangs


@in_each_namespace
async def test_row_28_a_node_that_hangs_at_the_stop_gets_no_more_time(
    autojump_clock: MockClock, kind: str, folder: Path
) -> None:
    """Two POSTs are under way: one is answered in time, the other is committed when we have left."""
    faults = ("delay:open:seconds=3:relayer=3", "delay:open:seconds=8:relayer=4", "leave-after-disconnect:open")
    config: dict[str, Any] = {"relayers": 5, "dialect": FINDS[kind], "idle_timeout": NEVER}
    async with matrix(kind, folder, *faults, **config) as it:
        async with trio.open_nursery() as nursery:
            async with it.pool() as pool:
                sessions = [await pool.session(relayer) for relayer in it.relayers[:3]]
                for relayer in it.relayers[3:]:
                    nursery.start_soon(trying, pool, relayer)
                nursery.start_soon(sessions[0].relay, 5)
                await trio.sleep(0.1)
                arm(it, "hang:any")
                began = trio.current_time()
        assert trio.current_time() - began == pytest.approx(10.0)
        assert pool.report.stop_duration == pytest.approx(10.0)
        assert len(it.ours()) == 5
        it.check(pool.report)
        named = [left.listener for left in pool.report.left]
        assert sorted(name or "?" for name in named) == in_journal(it)
        assert named.count(None) == 1
        assert {*named} - {None} < {*keys(it)}
        assert all(left.reason for left in pool.report.left)
        heal(it)
        it.check_nothing_left(await it.settle(SETTLED))
        assert in_journal(it) == []


async def trying(pool: SessionPool, relayer: str) -> None:
    """Ask for a session that a stop forestalls."""
    with pytest.raises(PoolStoppedError):
        await pool.session(relayer)


# -- 29 and 30: no storms


@in_each_namespace
@pytest.mark.parametrize("fault", ["cap:open", "ports-used-up:open"])
async def test_row_29_a_full_node_is_asked_with_backoff(
    autojump_clock: MockClock, kind: str, folder: Path, fault: str
) -> None:
    async with matrix(kind, folder, fault) as it:
        async with it.pool() as pool:
            with pytest.raises(SessionOpenError) as caught:
                await pool.session(it.relayers[0])
            assert isinstance(caught.value.__cause__, RejectedError)
            async with trio.open_nursery() as nursery:
                for relayer in it.relayers:
                    nursery.start_soon(insist, pool, relayer)
                await trio.sleep(300.0 - trio.current_time())
                # From one try a second to one in half a minute.
                assert 3 * 6 < opens(it) < 3 * (300 / 30 + 7)
                assert not it.ours()
                heal(it)
            assert len(it.ours()) == 3
            assert trio.current_time() < 380.0
        it.check_nothing_left(pool.report)


@in_each_namespace
async def test_row_29_one_more_than_the_nodes_cap_waits_for_its_turn(
    autojump_clock: MockClock, kind: str, folder: Path
) -> None:
    async with matrix(kind, folder, max_sessions=4, dialect="4.1") as it:
        async with it.pool() as pool:
            sessions = [await pool.session(relayer) for relayer in it.relayers[:2]]
            with pytest.raises(SessionOpenError, match="exceeds the maximum"):
                await pool.session(it.relayers[2])
            sessions[0].close()
            await sessions[0].wait_closed()
            assert (await (await pool.session(it.relayers[2])).relay(2)).answered == 2
        it.check_nothing_left(pool.report)


async def test_row_29_a_range_that_is_used_up_costs_no_post(autojump_clock: MockClock, folder: Path) -> None:
    namespace = PortRange(40_000, 40_009)
    async with matrix("range", folder, relayers=40, idle_timeout=NEVER) as it:
        it.add_stranger(port=40_003)
        async with it.pool(namespace=namespace) as pool:
            errors: list[SessionOpenError] = []

            async def ask(relayer: str) -> None:
                try:
                    await pool.session(relayer)
                except SessionOpenError as error:
                    errors.append(error)

            async with trio.open_nursery() as nursery:
                for relayer in it.relayers:
                    nursery.start_soon(ask, relayer)
            assert opens(it) == len(it.ours()) == 9
            assert len(errors) == 31
            assert all(isinstance(error.__cause__, PortsUsedUpError) for error in errors)
            # Two ports come free, and rest: nobody gets them before 210 s are over.
            for info in pool.sessions()[:2]:
                session = await pool.session(info.relayer)
                session.close()
                await session.wait_closed()
            closed_at = trio.current_time()
            waiting = [error.route for error in errors]
            async with trio.open_nursery() as nursery:
                for relayer in waiting:
                    nursery.start_soon(insist, pool, relayer)
                await trio.sleep(209.0)
                assert opens(it) == 9
                await trio.sleep(65.0)
                assert opens(it) == 11
                assert len(it.ours()) == 9
                nursery.cancel_scope.cancel()
            opened_at = [record.opened_at for record in it.ours() if record.opened_at > closed_at]
            assert len(opened_at) == 2
            assert min(opened_at) >= closed_at + 210.0
        it.check_nothing_left(pool.report)


@in_each_namespace
async def test_row_30_after_an_outage_posts_come_at_a_pace(autojump_clock: MockClock, kind: str, folder: Path) -> None:
    async with matrix(kind, folder, relayers=100, max_sessions=300, strangers=0) as it:
        async with it.pool(opens_per_second=20.0) as pool:
            session = await pool.session(it.relayers[0])
            it.world.sim.node.restart(down_for=120.0)
            back_at = trio.current_time() + 120.0
            it.add_stranger()
            session.close()
            before = opens(it)
            async with trio.open_nursery() as nursery:
                for relayer in it.relayers:
                    nursery.start_soon(insist, pool, relayer)
            times = [at for at, _ in it.world.events("open") if at >= back_at]
            assert len(times) == len(it.ours()) == 100
            assert opens(it) - before == 100
            assert max(sum(start <= at < start + 1.0 for at in times) for start in times) <= 21
            # The brake's longest pause, the pace, and little more.
            assert times[-1] < back_at + 15.0 + 100 / 20 + 2.0
        it.check_nothing_left(pool.report)


@in_each_namespace
async def test_row_30_two_clients_do_not_come_back_in_step(autojump_clock: MockClock, kind: str, folder: Path) -> None:
    firsts = []
    for seed in range(3):
        place = folder / str(seed)
        place.mkdir()
        async with matrix(kind, place) as it:
            it.world.sim.node.restart(down_for=120.0)
            it.strangers.clear()
            began = trio.current_time()
            async with it.pool(seed=seed) as pool:
                await pool.session(it.relayers[0])
                firsts.append(trio.current_time() - began)
            it.check_nothing_left(pool.report)
    assert all(120.0 < first < 140.0 for first in firsts)
    assert min(abs(one - other) for one in firsts for other in firsts if one is not other) > 0.1


# -- 31 to 33: resources, crashes, stops


@in_each_namespace
async def test_row_31_out_of_sockets_there_is_no_half_session(
    autojump_clock: MockClock, kind: str, folder: Path
) -> None:
    async with matrix(kind, folder) as it:
        async with it.pool(open_attempts=2) as pool:
            sessions = [await pool.session(relayer) for relayer in it.relayers[:2]]
            it.world.sim.socket_limit = 2
            had = ids(it)
            for _ in range(3):
                with pytest.raises(SessionOpenError) as caught:
                    await pool.session(it.relayers[2])
                assert isinstance(caught.value.__cause__, SessionOpenError)
                assert isinstance(caught.value.__cause__.__cause__, OSError)
                await trio.sleep(0.5)
                assert ids(it) == had
            it.world.sim.socket_limit = None
            sessions.append(await pool.session(it.relayers[2]))
            assert [(await session.relay(2)).answered for session in sessions] == [2, 2, 2]
        it.check_nothing_left(pool.report)


@contextmanager
def no_descriptors() -> Iterator[None]:
    """This process gets no further file descriptor."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with open(os.devnull) as free:
        lowest = free.fileno()
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@in_each_namespace
async def test_row_31_a_start_without_descriptors_is_one_of_our_errors(
    autojump_clock: MockClock, kind: str, folder: Path
) -> None:
    async with matrix(kind, folder) as it:
        before = os.listdir("/proc/self/fd")
        with pytest.raises(SessionsError) as caught, no_descriptors():
            async with it.pool():
                pytest.fail("it started")
        assert "Too many open files" in str(caught.value)
        assert "\n" not in str(caught.value)
        assert os.listdir("/proc/self/fd") == before
        assert it.world.sim.node.counters.calls.total() == 0
        async with it.pool() as pool:
            await pool.session(it.relayers[0])
        it.check_nothing_left(pool.report)


@in_each_namespace
@pytest.mark.parametrize("where", ["connect", "reader", "keep-alive", "open", "close", "list"])
async def test_row_32_a_crash_costs_one_session_alone(
    autojump_clock: MockClock,
    kind: str,
    folder: Path,
    where: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    crash = ZeroDivisionError("planted")
    sockets: list[Breakable] = []
    async with matrix(kind, folder) as it:
        connect = breakable(it, sockets)

        async def planted(*_: object, **__: object) -> Any:
            await trio.lowlevel.checkpoint()
            raise crash

        def connect_or_crash(ip: str, port: int) -> DatagramSocket:
            if where == "connect" and len(sockets) == 2:
                sockets.append(Breakable(connect_nowhere))
                raise crash
            return connect(ip, port)

        connect_nowhere = it.world.sim.connect("127.0.0.1", 1)
        connect_nowhere.close()
        async with pool_of(it, connect=connect_or_crash, open_attempts=1) as pool:
            siblings = [await pool.session(relayer) for relayer in it.relayers[:2]]
            if where in ("connect", "open"):
                with monkeypatch.context() as patch:
                    if where == "open":
                        patch.setattr(it.world.hoprd, "open_session", planted)
                    with pytest.raises(SessionOpenError, match="planted" if where == "open" else "crashed") as caught:
                        await pool.session(it.relayers[2])
                assert isinstance(caught.value.__cause__, SessionsError)
            else:
                victim = await pool.session(it.relayers[2])
                with monkeypatch.context() as patch:
                    if where == "reader":
                        sockets[2].broken = crash
                        assert (await victim.relay(1)).answered == 0
                    elif where == "keep-alive":
                        patch.setattr(it.world.hoprd, "session_config", planted)
                        pool.set_reachable(it.relayers[2], False)
                    elif where == "close":
                        patch.setattr(it.world.hoprd, "close_session", planted)
                        victim.close()
                    else:
                        patch.setattr(it.world.hoprd, "list_sessions", planted)
                        await trio.sleep(25.0)
                        assert state_of(victim) is State.ACTIVE
                        victim.close()
                    if where != "list":
                        await victim.wait_closed()
                    await trio.sleep(1.0)
                if where in ("reader", "keep-alive"):
                    assert victim.info.reason is EndReason.CRASHED
                    with pytest.raises(SessionEndedError, match="crashed"):
                        await victim.relay(1)
                pool.set_reachable(it.relayers[2], True)
            assert [(await session.relay(2)).answered for session in siblings] == [2, 2]
            if where not in ("close", "list"):
                assert (await (await pool.session(it.relayers[2])).relay(2)).answered == 2
        assert "planted" in caplog.text
        it.check(pool.report)
        if where not in ("open", "close", "list"):
            it.check_nothing_left(pool.report)


@in_each_namespace
async def test_row_32_a_thread_that_cannot_start_costs_no_session(
    autojump_clock: MockClock, kind: str, folder: Path
) -> None:
    """As the system says it when there are too many."""
    fails = False

    async def in_thread(work: Callable[..., Any], *args: object, abandon_on_cancel: bool = False) -> Any:
        if fails:
            await trio.lowlevel.checkpoint()
            raise RuntimeError("can't start new thread")
        return await inline(work, *args)

    async with matrix(kind, folder) as it:
        async with pool_of(it, in_thread=in_thread, open_attempts=1) as pool:
            sibling = await pool.session(it.relayers[0])
            fails = True
            with pytest.raises(SessionOpenError):
                await pool.session(it.relayers[1])
            fails = False
            assert (await sibling.relay(2)).answered == 2
            assert (await (await insist(pool, it.relayers[1])).relay(2)).answered == 2
        it.check_nothing_left(pool.report)
        assert in_journal(it) == []


@in_each_namespace
async def test_row_33_stops_are_idempotent(autojump_clock: MockClock, kind: str, folder: Path) -> None:
    async with matrix(kind, folder, delete_latency=1.0) as it:
        async with it.pool() as pool:
            for relayer in it.relayers:
                await pool.session(relayer)
            pool.stop()
            pool.stop()
            await trio.sleep(0.5)
            pool.stop(drain=False)
        stopped = pool.report
        assert stopped.stop_duration == pytest.approx(1.0)
        it.check_nothing_left(stopped)
        await trio.sleep(5.0)
        pool.stop()
        assert pool.report == stopped
        # And one that is stopped as soon as it has begun.
        async with it.pool() as pool:
            pool.stop()
            with pytest.raises(PoolStoppedError):
                await pool.session(it.relayers[0])
        it.check_nothing_left(pool.report)


@in_each_namespace
async def test_row_33_a_stop_before_the_start(autojump_clock: MockClock, kind: str, folder: Path) -> None:
    async with matrix(kind, folder) as it:
        options = in_namespace(kind, folder)
        node = Node(it.world.hoprd, pool_options=options, connect=it.world.sim.connect, in_thread=inline)
        node.stop()
        node.stop(drain=False)
        async with trio.open_nursery() as nursery:
            await nursery.start(node.run)
        with pytest.raises(PoolStoppedError):
            await node.relay(it.relayers[0])
        assert it.world.sim.node.counters.calls.total() == 0
        assert trio.current_time() == 0.0
        # It holds neither address nor journal.
        it.check_nothing_left(await it.settle(1.0))


# -- 34: connections that die


@in_each_namespace
@pytest.mark.parametrize("fault", ["reset", "reply-lost", "hang", "cancel"])
async def test_row_34_the_call_after_one_that_died_works(
    autojump_clock: MockClock, kind: str, folder: Path, fault: str
) -> None:
    async with matrix(kind, folder, dialect=FINDS[kind]) as it:
        async with it.pool() as pool:
            for call in ("account", "peers", "list", "open", "close"):
                arm(it, f"delay:{call}:seconds=5:count=1" if fault == "cancel" else f"{fault}:{call}:count=1")
                if fault == "cancel":
                    with trio.move_on_after(1.0):
                        await insist(pool, it.relayers[0])
                session = await insist(pool, it.relayers[0])
                assert (await session.relay(2)).answered == 2
                session.close()
                await session.wait_closed()
                await trio.sleep(SETTLED)
                heal(it)
                assert not it.ours()
        it.check_nothing_left(pool.report)


async def until(condition: Callable[[], bool]) -> None:
    """The other side of a connection that was dropped goes a little later."""
    while True:
        if condition():
            return
        await trio.sleep(0.01)


async def test_row_34_a_real_connection_that_dies_is_replaced() -> None:
    """With one connection, which a cancelled call must give back, and without a descriptor lost."""
    node = SimulatedNode(SimulatorConfig())
    async with trio.open_nursery() as nursery:
        server = await nursery.start(serve_node, node)
        async with Hoprd(server.url, token=server.token, max_connections=1) as hoprd:
            await hoprd.version()
            files = len(os.listdir("/proc/self/fd"))
            for fault in ("reset", "reply-lost", "hang", "delay"):
                for _ in range(3):
                    node.add_fault(parse_fault(f"{fault}:version:count=1:seconds=60"))
                    is_cancelled = fault in ("hang", "delay")
                    with trio.move_on_after(0.05 if is_cancelled else 5) as scope:
                        with pytest.raises(SessionsError):
                            await hoprd.version()
                    assert scope.cancelled_caught == is_cancelled
                    with trio.fail_after(5):
                        await hoprd.version()
            with trio.fail_after(5):
                await until(lambda: len(os.listdir("/proc/self/fd")) <= files)
        nursery.cancel_scope.cancel()


# -- 35: clocks


@in_each_namespace
@pytest.mark.parametrize("hours", [-30, 5, 24 * 400])
async def test_row_35_a_wall_clock_that_jumps_ends_nothing(
    autojump_clock: MockClock, kind: str, folder: Path, hours: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    wall, wall_ns = time.time, time.time_ns
    async with matrix(kind, folder, idle_timeout=NEVER) as it:
        async with mortal(it) as (hoprd, transport):
            async with pool_of(it, hoprd=hoprd) as pool:
                sessions = [await pool.session(relayer) for relayer in it.relayers]
                had = ids(it)
                pool.set_reachable(it.relayers[0], False)
                lost_at = trio.current_time()
                await trio.sleep(100.0)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(sessions[1].relay, 5)
                    await trio.lowlevel.checkpoint()
                    monkeypatch.setattr(time, "time", lambda: wall() + 3600 * hours)
                    monkeypatch.setattr(time, "time_ns", lambda: wall_ns() + int(3600e9 * hours))
                for session in sessions:
                    assert (await session.relay(5)).answered == 5
                assert pool.report.messages.answered == 20
                assert pool.report.rtt["p999"] < 0.1
                await trio.sleep_until(lost_at + 299.9)
                assert ids(it) == had
                assert [state_of(session) for session in sessions] == [State.UNREACHABLE, State.ACTIVE, State.ACTIVE]
                await sessions[0].wait_closed()
                assert trio.current_time() == pytest.approx(lost_at + 300.0)
                assert len(it.ours()) == 2
                transport.kill()
        # What was written before the jump is known after it.
        assert len(in_journal(it)) == 2
        it.check_nothing_left(await it.settle(30.0))


@in_each_namespace
async def test_row_35_a_machine_that_was_suspended_forgets_nothing(
    autojump_clock: MockClock, kind: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Timers have stood still; only the journal's clock has gone on."""
    clock = time.clock_gettime
    async with matrix(kind, folder, idle_timeout=NEVER) as it:
        async with mortal(it) as (hoprd, transport):
            async with pool_of(it, hoprd=hoprd) as pool:
                first = await pool.session(it.relayers[0])
                slept = 8 * 3600.0
                monkeypatch.setattr(time, "clock_gettime", lambda which: clock(which) + slept)
                second = await pool.session(it.relayers[1])
                await trio.sleep(60.0)
                assert (await first.relay(2)).answered == (await second.relay(2)).answered == 2
                transport.kill()
        assert keys(it) == in_journal(it)
        assert len(it.ours()) == 2
        it.check_nothing_left(await it.settle(30.0))


@in_each_namespace
async def test_row_35_a_process_that_stood_still_expires_nothing(
    autojump_clock: MockClock, kind: str, folder: Path
) -> None:
    """All its timers are due at once: looks at the list, time-outs of calls; nothing says that a session is gone."""
    async with matrix(kind, folder, idle_timeout=NEVER) as it:
        async with it.pool() as pool:
            sessions = [await pool.session(relayer) for relayer in it.relayers]
            had = ids(it)
            for _ in range(3):
                autojump_clock.jump(3600.0)
                await trio.sleep(30.0)
            assert ids(it) == had
            assert [(await session.relay(2)).answered for session in sessions] == [2, 2, 2]
        it.check_nothing_left(pool.report)


# -- 36: the token


def rotate(it: Matrix, token: str) -> None:
    """The node has another token from now on."""
    world = it.world.sim.node.world
    world.config = attrs.evolve(world.config, token=token)


def on_disk(folder: Path) -> list[str]:
    """The bytes of the folder's files."""
    return [path.read_bytes().decode("latin-1") for path in folder.iterdir()]


def everything(error: BaseException | None) -> str:
    """All that an error and those behind it show."""
    if error is None:
        return ""
    shown = "".join(traceback.format_exception(error))
    return shown + repr(error) + str(vars(error)) + everything(error.__cause__) + everything(error.__context__)


@in_each_namespace
async def test_row_36_a_token_that_is_refused_stops_the_tries_and_is_shown_nowhere(
    autojump_clock: MockClock, kind: str, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    old, new = "the-old-one-MARKED", "the-new-one-MARKED"
    caplog.set_level(logging.DEBUG)
    async with matrix(kind, folder, token=old, idle_timeout=NEVER) as it:
        async with it.pool() as pool:
            sessions = [await pool.session(relayer) for relayer in it.relayers[:2]]
            for session in sessions:
                await session.relay(2)
            rotate(it, new)
            refused = it.world.sim.node.counters.unauthorized
            with pytest.raises(SessionOpenError) as caught:
                await pool.session(it.relayers[2])
            assert isinstance(caught.value.__cause__, UnauthorizedError)
            assert caught.value.attempts == 1
            sessions[0].close()
            with trio.fail_after(60):
                await sessions[0].wait_closed()
            # Some for these two; from then on nothing but the regular looks at the list.
            assert it.world.sim.node.counters.unauthorized - refused <= 5
            refused = it.world.sim.node.counters.unauthorized
            await trio.sleep(600.0)
            assert it.world.sim.node.counters.unauthorized - refused <= 600 / 10
            assert (await sessions[1].relay(2)).answered == 2
            shown = [repr(each) for each in (it.world.hoprd, pool, *sessions, *pool.sessions())]
        report = pool.report
        assert report.stop_duration == pytest.approx(0.0, abs=0.1)
        it.check(report)
        assert len(report.left) == 2
        assert all("401" in left.reason for left in report.left)
        assert in_journal(it) == keys(it)
        shown += [everything(caught.value), str(report), json.dumps(report.to_json()), caplog.text]
        shown += on_disk(folder)
        assert not [text for text in shown if "MARKED" in text]
        async with Hoprd(it.world.sim.url, token=new, transport=it.world.sim.transport) as hoprd:
            async with pool_of(it, hoprd=hoprd) as after:
                await after.session(it.relayers[2])
                await trio.sleep(5.0)
        it.check_nothing_left(after.report)


# -- 39: two instances


#: Of each kind, what two instances have that know of each other's place.
PLACES: dict[str, tuple[Namespace | None, Namespace | None]] = {
    "dedicated": (None, None),
    "range": (PortRange(40_000, 40_499), PortRange(40_500, 40_999)),
    "shared": (None, None),
}


@attrs.define
class Instance:
    """One of two instances at the node."""

    it: Matrix
    number: int
    kind: str

    @asynccontextmanager
    async def pool(self, hoprd: Hoprd | None = None) -> AsyncIterator[SessionPool]:
        folder = self.it.folder / str(self.number)
        folder.mkdir(exist_ok=True)
        options: dict[str, Any] = {"instance": f"row39-{self.number}-{os.getpid()}"}
        namespace = PLACES[self.kind][self.number]
        if namespace is not None:
            options["namespace"] = namespace
        async with open_pool(
            hoprd or self.it.world.hoprd,
            in_namespace(self.kind, folder, **options),
            rng=random.Random(self.number),
            connect=self.it.world.sim.connect,
            in_thread=inline,
        ) as pool:
            yield pool


@in_each_namespace
@pytest.mark.parametrize("other", ["dedicated", "range", "shared"])
async def test_row_39_two_instances_leave_each_other_alone(
    autojump_clock: MockClock, kind: str, other: str, folder: Path
) -> None:
    """One works all the time; the other stops, starts again and is killed, and starts once more."""
    config: dict[str, Any] = {"dialect": "3", "idle_timeout": NEVER}
    async with matrix(kind, folder, **config) as it, trio.open_nursery() as nursery:
        worker, comer = Instance(it, 0, kind), Instance(it, 1, other)
        unanswered = 0

        async def work(session: Session) -> None:
            nonlocal unanswered
            while True:
                outcome = await session.relay(3)
                unanswered += 3 - outcome.answered
                await trio.sleep(1.0)

        async with worker.pool() as pool:
            sessions = [await pool.session(relayer) for relayer in it.relayers[:2]]
            own = ids(it)
            for session in sessions:
                nursery.start_soon(work, session)
            for is_killed in (False, True):
                async with mortal(it) as (hoprd, transport), comer.pool(hoprd) as theirs:
                    for relayer in it.relayers:
                        await theirs.session(relayer)
                    await trio.sleep(15.0)
                    assert len(ids(it)) == 5
                    if is_killed:
                        transport.kill()
                assert own <= ids(it)
                assert len(ids(it)) == (5 if is_killed else 2)
            async with comer.pool() as theirs:
                await theirs.session(it.relayers[0])
                await trio.sleep(15.0)
                assert own <= ids(it)
                assert len(ids(it)) == 3
            assert ids(it) == own
            assert [state_of(session) for session in sessions] == [State.ACTIVE] * 2
            assert (unanswered, sum(session.info.outstanding for session in sessions)) == (0, 0)
            nursery.cancel_scope.cancel()
        assert pool.report.messages.accepted > 100
        it.check_nothing_left(theirs.report)
        it.check_nothing_left(pool.report)


@in_each_namespace
async def test_row_39_a_second_instance_of_the_same_name_is_told_at_once(
    autojump_clock: MockClock, kind: str, folder: Path
) -> None:
    async with matrix(kind, folder) as it:
        async with it.pool() as pool:
            session = await pool.session(it.relayers[0])
            had, calls, now = ids(it), it.world.sim.node.counters.calls.copy(), trio.current_time()
            # Of an address of our own it needs no journal to know that.
            same = in_namespace(kind, None if kind == "dedicated" else folder)
            with pytest.raises(InstanceInUseError) as caught:
                async with it.world.pool(same):
                    pytest.fail("it started")
            assert "\n" not in str(caught.value)
            assert caught.value.remedy
            assert (ids(it), it.world.sim.node.counters.calls) == (had, calls)
            # Somebody who only looks may have the lock for a moment: so it is tried for a fifth of a second.
            assert trio.current_time() == pytest.approx(now + 0.2)
            assert (await session.relay(1)).answered == 1
        # The name is free again, and the refused one has broken nothing.
        async with it.pool() as pool:
            assert (await (await pool.session(it.relayers[0])).relay(1)).answered == 1
        it.check_nothing_left(pool.report)
