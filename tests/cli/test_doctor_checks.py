"""Checks of the doctor whose faults no command can plant: in memory, by the same functions."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.utils import format_datetime, formatdate, localtime
from pathlib import Path

import attrs
import pytest

from tests.worlds import World, memory_world
from trio_sessions import InvalidInputError, Listener, ListenerKey, Path as Path_, PortRange, SessionRequest
from trio_sessions._journal_file import JournalFile
from trio_sessions._journal_row import RESTING, JournalRow
from trio_sessions.cli._access import Access
from trio_sessions.cli.doctor import _machine
from trio_sessions.cli.doctor._case import Case, Question
from trio_sessions.cli.doctor._display import lines_of, open_display
from trio_sessions.cli.doctor._examination import CHECKS, examine, status_of_findings
from trio_sessions.cli.doctor._finding import Finding, Verdict, fail, ok
from trio_sessions.cli.doctor._health import check_node
from trio_sessions.cli.doctor._leftovers import leftovers
from trio_sessions.cli.doctor._listeners import check_ports, check_slots
from trio_sessions.cli.doctor._look import Look
from trio_sessions.cli.doctor._machine import check_clock
from trio_sessions.cli.doctor._network import check_channels, check_peers
from trio_sessions.cli.doctor._speaks import check_dialect
from trio_sessions.simulator import SimulatorConfig

TOKEN = "token-that-nobody-sees"


@asynccontextmanager
async def case_of(
    config: SimulatorConfig | None = None, access: Access | None = None
) -> AsyncIterator[tuple[Case, World]]:
    async with memory_world(config) as world:
        yield Case(access=access or Access(token=TOKEN), question=Question(), hoprd=world.hoprd), world


async def test_a_node_that_does_not_run_names_its_parts(autojump_clock: object) -> None:
    async with case_of() as (case, world):
        world.sim.node.set_running(False)
        found = await check_node(case)
    assert found.verdict is Verdict.FAIL
    assert "chain: Initializing (the node is starting)" in found.found


async def test_a_node_that_sees_few_is_warned_of(autojump_clock: object) -> None:
    async with case_of(SimulatorConfig(relayers=1, destinations=0)) as (case, _):
        found = await check_node(case)
    assert found.verdict is Verdict.WARN
    assert "Orange" in found.found


@pytest.mark.parametrize(("strangers", "verdict"), [(89, "ok"), (90, "warn"), (100, "fail")])
async def test_slots_by_the_limit_of_the_dialect(strangers: int, verdict: str, autojump_clock: object) -> None:
    async with case_of() as (case, world):
        for _ in range(strangers):
            world.sim.node.add_stranger()
        await check_dialect(case)
        found = await check_slots(case)
    assert found.verdict.value == verdict
    assert f"{strangers} of some 100" in found.found
    assert not found.remedy or any("100 sessions" in step for step in found.remedy)


@pytest.mark.parametrize(("taken", "verdict"), [(8, "ok"), (9, "warn"), (10, "fail")])
async def test_pressure_on_a_range_of_ports(taken: int, verdict: str, autojump_clock: object) -> None:
    async with case_of(access=Access(namespace=PortRange(40_000, 40_009))) as (case, world):
        for port in range(40_000, 40_000 + taken):
            world.sim.node.add_stranger(port=port)
        await check_slots(case)
        found = await check_ports(case)
    assert found.verdict.value == verdict
    assert f"{10 - taken} of 10 ports of 40000-40009 are free" in found.found


async def test_listeners_that_share_a_port_are_named(autojump_clock: object) -> None:
    async with case_of() as (case, world):
        key = world.sim.node.add_stranger(port=41_000)
        await check_slots(case)
        case.listeners *= 2
        found = await check_ports(case)
    assert (found.verdict, key.port) == (Verdict.WARN, 41_000)
    assert "udp://127.0.0.1:41000" in found.found


async def test_channels_without_funds_are_named(autojump_clock: object) -> None:
    async with case_of(SimulatorConfig(relayers=2)) as (case, world):
        await check_peers(case)
        for channel in list(world.sim.node.world.topology.outgoing.values())[:1]:
            channel.balance = "0 wxHOPR"
        found = await check_channels(case)
        assert (found.verdict, len(found.facts["empty"])) == (Verdict.WARN, 1)
        for channel in world.sim.node.world.topology.outgoing.values():
            channel.balance = "0 wxHOPR"
        assert (await check_channels(case)).found.startswith("no open channel to a relayer in sight has funds")


@pytest.mark.parametrize(("ahead", "verdict"), [(0.0, "ok"), (-3.0, "ok"), (60.0, "warn"), (-60.0, "warn")], ids=str)
async def test_the_clock_against_the_node_s(ahead: float, verdict: str, autojump_clock: object) -> None:
    now = time.time()
    async with case_of() as (case, _):
        case.look = Look(200, {"date": formatdate(now - ahead, usegmt=True)}, 0.01, now)
        found = await check_clock(case)
    assert found.verdict.value == verdict
    if verdict == "warn":
        assert re.search(r"(59|60|61) s " + ("ahead of" if ahead > 0 else "behind"), found.found)


@pytest.mark.parametrize("date", [None, "", "yesterday", "Wed, 99 Nov 2026 03:10:50 GMT"])
async def test_without_a_date_nothing_is_claimed_of_the_clock(date: str | None, autojump_clock: object) -> None:
    async with case_of() as (case, _):
        case.look = Look(200, {} if date is None else {"date": date}, 0.01, time.time())
        found = await check_clock(case)
    assert found.verdict is Verdict.SKIPPED
    assert "nothing to compare" in found.found


async def test_a_clock_that_was_never_set(monkeypatch: pytest.MonkeyPatch, autojump_clock: object) -> None:
    monkeypatch.setattr(_machine, "_EARLIEST", time.time() + 1e6)
    async with case_of() as (case, _):
        case.look = Look(200, {"date": format_datetime(localtime())}, 0.01, time.time())
        assert (await check_clock(case)).verdict is Verdict.FAIL


async def test_an_api_without_a_token_is_warned_of() -> None:
    from trio_sessions import Hoprd
    from trio_sessions.cli.doctor._reachable import check_api, check_token

    async with memory_world(SimulatorConfig(token=None)) as world:
        case = Case(access=Access(token=TOKEN), question=Question(), hoprd=world.hoprd, needs_token=False)
        found = await check_token(case)
        assert (found.verdict, "whoever reaches it" in found.found) == (Verdict.WARN, True)
    async with Hoprd("http://127.0.0.1:1", token=TOKEN) as nowhere:
        assert (await check_api(attrs.evolve(case, hoprd=nowhere))).verdict is Verdict.FAIL


async def test_whatever_a_node_says_is_one_line_without_the_token(autojump_clock: object) -> None:
    async with case_of() as (case, _):
        ended: list[Finding] = []

        async def says(_: Case) -> Finding:
            return fail(
                f"the node\nsaid \x1b[31m{TOKEN} " + "x" * 1000, f"do\r{TOKEN}", parts={TOKEN: ["\a" + TOKEN, 1]}
            )

        with pytest.MonkeyPatch.context() as patch:
            checks = (attrs.evolve(CHECKS[0], run=says), CHECKS[1])
            patch.setattr("trio_sessions.cli.doctor._examination.CHECKS", checks)
            await examine(case, lambda _: None, ended.append)
        first, second = ended
        assert (first.name, second.verdict, second.found) == ("api", Verdict.SKIPPED, "since api failed")
        for text in (first.found, *first.remedy):
            assert text.isprintable()
            assert TOKEN not in text
            assert len(text) <= 600
        assert first.facts == {"parts": {"<token>": [" <token>", 1]}}
        assert status_of_findings(ended, case) == 69


def test_lines_fit_a_terminal_of_eighty_columns() -> None:
    long = attrs.evolve(fail("it is wrong " * 20, "do this " * 30, "or that"), name="leftovers")
    lines = lines_of(long, width=80)
    assert all(len(line) <= 80 for line in lines)
    assert lines[0].startswith("fail  leftovers  it is wrong")
    assert lines[1].startswith(" " * 17 + "it") or lines[1].startswith(" " * 17)
    assert lines[-1] == "      → or that"
    assert lines_of(long)[0].endswith("it is wrong ")
    assert len(lines_of(long)) == 3


def test_a_stream_that_has_no_arrow_gets_another(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with (tmp_path / "out").open("w", encoding="ascii") as out:
        monkeypatch.setattr("sys.stdout", out)
        with open_display(wants_json=False) as display:
            display.end(attrs.evolve(fail("no…", "dö"), name="api"))
    assert (tmp_path / "out").read_text() == "fail  api        no?\n      -> d?\n"


def test_leftovers_without_a_journal_make_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    there = Listener(ListenerKey("udp", "127.0.0.1", 1), "0x" + "ab" * 20, "#0", None, None, 1000, 300)
    assert leftovers(Access(), (there,)).listeners == ()
    assert leftovers(Access(no_journal=True), (there,)).memory is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("in_use", [False, True])
def test_a_post_whose_outcome_nobody_knows_counts_as_a_leftover(in_use: bool, tmp_path: Path) -> None:
    path = str(tmp_path / "journal")
    request = SessionRequest("0x" + "ab" * 20, Path_(hops=1), Path_(hops=1), listen_host="127.0.0.1:41000")
    there = Listener(ListenerKey("udp", "127.0.0.1", 41_001), "0x" + "ab" * 20, "#0", None, None, 1000, 300, ("0xid",))
    rows = {
        1: JournalRow(1, "posting", "r", request, None, None),
        2: JournalRow(2, "registered", "r", request, None, there),
        3: JournalRow(3, RESTING, "r", request, None, None),
    }
    file = JournalFile.open(path, "127.0.0.1:3001")
    file.commit(rows)
    if not in_use:
        file.close()
    before = {each.name: each.read_bytes() for each in tmp_path.iterdir() if each.suffix != ".journal-shm"}
    found = leftovers(Access(journal=path, namespace=PortRange(41_000, 41_099)), (there,))
    assert (found.listeners, found.unsettled, found.in_use) == ((there,), 1, in_use)
    gone = leftovers(Access(journal=path), (attrs.evolve(there, clients=("another",)),))
    assert (gone.listeners, gone.unsettled) == ((), 1)
    after = {each.name: each.read_bytes() for each in tmp_path.iterdir() if each.suffix != ".journal-shm"}
    assert {name for name in before if before[name] != after.get(name) and not name.endswith("-shm")} == set()
    file.close()


async def test_a_journal_that_is_none_is_a_finding(tmp_path: Path, autojump_clock: object) -> None:
    (tmp_path / "letter").write_text("dear aunt, " * 100)
    async with case_of(access=Access(journal=str(tmp_path / "letter"))) as (case, _):
        ended: list[Finding] = []
        only = tuple(attrs.evolve(check, needs=()) for check in CHECKS if check.name == "leftovers")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("trio_sessions.cli.doctor._examination.CHECKS", only)
            await examine(case, lambda _: None, ended.append)
    assert (ended[0].verdict, status_of_findings(ended, case)) == (Verdict.FAIL, 1)
    assert "it is not a journal of this program" in ended[0].found
    assert ended[0].found.endswith("; name another file")
    assert ended[0].remedy == ()


def test_questions_that_contradict_themselves() -> None:
    with pytest.raises(InvalidInputError, match="--relayer"):
        Question(relayer="0x" + "ab" * 20, hops=1)
    with pytest.raises(InvalidInputError, match="is the relayer, too"):
        Question(relayer="0x" + "ab" * 20, destination="0x" + "AB" * 20)


def test_a_finding_as_json() -> None:
    found = attrs.evolve(ok("fine", count=1), name="x", seconds=0.25)
    assert found.to_json() == {
        "name": "x",
        "verdict": "ok",
        "found": "fine",
        "remedy": [],
        "facts": {"count": 1},
        "seconds": 0.25,
    }
