"""``doctor`` as a process against a simulator with planted faults: each is named by the check that it is a matter of.

The simulator says what is open in the end: nothing of the doctor's, and every listener of strangers.
"""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import attrs
import httpx
import pytest
import trio

from tests.cli.support import COMMAND, PATIENCE, TOKEN, Ended, Simulator, ended, environment, get, running, simulator

CHECKS = [
    *("api", "token", "dialect", "pinning", "node", "latency", "peers", "channels"),
    *("clock", "files", "slots", "ports", "leftovers", "loopback"),
]
STRANGERS = 2


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))


async def plant(sim: Simulator, route: str, **data: object) -> None:
    """Do something to the simulator while it runs."""
    async with httpx.AsyncClient(trust_env=False, headers={"X-Auth-Token": TOKEN}) as client:
        reply = await client.post(f"{sim.url}/simulator/{route}", json=data)
        reply.raise_for_status()


async def examined(sim: Simulator, *arguments: str, env: dict[str, str] | None = None) -> Ended:
    """The doctor's end; strangers were there before, and nobody else is afterwards."""
    await plant(sim, "strangers", count=STRANGERS)
    it = await ended("doctor", "--url", sim.url, "--json", *arguments, env=env or environment())
    assert len(await sim.listeners()) == STRANGERS
    return it


def finding(report: dict[str, Any], name: str) -> dict[str, Any]:
    """Of one check."""
    (found,) = (each for each in report["checks"] if each["name"] == name)
    return dict(found)


@attrs.frozen
class Planted:
    """A fault, and where and how it is named."""

    simulator: tuple[str, ...]
    check: str
    found: str
    remedy: str
    verdict: str = "fail"
    status: int = 1
    doctor: tuple[str, ...] = ()


def fault(*specs: str) -> tuple[str, ...]:
    return tuple(word for spec in specs for word in ("--fault", spec))


ONCE = ("--open-retries", "0")
PLANTED = {
    "explicit path switched off": Planted(
        ("--no-explicit-path",), "pinning", "explicit paths are switched off", "--enableExplicitPathSessions"
    ),
    "entry full": Planted((*ONCE, "--max-sessions", "0"), "loopback", "number of sessions exceeds", "100 sessions"),
    "exit full": Planted((*ONCE, *fault("exit-full")), "loopback", "NoSlotsAvailable", "choose another destination"),
    "ports used up": Planted(fault("ports-used-up"), "loopback", "no valid socket", "HOPRD_SESSION_PORT_RANGE"),
    "no channel": Planted(("--relayers", "0"), "channels", "no outgoing channel is open", "with funds in it"),
    "list fails": Planted(fault("status:list"), "slots", "HTTP 500", "daemon's log"),
    "not started": Planted(fault("status:health:status=412"), "node", "/startedz says 412", "has started"),
    "still starting, 3.x": Planted(
        ("--dialect", "3", *fault("restart:at=0:seconds=99")), "node", "does not run yet", "has started"
    ),
    "slow": Planted(fault("delay:version:seconds=0.55"), "latency", "the API is slow", "load", "warn", 0),
    "every datagram lost": Planted(
        fault("loss"), "loopback", "no message of 10 came back", "--connect-host", doctor=("--timeout", "1")
    ),
    "some datagrams lost": Planted(
        ("--dialect", "4.0", *fault("loss:count=1")), "loopback", "9 of 10", "loss", "warn", 0, ("--timeout", "2")
    ),
    "no hoprd behind": Planted(fault("garbage:account"), "api", "is no hoprd", "check host and port", status=69),
    "cut off": Planted(fault("reset:version:count=1"), "dialect", "connection lost", "daemon restarted"),
}


@pytest.mark.parametrize("planted", PLANTED.values(), ids=PLANTED)
async def test_a_planted_fault_is_named_by_the_right_check(planted: Planted) -> None:
    async with simulator(*planted.simulator) as sim:
        it = await examined(sim, *planted.doctor)
    report = it.report
    assert (it.status, report["status"], it.err) == (planted.status, planted.status, "")
    found = finding(report, planted.check)
    assert found["verdict"] == planted.verdict
    assert planted.found in found["found"]
    assert any(planted.remedy in step for step in found["remedy"]), found
    # Nothing else is wrong: what builds on it was skipped, and says so.
    for each in report["checks"]:
        if each["name"] != planted.check:
            skipped = (f"since {planted.check} failed", "nothing to compare the clock with")
            assert each["verdict"] == "ok" or each["found"].startswith(skipped), each


@pytest.mark.parametrize(
    ("dialect", "namespace"), [("3", "shared"), ("4.0", "dedicated"), ("4.1", "47000-47099"), ("4.1", "shared")]
)
async def test_a_node_that_is_well(dialect: str, namespace: str) -> None:
    async with simulator("--dialect", dialect) as sim:
        it = await examined(sim, "--namespace", namespace)
    assert (it.status, it.err) == (0, "")
    assert [each["name"] for each in it.report["checks"]] == CHECKS
    assert it.report["counts"] == {"ok": len(CHECKS), "warn": 0, "fail": 0, "skipped": 0}, it.out
    assert it.report["schema"] == 1
    loopback = finding(it.report, "loopback")["facts"]
    assert (loopback["sent"], loopback["answered"], it.report["left"]) == (10, 10, [])
    assert 0 < loopback["rtt"]["median"] < 5


@pytest.mark.parametrize(
    ("token", "found", "remedy"),
    [("another-token", "refuses the token", "api.auth"), ("", "none is given", "TRIO_SESSIONS_TOKEN")],
)
async def test_wrong_token(token: str, found: str, remedy: str) -> None:
    async with simulator() as sim:
        it = await examined(sim, env=environment(TRIO_SESSIONS_TOKEN=token))
    assert it.status == 77
    named = finding(it.report, "token")
    assert named["verdict"] == "fail"
    assert found in named["found"]
    assert any(remedy in step for step in named["remedy"])
    assert not token or token not in it.out + it.err


