"""The journal at work: group commits, failures of the disk, and what the next start makes of it."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.worlds import NOBODY, in_namespace, memory_world
from trio_sessions import JournalError, SessionEndedError, SessionOpenError
from trio_sessions._journal import Journal, open_journal
from trio_sessions._journal_row import JournalRow
from trio_sessions._model import Path as SessionPath, SessionRequest
from trio_sessions._open_pool import open_pool
from trio_sessions.simulator import parse_fault

T = TypeVar("T")
REQUEST = SessionRequest(destination=NOBODY, forward=SessionPath(hops=1), back=SessionPath(hops=1))
NODE = "127.0.0.1:3001"


class Disk:
    """Does a journal's work as a thread would, counts it, and fails or hangs on demand."""

    def __init__(self) -> None:
        self.jobs = 0
        self.error: JournalError | None = None
        self.hangs = False

    async def __call__(self, work: Callable[..., T], *args: object, abandon_on_cancel: bool = False) -> T:
        self.jobs += 1
        if self.hangs:
            await trio.sleep_forever()
        await trio.sleep(0.001)
        if self.error is not None:
            raise self.error
        return work(*args)


FULL = JournalError("journal", "there is no room to write to it", "make room on its disk")


@asynccontextmanager
async def running(path: Path, disk: Disk) -> AsyncIterator[Journal]:
    async with open_journal(str(path), NODE, disk) as journal, trio.open_nursery() as nursery:
        nursery.start_soon(journal.run)
        yield journal
        nursery.cancel_scope.cancel()


def row(journal: Journal, state: str = "posting") -> JournalRow:
    return JournalRow(journal.new_id(), state, "via", REQUEST, (), None)


def on_disk(path: Path) -> list[tuple[int, str]]:
    """What another process would read."""
    connection = sqlite3.connect(path)
    try:
        return connection.execute("SELECT id, state FROM listener ORDER BY id").fetchall()
    finally:
        connection.close()


async def test_an_intent_is_on_disk_when_the_write_returns(autojump_clock: MockClock, tmp_path: Path) -> None:
    path = tmp_path / "journal"
    async with running(path, Disk()) as journal:
        first = row(journal)
        await journal.write(first)
        assert on_disk(path) == [(first.id, "posting")]


async def test_many_at_once_are_one_transaction(autojump_clock: MockClock, tmp_path: Path) -> None:
    disk = Disk()
    async with running(tmp_path / "journal", disk) as journal:
        before = disk.jobs
        async with trio.open_nursery() as nursery:
            for _ in range(100):
                nursery.start_soon(journal.write, row(journal))
        # Those that come while a transaction is under way share the next one.
        assert disk.jobs - before <= 2
    assert len(on_disk(tmp_path / "journal")) == 100


async def test_the_newest_state_of_a_row_is_what_is_written(autojump_clock: MockClock, tmp_path: Path) -> None:
    path = tmp_path / "journal"
    async with running(path, Disk()) as journal:
        kept, dropped = row(journal), row(journal)
        await journal.write(kept)
        await journal.write(dropped)
        journal.put(JournalRow(kept.id, "unknown", "via", REQUEST, (), None))
        journal.put(JournalRow(kept.id, "left", "via", REQUEST, (), None))
        journal.drop(dropped.id)
        await journal.flush()
        assert on_disk(path) == [(kept.id, "left")]


