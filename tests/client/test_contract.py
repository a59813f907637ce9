"""Client and simulator together: what the contract says of each dialect is what a caller gets (§1, §2, §3, §5)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import httpx
import pytest
import trio
import trio.testing

from trio_sessions._errors import (
    CannotPinRelayerError,
    ConnectionLostError,
    ListenHostInUseError,
    MalformedReplyError,
    NodeError,
    NodeTimeoutError,
    NodeUnavailableError,
    NotAcceptableError,
    NotFoundError,
    RejectedError,
    ServerFailureError,
    UnauthorizedError,
)
from trio_sessions._hoprd import Hoprd
from trio_sessions._model import Connectivity, ListenerKey, Path, Pinning, SessionRequest
from trio_sessions.simulator import Fault, MemoryNode, SimulatorConfig, open_memory_node

DIALECTS = ("3", "4.0-rc", "4.0", "4.1")
EVERY_DIALECT = pytest.mark.parametrize("dialect", DIALECTS)
Clock = trio.testing.MockClock
Call = Callable[[Hoprd, MemoryNode], Awaitable[object]]


@asynccontextmanager
async def client(config: SimulatorConfig, **settings: str | None) -> AsyncIterator[tuple[Hoprd, MemoryNode]]:
    """A node of ``config`` and a client of it."""
    async with open_memory_node(config) as sim:
        token = settings.get("token", sim.token)
        async with Hoprd(sim.url, token=token, transport=sim.transport) as hoprd:
            yield hoprd, sim


def by_hops(sim: MemoryNode, **changes: object) -> SessionRequest:
    """A session to the first exit over one hop."""
    values = {"destination": sim.node.destinations[0], "forward": Path(hops=1), "back": Path(hops=1)}
    return SessionRequest(**(values | changes))  # type: ignore[arg-type]


def by_relayer(sim: MemoryNode, **changes: object) -> SessionRequest:
    """A session to the first exit through the first relayer."""
    path = Path(via=(sim.node.relayers[0],))
    return by_hops(sim, forward=path, back=path, **changes)


@pytest.mark.parametrize(
    ("dialect", "explicit", "name", "pinning"),
    [
        ("3", True, "3.x", Pinning.INTERMEDIATE_PATH),
        ("4.0-rc", True, "4.0", Pinning.NONE),
        ("4.0", True, "4.0", Pinning.EXPLICIT_PATH_ROUTE),
        ("4.0", False, "4.0", Pinning.NONE),
        ("4.1", True, "4.1", Pinning.EXPLICIT_PATH_ROUTE),
        ("4.1", False, "4.1", Pinning.NONE),
    ],
)
async def test_relayers(dialect: str, explicit: bool, name: str, pinning: Pinning, autojump_clock: Clock) -> None:
    """§1.5, §2.1, §2.2: what a node takes, found without opening anything."""
    async with client(SimulatorConfig(dialect=dialect, explicit_path=explicit)) as (hoprd, sim):
        found = await hoprd.probe()
        assert (found.name, found.pinning) == (name, pinning)
        if pinning is Pinning.NONE:
            with pytest.raises(CannotPinRelayerError) as caught:
                await hoprd.open_session(by_relayer(sim))
            assert ("upgrade" in caught.value.remedy) is (dialect == "4.0-rc")
            assert sim.node.listeners() == ()
            return
        listener = await hoprd.open_session(by_relayer(sim))
        assert listener.forward == listener.back == Path(via=(sim.node.relayers[0],))
        [record] = sim.node.listeners()
        assert (record.ip, record.port) == (listener.key.ip, listener.key.port)


@pytest.mark.parametrize(("dialect", "mtu"), [("3", 1002), ("4.0-rc", 1018), ("4.0", 1020), ("4.1", 1020)])
async def test_life_of_a_listener(dialect: str, mtu: int, autojump_clock: Clock) -> None:
    """§2.1, §2.3, §2.4."""
    async with client(SimulatorConfig(dialect=dialect)) as (hoprd, sim):
        stranger = sim.node.add_stranger()
        listener = await hoprd.open_session(by_hops(sim))
        assert (listener.hopr_mtu, listener.surb_len, listener.target) == (mtu, 395, "#0")
        listed = {each.key: each for each in await hoprd.list_sessions()}
        assert listed.keys() == {listener.key, ListenerKey("udp", stranger.ip, stranger.port)}
        assert listed[listener.key].same_as(listener)
        assert await hoprd.list_sessions("tcp") == ()
        assert await hoprd.close_session(listener.key) is True
        assert await hoprd.close_session(listener.key) is False
        assert [record.port for record in sim.node.listeners()] == [stranger.port]


@EVERY_DIALECT
async def test_all_listeners_of_an_address(dialect: str, autojump_clock: Clock) -> None:
    """§2.4: port 0 closes all of that address and protocol, and no others."""
    async with client(SimulatorConfig(dialect=dialect)) as (hoprd, sim):
        elsewhere = sim.node.add_stranger(ip="127.64.0.2")
        other_protocol = sim.node.add_stranger(ip="127.64.0.1", protocol="tcp")
        for _ in range(3):
            listener = await hoprd.open_session(by_hops(sim, listen_host="127.64.0.1:0"))
            assert listener.key.ip == "127.64.0.1"
        assert await hoprd.close_address("127.64.0.1") is True
        assert await hoprd.close_address("127.64.0.1") is False
        assert {record.session_id for record in sim.node.listeners()} == {
            elsewhere.session_id,
            other_protocol.session_id,
        }


@EVERY_DIALECT
async def test_tcp(dialect: str, autojump_clock: Clock) -> None:
    """§3.1: 200 without contacting the peer."""
    async with client(SimulatorConfig(dialect=dialect)) as (hoprd, sim):
        listener = await hoprd.open_session(by_hops(sim, protocol="tcp"))
        assert (listener.key.protocol, listener.clients) == ("tcp", ())
        [listed] = await hoprd.list_sessions("tcp")
        assert listed.same_as(listener)
        assert await hoprd.close_session(listener.key)


@EVERY_DIALECT
async def test_what_a_node_tells(dialect: str, autojump_clock: Clock) -> None:
    """§2.6, §2.7."""
    async with client(SimulatorConfig(dialect=dialect)) as (hoprd, sim):
        assert await hoprd.addresses() == sim.node.address
        assert {peer.address for peer in await hoprd.peers()} == {*sim.node.relayers, *sim.node.destinations}
        assert await hoprd.peers(quality=1.0) == ()
        sim.node.set_connected(sim.node.relayers[0], False)
        assert sim.node.relayers[0] not in {peer.address for peer in await hoprd.peers()}
        sim.node.set_channel(sim.node.relayers[1], "PendingToClose")
        channels = await hoprd.channels()
        assert {channel.peer for channel in channels.outgoing if channel.is_open} == {
            sim.node.relayers[0],
            sim.node.relayers[2],
        }
        assert channels.all == ()
        assert {channel.source for channel in (await hoprd.channels(full_topology=True)).all} >= {sim.node.address}
        assert (await hoprd.balances()).native.token == "xDai"
        assert await hoprd.version()
        assert (await hoprd.info()).connectivity in Connectivity
        status = await hoprd.status()
        assert (status is None) is (dialect == "3")
        assert [await hoprd.check(name) for name in ("startedz", "readyz", "healthyz", "eligiblez")] == [True] * 4


@EVERY_DIALECT
async def test_configuration(dialect: str, autojump_clock: Clock) -> None:
    """§2.5, row by row."""
    async with client(SimulatorConfig(dialect=dialect)) as (hoprd, sim):
        on = await hoprd.open_session(by_hops(sim, response_buffer=2_000_000, max_surb_upstream=1_000_000))
        off = await hoprd.open_session(by_hops(sim))
        [on_id], [off_id] = on.clients, off.clients
        await hoprd.set_session_config(on_id, response_buffer=4_000_000, max_surb_upstream=2_000_000)
        config = await hoprd.session_config(on_id)
        assert 3_500_000 < config.response_buffer <= 4_100_000
        assert 1_900_000 < config.max_surb_upstream <= 2_000_000
        with pytest.raises(RejectedError, match="HTTP 400 INVALID_INPUT"):
            await hoprd.set_session_config(on_id, response_buffer=0)
        with pytest.raises(NotFoundError, match="SESSION_NOT_FOUND"):
            await hoprd.session_config(off_id)
        with pytest.raises(NotAcceptableError, match="UNKNOWN_FAILURE"):
            await hoprd.set_session_config(off_id, response_buffer=4_000_000)
        with pytest.raises(RejectedError, match="INVALID_SESSION_ID"):
            await hoprd.session_config("nonsense")
        await hoprd.close_session(on.key)
        unknown = "0x" + "f" * 20 + (":1" if ":" in on_id else "")
        with pytest.raises(RejectedError if dialect == "3" else NotFoundError):
            await hoprd.session_config(unknown)
        with pytest.raises(NotFoundError, match="SESSION_NOT_FOUND"):
            await hoprd.set_session_config(unknown, response_buffer=4_000_000)


CALLS: dict[str, Call] = {
    "probe": lambda hoprd, _: hoprd.probe(),
    "addresses": lambda hoprd, _: hoprd.addresses(),
    "peers": lambda hoprd, _: hoprd.peers(),
    "channels": lambda hoprd, _: hoprd.channels(),
    "balances": lambda hoprd, _: hoprd.balances(),
    "version": lambda hoprd, _: hoprd.version(),
    "info": lambda hoprd, _: hoprd.info(),
    "status": lambda hoprd, _: hoprd.status(),
    "open": lambda hoprd, sim: hoprd.open_session(by_hops(sim)),
    "open through a relayer": lambda hoprd, sim: hoprd.open_session(by_relayer(sim)),
    "list": lambda hoprd, _: hoprd.list_sessions(),
    "close": lambda hoprd, _: hoprd.close_session(ListenerKey("udp", "127.0.0.1", 4711)),
    "config": lambda hoprd, _: hoprd.session_config("0xab"),
    "set config": lambda hoprd, _: hoprd.set_session_config("0xab"),
}
EVERY_CALL = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)


@EVERY_DIALECT
@EVERY_CALL
@pytest.mark.parametrize("token", [None, "another-token"], ids=["no token", "wrong token"])
async def test_unauthorized(dialect: str, call: Call, token: str | None, autojump_clock: Clock) -> None:
    """§1.2: also an unknown route is 401 then, and must not be taken for a known one."""
    async with client(SimulatorConfig(dialect=dialect), token=token) as (hoprd, sim):
        with pytest.raises(UnauthorizedError, match="check the API token"):
            await call(hoprd, sim)
        assert await hoprd.check("healthyz")  # needs none


@EVERY_DIALECT
async def test_a_node_without_a_token(dialect: str, autojump_clock: Clock) -> None:
    """§1.2: every request passes then, with any token."""
    async with client(SimulatorConfig(dialect=dialect, token=None), token="some-token") as (hoprd, _):
        assert await hoprd.list_sessions() == ()


@EVERY_CALL
@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault(kind="hang"), NodeError),
        (Fault(kind="reset"), NodeError),
        (Fault(kind="status", status=500), ServerFailureError),
        (Fault(kind="status", status=503), ServerFailureError),
        (Fault(kind="garbage"), MalformedReplyError),
    ],
    ids=["hang", "reset", "500", "503", "garbage"],
)
async def test_every_call_that_fails(call: Call, fault: Fault, error: type[NodeError], autojump_clock: Clock) -> None:
    """§5, and the next call works."""
    async with client(SimulatorConfig()) as (hoprd, sim):
        if call in (CALLS["peers"], CALLS["status"], CALLS["open through a relayer"]):
            await hoprd.probe()
        sim.node.add_fault(fault)
        if fault.kind == "garbage" and call in (CALLS["close"], CALLS["set config"]):
            error = NodeError  # without a body to spoil
        with pytest.raises(error) as caught:
            await call(hoprd, sim)
        if fault.kind == "hang":
            assert type(caught.value) is NodeTimeoutError
        if fault.kind == "reset":
            assert type(caught.value) is ConnectionLostError
        sim.node.clear_faults()
        assert await hoprd.addresses() == sim.node.address


@EVERY_DIALECT
async def test_refused_opens(dialect: str, autojump_clock: Clock) -> None:
    """§2.1, §3.4, §5: the text says why, the time is the node's."""
    async with client(SimulatorConfig(dialect=dialect, max_sessions=1)) as (hoprd, sim):
        node, began = sim.node, trio.current_time()
        with pytest.raises(RejectedError, match="loopback"):
            await hoprd.open_session(by_hops(sim, destination=node.address))
        with pytest.raises(RejectedError, match="timed out"):
            await hoprd.open_session(by_hops(sim, destination="0x" + "9" * 40))
        assert 86 <= trio.current_time() - began <= 105  # four attempts of 20 s, not our own time-out
        node.set_running(False)
        with pytest.raises(RejectedError):
            await hoprd.open_session(by_hops(sim))
        assert not await hoprd.check("startedz")
        node.set_running(True)
        listener = await hoprd.open_session(by_hops(sim, listen_host="127.0.0.1:4711"))
        with pytest.raises(ListenHostInUseError):
            await hoprd.open_session(by_hops(sim, listen_host="127.0.0.1:4711"))
        with pytest.raises(RejectedError, match="exceeds the maximum"):
            await hoprd.open_session(by_hops(sim))
        assert [record.port for record in node.listeners()] == [listener.key.port]