async def test_an_open_that_hangs_is_told_with_what_may_be_left() -> None:
    async with simulator(*fault("hang:open")) as sim:
        it = await examined(sim, "--timeout", "0.5")
    assert it.status == 3
    named = finding(it.report, "loopback")
    assert "no session within 0.5 s" in named["found"]
    assert "may be left: perhaps one of an unknown port" in named["found"]
    assert any("give it time" in step for step in named["remedy"])
    assert [each["listener"] for each in it.report["left"]] == [None]


async def wait_until_asked(sim: Simulator, call: str) -> None:
    """Wait until a call of this kind has reached the simulator."""
    with trio.fail_after(PATIENCE):
        while True:
            state = (await get(f"{sim.url}/simulator/state")).raise_for_status().json()
            if call in state["counters"]["calls"]:
                return
            await trio.sleep(0.02)


async def test_an_interrupt_while_it_opens_names_what_may_be_left() -> None:
    async with simulator(*fault("hang:open")) as sim, running("doctor", "--url", sim.url) as doctor:
        await doctor.wait_for("out", "ok    leftovers  ")
        await wait_until_asked(sim, "open")
        it = await doctor.end(signal.SIGTERM)
    assert (it.status, it.err) == (3, "trio-sessions: interrupted; may be left at the node: perhaps a listener\n")


@pytest.mark.parametrize("namespace", ["48000-48099", "dedicated"])
async def test_leftovers_of_a_killed_run_are_named_and_left_alone(namespace: str) -> None:
    arguments = ("--namespace", namespace, "--instance", "killed")
    async with simulator() as sim:
        async with running("run", "--url", sim.url, "--relayers", "3", *arguments) as run:
            await sim.wait_until_used(3)
            alive = await ended("doctor", "--url", sim.url, "--json", *arguments)
            assert finding(alive.report, "leftovers")["found"].startswith("a run is at work with 3 listeners")
            await run.end(signal.SIGKILL)
        before = {each["session_id"] for each in await sim.listeners()}
        it = await ended("doctor", "--url", sim.url, "--json", *arguments)
        assert {each["session_id"] for each in await sim.listeners()} == before
        assert len(before) == 3
        named = finding(it.report, "leftovers")
        assert (it.status, named["verdict"], len(named["facts"]["listeners"])) == (0, "warn", 3)
        assert "3 listeners of an ended run: udp://127." in named["found"]
        assert any("trio-sessions reap" in step for step in named["remedy"])
        assert finding(it.report, "loopback")["verdict"] == "ok"


@pytest.mark.parametrize(("limit", "verdict", "status"), [(40, "fail", 1), (100, "warn", 0)])
async def test_a_low_limit_of_descriptors(limit: int, verdict: str, status: int) -> None:
    async with simulator() as sim:
        script = f'ulimit -n {limit}; exec "$@"'
        command = ["sh", "-c", script, "sh", *COMMAND, "doctor", "--url", sim.url, "--json"]
        over = await trio.run_process(command, capture_stdout=True, env=environment(), check=False)
        assert await sim.listeners() == []
    it = Ended(over.returncode, over.stdout.decode(), "")
    named = finding(it.report, "files")
    assert (it.status, named["verdict"], named["facts"]["hard"]) == (status, verdict, limit)
    assert any("LimitNOFILE=" in step for step in named["remedy"])


@pytest.mark.parametrize(("signal_", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
async def test_a_signal_closes_its_session(signal_: signal.Signals, status: int) -> None:
    async with simulator("--echo-latency", "30") as sim:
        async with running("doctor", "--url", sim.url, "--json") as doctor:
            await sim.wait_until_used(1, what="datagrams")
            it = await doctor.end(signal_)
        assert await sim.listeners() == []
    assert (it.status, it.report["interrupted"]) == (status, True)
    assert it.err == ""


async def test_lines_for_people_come_as_each_check_ends() -> None:
    async with (
        simulator("--echo-latency", "30", "--no-explicit-path") as sim,
        running("doctor", "--url", sim.url, "--hops", "1") as doctor,
    ):
        await doctor.wait_for("out", "ok    leftovers  ")
        assert "loopback" not in doctor.text("out")
        it = await doctor.end(signal.SIGINT)
    assert (it.status, it.err) == (130, "trio-sessions: interrupted; nothing is left\n")
    it = await ended("doctor", "--url", sim.url)
    assert it.status == 69
    assert it.err == ""
    first, *steps = it.out.splitlines()[:4]
    assert first == f"fail  api        nothing listens at {sim.url.removeprefix('http://')}"
    assert all(step.startswith("      → ") for step in steps)
    assert "skip  token      since api failed" in it.out
    assert "\x1b" not in it.out


async def test_a_run_that_opens_nothing_ends_with_the_checklist() -> None:
    async with simulator(*ONCE, *fault("exit-full")) as sim:
        it = await ended("run", "--url", sim.url, "-v", "--duration", "4.5", "--relayers", "1", "--no-journal")
    assert it.status == 1
    last, title, *steps = it.err.splitlines()[-5:]
    assert last.startswith("trio-sessions: error: session via ")
    assert last.endswith("; choose another destination: this one says that it has no slot for a session")
    assert title == "what to check, likeliest first (trio-sessions doctor looks for you):"
    assert [step[:5] for step in steps] == ["  1. ", "  2. ", "  3. "]
    # While it still tries, the log has the same, for who asks for it.
    assert "trio-sessions: info:   or ask its operator to make room" in it.err
