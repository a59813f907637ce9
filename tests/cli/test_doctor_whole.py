"""A whole examination in this process, of a node with real sockets: what a process cannot be made to meet."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest
import trio

from tests.cli.test_doctor import CHECKS
from trio_sessions import DedicatedAddress, Hoprd, PortRange
from trio_sessions.cli._access import Access
from trio_sessions.cli.doctor._case import Case, Question
from trio_sessions.cli.doctor._display import open_display
from trio_sessions.cli.doctor._examination import as_json, examine, status_of_findings
from trio_sessions.cli.doctor._finding import Finding, Verdict
from trio_sessions.simulator import SimulatedNode, SimulatorConfig, parse_fault, serve_node


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))


@attrs.define
class Examined:
    """What came of it."""

    case: Case
    node: SimulatedNode
    findings: list[Finding] = attrs.field(factory=list)

    @property
    def status(self) -> int:
        return status_of_findings(self.findings, self.case)

    def named(self, name: str) -> Finding:
        (found,) = (finding for finding in self.findings if finding.name == name)
        return found


@asynccontextmanager
async def examined(
    *faults: str, question: Question | None = None, access: Access | None = None, **settings: object
) -> AsyncIterator[Examined]:
    """An examination that is over, of a node that is still there."""
    planted = tuple(parse_fault(fault) for fault in faults)
    node = SimulatedNode(SimulatorConfig(faults=planted, **settings))  # type: ignore[arg-type]
    async with trio.open_nursery() as nursery:
        served = await nursery.start(serve_node, node)
        access = attrs.evolve(access or Access(), url=served.url, token=served.token)
        async with Hoprd(access.url, token=access.token, timeout=1) as hoprd:
            it = Examined(Case(access=access, question=question or Question(), hoprd=hoprd), node)
            with open_display(wants_json=False) as display:

                def end(finding: Finding) -> None:
                    it.findings.append(finding)
                    display.end(finding)

                await examine(it.case, display.begin, end)
            yield it
        nursery.cancel_scope.cancel()


async def test_a_node_that_is_well(capsys: pytest.CaptureFixture[str]) -> None:
    async with examined() as it:
        assert (it.status, it.node.listeners()) == (0, ())
    assert [finding.name for finding in it.findings] == CHECKS
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(CHECKS)
    assert all(line.startswith("ok    ") for line in lines)
    assert as_json(it.findings, it.case, 0, interrupted=False)["counts"]["ok"] == len(CHECKS)


async def test_an_api_that_asks_for_no_token() -> None:
    async with examined(token=None) as it:
        found = it.named("token")
    assert (found.verdict, it.status) == (Verdict.WARN, 0)
    assert "whoever reaches it may use the node" in found.found


@pytest.mark.parametrize("namespace", [DedicatedAddress(), PortRange(49_000, 49_099)], ids=str)
async def test_a_close_that_the_node_does_not_take_is_named(
    namespace: DedicatedAddress | PortRange, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trio_sessions.cli.doctor._loopback._STOP_TIMEOUT", 0.5)
    async with examined("status:close", access=Access(namespace=namespace)) as it:
        (left,) = it.node.listeners()
        found = it.named("loopback")
        assert (found.verdict, it.status) == (Verdict.FAIL, 3)
        assert f"may be left: udp://{left.ip}:{left.port}" in found.found
        # The next one closes it: its address, or its journal, knows of it.
        it.node.clear_faults()
        again = Case(access=it.case.access, question=Question(), hoprd=it.case.hoprd)
        await examine(again, lambda _: None, lambda _: None)
        assert it.node.listeners() == ()


async def test_a_list_that_fails_after_the_relaying_is_told() -> None:
    # The looks before it: two for the slots, and the pool's own ones.
    async with examined("status:list:after=5") as it:
        found = it.named("loopback")
        assert it.node.listeners() == ()
    assert (found.verdict, it.status) == (Verdict.FAIL, 1)
    assert "the node's list could not be read" in found.found


async def test_a_socket_that_nobody_reaches_is_told_with_where_to_look() -> None:
    access = Access(connect_host="127.9.9.9")
    async with examined(question=Question(timeout=0.5), access=access) as it:
        found = it.named("loopback")
        assert it.node.listeners() == ()
    assert found.verdict is Verdict.FAIL
    assert any("--connect-host" in step for step in found.remedy)


async def test_no_peer_is_left_to_be_the_destination() -> None:
    async with examined(relayers=1, destinations=0) as it:
        found = it.named("loopback")
    assert (found.verdict, found.remedy[0]) == (Verdict.FAIL, "wait for more peers, or name one: --destination")


@pytest.mark.parametrize(
    ("fault", "check", "told"),
    [
        ("hang:account", "api", "does not answer"),
        ("status:account:status=502", "api", "answers with an error"),
        ("status:account:status=418", "api", "is no hoprd"),
        ("hang:version", "dialect", "no reply within 1 s"),
        ("null:peers", "peers", "malformed"),
        ("reset:channels", "channels", "connection lost"),
    ],
)
async def test_whatever_a_call_fails_with_is_a_finding(
    fault: str, check: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trio_sessions.cli.doctor._reachable.PATIENCE", 0.5)
    async with examined(fault) as it:
        found = it.named(check)
    assert found.verdict is Verdict.FAIL
    assert told in found.found
    assert found.remedy
