"""``trio-sessions run``, in real processes."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.cli.support import TOKEN, ended, environment, running, simulator

NOBODY = "0x" + "ee" * 20


async def test_simulate_relays_and_leaves_nothing() -> None:
    it = await ended("run", "--simulate", "--relayers", "20", "--batch", "10", "--duration", "1.5", "--json")
    report = it.report
    assert it.status == 0, it.err
    assert it.err == ""
    assert report["clean"] is True
    assert report["listeners"] == {"left": [], "at_node": 0}
    assert report["sessions"] == {"opened": 20, "closed": 20, "lost": 0, "failed": 0}
    messages = report["messages"]
    assert messages["accepted"] >= 100
    assert messages["answered"] == messages["accepted"]
    assert messages["unanswered"] == 0
    assert messages["undelivered"] == {}
    assert 0.02 < report["rtt"]["p50"] <= report["rtt"]["p99"] < 1
    assert report["stop_duration"] < 2
    assert report["duration"] < 5


# 4.1, the default, is the one of the tests below.
@pytest.mark.parametrize("dialect", ["3", "4.0"])
async def test_node_in_another_process(dialect: str) -> None:
    async with simulator("--dialect", dialect, "--relayers", "4") as node:
        it = await ended("run", "--url", node.url, "--relayers", "3", "--duration", "1.2", "--json")
        assert it.status == 0, it.err
        assert it.report["clean"] is True
        assert it.report["sessions"]["opened"] == 3
        assert it.report["messages"]["answered"] == it.report["messages"]["accepted"] > 0
        assert "at_node" not in it.report["listeners"]
        assert await node.listeners() == []


async def test_relayers_by_address_and_destination() -> None:
    async with simulator("--relayers", "4") as node:
        relayers, destination = node.ready["relayers"][1:3], node.ready["destinations"][1]
        options = ("--relayers", ",".join(relayers), "--destination", destination, "--rate", "1000")
        async with running("run", "--url", node.url, *options) as it:
            await node.wait_until_used(2)
            listeners = await node.listeners()
            over = await it.end(signal.SIGTERM)
    assert {each["destination"] for each in listeners} == {destination}
    assert sorted(each["forward"][0].lower() for each in listeners) == sorted(r.lower() for r in relayers)
    assert over.status == 0


async def test_by_hops_where_no_relayer_can_be_pinned() -> None:
    async with simulator("--no-explicit-path", "--relayers", "2") as node:
        pinned = await ended("run", "--url", node.url, "--json")
        by_hops = await ended("run", "--url", node.url, "--hops", "1", "--duration", "1.2", "--json")
    # It does not idle for ever: no relayer of this node will ever do.
    assert pinned.status == 1
    assert "cannot pin a relayer" in pinned.err
    assert "--hops" in pinned.err
    assert len(pinned.err.splitlines()) == 1
    assert pinned.report["sessions"]["opened"] == 0
    assert by_hops.status == 0, by_hops.err
    # One session a peer: two relayers and two exit nodes.
    assert by_hops.report["sessions"]["opened"] == 4


async def test_what_this_node_does_not_have() -> None:
    async with simulator("--relayers", "2") as node:
        many = await ended("run", "--url", node.url, "--relayers", "3")
        unknown = await ended("run", "--url", node.url, "--relayers", NOBODY)
        wrong = await ended("run", "--url", node.url, env=environment(TRIO_SESSIONS_TOKEN="quite-another-one"))
        assert await node.listeners() == []
    assert (many.status, many.out) == (2, "")
    assert "--relayers 3: the node has 2 relayers with an open channel" in many.err
    assert (unknown.status, unknown.out) == (2, "")
    assert NOBODY in unknown.err
    assert (wrong.status, wrong.out) == (77, "")
    assert "check the API token" in wrong.err
    assert "quite-another-one" not in wrong.err
    for it in (many, unknown, wrong):
        assert it.err.startswith("trio-sessions: error: ")
        assert len(it.err.splitlines()) == 1


async def test_token_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    async with simulator("--relayers", "1") as node:
        it = await ended(
            "run", "--url", node.url, "--token-file", str(file), "--duration", "1", "-vv",
            env=environment(TRIO_SESSIONS_TOKEN="not-the-right-one"),
        )  # fmt: skip
    assert it.status == 0, it.err
    assert "debug: POST" in it.err
    assert TOKEN not in it.err + it.out
