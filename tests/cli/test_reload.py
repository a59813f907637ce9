"""SIGHUP during a run: what changes, what cannot, and what is wrong; in virtual time, and in real processes."""

from __future__ import annotations

import logging
import os
import pty
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterable, Iterator
from math import inf
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from tests.cli.support import COMMAND, environment, running, simulator
from tests.cli.test_whole_run import Notes
from trio_sessions import Hoprd
from trio_sessions.cli._plan import Plan, Reading, read_plan
from trio_sessions.cli._running import Outcome, Run
from trio_sessions.cli._signals import reload_signals
from trio_sessions.cli.settings import Sources
from trio_sessions.simulator import MemoryNode, SimulatorConfig, open_memory_node


class Hups(AsyncIterator[int]):
    """SIGHUP at each of these times."""

    def __init__(self, times: Iterable[float]) -> None:
        self._times = [*times, inf]

    async def __anext__(self) -> int:
        await trio.sleep_until(self._times.pop(0))
        return signal.SIGHUP


class Rewritten:
    """A run whose configuration is another one at each SIGHUP, ten seconds after the one before."""

    def __init__(self, sim: MemoryNode, **first: str) -> None:
        self.sim = sim
        self.screen = Notes()
        self._first = {"URL": sim.url, "TOKEN": str(sim.token), "JOURNAL": "false", **first}
        self._next: list[dict[str, str]] = []

    def read(self, values: dict[str, str] | None = None) -> Reading:
        """What the next configuration comes to."""
        if values is None:
            values = self._next.pop(0)
        environ = {f"TRIO_SESSIONS_{name}": value for name, value in {**self._first, **values}.items()}
        return read_plan(Sources(environ={"XDG_CONFIG_HOME": "/no/where", **environ}), seed=1)

    async def run(self, *changes: dict[str, str], duration: float = 60.0, before: float = 10.0) -> Outcome:
        self._next = list(changes)
        self._first["DURATION"] = str(duration)
        plan = self.read({})
        hoprd = Hoprd(self.sim.url, token=self.sim.token, transport=self.sim.transport)
        began = trio.current_time()
        hups = Hups(began + before + 10 * n for n in range(len(changes)))
        run = Run(plan.plan, self.screen, hoprd, read=self.read, connect=self.sim.connect)
        outcome = await run.until_over(hups)
        assert self.sim.node.listeners() == ()
        assert outcome.clean
        return outcome


@pytest.fixture(autouse=True)
def level() -> Iterator[None]:
    """The log's level belongs to the whole process."""
    logger = logging.getLogger("trio_sessions")
    before = logger.level
    yield
    logger.setLevel(before)


async def test_what_has_changed_is_said(autojump_clock: MockClock) -> None:
    async with open_memory_node(SimulatorConfig(relayers=4)) as sim:
        it = Rewritten(sim)
        outcome = await it.run({"GRACE_PERIOD": "60", "LOG_LEVEL": "info"}, {"GRACE_PERIOD": "60", "LOG_LEVEL": "info"})
        assert it.screen.notes == [
            "the configuration was read again",
            "sessions.grace_period is 60.0 now; it was 300.0",
            'log.level is "info" now; it was "warning"',
            "the configuration was read again: nothing has changed",
        ]
        assert outcome.report.sessions.opened == 4
        assert logging.getLogger("trio_sessions").level == logging.INFO


async def test_what_cannot_change_is_said_and_stays(autojump_clock: MockClock) -> None:
    async with open_memory_node() as sim:
        it = Rewritten(sim)
        other = {"HOPS": "1", "INSTANCE": "other", "TOKEN": "another-s3cret", "JOURNAL": "/else", "RATE": "50"}
        await it.run(other, {})
        assert it.screen.notes == [
            "the configuration was read again",
            "the API token cannot change while the run goes on: restart it for that",
            "sessions.hops cannot change while the run goes on: it is false until a restart",
            "traffic.rate is 50.0 now; it was 100.0",
            'sessions.instance cannot change while the run goes on: it is "default" until a restart',
            "sessions.journal cannot change while the run goes on: restart it for that",
            "the configuration was read again",
            "traffic.rate is 100.0 now; it was 50.0",
        ]