async def test_a_full_disk_is_told_to_who_waits_and_the_rest_is_written_later(
    autojump_clock: MockClock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, disk = tmp_path / "journal", Disk()
    async with running(path, disk) as journal:
        old = row(journal)
        await journal.write(old)
        disk.error = FULL
        journal.put(JournalRow(old.id, "closing", "via", REQUEST, (), None))
        refused = row(journal)
        with pytest.raises(JournalError, match="no room"):
            await journal.write(refused)
        journal.drop(refused.id)
        await journal.flush()
        await trio.sleep(300)
        # One line a minute, however often it is tried.
        assert 4 <= len([record for record in caplog.records if record.levelno == logging.ERROR]) <= 6
        assert on_disk(path) == [(old.id, "posting")]
        disk.error = None
        await trio.sleep(2)
        assert on_disk(path) == [(old.id, "closing")]


async def test_a_writer_that_is_cancelled_leaves_nobody_waiting(autojump_clock: MockClock, tmp_path: Path) -> None:
    disk = Disk()
    async with open_journal(str(tmp_path / "journal"), NODE, disk) as journal:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(journal.run)
            await wait_all_tasks_blocked()
            disk.hangs = True
            failed = []

            async def write() -> None:
                try:
                    await journal.write(row(journal))
                except JournalError as error:
                    failed.append(str(error))

            async with trio.open_nursery() as writing:
                writing.start_soon(write)
                await wait_all_tasks_blocked()
                nursery.cancel_scope.cancel()
                with trio.CancelScope(shield=True):
                    await trio.sleep(1)
                writing.cancel_scope.cancel()
    assert failed == [] or "was not written before the stop" in failed[0]


async def test_no_post_goes_out_without_a_durable_intent(autojump_clock: MockClock, tmp_path: Path) -> None:
    disk = Disk()
    async with memory_world() as world:
        options = in_namespace("range", tmp_path, open_attempts=2)
        async with open_pool(world.hoprd, options, connect=world.sim.connect, in_thread=disk) as pool:
            disk.error = FULL
            with pytest.raises(SessionOpenError, match="no room to write") as caught:
                await pool.session(world.relayers[0])
            assert isinstance(caught.value.__cause__, JournalError)
            assert "open" not in world.sim.node.counters.calls
            disk.error = None
            session = await pool.session(world.relayers[0])
            assert (await session.relay(1)).answered == 1
        assert pool.report.clean
        world.assert_nothing_left()


@pytest.mark.parametrize("kind", ["dedicated", "range", "shared"])
async def test_a_disk_that_hangs_does_not_hold_up_a_stop(autojump_clock: MockClock, tmp_path: Path, kind: str) -> None:
    disk = Disk()
    async with memory_world() as world:
        options = in_namespace(kind, tmp_path)
        async with open_pool(world.hoprd, options, connect=world.sim.connect, in_thread=disk) as pool:
            session = await pool.session(world.relayers[0])
            disk.hangs = True
            async with trio.open_nursery() as nursery:
                nursery.start_soon(open_in_vain, pool.session, world.relayers[1])
                await wait_all_tasks_blocked()
                assert (await session.relay(5)).answered == 5
                stopped = trio.current_time()
                pool.stop()
        # The stop timeout and the half second for the file.
        assert trio.current_time() - stopped <= 10.6
        # Not one of its listeners: they were closed, only that is not written down.
        assert world.sim.node.listeners() == ()
        assert pool.report.sessions.closed == 1


async def open_in_vain(open_session: Callable[[str], object], relayer: str) -> None:
    with pytest.raises(SessionEndedError, match="stopped"):
        await open_session(relayer)  # type: ignore[misc]


async def test_a_clean_stop_leaves_an_empty_journal(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with memory_world() as world:
        for kind in ("range", "shared", "dedicated"):
            async with world.pool(in_namespace(kind, tmp_path)) as pool:
                for relayer in world.relayers:
                    await pool.session(relayer)
                await trio.sleep(0.1)
                assert [state for _, state in on_disk(tmp_path / "journal")] == ["registered"] * 3
            # Ports of a range rest, which the next start has to know.
            states = {state for _, state in on_disk(tmp_path / "journal")}
            assert states == ({"resting"} if kind == "range" else set())
            (tmp_path / "journal").unlink()


async def test_what_a_stop_could_not_close_is_closed_by_the_next_start(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with memory_world() as world:
        world.sim.node.add_fault(parse_fault("hang:close"))
        async with world.pool(in_namespace("range", tmp_path)) as pool:
            await pool.session(world.relayers[0])
        (left,) = pool.report.left
        assert left.listener is not None
        assert left.listener.startswith("udp://127.0.0.1:40")
        assert not pool.report.clean
        assert len(world.sim.node.listeners()) == 1
        world.sim.node.clear_faults()
        async with world.pool(in_namespace("range", tmp_path)) as pool:
            await trio.sleep(5)
        assert pool.report.clean
        world.assert_nothing_left()
        assert [state for _, state in on_disk(tmp_path / "journal")] == ["resting"]
