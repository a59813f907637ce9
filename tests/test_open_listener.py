"""One listener for another program: kept, closed, left with the journal, and what goes wrong on the way."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from tests.worlds import NAMESPACES, World, in_namespace, inline, memory_world
from trio_sessions import (
    InvalidInputError,
    OpenListener,
    PoolOptions,
    SessionEndedError,
    SessionOpenError,
    SessionRequest,
    open_listener,
)
from trio_sessions._journal_look import look_at_journal
from trio_sessions._model import Path as Path_
from trio_sessions.simulator import SimulatorConfig, parse_fault

KINDS = pytest.mark.parametrize("kind", list(NAMESPACES))


@asynccontextmanager
async def listener_at(world: World, options: PoolOptions, timeout: float | None = None) -> AsyncIterator[OpenListener]:
    async with open_listener(
        world.hoprd, world.relayers[0], options=options, timeout=timeout, rng=random.Random(0), in_thread=inline
    ) as opened:
        yield opened


def states(options: PoolOptions) -> list[str]:
    assert options.journal is not None
    look = look_at_journal(options.journal)
    return [row.state for row in look.rows if row.state != "resting"] if look else []


@KINDS
async def test_it_outlives_the_idle_end_and_is_closed(kind: str, autojump_clock: MockClock, tmp_path: Path) -> None:
    async with memory_world() as world:
        world.sim.node.add_stranger()
        options = in_namespace(kind, tmp_path)
        async with listener_at(world, options) as opened:
            await trio.sleep(1000)
            assert states(options) == ["registered"]
            assert str(opened.listener.key) in {f"udp://{each.ip}:{each.port}" for each in world.sim.node.listeners()}
        assert opened.left == ()
        assert states(options) == []
        world.assert_nothing_left(strangers=1)


@KINDS
async def test_detached_it_stays_until_the_next_start(kind: str, autojump_clock: MockClock, tmp_path: Path) -> None:
    async with memory_world() as world:
        options = in_namespace(kind, tmp_path)
        async with listener_at(world, options) as opened:
            await opened.detach()
            assert opened.is_detached
        assert opened.left == ()
        assert states(options) == ["detached"]
        assert [each.port for each in world.sim.node.listeners()] == [opened.listener.key.port]
        async with world.pool(options):
            await trio.sleep(1)
        assert states(options) == []
        world.assert_nothing_left()


async def test_detached_on_an_address_of_ours_beside_an_orphan(autojump_clock: MockClock, tmp_path: Path) -> None:
    """What a stop does there otherwise, to close all with one call, is left out."""
    async with memory_world() as world:
        options = in_namespace("dedicated", tmp_path)
        async with listener_at(world, options) as opened:
            path = Path_(hops=1)
            await world.hoprd.open_session(
                SessionRequest(world.sim.node.destinations[0], path, path, listen_host=f"{opened.listener.key.ip}:9999")
            )
            await opened.detach()
        assert opened.listener.key.port in [each.port for each in world.sim.node.listeners()]


async def test_without_a_journal_nothing_is_left(autojump_clock: MockClock) -> None:
    async with memory_world() as world:
        async with listener_at(world, PoolOptions()) as opened:
            with pytest.raises(InvalidInputError, match="only with one can a listener be left"):
                await opened.detach()
        world.assert_nothing_left()


async def test_its_end_at_the_node_is_noticed(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with memory_world() as world, listener_at(world, in_namespace("shared", tmp_path)) as opened:
        await world.hoprd.close_session(opened.listener.key)
        with trio.fail_after(15):
            await opened.wait_gone()
        with pytest.raises(SessionEndedError, match="listener gone"):
            await opened.detach()


async def test_one_empty_list_is_not_believed(autojump_clock: MockClock) -> None:
    async with memory_world() as world, listener_at(world, PoolOptions()) as opened:
        world.sim.node.add_fault(parse_fault("empty:list:count=1"))
        with trio.move_on_after(60) as scope:
            await opened.wait_gone()
        assert scope.cancelled_caught


@KINDS
async def test_a_lost_reply_is_settled(kind: str, autojump_clock: MockClock, tmp_path: Path) -> None:
    config = SimulatorConfig(dialect="3", faults=(parse_fault("reply-lost:open"),))
    async with memory_world(config) as world:
        stranger = world.sim.node.add_stranger()
        with pytest.raises(SessionOpenError, match="could not be opened"):
            async with listener_at(world, in_namespace(kind, tmp_path)):
                pytest.fail("it was not open")
        assert [each.session_id for each in world.sim.node.listeners()] == [stranger.session_id]


@KINDS
async def test_a_timeout_leaves_nothing(kind: str, autojump_clock: MockClock, tmp_path: Path) -> None:
    config = SimulatorConfig(faults=(parse_fault("delay:open:seconds=30"),))
    async with memory_world(config) as world:
        with pytest.raises(SessionOpenError, match="was not open within 2 s"):
            async with listener_at(world, in_namespace(kind, tmp_path), timeout=2):
                pytest.fail("it was not open")
        world.assert_nothing_left()


async def test_errors_of_the_block_come_out_alone(autojump_clock: MockClock) -> None:
    async with memory_world() as world:
        with pytest.raises(ZeroDivisionError):
            async with listener_at(world, PoolOptions()):
                raise ZeroDivisionError
        world.assert_nothing_left()


async def test_cancelled_it_closes(autojump_clock: MockClock) -> None:
    async with memory_world() as world:
        with trio.move_on_after(5):
            async with listener_at(world, PoolOptions()) as opened:
                await trio.sleep_forever()
        assert opened.left == ()
        world.assert_nothing_left()


async def test_bad_input(autojump_clock: MockClock) -> None:
    async with memory_world() as world:
        for given in ({}, {"relayer": "0x12"}, {"hops": 4}, {"relayer": world.relayers[0], "hops": 1}):
            with pytest.raises(InvalidInputError):
                async with open_listener(world.hoprd, **given):
                    pass