WRONG = {
    "a value": ({"RATE": "0", "GRACE_PERIOD": "1"}, "error: TRIO_SESSIONS_RATE '0': must be a finite number above 0"),
    "too many": ({"RELAYERS": "9", "RATE": "1"}, "error: TRIO_SESSIONS_RELAYERS 9: the node has 3 relayers with an"),
    "nobody": ({"RELAYERS": "0x" + "ee" * 20}, "error: TRIO_SESSIONS_RELAYERS '0xee"),
    "no token": ({"TOKEN": "s3cret"}, "error: TRIO_SESSIONS_TOKEN: the API token has fewer than 8 characters"),
}


@pytest.mark.parametrize(("values", "told"), WRONG.values(), ids=WRONG)
async def test_on_an_error_all_stays_as_it_was(values: dict[str, str], told: str, autojump_clock: MockClock) -> None:
    async with open_memory_node(SimulatorConfig(relayers=3)) as sim:
        it = Rewritten(sim)
        outcome = await it.run(values, {})
        error, end, again = it.screen.notes
        assert error.startswith(told)
        assert "s3cret" not in error
        assert end == "the configuration was not taken over: nothing has changed"
        assert again == "the configuration was read again: nothing has changed"
        assert outcome.report.messages.accepted == pytest.approx(6000, abs=40)


async def test_another_rate_and_batch_count_at_once(autojump_clock: MockClock) -> None:
    async with open_memory_node(SimulatorConfig(relayers=4)) as sim:
        # One batch in 1,000 s; then one of 20 every 0.1 s.
        it = Rewritten(sim, RATE="0.01")
        outcome = await it.run({"RATE": "200", "BATCH": "20"}, duration=30.05)
        accepted = {relayer: messages.accepted for relayer, messages in outcome.report.by_relayer.items()}
        assert sum(accepted.values()) == pytest.approx(10 + 20 * 200, abs=40)
        # Evenly, one after the other.
        assert max(accepted.values()) - min(accepted.values()) <= 40


async def test_fewer_relayers_end_the_sessions_of_the_others_and_more_open_theirs(autojump_clock: MockClock) -> None:
    async with open_memory_node(SimulatorConfig(relayers=6)) as sim:
        it = Rewritten(sim, RELAYERS="4")
        opened: dict[float, int] = {}

        async def watch() -> None:
            while True:
                await trio.sleep(1)
                opened[round(trio.current_time())] = len(sim.node.listeners())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch)
            began = round(trio.current_time())
            outcome = await it.run({"RELAYERS": "2"}, {"RELAYERS": "5"}, {"RELAYERS": ""})
            nursery.cancel_scope.cancel()
        assert [opened[began + at] for at in (9, 19, 29, 39)] == [4, 2, 5, 6]
        # Those that stay are the same ones: nothing is opened anew.
        assert outcome.report.sessions.opened == 4 + 3 + 1
        assert outcome.report.messages.undelivered == {}


async def test_named_relayers(autojump_clock: MockClock) -> None:
    async with open_memory_node(SimulatorConfig(relayers=4)) as sim:
        first, second, *_ = sim.node.relayers
        it = Rewritten(sim, RELAYERS=first)
        outcome = await it.run({"RELAYERS": f"{second},{first}"}, {"RELAYERS": second.lower()})
        assert set(outcome.report.by_relayer) == {first, second}
        assert outcome.report.sessions.opened == 2
        by_relayer = outcome.report.by_relayer
        # Of 60 s, the first had the rate for 10, half of it for 10; the second the rest.
        assert by_relayer[first].accepted == pytest.approx(1500, abs=60)
        assert by_relayer[second].accepted == pytest.approx(4500, abs=60)


