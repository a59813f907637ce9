"""Each call as it goes over the wire and comes back, against a real server of canned replies."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import TypeVar

import pytest

from trio_sessions._errors import (
    CannotPinRelayerError,
    InvalidInputError,
    MalformedReplyError,
    NotFoundError,
    RejectedError,
)
from trio_sessions._hoprd import Hoprd
from trio_sessions._model import (
    Balance,
    Capability,
    Channel,
    Connectivity,
    Listener,
    ListenerKey,
    Path,
    Peer,
    SessionConfig,
    SessionRequest,
    TopologyChannel,
)

from .support import (
    API,
    BY_HOPS,
    BY_RELAYER,
    EXIT,
    RELAYER,
    ROUTES,
    TOKEN,
    Asked,
    error_json,
    http,
    http_json,
    listener_json,
    raw_node,
    routed,
)

T = TypeVar("T")

KEY = ListenerKey("udp", "127.0.0.1", 4711)
LISTENER = Listener(
    key=KEY,
    destination=EXIT.lower(),
    target="#0",
    forward=Path(hops=1),
    back=Path(hops=1),
    hopr_mtu=1002,
    surb_len=395,
    clients=("0xabcd:5",),
    response_buffer="0 KB",
)


async def ask(reply: bytes, call: Callable[[Hoprd], Awaitable[T]], token: str | None = TOKEN) -> tuple[T, Asked]:
    """The result of ``call`` to a node that answers everything with ``reply``, and what it was asked."""
    async with raw_node(lambda _: reply) as node, Hoprd(node.url, token=token) as hoprd:
        result = await call(hoprd)
        [asked] = node.asked
        return result, asked


async def test_headers_of_an_api_call() -> None:
    version, asked = await ask(http_json({"version": "3.0.1"}), lambda hoprd: hoprd.version())
    assert version == "3.0.1"
    assert (asked.method, asked.target) == ("GET", f"{API}/node/version")
    assert asked.headers["accept"] == "application/json"
    assert asked.headers["authorization"] == f"Bearer {TOKEN}"
    assert asked.headers["accept-encoding"] == "identity"
    assert "cookie" not in asked.headers


async def test_without_a_token_no_header() -> None:
    _, asked = await ask(http_json({"native": EXIT}), lambda hoprd: hoprd.addresses(), token=None)
    assert "authorization" not in asked.headers


async def test_a_path_before_the_api() -> None:
    async with raw_node(lambda _: http_json({"native": EXIT})) as node, Hoprd(f"{node.url}/node-1/") as hoprd:
        assert hoprd.url == f"{node.url}/node-1"
        assert await hoprd.addresses() == EXIT
        assert node.paths() == [f"GET /node-1{API}/account/addresses"]


async def test_balances() -> None:
    reply = {"native": "1 xDai", "hopr": "2 wxHOPR", "safeNative": "0.3 xDai", "safeHopr": "4 wxHOPR"}
    balances, _ = await ask(http_json(reply | {"safeHoprAllowance": "5 wxHOPR"}), lambda hoprd: hoprd.balances())
    assert str(balances) == (
        "Balances(native=Balance(amount=Decimal('1'), token='xDai'), "
        "hopr=Balance(amount=Decimal('2'), token='wxHOPR'), "
        "safe_native=Balance(amount=Decimal('0.3'), token='xDai'), "
        "safe_hopr=Balance(amount=Decimal('4'), token='wxHOPR'), "
        "safe_hopr_allowance=Balance(amount=Decimal('5'), token='wxHOPR'))"
    )


async def test_channels() -> None:
    item = {"id": "0x1", "peerAddress": RELAYER, "status": "Open", "balance": "10 wxHOPR"}
    body = {"incoming": [item], "outgoing": [item | {"status": "PendingToClose"}], "all": []}
    channels, asked = await ask(http_json(body), lambda hoprd: hoprd.channels())
    assert asked.target == f"{API}/channels?fullTopology=false&includingClosed=false"
    balance = Balance(Decimal(10), "wxHOPR")
    assert channels.incoming == (Channel("0x1", RELAYER, "Open", balance),)
    assert [channel.is_open for channel in channels.outgoing] == [False]


async def test_full_topology() -> None:
    item = {"channelId": "0x1", "source": RELAYER, "destination": EXIT, "status": "Open", "balance": "0 wxHOPR"}
    body = {"incoming": [], "outgoing": [], "all": [item | {"ticketIndex": 1, "channelEpoch": 2, "closureTime": 0}]}
    channels, asked = await ask(
        http_json(body), lambda hoprd: hoprd.channels(full_topology=True, including_closed=True)
    )
    assert asked.target == f"{API}/channels?fullTopology=true&includingClosed=true"
    assert channels.all == (TopologyChannel("0x1", RELAYER, EXIT, "Open", Balance(Decimal(0), "wxHOPR")),)


@pytest.mark.parametrize("name", ["hoprNetworkName", "network"], ids=["4.x", "3.x"])
async def test_info(name: str) -> None:
    body = {name: "dufour", "announcedAddress": ["/ip4/1"], "listeningAddress": [], "hoprNodeSafe": "0x5"}
    info, _ = await ask(http_json(body | {"connectivityStatus": "Green"}), lambda hoprd: hoprd.info())
    assert (info.network, info.connectivity, info.announced, info.safe) == (
        "dufour",
        Connectivity.GREEN,
        ("/ip4/1",),
        "0x5",
    )


@pytest.mark.parametrize("name", ["startedz", "readyz", "healthyz", "eligiblez"])
@pytest.mark.parametrize(("status", "passes"), [(200, True), (412, False)])
async def test_health_checks(name: str, status: int, passes: bool) -> None:
    result, asked = await ask(http(status, "Node not eligible", "text/plain"), lambda hoprd: hoprd.check(name))
    assert result is passes
    assert (asked.target, asked.headers["accept"]) == (f"/{name}", "*/*")


async def test_unknown_health_check() -> None:
    async with Hoprd("http://127.0.0.1:1") as hoprd:
        with pytest.raises(InvalidInputError, match="health check"):
            await hoprd.check("metrics")


async def test_open_by_hops_asks_nothing_else() -> None:
    listener, asked = await ask(http_json(listener_json()), lambda hoprd: hoprd.open_session(BY_HOPS))
    assert listener == LISTENER
    assert (asked.method, asked.target) == ("POST", f"{API}/session/udp")
    assert asked.headers["content-type"] == "application/json"
    assert asked.json == {
        "destination": EXIT,
        "forwardPath": {"Hops": 1},
        "returnPath": {"Hops": 1},
        "target": {"Service": 0},
        "capabilities": ["NoDelay", "NoRateControl"],
        "responseBuffer": "0 B",
    }


async def test_open_with_everything() -> None:
    request = SessionRequest(
        EXIT,
        Path(hops=0),
        Path(hops=2),
        target="10.0.0.1:80",
        protocol="tcp",
        listen_host="[::1]:4711",
        capabilities=frozenset(Capability),
        response_buffer=2_000_000,
        max_surb_upstream=2_000_000,
    )
    reply = http_json(listener_json(protocol="tcp", ip="0:0:0:0:0:0:0:1", activeClients=[], maxClientSessions=5))
    listener, asked = await ask(reply, lambda hoprd: hoprd.open_session(request))
    assert listener.key == ListenerKey("tcp", "::1", 4711)
    assert listener.max_clients == 5
    assert asked.target == f"{API}/session/tcp"
    assert asked.json == {
        "destination": EXIT,
        "forwardPath": {"Hops": 0},
        "returnPath": {"Hops": 2},
        "target": {"Plain": "10.0.0.1:80"},
        "listenHost": "[::1]:4711",
        "capabilities": ["Segmentation", "Retransmission", "RetransmissionAckOnly", "NoDelay", "NoRateControl"],
        "responseBuffer": "2000000 B",
        "maxSurbUpstream": "2000000bps",
    }


async def test_open_leaves_the_balancer_to_the_node() -> None:
    request = SessionRequest(EXIT, Path(hops=1), Path(hops=1), response_buffer=None)
    _, asked = await ask(http_json(listener_json()), lambda hoprd: hoprd.open_session(request))
    assert "responseBuffer" not in asked.json


@pytest.mark.parametrize(
    ("dialect", "path", "written"),
    [("3.x", "/session/udp", {"IntermediatePath": [RELAYER]}), ("4.1", "/session/udp/explicit-path", [RELAYER])],
)
async def test_open_through_a_relayer(dialect: str, path: str, written: object) -> None:
    shown = {"IntermediatePath": [RELAYER]}
    reply = http_json(listener_json(forwardPath=shown, returnPath=shown))
    routes = ROUTES[dialect] | {f"POST {API}{path}": reply}
    async with raw_node(routed(routes)) as node, Hoprd(node.url) as hoprd:
        listener = await hoprd.open_session(BY_RELAYER)
        assert listener.forward == listener.back == Path(via=(RELAYER,))
        body = node.asked[-1].json
        assert body["forwardPath"] == body["returnPath"] == written
        assert "flowControl" not in body


async def test_no_relayer_where_the_node_takes_none() -> None:
    async with raw_node(routed(ROUTES["4.0"])) as node, Hoprd(node.url) as hoprd:
        with pytest.raises(CannotPinRelayerError, match=r"4\.0 .* upgrade .*4\.0\.3 .*enableExplicitPath.*hops"):
            await hoprd.open_session(BY_RELAYER)
        assert all(asked.method == "GET" for asked in node.asked)


async def test_mixed_paths_are_refused() -> None:
    async with Hoprd("http://127.0.0.1:1") as hoprd:
        with pytest.raises(InvalidInputError, match="one goes by hops"):
            await hoprd.open_session(SessionRequest(EXIT, Path(hops=1), Path(via=(RELAYER,))))


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"port": 0}, "$.port"),
        ({"port": 65536}, "$.port"),
        ({"port": True}, "$.port"),
        ({"port": "4711"}, "$.port"),
        ({"port": 10**400}, "$.port"),
        ({"ip": "localhost"}, "$.ip"),
        ({"ip": "1" * 100}, "$.ip"),
        ({"ip": None}, "$.ip"),
        ({"protocol": "tcp"}, "$.protocol"),
        ({"destination": RELAYER}, "$.destination"),
        ({"hoprMtu": 395}, "$.hoprMtu"),
        ({"hoprMtu": 1002.0}, "$.hoprMtu"),
        ({"surbLen": 0}, "$.surbLen"),
        ({"target": 0}, "$.target"),
        ({"activeClients": "0x1"}, "$.activeClients"),
        ({"activeClients": ["0x1", 2]}, "$.activeClients[1]"),
        ({"maxClientSessions": "1"}, "$.maxClientSessions"),
        ({"responseBuffer": 0}, "$.responseBuffer"),
    ],
    ids=lambda value: value if isinstance(value, str) else str(value)[:30],
)
async def test_a_reply_that_is_not_what_was_asked_for(changes: dict[str, object], where: str) -> None:
    with pytest.raises(MalformedReplyError) as caught:
        await ask(http_json(listener_json(**changes)), lambda hoprd: hoprd.open_session(BY_HOPS))
    assert caught.value.where == where
    assert len(str(caught.value)) < 300
    if "destination" in changes:
        return  # listeners of others may go anywhere
    with pytest.raises(MalformedReplyError) as caught:
        await ask(http_json([listener_json(), listener_json() | changes]), lambda hoprd: hoprd.list_sessions())
    assert caught.value.where == where.replace("$", "$[1]")


@pytest.mark.parametrize(
    ("shown", "path"),
    [
        ({"Hops": 0}, Path(hops=0)),
        ({"Hops": 3}, Path(hops=3)),
        ({"Hops": 4}, None),
        ({"Hops": -1}, None),
        ({"Hops": True}, None),
        ({"IntermediatePath": [RELAYER, EXIT]}, Path(via=(RELAYER, EXIT))),
        ({"IntermediatePath": []}, None),
        ({"IntermediatePath": [RELAYER] * 4}, None),
        ({"IntermediatePath": [17, 18]}, None),
        ({"IntermediatePath": ["node 17"]}, None),
        ({"IntermediatePath": "x"}, None),
        ({"Hops": 1, "IntermediatePath": []}, None),
        ([RELAYER], None),
        (None, None),
    ],
    ids=str,
)
async def test_paths_of_the_list(shown: object, path: Path | None) -> None:
    items, _ = await ask(
        http_json([listener_json(forwardPath=shown, returnPath={"Hops": 1})]), lambda hoprd: hoprd.list_sessions()
    )
    [listener] = items
    assert (listener.forward, listener.back) == (path, Path(hops=1))


async def test_list_of_tcp() -> None:
    listeners, asked = await ask(http_json([]), lambda hoprd: hoprd.list_sessions("tcp"))
    assert listeners == ()
    assert asked.target == f"{API}/session/tcp"


async def test_fields_that_a_node_may_leave_out() -> None:
    item = listener_json(activeClients=None)
    del item["maxClientSessions"], item["maxSurbUpstream"], item["responseBuffer"]
    items, _ = await ask(http_json([item]), lambda hoprd: hoprd.list_sessions())
    [listener] = items
    assert (listener.clients, listener.max_clients, listener.response_buffer) == ((), 1, None)


@pytest.mark.parametrize("body", [None, {}, "x", 3, [None], [[]]], ids=repr)
async def test_no_list(body: object) -> None:
    with pytest.raises(MalformedReplyError):
        await ask(http_json(body), lambda hoprd: hoprd.list_sessions())


@pytest.mark.parametrize(
    ("reply", "closed"),
    [
        (http(204), True),
        (error_json(404, "INVALID_INPUT"), False),
        (error_json(404, "SESSION_NOT_FOUND"), False),
    ],
    ids=["closed", "gone", "gone, by its right name"],
)
async def test_close(reply: bytes, closed: bool) -> None:
    result, asked = await ask(reply, lambda hoprd: hoprd.close_session(ListenerKey("udp", "::1", 4711)))
    assert result is closed
    assert (asked.method, asked.target) == ("DELETE", f"{API}/session/udp/::1/4711")


@pytest.mark.parametrize(
    "reply",
    [
        http(404),
        http(404, "404 page not found", "text/plain"),
        http_json({"detail": "Not Found"}, 404),
        error_json(404, "PEER_NOT_FOUND"),
    ],
    ids=["unknown route", "proxy", "another API", "another word"],
)
async def test_close_and_a_404_that_does_not_mean_gone(reply: bytes) -> None:
    with pytest.raises(NotFoundError):
        await ask(reply, lambda hoprd: hoprd.close_session(KEY))


async def test_errors_as_200_where_no_body_is_expected() -> None:
    """Contract §1.4: the quirk of 3.x and early 4.0."""
    with pytest.raises(NotFoundError, match="SESSION_NOT_FOUND"):
        await ask(error_json(200, "SESSION_NOT_FOUND"), lambda hoprd: hoprd.set_session_config("0xab"))
    with pytest.raises(RejectedError, match="INVALID_INPUT"):
        await ask(error_json(200, "INVALID_INPUT"), lambda hoprd: hoprd.close_session(KEY))


@pytest.mark.parametrize(
    ("key", "what"),
    [
        (ListenerKey("udp", "127.0.0.1", 0), "every listener"),
        (ListenerKey("udp", "127.0.0.1", -1), "port"),
        (ListenerKey("udp", "127.0.0.1", 65536), "port"),
        (ListenerKey("udp", "localhost", 1), "ip"),
        (ListenerKey("udp", "127.0.0.1/0", 1), "ip"),
        (ListenerKey("quic", "127.0.0.1", 1), "protocol"),  # type: ignore[arg-type]
    ],
    ids=str,
)
async def test_close_refuses_before_sending(key: ListenerKey, what: str) -> None:
    async with raw_node(lambda _: http(204)) as node, Hoprd(node.url) as hoprd:
        with pytest.raises(InvalidInputError, match=what):
            await hoprd.close_session(key)
        assert node.asked == []


async def test_close_of_a_whole_address() -> None:
    """Contract §2.4: port 0, only where all is ours."""
    result, asked = await ask(http(204), lambda hoprd: hoprd.close_address("127.64.0.1"))
    assert result is True
    assert (asked.method, asked.target) == ("DELETE", f"{API}/session/udp/127.64.0.1/0")
    result, _ = await ask(error_json(404, "INVALID_INPUT"), lambda hoprd: hoprd.close_address("127.64.0.1"))
    assert result is False


@pytest.mark.parametrize(
    "ip", ["127.0.0.1", "0.0.0.0", "10.0.0.1", "::1", "localhost", "127.64.0.1/1", "127.0.0.0", "127.255.255.255", ""]
)
async def test_close_of_an_address_of_others_is_refused_before_sending(ip: str) -> None:
    async with raw_node(lambda _: http(204)) as node, Hoprd(node.url) as hoprd:
        with pytest.raises(InvalidInputError, match="dedicated address"):
            await hoprd.close_address(ip)
        assert node.asked == []


async def test_session_config() -> None:
    reply = http_json({"responseBuffer": "1.9 MiB", "maxSurbUpstream": "150.024kbps"})
    config, asked = await ask(reply, lambda hoprd: hoprd.session_config("0xab:5"))
    assert config == SessionConfig(1_992_294, 150_024)
    assert asked.target == f"{API}/session/config/0xab%3A5"


async def test_set_session_config() -> None:
    _, asked = await ask(
        http(204), lambda hoprd: hoprd.set_session_config("0xab", response_buffer=9, max_surb_upstream=8)
    )
    assert asked.json == {"responseBuffer": "9 B", "maxSurbUpstream": "8bps"}
    _, asked = await ask(http(204), lambda hoprd: hoprd.set_session_config("0xab"))
    assert asked.json == {}


@pytest.mark.parametrize("session_id", ["", ".", "..", "a b", "a\n", "ä", "\ud800", "x" * 300])
async def test_ids_that_no_node_gave(session_id: str) -> None:
    async with Hoprd("http://127.0.0.1:1") as hoprd:
        with pytest.raises(InvalidInputError, match="session id"):
            await hoprd.session_config(session_id)


async def test_config_of_a_negative_size() -> None:
    async with Hoprd("http://127.0.0.1:1") as hoprd:
        with pytest.raises(InvalidInputError, match="response buffer"):
            await hoprd.set_session_config("0xab", response_buffer=-1)


async def test_ids_cannot_change_the_path() -> None:
    _, asked = await ask(http(204), lambda hoprd: hoprd.set_session_config("a/../b?c#d"))
    assert asked.target == f"{API}/session/config/a%2F..%2Fb%3Fc%23d"


async def test_peers_of_4x() -> None:
    row = {"address": RELAYER, "probeRate": 1.0, "lastUpdate": 5, "averageLatency": 250, "score": 0.5}
    body = http_json([row, row | {"address": EXIT, "averageLatency": None, "score": 1}])
    async with raw_node(routed(ROUTES["4.0"] | {f"{API}/network/connected": body})) as node, Hoprd(node.url) as hoprd:
        assert await hoprd.peers() == (Peer(RELAYER, 0.5, 0.25), Peer(EXIT, 1.0, None))
        assert await hoprd.peers(quality=0.6) == (Peer(EXIT, 1.0, None),)
        assert node.asked[-1].target == f"{API}/network/connected"


async def test_peers_of_3x() -> None:
    row = {"address": RELAYER, "multiaddr": None, "lastSeenLatency": 10, "quality": 0.9, "isNew": False}
    body = http_json({"connected": [row, row | {"address": None}], "announced": []})
    async with raw_node(routed({f"{API}/node/peers": body})) as node, Hoprd(node.url) as hoprd:
        assert await hoprd.peers(quality=0.25) == (Peer(RELAYER, 0.9, 0.01),)
        assert node.asked[-1].target == f"{API}/node/peers?quality=0.250000"


@pytest.mark.parametrize("quality", [-0.1, 1.1, float("nan")])
async def test_impossible_quality(quality: float) -> None:
    async with Hoprd("http://127.0.0.1:1") as hoprd:
        with pytest.raises(InvalidInputError, match="quality"):
            await hoprd.peers(quality=quality)


async def test_status() -> None:
    parts = {"chain": {"status": "Ready"}, "transport": {"status": "Degraded", "detail": "…"}}
    body = http_json({"overall": "Degraded", "nodeState": "Node is running", "components": parts})
    async with raw_node(routed(ROUTES["4.1"] | {f"{API}/node/status": body})) as node, Hoprd(node.url) as hoprd:
        status = await hoprd.status()
        assert status is not None
        assert (status.overall, dict(status.components)) == ("Degraded", {"chain": "Ready", "transport": "Degraded"})
    async with raw_node(routed(ROUTES["3.x"])) as node, Hoprd(node.url) as hoprd:
        assert await hoprd.status() is None


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({"overall": "Ready", "nodeState": "x", "components": []}, "$.components"),
        ({"overall": "Ready", "nodeState": "x", "components": {"chain": 1}}, "$.components.chain"),
        ({"overall": "Ready", "nodeState": "x", "components": {"chain": {}}}, "$.components.chain.status"),
    ],
    ids=["no object", "no part", "no status"],
)
async def test_misshapen_status(body: object, where: str) -> None:
    routes = ROUTES["4.1"] | {f"{API}/node/status": http_json(body)}
    async with raw_node(routed(routes)) as node, Hoprd(node.url) as hoprd:
        with pytest.raises(MalformedReplyError) as caught:
            await hoprd.status()
        assert caught.value.where == where


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ([{"address": "16Uiu2", "score": 1.0}], "$[0].address"),
        ([{"address": EXIT, "score": True}], "$[0].score"),
        ([{"address": EXIT, "score": -1}], "$[0].score"),
        ([{"address": EXIT, "score": 1.0, "averageLatency": "1"}], "$[0].averageLatency"),
    ],
    ids=["address", "bool", "negative", "latency"],
)
async def test_misshapen_peers(body: object, where: str) -> None:
    routes = ROUTES["4.1"] | {f"{API}/network/connected": http_json(body)}
    async with raw_node(routed(routes)) as node, Hoprd(node.url) as hoprd:
        with pytest.raises(MalformedReplyError) as caught:
            await hoprd.peers()
        assert caught.value.where == where


async def test_misshapen_info_and_balance() -> None:
    info = {"network": "x", "announcedAddress": [], "listeningAddress": [], "hoprNodeSafe": "0x5"}
    with pytest.raises(MalformedReplyError, match=r"\$\.connectivityStatus.*Purple"):
        await ask(http_json(info | {"connectivityStatus": "Purple"}), lambda hoprd: hoprd.info())
    with pytest.raises(MalformedReplyError, match=r"\$\.native.*1 €uro x"):
        await ask(http_json({"native": "1 €uro x"}), lambda hoprd: hoprd.balances())


async def test_the_unknown_session_of_3x() -> None:
    with pytest.raises(RejectedError, match="session is gone"):
        await ask(error_json(422, "UNKNOWN_FAILURE", "session is gone"), lambda hoprd: hoprd.session_config("0xab:5"))
