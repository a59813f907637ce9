"""What the errors of failed opens say to check: the contract's own texts, in each dialect, and any text at all."""

from __future__ import annotations

import errno

import pytest
import trio
from hypothesis import given, strategies as st

from tests.worlds import NOBODY, faulty, memory_world
from trio_sessions import (
    CannotPinRelayerError,
    ConnectionLostError,
    Dialect,
    InstanceInUseError,
    InvalidInputError,
    JournalError,
    ListenHostInUseError,
    MalformedReplyError,
    NoDestinationError,
    NodeTimeoutError,
    NodeUnavailableError,
    NotAcceptableError,
    NotFoundError,
    NotReadyError,
    Path,
    Pinning,
    PoolOptions,
    PortsUsedUpError,
    RejectedError,
    ServerFailureError,
    SessionOpenError,
    SessionRequest,
    SessionsError,
    UnauthorizedError,
)
from trio_sessions._advice import advise
from trio_sessions.simulator import SimulatorConfig

RELAYER, EXIT = "0x" + "aa" * 20, "0x" + "bb" * 20
PINNED = SessionRequest(EXIT, Path(via=(RELAYER,)), Path(via=(RELAYER,)))
SECRET = "secret-token-of-the-node"

DIALECTS = {
    name: Dialect(name, pinning, "", connected_route=name != "3.x", status_route=name != "3.x")
    for name, pinning in {
        "3.x": Pinning.INTERMEDIATE_PATH,
        "4.0": Pinning.EXPLICIT_PATH_ROUTE,
        "4.1": Pinning.EXPLICIT_PATH_ROUTE,
    }.items()
}

#: The daemon's inner texts (contract §2.1, §3.2, §3.3, §5), and what the first and some later advice is about.
TEXTS = {
    "session operation timed out": ("outgoing channel to the relayer", "is connected", "fullTopology", "log"),
    "connection timed out": ("outgoing channel to the relayer", "is connected", "fullTopology", "log"),
    "the other party rejected session initiation with error: NoSlotsAvailable": ("another destination", "operator"),
    "the other party rejected session initiation with error: Busy": ("try again later", "operator"),
    "the other party rejected session initiation with error: Unknown": ("another destination", "its log"),
    "number of sessions exceeds the maximum allowed": ("trio-sessions list", "reap", "180 to 203 s", "limit"),
    "loopback sessions are not allowed": ("is the node itself",),
    "all challenge slots are occupied": ("fewer sessions at once",),
    "no valid socket addresses found within range: 40000:40009": ("list", "HOPRD_SESSION_PORT_RANGE", "dedicated"),
    "invalid port range 1:": ("HOPRD_SESSION_PORT_RANGE",),
    "address not available": ("no other program has the port", "few seconds", "shared"),
    "node not ready: the node is not in the state Running": ("/startedz", "/node/status", "log"),
    f"invalid/unknown intermediate path node address '{RELAYER}'": ("relayer's address", "is connected"),
    "explicit path routing is only supported on /session/{protocol}/explicit-path": ("try again",),
    "a path has at most 3 hops": ("at most 3 relayers",),
    "something that nobody has heard of": ("log", "relayer and destination"),
}


#: What the routes themselves say comes as it is.
NOT_WRAPPED = ("invalid/unknown intermediate path", "explicit path routing", "a path has")


def refused(text: str, dialect: str = "3.x", word: str | None = "UNKNOWN_FAILURE") -> RejectedError:
    """As the dialect wraps it (contract §2.1)."""
    if dialect != "3.x" and not text.startswith(NOT_WRAPPED):
        text = f"failed to start UDP listener on 127.0.0.1:10000: unknown failure: {text}"
    path = "/api/v4/session/udp" + ("" if dialect == "3.x" else "/explicit-path")
    return RejectedError("POST", path, status=422, word=word, text=text)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(("text", "told"), TEXTS.items(), ids=TEXTS)
