"""list, close and reap against a node with strangers: what is ours is seen, told apart, and closed; nothing else is."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
from pathlib import Path

import pytest
import trio

from tests.cli.at_node import Site, add_stranger, site
from tests.cli.support import COMMAND, PATIENCE
from trio_sessions import PortRange
from trio_sessions._namespaces import DedicatedAddress, derive_address, node_key

DIALECTS = pytest.mark.parametrize("dialect", ["3", "4.1"])


async def kill_a_run(at: Site, relayers: int = 2, *arguments: str) -> None:
    async with at.doing("run", "--relayers", str(relayers), *arguments) as run:
        await at.sim.wait_until_used(relayers + len(at.strangers), what="session_id")
        with trio.fail_after(PATIENCE):
            while len(await at.owners(ours=True)) < relayers:
                pass
        await run.end(signal.SIGKILL)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@DIALECTS
async def test_orphans_of_a_killed_run_are_listed_named_and_reaped(dialect: str, tmp_path: Path) -> None:
    async with site(tmp_path, "--dialect", dialect) as at:
        await kill_a_run(at)
        orphans = await at.ours()
        assert len(orphans) == 2
        owners = await at.owners()
        assert sorted(owners.values()) == ["orphan", "orphan", "stranger", "stranger"]
        before, node_before = contents(tmp_path), await at.sim.listeners()
        dry = await at.do("reap", "--dry-run")
        assert dry.status == 0
        assert sorted(line.split(":")[0] for line in dry.out.splitlines()) == ["would close 127.0.0.1"] * 2
        named = {line.split()[2].rstrip(":") for line in dry.out.splitlines()}
        assert named == {place for place, owner in owners.items() if owner == "orphan"}
        # Nothing was changed by looking, here or there.
        assert contents(tmp_path) == before
        assert [each["session_id"] for each in await at.sim.listeners()] == [each["session_id"] for each in node_before]
        reaped = await at.do("reap")
        assert reaped.status == 0, reaped.err
        assert {line.split()[1].rstrip(":") for line in reaped.out.splitlines()} == named
        assert all(line.startswith("closed ") for line in reaped.out.splitlines())
        assert await at.ours() == set()
        assert await at.owners(ours=True) == {}
        assert (await at.do("reap")).err == f"trio-sessions: no orphan of ours at {at.sim.url}\n"


async def test_what_a_running_instance_has_is_shown_and_left_alone(tmp_path: Path) -> None:
    async with site(tmp_path) as at, at.doing("run", "--relayers", "2", "--rate", "20", "--json") as run:
        await at.sim.wait_until_used(4, what="session_id")
        held = await at.ours()
        with trio.fail_after(PATIENCE):
            while list((await at.owners(ours=True)).values()) != ["running", "running"]:
                pass
        places = list(await at.owners(ours=True))
        assert {each["instance"] for each in await at.listed("--ours")} == {"default"}
        assert (await at.do("reap")).out == ""
        kept = await at.do("close", "--ours")
        assert kept.status == 0
        assert [line.split()[0] for line in kept.out.splitlines()] == ["kept", "kept"]
        refused = await at.do("close", places[0])
        assert refused.status == 1
        assert f"refused {places[0]}: instance default runs and has it" in refused.out
        assert await at.ours() == held
        forced = await at.do("close", places[0], "--force")
        assert forced.status == 0, forced.out + forced.err
        assert forced.out.startswith(f"closed {places[0]}: of the running instance default, by force")
        # The run notices by itself, and goes on with another one.
        with trio.fail_after(PATIENCE):
            while len(held & (there := await at.ours())) != 1 or len(there) != 2:
                pass
        over = await run.end(signal.SIGTERM)
        assert over.status == 0, over.err
        assert over.report["clean"]
        assert await at.ours() == set()


@DIALECTS
async def test_a_detached_listener_lives_until_it_is_closed(dialect: str, tmp_path: Path) -> None:
    async with site(tmp_path, "--dialect", dialect) as at:
        place = await at.detach()
        assert await at.owners(ours=True) == {place: "detached"}
        # Neither the next run nor reap are meant.
        over = await at.do("run", "--relayers", "1", "--duration", "1", "--json")
        assert over.report["clean"]
        kept = await at.do("reap")
        assert kept.out == f"kept {place}: detached on purpose: close {place} ends it\n"
        assert await at.owners(ours=True) == {place: "detached"}
        closed = await at.do("close", place)
        assert closed.status == 0, closed.err
        assert closed.out.startswith(f"closed {place}: detached as detached-")
        assert await at.ours() == set()
        assert not any("detached" in name for name in at.journals)
        again = await at.do("close", place)
        assert again.status == 0
        assert again.out == f"gone {place}: the node has no such listener\n"


async def test_close_takes_exactly_what_was_named_out_of_a_journal(tmp_path: Path) -> None:
    async with site(tmp_path) as at:
        await kill_a_run(at, 3)
        first, *others = await at.owners(ours=True)
        over = await at.do("close", f"udp://{first}", "--json")
        assert over.status == 0, over.err
        (listener,) = over.report["listeners"]
        assert (listener["listener"], listener["outcome"]) == (first, "closed")
        assert set(await at.owners(ours=True)) == set(others)
        assert len(await at.ours()) == 2
        relayer = next(each["relayers"][0] for each in await at.listed("--ours") if each["listener"] == others[0])
        assert (await at.do("close", "--relayer", relayer.lower())).status == 0
        assert set(await at.owners(ours=True)) == set(others[1:])
        assert (await at.do("close", "--ours")).status == 0
        assert await at.ours() == set()


async def test_a_detached_listener_that_ended_by_itself_is_forgotten(tmp_path: Path) -> None:
    async with site(tmp_path) as at:
        place = await at.detach()
        await at.end_behind_our_back(place)
        (row,) = await at.listed("--ours")
        assert (row["listener"], row["state"], row["listed"]) == (place, "gone", False)
        over = await at.do("reap")
        assert over.status == 0, over.err
        assert over.out == f"gone {place}: it was gone already\n"
        assert await at.listed("--ours") == []
        assert at.journals == []


async def test_a_strangers_listener_is_closed_only_by_force_and_by_name(tmp_path: Path) -> None:
    async with site(tmp_path) as at:
        victim = await add_stranger(at.sim, at="127.0.0.1:28099")
        place = "127.0.0.1:28099"
        for arguments in ((), ("--force",)):
            refused = await at.do("close", place, *arguments)
            assert refused.status == 1
            assert refused.out.startswith(f"refused {place}: it is a stranger's")
        for typed, status in ((None, 130), (b"yes\n", 1), (b"127.0.0.1:28099\n", 0)):
            assert victim in {each["session_id"] for each in await at.sim.listeners()}
            assert await close_on_a_terminal(at, place, typed) == status
        assert await at.ours() == set()
        await add_stranger(at.sim, at="127.0.0.1:28099")
        assert (await at.do("close", place, "--force", "--yes")).status == 0
        assert await at.ours() == set()


async def close_on_a_terminal(at: Site, place: str, typed: bytes | None) -> int:
    """The status after this was typed; nothing, and then Ctrl-C, where there is nothing to type."""
    master, slave = pty.openpty()
    command = [*COMMAND, "close", "--url", at.sim.url, place, "--force"]
    process = await trio.lowlevel.open_process(command, stdin=slave, stderr=subprocess.PIPE, env=at.env)
    assert process.stderr is not None
    try:
        with trio.fail_after(PATIENCE):
            said = b""
            while b"Type its ip:port to close it" not in said:
                said += await process.stderr.receive_some()
            if typed is None:
                process.send_signal(signal.SIGINT)
            else:
                os.write(master, typed)
            return await process.wait()
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.stderr.aclose()
            await process.wait()
        os.close(master)
        os.close(slave)


async def test_what_is_on_an_address_of_a_killed_instance_is_reaped_without_a_journal(tmp_path: Path) -> None:
    async with site(tmp_path) as at:
        namespace = ("--namespace", "dedicated")
        address = derive_address(node_key(at.sim.url), "default")
        async with at.doing("run", "--relayers", "2", *namespace) as run:
            await at.sim.wait_until_used(4, what="session_id")
            assert set((await at.owners(ours=True, namespace=DedicatedAddress())).values()) == {"running"}
            assert (await at.do("reap", *namespace)).out == ""
            refused = await at.do(
                "close", next(iter(await at.owners(ours=True, namespace=DedicatedAddress()))), *namespace
            )
            assert refused.status == 1
            await run.end(signal.SIGKILL)
        assert at.journals == []
        # Nobody said that the address is ours.
        assert set((await at.owners()).values()) == {"stranger"}
        over = await at.do("reap", *namespace)
        assert over.status == 0, over.err
        assert over.out.count(f"closed {address}:") == 2
        assert await at.ours() == set()


async def test_a_damaged_journal_is_a_warning_and_hides_nothing_else(tmp_path: Path) -> None:
    async with site(tmp_path) as at:
        place = await at.detach()
        (tmp_path / "trio-sessions" / "letter.journal").write_text("to my aunt " * 100)
        over = await at.do("list", "--ours")
        assert over.status == 0
        assert place in over.out
        (line,) = over.err.splitlines()
        assert line.startswith("trio-sessions: warning: journal ")
        assert "letter.journal: it is not a journal of this program" in line
        missing = await at.do("list", "--journal", str(tmp_path / "none"))
        assert "there is no such file" in missing.err
        assert (await at.do("close", "--ours")).status == 0


async def test_what_cannot_be_closed_is_left_and_named(tmp_path: Path) -> None:
    async with site(tmp_path) as at:
        place = await at.detach()
        await at.arm("status:close")
        over = await at.do("close", place, "--timeout", "1")
        assert over.status == 3
        assert over.out.startswith(f"left {place}: DELETE ")
        assert list(await at.owners(ours=True)) == [place]
        await at.arm()
        assert (await at.do("reap")).status == 0
        assert await at.ours() == set()


async def test_a_post_without_a_reply_is_shown_and_settled_or_left(tmp_path: Path) -> None:
    async with site(tmp_path) as at:
        await at.arm("hang:open")
        async with at.doing("run", "--relayers", "1") as run:
            with trio.fail_after(PATIENCE):
                while not await at.listed_rows():
                    pass
            await run.end(signal.SIGKILL)
        (row,) = await at.listed("--ours")
        assert (row["listener"], row["owner"], row["state"], row["listed"]) == (None, "orphan", "no reply", False)
        over = await at.do("reap", "--timeout", "1")
        assert over.status == 3
        assert over.out.startswith("left a POST via 0x")
        assert len(await at.listed("--ours")) == 1


async def test_a_port_of_a_range_rests_when_its_orphan_was_reaped(tmp_path: Path) -> None:
    async with site(tmp_path) as at:
        await kill_a_run(at, 2, "--namespace", "42500-42599")
        ports = {place.rpartition(":")[2] for place in await at.owners(ours=True)}
        assert (await at.do("reap")).status == 0
        assert await at.ours() == set()
        rests = await at.listed("--ours")
        assert {(each["owner"], each["state"]) for each in rests} == {("resting", "resting")}
        assert {each["rests"]["listen_host"].rpartition(":")[2] for each in rests} == ports
        assert all(200 < each["rests"]["free_in"] <= 210 for each in rests)
        shown = (await at.do("list", "--ours")).out
        assert "orphan" not in shown
        assert all(f":{port}\t" in shown for port in ports)
        # The two commands agree.
        assert "no orphan of ours" in (reaped := await at.do("reap")).err
        assert "; 2 ports rest after use, until all are free in 3m" in reaped.err or "free in 4m" in reaped.err
        over = await at.do("run", "--namespace", "42500-42599", "--relayers", "2", "--duration", "1", "--json")
        assert over.report["clean"]
        again = {each["listener"].rpartition(":")[2] for each in await at.listed("--ours") if each["listener"]}
        assert not ports & again
        assert (await at.do("close", "--ours")).err.startswith("trio-sessions: nothing of ours to close")


@pytest.mark.parametrize("name", ["default", "of-mine"])
async def test_what_a_run_with_an_address_of_its_own_left_is_told_without_the_namespace(
    name: str, tmp_path: Path
) -> None:
    """Without the namespace nothing shows that they are ours, but that the address is one of those."""
    own = ("--namespace", "dedicated", *(("--instance", name) if name != "default" else ()))
    async with site(tmp_path) as at:
        async with at.doing("run", *own, "--relayers", "2", "--view", "none") as run:
            await at.sim.wait_until_used(2 + len(at.strangers), what="session_id")
            await run.end(signal.SIGKILL)
        address = derive_address(node_key(at.sim.url), name)
        listed, reaped = await at.do("list", "--ours"), await at.do("reap")
        told = f"trio-sessions: 2 strangers on {address}"
        if name == "default":
            told += ", the dedicated address of instance default: --namespace dedicated tells whose they are"
        else:
            told += ": if an instance of yours has that address, --namespace dedicated --instance NAME"
        for each in (listed, reaped):
            assert each.status == 0
            assert told in each.err
        # A name that is given counts.
        named = await at.do("list", "--json", "--instance", name)
        (hint,) = named.report["hints"]
        assert f"dedicated address of instance {name}: " in hint
        # And so it is.
        found = await at.do("reap", *own)
        assert found.out.count("closed ") == 2
        assert f" on {address}" not in found.err
        assert await at.ours() == set()


async def test_what_runs_without_a_journal_in_the_range_is_closed_only_by_name(tmp_path: Path) -> None:
    where = ("--namespace", "42600-42609")
    async with site(tmp_path) as at:
        async with at.doing("run", *where, "--no-journal", "--relayers", "1", "--view", "none") as run:
            await at.sim.wait_until_used(1 + len(at.strangers), what="session_id")
            kept = await at.do("close", "--ours", *where)
            assert (kept.status, kept.out.partition(" ")[0]) == (0, "kept")
            assert "in no journal: a run may have it" in kept.out
            reaped = await at.do("reap", *where)
            assert "in no journal: a run may have it" in reaped.out
            assert len(await at.ours()) == 1
            assert list((await at.owners(ours=True, namespace=PortRange(42600, 42609))).values()) == ["unknown"]
            await run.end(signal.SIGKILL)
        (place,) = await at.owners(ours=True, namespace=PortRange(42600, 42609))
        closed = await at.do("close", place, *where)
        assert (closed.status, closed.out.partition(" ")[0]) == (0, "closed")
        assert "doesn't run" not in closed.out
        assert await at.ours() == set()