@EVERY_DIALECT
async def test_the_slowest_answer_is_waited_for(dialect: str, autojump_clock: Clock) -> None:
    """§3.3: an open that fails after all of the node's retries fails with the node's words, not with our time-out."""
    async with client(SimulatorConfig(dialect=dialect)) as (hoprd, sim):
        for hops in range(4):
            path = Path(hops=hops)
            request = by_hops(sim, destination="0x" + "9" * 40, forward=path, back=path, response_buffer=None)
            with pytest.raises(RejectedError, match="timed out"):
                await hoprd.open_session(request)


@pytest.mark.parametrize(
    ("kind", "error", "left"),
    [("reply-lost", ConnectionLostError, 1), ("reply-hangs", NodeTimeoutError, 1), ("port0", MalformedReplyError, 1)],
)
async def test_opens_that_leave_a_listener_behind(
    kind: str, error: type[NodeError], left: int, autojump_clock: Clock
) -> None:
    """§3.3: the caller knows from the error that it has to look."""
    async with client(SimulatorConfig(faults=(Fault(kind=kind, call="open", count=1),))) as (hoprd, sim):
        with pytest.raises(error):
            await hoprd.open_session(by_hops(sim))
        assert len(await hoprd.list_sessions()) == left


async def test_a_cancelled_open_leaves_the_client_usable(autojump_clock: Clock) -> None:
    """§3.3: nothing is left at the node either, unless completion and disconnect race."""
    async with client(SimulatorConfig(open_latency=5)) as (hoprd, sim):
        with trio.move_on_after(1) as scope:
            await hoprd.open_session(by_hops(sim))
        assert scope.cancelled_caught
        assert await hoprd.list_sessions() == ()


