"""A journal that others look at: while its owner works, after it was killed, and without a trace."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
import trio

from tests.test_journal_file import NODE, row
from trio_sessions import InstanceInUseError, JournalError
from trio_sessions._grounds import own_grounds
from trio_sessions._journal_file import JournalFile
from trio_sessions._journal_lock import hold_lock, look_at_lock
from trio_sessions._journal_look import look_at_journal, remove_empty_journal

KILLED = """
import os, sys
from tests.test_journal_file import NODE, row
from trio_sessions._journal_file import JournalFile
journal = JournalFile.open(sys.argv[1], NODE)
journal.commit({1: row(1), 2: row(2)})
journal.commit({2: None})
os.kill(os.getpid(), 9)
"""


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "journal")


def contents(path: str) -> dict[str, bytes]:
    return {each.name: each.read_bytes() for each in Path(path).parent.iterdir()}


def test_there_may_be_none(path: str) -> None:
    assert look_at_journal(path) is None
    Path(path).touch()
    assert look_at_journal(path) is None
    assert contents(path) == {"journal": b""}


def test_of_a_living_owner(path: str) -> None:
    journal = JournalFile.open(path, NODE)
    journal.commit({1: row(1)})
    look = look_at_journal(path)
    assert look is not None
    assert (look.node, look.is_held, [each.id for each in look.rows]) == (NODE, True, [1])
    # It goes on as before.
    journal.commit({1: None, 2: row(2)})
    look = look_at_journal(path)
    assert look is not None
    assert [each.id for each in look.rows] == [2]
    journal.close()
    look = look_at_journal(path)
    assert look is not None
    assert (look.is_held, [each.id for each in look.rows]) == (False, [2])


def test_of_a_killed_owner_and_not_a_byte_is_changed(path: str) -> None:
    over = subprocess.run([sys.executable, "-c", KILLED, path], check=False, cwd=Path(__file__).parent.parent)
    assert over.returncode == -9
    before = contents(path)
    assert "journal-wal" in before
    look = look_at_journal(path)
    assert look is not None
    assert (look.is_held, [each.id for each in look.rows]) == (False, [1])
    assert contents(path) == before
    assert not remove_empty_journal(path)
    assert JournalFile.open(path, NODE).rows() == look.rows or look.rows[0].age is not None


def test_what_is_no_journal_is_refused_and_stays(path: str) -> None:
    Path(path).write_bytes(b"to my aunt" * 100)
    before = contents(path)
    for work in (look_at_journal, remove_empty_journal):
        with pytest.raises(JournalError, match="not a journal of this program"):
            work(path)
    assert contents(path)["journal"] == before["journal"]


def test_only_an_empty_one_that_nobody_has_is_removed(path: str) -> None:
    journal = JournalFile.open(path, NODE)
    with pytest.raises(InstanceInUseError):
        remove_empty_journal(path)
    journal.commit({1: row(1)})
    journal.close()
    assert not remove_empty_journal(path)
    journal = JournalFile.open(path, NODE)
    journal.commit({1: None})
    journal.close()
    assert remove_empty_journal(path)
    assert contents(path) == {}
    assert not remove_empty_journal(path)


def test_who_locks_a_file_that_was_removed_meanwhile_locks_the_new_one(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between its opening and its locking, another process removes the journal with its lock."""
    opened: list[str] = []
    real_open = os.open

    def open_and_lose(name: str, *arguments: int) -> int:
        descriptor = real_open(name, *arguments)
        if not opened:
            os.unlink(name)
        opened.append(name)
        return descriptor

    monkeypatch.setattr(os, "open", open_and_lose)
    with ExitStack() as held:
        hold_lock(path, path, held)
        assert len(opened) == 2
        monkeypatch.undo()
        with look_at_lock(path) as is_held:
            assert is_held
    with look_at_lock(path) as is_held:
        assert not is_held


async def test_a_look_at_the_wrong_moment_does_not_keep_an_instance_from_starting(path: str) -> None:
    import random

    from trio_sessions import Hoprd, PoolOptions

    JournalFile.open(path, "127.0.0.1:1").close()
    async with Hoprd("http://127.0.0.1:1") as hoprd, trio.open_nursery() as nursery:
        with look_at_lock(path):

            async def start() -> None:
                options = PoolOptions(journal=path)
                async with own_grounds(hoprd, options, random.Random(), trio.to_thread.run_sync) as (_, journal):
                    assert journal is not None

            nursery.start_soon(start)
            await trio.sleep(0.08)