def test_what_the_daemon_says(text: str, told: tuple[str, ...], dialect: str) -> None:
    advice = advise(refused(text, dialect), PINNED, DIALECTS[dialect])
    assert told[0] in advice[0]
    places = [next((place for place, step in enumerate(advice) if what in step), None) for what in told]
    assert None not in places, (told, advice)
    assert places == sorted(place for place in places if place is not None)
    if "exceeds" in text:
        assert ("2048" if dialect == "3.x" else "100 sessions") in advice[-1]


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("text", TEXTS)
def test_the_error_of_a_session_is_one_readable_line(text: str, dialect: str) -> None:
    cause = refused(text, dialect)
    advice = advise(cause, PINNED, DIALECTS[dialect])
    error = SessionOpenError(RELAYER, f"could not be opened: {cause}", attempts=3, retry_in=1, advice=advice)
    assert str(error).endswith(f"; {advice[0]}")
    assert len(str(error).splitlines()) == 1
    assert len(str(error)) < 300


@pytest.mark.parametrize(
    ("hops", "first"),
    [(0, "is among the node's peers"), (1, "open outgoing channels with funds"), (3, "open outgoing channels")],
)
def test_a_time_out_by_hops_names_no_relayer(hops: int, first: str) -> None:
    request = SessionRequest(EXIT, Path(hops=hops), Path(hops=hops))
    advice = advise(refused("session operation timed out"), request)
    assert first in advice[0]
    assert not any("the relayer" in step for step in advice)
    assert not hops or any(f"{hops} hop" in step for step in advice)


def no_descriptors() -> SessionsError:
    error = NodeUnavailableError("POST", "/", "no connection")
    error.__cause__ = OSError(errno.EMFILE, "Too many open files")
    return error


ERRORS = {
    "401": (UnauthorizedError("POST", "/", status=401, word="UNAUTHORIZED"), "check the API token"),
    "404": (NotFoundError("POST", "/", status=404), "--enableExplicitPathSessions"),
    "406": (NotAcceptableError("POST", "/", status=406), "--enableExplicitPathSessions"),
    "409": (ListenHostInUseError("POST", "/", status=409, word="LISTEN_HOST_ALREADY_USED"), "another port"),
    "412": (NotReadyError("POST", "/", status=412), "/startedz"),
    "415, the framework's": (RejectedError("POST", "/", status=415, text="Expected request with"), "changes the"),
    "422, the framework's": (refused("Failed to deserialize: timed out", word=None), "changes the request"),
    "500": (ServerFailureError("POST", "/", status=500), "daemon's log"),
    "502": (ServerFailureError("POST", "/", status=502), "behind the proxy"),
    "misshapen": (MalformedReplyError("POST", "/", "is no object"), "check the URL"),
    "refused": (NodeUnavailableError("POST", "/", "no connection"), "the daemon runs"),
    "no reply": (NodeTimeoutError("POST", "/", "no reply within 97 s"), "not overloaded"),
    "lost": (ConnectionLostError("POST", "/", "connection lost"), "restarted or crashed"),
    "no pinning": (CannotPinRelayerError("4.1", "switch on X"), "switch on X"),
    "no destination": (NoDestinationError(RELAYER, None), "wait for the node to connect"),
    "destinations away": (NoDestinationError(RELAYER, 2), "online"),
    "ports used up": (PortsUsedUpError("1-2", in_use=1, resting=1, free_in=3), "widen the range"),
    "another instance": (InstanceInUseError("the address", "stop that one"), "stop that one"),
    "journal": (JournalError("/j", "it is damaged", "move it away"), "move it away"),
    "no descriptors": (no_descriptors(), "ulimit -n"),
    "no socket": (SessionOpenError(RELAYER, "no local socket for it", attempts=1, retry_in=0), "--connect-host"),
}


@pytest.mark.parametrize(("error", "first"), ERRORS.values(), ids=ERRORS)
def test_every_error_that_an_open_ends_with(error: SessionsError, first: str) -> None:
    advice = advise(error, PINNED, DIALECTS["4.1"])
    assert first in advice[0]
    assert all(len(step.splitlines()) == 1 and len(step) < 200 for step in advice)


