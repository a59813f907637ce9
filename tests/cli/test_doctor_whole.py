"""A whole examination in this process, of a node with real sockets: what a process cannot be made to meet."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

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
    *faults: str, question: Question | None = None, access: Access | None = None, **settings: Any
) -> AsyncIterator[Examined]:
    """An examination that is over, of a node that is still there."""
    planted = tuple(parse_fault(fault) for fault in faults)
    node = SimulatedNode(SimulatorConfig(faults=planted, **settings))
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


@attrs.frozen
class Planted:
    """A fault that needs no process of its own, and where and how it is named."""

    check: str
    found: str
    remedy: str
    faults: tuple[str, ...] = ()
    settings: Mapping[str, Any] = attrs.field(factory=dict)
    verdict: str = "fail"


PLANTED = {
    "4.0-rc pins nothing": Planted("pinning", "chosen relayer", "upgrade the node", (), {"dialect": "4.0-rc"}),
    "entry full, 3.x": Planted("loopback", "exceeds", "3.x takes 2048", ("cap",), {"dialect": "3", "open_retries": 0}),
    "no peer": Planted("peers", "connected to no peer", "announced", ("empty:peers",)),
    "no channel": Planted("channels", "no outgoing channel is open", "with funds", ("empty:channels",)),
    "open fails": Planted("loopback", "HTTP 503", "behind the proxy", ("status:open:status=503",)),
    "not ready": Planted("node", "GET /readyz, /healthyz says 412", "connected", ("status:health:after=2:status=412",)),
    "slow": Planted("latency", "the API is slow", "load", ("delay:version:seconds=0.51",), {}, "warn"),
    "datagrams lost": Planted("loopback", "no message of 10 came back", "SURBs", ("loss",)),
    "redirected": Planted("api", "answers with an error", "daemon's log", ("status:account:status=500",)),
}


@pytest.mark.parametrize("planted", PLANTED.values(), ids=PLANTED)
async def test_a_planted_fault_is_named_by_the_right_check(planted: Planted) -> None:
    async with examined(*planted.faults, question=Question(timeout=0.5), **planted.settings) as it:
        found = it.named(planted.check)
        assert it.node.listeners() == ()
    assert (found.verdict.value, planted.found in found.found) == (planted.verdict, True), found
    assert any(planted.remedy in step for step in found.remedy), found
    others = [finding for finding in it.findings if finding.name != planted.check]
    assert all(finding.verdict in (Verdict.OK, Verdict.SKIPPED) for finding in others), others


async def test_by_hops_nobody_needs_to_choose_a_relayer() -> None:
    async with examined(question=Question(hops=1), explicit_path=False) as it:
        assert (it.status, it.named("loopback").facts["hops"]) == (0, 1)
        assert it.named("pinning").found == "not needed for sessions by hops (1)"
        nowhere = Case(access=it.case.access, question=Question(hops=0), hoprd=it.case.hoprd)
        it.node.set_channel(it.node.relayers[0], "Closed")
        await examine(nowhere, lambda _: None, it.findings.append)
        assert it.findings[-1].verdict is Verdict.OK


@pytest.mark.parametrize("dialect", ["3", "4.1"])
async def test_relayers_out_of_sight_or_without_a_channel(dialect: str) -> None:
    async with examined(dialect=dialect, relayers=2) as it:
        first, second = it.node.relayers

        async def again(**question: Any) -> Examined:
            case = Case(access=it.case.access, question=Question(**question), hoprd=it.case.hoprd)
            other = Examined(case, it.node)
            await examine(case, lambda _: None, other.findings.append)
            return other

        it.node.set_connected(first, False)
        some = (await again()).named("channels")
        assert (some.verdict, first in some.found) == (Verdict.WARN, True)
        named = await again(relayer=first)
        assert (named.status, named.named("peers").verdict) == (1, Verdict.FAIL)
        it.node.set_channel(second, "PendingToClose")
        assert (await again(relayer=second)).named("channels").found == f"no outgoing channel to {second} is open"
        none = (await again()).named("channels")
        assert none.found == f"no relayer with an open channel is in sight: {first}"
        away = await again(relayer=second, destination="0x" + "ee" * 20)
        assert (away.named("peers").verdict, "0xeeee" in away.named("peers").found) == (Verdict.WARN, True)


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