async def test_before_the_node_is_up(autojump_clock: MockClock) -> None:
    async with open_memory_node() as sim:
        sim.node.restart(down_for=25)
        it = Rewritten(sim)
        outcome = await it.run({"RELAYERS": "1"})
        assert "sessions.relayers is 1 now; it was false" in it.screen.notes
        assert outcome.report.sessions.opened == 1


async def test_while_it_stops_nothing_is_read_again(autojump_clock: MockClock) -> None:
    async with open_memory_node(SimulatorConfig(relayers=1, echo_latency=2.5)) as sim:
        it = Rewritten(sim, REPLY_TIMEOUT="5")
        await it.run({"RATE": "1"}, duration=9.0)
        assert it.screen.notes == ["the configuration is not read again: the run is stopping"]


# -- processes


async def test_a_real_run(tmp_path: Path) -> None:
    file = tmp_path / "it.toml"
    async with simulator("--relayers", "4") as node:

        def write(more: str) -> None:
            file.write_text(f"[node]\nurl = '{node.url}'\n[sessions]\njournal = false\n{more}")

        write("relayers = 1")
        async with running("run", "--config", str(file), "--grace-period", "9") as run:
            await node.wait_until_used(1)
            write("relayers = 3\ngrace_period = 1\ninstance = 'other'")
            run.process.send_signal(signal.SIGHUP)
            await run.wait_for("err", "sessions.instance cannot change while the run goes on")
            await node.wait_until_used(3)
            assert "sessions.relayers is 3 now; it was 1" in run.text("err")
            # A flag goes before the file, now as then.
            assert "grace_period" not in run.text("err")
            file.write_text("[sessions")
            run.process.send_signal(signal.SIGHUP)
            await run.wait_for("err", "the configuration was not taken over: nothing has changed")
            assert f"error: {file}:1: is no valid TOML" in run.text("err")
            over = await run.end(signal.SIGTERM)
        assert await node.listeners() == []
    assert over.status == 0, over.err


async def test_hangups_at_any_moment_do_not_end_it() -> None:
    async with running("run", "--simulate", "--duration", "0.5", "--json") as run:
        # From the moment on when it holds signals, until its end.
        while run.process.poll() is None:
            if _holds(run.process.pid):
                run.process.send_signal(signal.SIGHUP)
            await trio.sleep(0.005)
        over = await run.end()
    # In its very last moments, when all is done and said, it may hold none any more.
    assert over.status in (0, -signal.SIGHUP), over.err
    assert over.report["clean"] is True


def _holds(pid: int) -> bool:
    """Whether a process has a handler for SIGHUP."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return False
    (caught,) = (line.partition(":")[2] for line in lines if line.startswith("SigCgt:"))
    return bool(int(caught, 16) >> (signal.SIGHUP - 1) & 1)


def test_under_nohup_it_stays_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    assert reload_signals() == (signal.SIGHUP,)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert reload_signals() == ()
    finally:
        signal.signal(signal.SIGHUP, before)


async def test_a_terminal_that_is_closed_stops_the_run() -> None:
    """As when its window is closed: nobody would ever stop it otherwise."""
    async with simulator("--relayers", "2") as node:
        pid, terminal = pty.fork()
        if pid == 0:
            os.execve(COMMAND[0], [*COMMAND, "run", "--url", node.url, "--no-journal"], environment(TERM="dumb"))
        await node.wait_until_used(2)
        os.close(terminal)
        _, status = await trio.to_thread.run_sync(os.waitpid, pid, 0)
        # It stopped, and its report found no terminal to be written on.
        assert os.waitstatus_to_exitcode(status) == 1
        assert await node.listeners() == []


def test_signals_that_come_too_late_are_dropped() -> None:
    code = """if True:
        import os, signal
        from trio_sessions.cli._signals import hold_signals, reload_signals
        with hold_signals(*reload_signals()):
            os.kill(os.getpid(), signal.SIGHUP)
        print("alive")
    """
    it = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert (it.returncode, it.stdout) == (0, "alive\n")


def test_a_plan_differs_from_another_in_its_fields_alone() -> None:
    assert Plan(url="http://x", token="one-s3cret-token") != Plan(url="http://x", token="another-s3cret")