async def test_a_list_that_is_null(autojump_clock: Clock) -> None:
    async with client(SimulatorConfig(faults=(Fault(kind="null", call="list", count=1),))) as (hoprd, _):
        with pytest.raises(MalformedReplyError, match="not a list"):
            await hoprd.list_sessions()
        assert await hoprd.list_sessions() == ()


@EVERY_DIALECT
async def test_restart(dialect: str, autojump_clock: Clock) -> None:
    """§3.8, §5: nothing survives, connections are refused meanwhile, and closing what is gone is no error."""
    async with client(SimulatorConfig(dialect=dialect)) as (hoprd, sim):
        listener = await hoprd.open_session(by_hops(sim))
        await hoprd.probe()
        sim.node.restart(down_for=10)
        if dialect != "3":  # whose API is up before the node
            with pytest.raises(NodeUnavailableError):
                await hoprd.list_sessions()
            assert hoprd.dialect is None
            await trio.sleep(11)
        assert await hoprd.list_sessions() == ()
        assert await hoprd.close_session(listener.key) is False


@pytest.mark.parametrize("before", DIALECTS)
@pytest.mark.parametrize("after", DIALECTS)
async def test_back_as_another_dialect(before: str, after: str, autojump_clock: Clock) -> None:
    """§1.5, §2.1: an idle client notices nothing of the restart; at most one call fails, and none does harm."""
    async with (
        open_memory_node(SimulatorConfig(dialect=before)) as old,
        open_memory_node(SimulatorConfig(dialect=after)) as new,
    ):
        switch = _Switch(old)
        async with Hoprd(old.url, token=old.token, transport=switch) as hoprd:
            await hoprd.peers()
            switch.sim = new
            try:
                await hoprd.open_session(by_relayer(new))
            except (NotAcceptableError, RejectedError):
                assert new.node.listeners() == ()
            except CannotPinRelayerError:
                assert before == "4.0-rc"
            try:
                await hoprd.peers()
            except NotAcceptableError:
                await hoprd.peers()


class _Switch(httpx.AsyncBaseTransport):
    """The same address, and behind it another node."""

    def __init__(self, sim: MemoryNode) -> None:
        self.sim = sim

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return await self.sim.transport.handle_async_request(request)
