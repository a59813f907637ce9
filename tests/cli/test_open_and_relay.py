"""open and relay against a node: what they print, what they keep, and that they leave nothing."""

from __future__ import annotations

import json
import signal
import socket
from pathlib import Path

import pytest
import trio

from tests.cli.at_node import site
from tests.cli.support import PATIENCE, TOKEN, ended, environment

NOBODY = "0x" + "11" * 20


def echo(place: str) -> bytes:
    """What comes back of a datagram of another program's."""
    ip, _, port = place.rpartition(":")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(PATIENCE)
        sock.sendto(b"hello", (ip, int(port)))
        return sock.recv(2048)


@pytest.mark.parametrize(("dialect", "number"), [("3", signal.SIGINT), ("4.1", signal.SIGTERM)])
async def test_open_keeps_a_listener_for_another_program(dialect: str, number: signal.Signals, tmp_path: Path) -> None:
    async with site(tmp_path, "--dialect", dialect) as at, at.doing("open", at.relayers[0]) as it:
        await it.wait_for("out", "\n")
        place = it.text("out").strip()
        # The first to send has it: so nothing was sent from here.
        assert await trio.to_thread.run_sync(echo, place) == b"hello"
        assert await at.owners(ours=True) == {place: "running"}
        over = await it.end(number)
        assert (over.status, over.err) == (0, "")
        assert await at.ours() == set()


async def test_two_opens_have_a_name_each_and_a_killed_ones_listener_is_an_orphan(tmp_path: Path) -> None:
    async with site(tmp_path) as at, at.doing("open", at.relayers[0]) as one, at.doing("open", "--hops", "1") as two:
        await one.wait_for("out", "\n")
        await two.wait_for("out", "\n")
        assert {each["instance"] for each in await at.listed("--ours")} == {"open", "open-2"}
        await one.end(signal.SIGKILL)
        assert sorted((await at.owners(ours=True)).values()) == ["orphan", "running"]
        assert (await at.do("reap")).status == 0
        assert list((await at.owners(ours=True)).values()) == ["running"]
        assert len(at.journals) == 1
        assert (await two.end(signal.SIGTERM)).status == 0
        assert await at.ours() == set()


async def test_open_ends_with_its_listener(tmp_path: Path) -> None:
    async with site(tmp_path) as at, at.doing("open", at.relayers[0], "--json") as it:
        await it.wait_for("out", "\n")
        data = json.loads(it.text("out"))
        assert data["schema"] == 1
        assert data["instance"] == "open"
        assert not data["detached"]
        await at.end_behind_our_back(data["listener"])
        over = await it.end()
        assert over.status == 1
        assert "the node ended the listener" in over.err


async def test_a_signal_before_it_is_open_is_an_interruption_and_leaves_nothing(tmp_path: Path) -> None:
    async with site(tmp_path) as at:
        await at.arm("delay:open:seconds=3")
        async with at.doing("open", at.relayers[0]) as it:
            with trio.fail_after(PATIENCE):
                while not (await at.state())["opening"]:
                    pass
            over = await it.end(signal.SIGINT)
        assert over.status in (130, 3), over.err
        assert over.out == ""
        await at.arm()
        assert (over.status == 3) == ("left at the node" in over.err)
        assert await at.ours() == set()


@pytest.mark.parametrize("namespace", ["dedicated", "41000-41099", "shared"])
async def test_detached_in_each_namespace(namespace: str, tmp_path: Path) -> None:
    async with site(tmp_path) as at:
        place = await at.detach("--namespace", namespace)
        assert await trio.to_thread.run_sync(echo, place) == b"hello"
        (listener,) = await at.listed("--ours")
        assert (listener["owner"], listener["state"]) == ("detached", "detached")
        assert (await at.do("close", "--ours", "--namespace", namespace)).status == 0
        assert await at.ours() == set()


@pytest.mark.parametrize("dialect", ["3", "4.1"])
async def test_relay_is_like_ping(dialect: str, tmp_path: Path) -> None:
    async with site(tmp_path, "--dialect", dialect) as at:
        over = await at.do("relay", at.relayers[0], "--count", "3", "--batches", "2", "--interval", "0")
        assert over.status == 0, over.err
        *lines, summary = over.out.splitlines()
        assert [line.partition(":")[0] for line in lines] == ["1", "2", "3", "4", "5", "6"]
        assert all(line.endswith(" ms") for line in lines)
        assert summary.startswith("6 sent, 6 answered, 0 % loss, rtt min/p50/p90/p99/max ")
        assert await at.ours() == set()


async def test_relay_without_answers(tmp_path: Path) -> None:
    async with site(tmp_path) as at:
        await at.arm("loss:p=1")
        over = await at.do("relay", "--hops", "1", "--count", "2", "--json")
        assert over.status == 1, over.err
        report = over.report
        assert {key: report[key] for key in ("schema", "sent", "answered", "lost", "loss", "clean")} == {
            "schema": 1,
            "sent": 2,
            "answered": 0,
            "lost": 2,
            "loss": 1.0,
            "clean": True,
        }
        assert await at.ours() == set()


async def test_an_interrupted_relay_has_a_summary(tmp_path: Path) -> None:
    async with site(tmp_path) as at, at.doing("relay", at.relayers[0], "--count", "1", "--batches", "1000") as it:
        await it.wait_for("out", "ms\n")
        over = await it.end(signal.SIGTERM)
        assert over.status == 143
        assert over.out.splitlines()[-1].startswith("1 sent, 1 answered, 0 % loss")
        assert await at.ours() == set()


async def test_what_cannot_work_is_told_in_a_line_with_its_status(tmp_path: Path) -> None:
    async with site(tmp_path) as at:
        unknown = await at.do("open", NOBODY)
        assert unknown.status == 2
        assert "the node has no open channel to it; open one, or choose of those it has: 0x" in unknown.err
        await at.arm("status:open:status=422")
        refused = await at.do("relay", at.relayers[0])
        assert refused.status == 75
        await at.arm()
        wrong = environment(XDG_STATE_HOME=str(tmp_path), TRIO_SESSIONS_TOKEN="another-token")
        unauthorised = [
            await ended(*command, "--url", at.sim.url, env=wrong) for command in (("list",), ("relay", "--hops", "1"))
        ]
        assert {over.status for over in unauthorised} == {77}
        for each in (unknown, refused, *unauthorised):
            first, *more = each.err.splitlines()
            assert first.startswith("trio-sessions: error: ")
            assert not more or more[0].startswith("what to check, likeliest first")
            assert each.err.startswith("trio-sessions: error: ")
            assert TOKEN not in each.err + each.out
        assert await at.ours() == set()


async def test_a_node_that_restarts_is_waited_for_when_asked_to(tmp_path: Path) -> None:
    async with site(tmp_path) as at:
        await at.detach()
        await at.restart(down_for=2.5)
        away = await at.do("list")
        assert away.status in {69, 75}, away.err
        back = await at.do("list", "--ours", "--wait", "10", "--json")
        assert back.status == 0, back.err
        (row,) = back.report["listeners"]
        assert (row["owner"], row["state"]) == ("detached", "gone")
        assert (await at.do("close", "--ours")).out.startswith("gone 127.0.0.1:")
        assert at.journals == []
