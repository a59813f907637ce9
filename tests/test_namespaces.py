"""Namespaces: what they accept, where they put listeners, which ports they give out, and who holds an instance."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from ipaddress import ip_address
from pathlib import Path

import pytest
import trio
from hypothesis import given, strategies as st
from trio.testing import MockClock

from tests.worlds import NOBODY, in_namespace, memory_world
from trio_sessions import (
    DedicatedAddress,
    InstanceInUseError,
    InvalidInputError,
    Node,
    NodeOptions,
    PoolOptions,
    PortRange,
    PortsUsedUpError,
    SessionOpenError,
    Shared,
    parse_namespace,
)
from trio_sessions._instance import hold_address
from trio_sessions._listing import Listing
from trio_sessions._model import Listener, ListenerKey, Path as SessionPath, SessionRequest
from trio_sessions._namespaces import check_own_address, derive_address, node_key
from trio_sessions._ports import Ports
from trio_sessions._territory import Territory
from trio_sessions.simulator import SimulatorConfig

REQUEST = SessionRequest(destination=NOBODY, forward=SessionPath(hops=1), back=SessionPath(hops=1))


# -- what they are


@pytest.mark.parametrize(
    ("text", "namespace"),
    [
        ("shared", Shared()),
        ("dedicated", DedicatedAddress()),
        ("127.64.0.1", DedicatedAddress("127.64.0.1")),
        ("40000-40999", PortRange(40_000, 40_999)),
        ("0.0.0.0:40000-40000", PortRange(40_000, 40_000, "0.0.0.0")),
        ("[::]:40000-40999", PortRange(40_000, 40_999, "::")),
    ],
)
def test_a_namespace_reads_as_it_prints(text: str, namespace: object) -> None:
    assert parse_namespace(text) == namespace
    assert str(namespace).replace("::", "[::]") == text


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "is neither shared"),
        ("Dedicated", "is neither shared"),
        ("40000", "is neither shared"),
        ("40000-", "is neither shared"),
        ("localhost", "is neither shared"),
        ("10.0.0.1", "outside of 127.0.0.0/8"),
        ("::1", "outside of 127.0.0.0/8"),
        ("127.0.0.1", "can belong to nobody alone"),
        ("127.255.255.255", "can belong to nobody alone"),
        ("40999-40000", "is reversed; write 40000-40999"),
        ("0-100", "from 1 to 65535"),
        ("65000-65536", "from 1 to 65535"),
        ("40000-999999999", "from 1 to 65535"),
        ("somewhere:40000-40999", "is no ip address"),
    ],
)
def test_what_is_no_namespace_is_refused_in_one_line(text: str, complaint: str) -> None:
    with pytest.raises(InvalidInputError, match=complaint) as caught:
        parse_namespace(text)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 250


@pytest.mark.parametrize(
    ("uid", "allowed", "first", "good"),
    [(0, 1024, 80, True), (1000, 1024, 80, False), (1000, 80, 80, True), (1000, 1024, 1024, True)],
    ids=["root", "a user", "a user on a machine that allows it", "a user above the limit"],
)
def test_ports_below_1024_need_a_right(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, uid: int, allowed: int, first: int, good: bool
) -> None:
    limit = tmp_path / "ip_unprivileged_port_start"
    limit.write_text(f"{allowed}\n")
    monkeypatch.setattr("trio_sessions._namespaces._FIRST_FREE_PORT", limit)
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    if good:
        assert len(PortRange(first, 2000)) == 2001 - first
    else:
        with pytest.raises(InvalidInputError, match=r"need a right that this process doesn't have; begin at 1024"):
            PortRange(first, 2000)


@given(node=st.text(), instance=st.text())
def test_a_derived_address_is_a_good_one_and_always_the_same(node: str, instance: str) -> None:
    address = derive_address(node, instance)
    check_own_address(address)
    assert not address.startswith("127.0.")
    assert address == derive_address(node, instance)


def test_derived_addresses_differ() -> None:
    derived = {derive_address(f"127.0.0.1:{port}", name) for port in range(100) for name in ("a", "b", "default")}
    assert len(derived) == 300


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("http://127.0.0.1:3001", "http://localhost:3001/", True),
        ("http://127.0.0.1:3001", "http://[::1]:3001", True),
        ("http://Node.example", "http://node.example:80", True),
        ("https://node.example", "https://node.example:443", True),
        ("http://127.0.0.1:3001", "http://127.0.0.1:3002", False),
        ("http://proxy/one", "http://proxy/two", False),
    ],
)
def test_the_same_node_by_another_url(one: str, other: str, same: bool) -> None:
    assert (node_key(one) == node_key(other)) is same


@pytest.mark.parametrize("name", ["", ".hidden", "a b", "a/b", "ä", "x" * 65, None, 5])
def test_what_is_no_name_of_an_instance_is_refused(name: object) -> None:
    with pytest.raises(InvalidInputError, match=r"instance"):
        PoolOptions(instance=name)


def test_options_that_contradict_the_namespace_are_refused() -> None:
    with pytest.raises(InvalidInputError, match=r"listen host '127.0.0.1': is for the shared namespace"):
        PoolOptions(listen_host="127.0.0.1", namespace=PortRange(40_000, 40_001))
    with pytest.raises(InvalidInputError, match=r"listen host 'localhost:1'"):
        PoolOptions(listen_host="localhost:1")
    with pytest.raises(InvalidInputError, match=r"connect host 'localhost': is no ip address"):
        PoolOptions(connect_host="localhost")


async def test_a_range_smaller_than_the_sessions_wanted_is_refused() -> None:
    async with memory_world(SimulatorConfig(relayers=3)) as world:
        options = PoolOptions(namespace=PortRange(40_000, 40_001))
        with pytest.raises(InvalidInputError, match=r"port range '40000-40001': has 2 ports for 3 sessions; widen it"):
            Node(world.hoprd, NodeOptions(relayers=world.relayers), options)


# -- ports


@given(
    size=st.integers(1, 6),
    seed=st.integers(0, 9),
    steps=st.lists(
        st.tuples(
            st.sampled_from(["take", "take", "free", "occupy", "wait"]),
            st.integers(99, 106),
            st.integers(0, 3),
            st.frozensets(st.integers(100, 105), max_size=3),
        ),
        max_size=60,
    ),
)
def test_a_port_is_never_given_out_while_it_is_used_or_rests(
    size: int, seed: int, steps: list[tuple[str, int, int, frozenset[int]]]
) -> None:
    ports, now = Ports(100, 99 + size, random.Random(seed)), 0.0
    every, in_use, rests = set(range(100, 100 + size)), set[int](), dict[int, float]()
    for name, port, seconds, avoid in steps:
        resting = {each: until for each, until in rests.items() if until > now}
        free = every - in_use - resting.keys()
        if name == "wait":
            now += seconds
        elif name == "free":
            ports.free(port, now + seconds)
            if port in in_use:
                in_use.remove(port)
                rests[port] = now + seconds
        elif name == "occupy":
            if port in free and port not in rests:
                ports.occupy(port)
                in_use.add(port)
        elif free - avoid:
            taken = ports.take(now, avoid)
            assert taken in free - avoid
            in_use.add(taken)
            rests.pop(taken, None)
        else:
            with pytest.raises(PortsUsedUpError) as caught:
                ports.take(now, avoid)
            soonest = min(resting.values(), default=None)
            assert caught.value.free_in == (None if soonest is None else soonest - now)


def test_the_port_that_has_been_free_for_the_longest_time_comes_first() -> None:
    ports = Ports(1, 3, random.Random(0))
    first = [ports.take(0.0) for _ in range(3)]
    for port in reversed(first):
        ports.free(port, until=0.0)
    assert sorted(first) == [1, 2, 3]
    # Those whose rest ends at the same moment come back by number.
    assert [ports.take(1.0) for _ in range(3)] == [1, 2, 3]


def test_the_error_says_how_many_and_how_long() -> None:
    ports = Ports(7, 8, random.Random(0))
    ports.free(ports.take(0.0), until=210.0)
    ports.take(0.0)
    with pytest.raises(
        PortsUsedUpError, match=r"no port of 7-8 is free: 1 in use, 1 in quarantine, the next.*in 200 s"
    ):
        ports.take(10.0)


# -- where listeners go


def _listing(*listeners: tuple[str, int]) -> Listing:
    return Listing(
        0.0,
        {
            key: Listener(key, NOBODY, "#0", None, None, 1020, 395)
            for key in (ListenerKey("udp", ip, port) for ip, port in listeners)
        },
    )


async def test_listed_ports_are_not_asked_for(autojump_clock: MockClock) -> None:
    territory = Territory(PortRange(5000, 5001), None, random.Random(0))
    taken = _listing(("127.0.0.1", 5000), ("0.0.0.0", 4999))
    assert territory.place(REQUEST, taken).listen_host == ":5001"
    with pytest.raises(PortsUsedUpError):
        territory.place(REQUEST, taken)
    elsewhere = Territory(PortRange(5000, 5000, "::1"), None, random.Random(0))
    assert elsewhere.place(REQUEST, taken).listen_host == "[::1]:5000"


async def test_a_port_of_a_range_rests_after_its_listener(autojump_clock: MockClock) -> None:
    territory = Territory(PortRange(5000, 5000), None, random.Random(0))
    placed = territory.place(REQUEST, None)
    territory.vacate(placed, there_was_one=False, may_be_one=False)
    territory.vacate(territory.place(REQUEST, None), there_was_one=True, may_be_one=False)
    await trio.sleep(209.9)
    with pytest.raises(PortsUsedUpError):
        territory.place(REQUEST, None)
    await trio.sleep(0.1)
    assert territory.place(REQUEST, None) == placed


async def test_a_port_of_our_own_address_rests_only_after_a_listener_that_may_be_there(
    autojump_clock: MockClock,
) -> None:
    territory = Territory(DedicatedAddress(), "127.1.2.3", random.Random(0))
    placed = territory.place(REQUEST, None)
    ip, _, port = str(placed.listen_host).partition(":")
    assert ip == "127.1.2.3"
    assert 10_000 <= int(port) <= 32_767
    assert territory.is_ours(ListenerKey("udp", "127.1.2.3", 1))
    assert not territory.is_ours(ListenerKey("udp", "127.0.0.1", int(port)))


@pytest.mark.parametrize("kind", ["dedicated", "range"])
async def test_listeners_are_where_they_belong(autojump_clock: MockClock, kind: str) -> None:
    async with memory_world(SimulatorConfig(relayers=8)) as world, world.pool(in_namespace(kind)) as pool:
        for relayer in world.relayers:
            await pool.session(relayer)
        listeners = world.sim.node.listeners()
        (ip,) = {listener.ip for listener in listeners}
        ports = {listener.port for listener in listeners}
        assert len(ports) == 8
        if kind == "dedicated":
            assert ip == derive_address(node_key(world.hoprd.url), f"tests-{os.getpid()}")
            assert ports <= set(range(10_000, 32_768))
        else:
            assert ip == "127.0.0.1"
            assert ports <= set(range(40_000, 41_000))


async def test_a_range_that_is_used_up_says_so_and_opens_again_when_it_is_not(autojump_clock: MockClock) -> None:
    options = PoolOptions(namespace=PortRange(40_000, 40_000), open_attempts=1)
    async with memory_world() as world:
        stranger = world.sim.node.add_stranger()
        async with world.pool(options) as pool:
            session = await pool.session(world.relayers[0])
            with pytest.raises(SessionOpenError, match=r"no port of 40000-40000 is free: 1 in use") as caught:
                await pool.session(world.relayers[1])
            assert isinstance(caught.value.__cause__, PortsUsedUpError)
            session.close()
            await session.wait_closed()
            await trio.sleep(210)
            await pool.session(world.relayers[1])
            assert world.sim.node.counters.calls["open"] == 2
        assert pool.report.clean
        assert [record.session_id for record in world.sim.node.listeners()] == [stranger.session_id]


async def test_a_connect_host_leads_to_a_node_that_is_bound_to_all_addresses(autojump_clock: MockClock) -> None:
    options = PoolOptions(namespace=PortRange(40_000, 40_999, "0.0.0.0"), connect_host="127.0.0.1")
    async with memory_world(SimulatorConfig(listen_host="0.0.0.0")) as world:
        async with world.pool(options) as pool:
            session = await pool.session(world.relayers[0])
            assert session.info.listener is not None
            assert session.info.listener.key.ip == "0.0.0.0"
            assert (await session.relay(5)).answered == 5
        assert pool.report.clean
        world.assert_nothing_left()


# -- one instance of a name


def test_only_one_process_has_an_address_and_the_kernel_frees_it() -> None:
    address = derive_address(f"test {os.getpid()}", "an instance")
    holder = (
        "import sys; from trio_sessions._instance import hold_address\n"
        f"with hold_address({address!r}): print(flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", holder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(InstanceInUseError, match=f"the address {address} is in use by another instance: stop that"):
            with hold_address(address):
                pass
        process.kill()
        process.wait()
        with hold_address(address):
            assert ip_address(address).is_loopback
        with hold_address(address):
            pass


def test_an_address_that_this_machine_has_not_is_refused() -> None:
    with pytest.raises(InvalidInputError, match=r"dedicated address '192.0.2.1': is no address of this machine"):
        with hold_address("192.0.2.1"):
            pass


async def test_a_second_instance_of_the_same_name_is_told_at_once(autojump_clock: MockClock) -> None:
    async with memory_world() as world:
        async with world.pool(in_namespace("dedicated")) as pool:
            session = await pool.session(world.relayers[0])
            with pytest.raises(InstanceInUseError) as caught:
                async with world.pool(in_namespace("dedicated")):
                    pass
            assert "\n" not in str(caught.value)
            # Another name is another address, and neither touches the other's.
            async with world.pool(in_namespace("dedicated", instance=f"second-{os.getpid()}")) as other:
                await other.session(world.relayers[0])
                assert len(world.sim.node.listeners()) == 2
            assert len(world.sim.node.listeners()) == 1
            assert (await session.relay(1)).answered == 1
        world.assert_nothing_left()
