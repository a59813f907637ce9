"""SIGINT and SIGTERM, at any moment."""

from __future__ import annotations

import signal

import pytest
import trio

from tests.cli.support import ended, running, simulator

#: Nobody listens there.
NOWHERE = "http://127.0.0.1:1"


@pytest.mark.parametrize(
    "signals", [[signal.SIGTERM], [signal.SIGINT, signal.SIGTERM] * 5], ids=["one", "far too many"]
)
async def test_signals_stop_cleanly(signals: list[signal.Signals]) -> None:
    async with simulator("--relayers", "3") as node, running("run", "--url", node.url, "--json") as run:
        await node.wait_until_used(3)
        it = await run.end(*signals)
        assert await node.listeners() == []
    assert it.status == 0, it.err
    assert it.report["clean"] is True
    assert it.report["sessions"]["closed"] == 3
    assert "stopping" in it.err
    assert "Traceback" not in it.err


async def test_the_second_signal_waits_for_no_answers_and_cleans_up_all_the_same() -> None:
    # Answers take so long that the first signal's wait for them would be seen.
    async with simulator("--relayers", "2", "--echo-latency", "30") as node:
        options = ("--stop-timeout", "20", "--json", "-vv")
        async with running("run", "--url", node.url, *options) as run:
            await node.wait_until_used(2, what="datagrams")
            run.process.send_signal(signal.SIGINT)
            await run.wait_for("err", "stopping")
            began = trio.current_time()
            it = await run.end(signal.SIGINT)
        assert trio.current_time() - began < 2
        assert await node.listeners() == []
    assert "waiting for no more answers" in it.err
    assert it.status == 0
    assert it.report["clean"] is True
    assert it.report["messages"]["answered"] == 0
    assert it.report["messages"]["unanswered"] > 0


async def test_a_signal_ends_the_wait_for_a_node() -> None:
    async with running("run", "--url", NOWHERE, "--json") as run:
        await run.wait_for("err", "waiting for the node")
        it = await run.end(signal.SIGTERM)
    assert it.status == 0
    assert it.report["clean"] is True
    assert it.report["sessions"]["opened"] == 0
    assert it.err.count("waiting for the node") == 1


async def test_node_that_never_comes_up() -> None:
    it = await ended("run", "--url", NOWHERE, "--duration", "0.2", "--json")
    assert (it.status, it.out) == (69, "")
    assert f"no node came up at {NOWHERE}" in it.err


async def test_frozen_node_is_named_in_the_report_within_the_stop_timeout() -> None:
    async with simulator("--relayers", "3") as node:
        options = ("--stop-timeout", "1", "--json")
        async with running("run", "--url", node.url, *options) as run:
            await node.wait_until_used(3)
            ports = {each["port"] for each in await node.listeners()}
            node.running.process.send_signal(signal.SIGSTOP)
            it = await run.end(signal.SIGTERM)
    assert it.status == 3
    report = it.report
    assert report["clean"] is False
    assert {int(each["listener"].rpartition(":")[2]) for each in report["listeners"]["left"]} == ports
    assert all(each["reason"] for each in report["listeners"]["left"])
    assert report["stop_duration"] < 1.5
    messages = report["messages"]
    accounted = messages["answered"] + messages["unanswered"] + sum(messages["undelivered"].values())
    assert messages["accepted"] == accounted
