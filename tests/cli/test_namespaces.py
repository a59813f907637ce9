"""Namespaces and journals as the command has them: real processes, and the simulator's word on what is open."""

from __future__ import annotations

import signal
import sqlite3
from pathlib import Path

import pytest

from tests.cli.support import Simulator, ended, environment, running, simulator
from trio_sessions.cli._state import default_journal


def run(sim: Simulator, *arguments: str) -> tuple[str, ...]:
    return ("run", "--url", sim.url, "--json", *arguments)


@pytest.mark.parametrize("namespace", ["127.77.66.55", "127.77.66.54:42000-42099"])
async def test_a_killed_run_leaves_nothing_to_the_next_one(namespace: str, tmp_path: Path) -> None:
    """Those that people write by hand; the plain ones are row 25 of the fault matrix."""
    arguments: tuple[str, ...] = ("--namespace", namespace, "--relayers", "3")
    if "-" in namespace:
        arguments += ("--journal", str(tmp_path / "journal"))
    async with simulator() as sim:
        async with running(*run(sim, *arguments)) as first:
            await sim.wait_until_used(3)
            killed = {each["session_id"] for each in await sim.listeners()}
            await first.end(signal.SIGKILL)
        assert {each["session_id"] for each in await sim.listeners()} == killed
        second = await ended(*run(sim, *arguments, "--duration", "1.5"))
        assert second.status == 0, second.err
        assert second.report["clean"]
        assert second.report["sessions"]["opened"] == 3
        assert await sim.listeners() == []


async def test_a_second_run_of_the_same_name_is_told_in_one_line() -> None:
    async with simulator() as sim, running(*run(sim, "--namespace", "dedicated")):
        await sim.wait_until_used(5)
        second = await ended(*run(sim, "--namespace", "dedicated"))
        assert second.status == 1
        assert len(second.err.splitlines()) == 1
        assert "is in use by another instance" in second.err
        assert "--instance NAME" in second.err
        third = await ended(*run(sim, "--namespace", "dedicated", "--instance", "third", "--duration", "1"))
        assert third.status == 0
        assert len(await sim.listeners()) == 5


async def test_without_a_word_the_journal_is_in_the_state_folder(tmp_path: Path) -> None:
    env = environment(XDG_STATE_HOME=str(tmp_path))
    async with simulator() as sim:
        over = await ended(*run(sim, "--relayers", "2", "--duration", "1"), env=env)
        assert over.status == 0, over.err
        (file,) = (tmp_path / "trio-sessions").glob("*.journal")
        assert (tmp_path / "trio-sessions").stat().st_mode & 0o777 == 0o700
        with sqlite3.connect(file) as journal:
            assert journal.execute("SELECT count(*) FROM listener").fetchone() == (0,)
        journal.close()
        # Neither of these needs one.
        for path, arguments in {
            "dedicated": ("--namespace", "dedicated"),
            "none": ("--no-journal",),
        }.items():
            folder = tmp_path / path
            over = await ended(*run(sim, "--duration", "0.3", *arguments), env={**env, "XDG_STATE_HOME": str(folder)})
            assert over.status in (0, 1), over.err
            assert not folder.exists()


async def test_a_journal_that_cannot_be_used_is_told_before_anything_is_opened(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    journal.write_text("a letter to my aunt, and no journal at all " * 20)
    async with simulator() as sim:
        over = await ended(*run(sim, "--journal", str(journal)))
        assert over.status == 1
        (line,) = over.err.splitlines()
        assert f"journal {journal}: it is not a journal of this program" in line
        assert "name another file" in line
        assert over.out == ""
        assert await sim.listeners() == []


def test_the_state_folder_follows_the_specification(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    path = default_journal("http://node.example:3001/x", "a")
    assert path == str(tmp_path / ".local/state/trio-sessions/node.example_3001_x_a.journal")