def test_what_says_all_itself_gets_no_advice() -> None:
    assert advise(InvalidInputError("relayer", "x", "no address", "write one")) == ()
    with_hint = SessionOpenError(RELAYER, "HTTP 401; check the API token", attempts=1, retry_in=1)
    before = str(with_hint)
    with_hint.advice = ("check the API token", "something else")
    assert str(with_hint) == before


@given(
    st.one_of(st.text(), st.sampled_from(sorted(TEXTS))),
    st.text(max_size=40),
    st.sampled_from([None, "UNKNOWN_FAILURE", SECRET]),
    st.sampled_from([400, 401, 404, 406, 409, 412, 413, 415, 422, 429, 500, 503]),
    st.sampled_from([None, *DIALECTS.values()]),
    st.sampled_from([None, PINNED]),
)
def test_any_text_of_a_node_gives_advice_without_it(
    before: str, after: str, word: str | None, status: int, dialect: Dialect | None, request: SessionRequest | None
) -> None:
    kinds: dict[int, type[UnauthorizedError | RejectedError | ServerFailureError]] = {401: UnauthorizedError}
    kind = kinds.get(status, ServerFailureError if status >= 500 else RejectedError)
    error = kind("POST", f"/{SECRET}", status=status, word=word, text=f"{before}{SECRET}{after}")
    advice = advise(error, request, dialect)
    assert advice
    assert all(step and step.isprintable() and SECRET not in step for step in advice)


@pytest.mark.parametrize("dialect", ["3", "4.0", "4.1"])
async def test_the_client_and_the_pool_hand_the_advice_on(dialect: str, autojump_clock: object) -> None:
    async with memory_world(SimulatorConfig(dialect=dialect)) as world:
        relayer = world.relayers[0]
        world.sim.node.set_channel(relayer, "Closed")
        request = SessionRequest(world.sim.node.destinations[0], Path(via=(relayer,)), Path(via=(relayer,)))
        with pytest.raises(RejectedError) as caught:
            await world.hoprd.open_session(request)
        assert "outgoing channel to the relayer" in caught.value.advice[0]
        async with world.pool(PoolOptions(open_attempts=1)) as pool:
            with pytest.raises(SessionOpenError) as told:
                await pool.session(relayer)
        assert told.value.advice == caught.value.advice
        assert str(told.value).endswith(told.value.advice[0])
        world.assert_nothing_left()


async def test_a_full_node_is_told_with_the_limit_of_its_dialect(autojump_clock: object) -> None:
    async with memory_world(faulty("cap")) as world, world.pool(PoolOptions(open_attempts=1)) as pool:
        with pytest.raises(SessionOpenError) as told:
            await pool.session(destination=world.sim.node.destinations[0], hops=1)
        assert any("100 sessions" in step for step in told.value.advice)


async def test_without_a_destination_the_advice_comes_from_us(autojump_clock: object) -> None:
    async with memory_world() as world, world.pool(PoolOptions(open_attempts=1, destinations=(NOBODY,))) as pool:
        with pytest.raises(SessionOpenError) as told:
            await pool.session(world.relayers[0])
        assert "online" in told.value.advice[0]


async def test_who_does_not_wait_for_the_node_hears_at_once_that_it_is_not_ready(autojump_clock: object) -> None:
    async with memory_world() as world:
        world.sim.node.set_running(False)
        async with world.pool(PoolOptions(open_attempts=1, wait_for_node=False)) as pool:
            with trio.fail_after(1), pytest.raises(SessionOpenError) as told:
                await pool.session(world.relayers[0])
            assert "wait until the node runs" in told.value.advice[0]
        async with world.pool(PoolOptions(open_attempts=1)) as pool:
            with trio.move_on_after(100) as waiting:
                await pool.session(world.relayers[0])
            assert waiting.cancelled_caught
