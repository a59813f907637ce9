"""The routes of the node, its peers, channels and money, and its health (contract §2.6, §2.7)."""

from __future__ import annotations

import re

from trio_sessions.simulator._call import Call
from trio_sessions.simulator._http import (
    Refusal,
    Response,
    Work,
    empty_reply,
    error_reply,
    json_reply,
    read_flag,
    text_reply,
)
from trio_sessions.simulator._topology import Channel, Peer
from trio_sessions.simulator._world import EPOCH

__all__ = [
    "account_addresses",
    "account_balances",
    "channels",
    "connected_peers",
    "eligible",
    "known_peers",
    "metrics",
    "node_configuration",
    "node_info",
    "node_status",
    "node_version",
    "peer_info",
    "ping",
    "ready",
    "started",
]

#: Seconds after which a ping of a peer out of sight gives up.
PING_TIMEOUT = 5.0

_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}", re.ASCII)
_SAFE = "0x5AFe0000000000000000000000000000000000A1"


def account_addresses(call: Call) -> Response:
    """GET /account/addresses."""
    return json_reply({"native": call.world.topology.address})


def account_balances(_call: Call) -> Response:
    """GET /account/balances."""
    return json_reply(
        {
            "safeNative": "1 xDai",
            "native": "0.1 xDai",
            "safeHopr": "1000 wxHOPR",
            "hopr": "0 wxHOPR",
            "safeHoprAllowance": "999.5 wxHOPR",
        }
    )


def channels(call: Call) -> Response:
    """GET /channels: by direction, or all of them with ``fullTopology``."""
    full = read_flag(call.request, "fullTopology")
    closed = read_flag(call.request, "includingClosed")
    topology = call.world.topology
    outgoing, incoming = list(topology.outgoing.values()), list(topology.incoming.values())
    if not full:
        return json_reply(
            {
                "incoming": [_one_side(channel) for channel in incoming if closed or channel.status != "Closed"],
                "outgoing": [_one_side(channel) for channel in outgoing if closed or channel.status != "Closed"],
                "all": [],
            }
        )
    own = topology.address
    both = [_both_sides(channel, own, channel.peer) for channel in outgoing]
    both += [_both_sides(channel, channel.peer, own) for channel in incoming]
    return json_reply({"incoming": [], "outgoing": [], "all": both})


def _one_side(channel: Channel) -> dict[str, object]:
    return {"id": channel.id, "peerAddress": channel.peer, "status": channel.status, "balance": channel.balance}


def _both_sides(channel: Channel, source: str, destination: str) -> dict[str, object]:
    return {
        "channelId": channel.id,
        "source": source,
        "destination": destination,
        "balance": channel.balance,
        "status": channel.status,
        "ticketIndex": 0,
        "channelEpoch": 1,
        "closureTime": 0,
    }


def known_peers(call: Call) -> Response:
    """GET /node/peers of 3.x, with a lower bound for the quality."""
    text = call.request.parameters.get("quality", "0")
    try:
        least = float(text)
    except ValueError:
        return text_reply(400, "Failed to deserialize query string: quality: invalid float literal")
    if not 0 <= least <= 1:
        return error_reply(400, "INVALID_QUALITY")
    topology = call.world.topology
    seen = _milliseconds(call.now)
    return json_reply(
        {
            "connected": [_heard_of(peer, seen) for peer in topology.connected if peer.score >= least],
            "announced": [{"address": peer.address, "multiaddr": peer.multiaddr} for peer in topology.peers.values()],
        }
    )


def _heard_of(peer: Peer, seen: int) -> dict[str, object]:
    return {
        "address": peer.address,
        "multiaddr": peer.multiaddr,
        "heartbeats": {"sent": 100, "success": round(100 * peer.score)},
        "lastSeen": seen,
        "lastSeenLatency": peer.latency,
        "quality": peer.score,
        "backoff": 0.0,
        "isNew": False,
    }


def connected_peers(call: Call) -> Response:
    """GET /network/connected of 4.x."""
    seen = _milliseconds(call.now)
    return json_reply(
        [
            {
                "address": peer.address,
                "probeRate": peer.score,
                "lastUpdate": seen,
                "averageLatency": peer.latency,
                "score": peer.score,
            }
            for peer in call.world.topology.connected
        ]
    )


def peer_info(call: Call) -> Response:
    """GET /peers/{address}; early dialects answer an unknown one with 200 and an error object (contract §1.4)."""
    peer = _read_peer(call)
    if peer is None:
        return error_reply(200 if call.world.rules.error_as_200 else 404, "PEER_NOT_FOUND")
    return json_reply({"announced": [peer.multiaddr], "observed": []})


def ping(call: Call) -> Work:
    """POST /peers/{address}/ping: half the round trip (contract §2.6)."""
    peer = _read_peer(call)
    if peer is None:
        return error_reply(404, "PEER_NOT_FOUND")
    if not call.world.runs(call.now) and call.world.rules.api_before_node:
        return error_reply(412, "NOT_READY")
    if not peer.connected:
        yield call.now + PING_TIMEOUT
        return error_reply(408, "TIMEOUT")
    yield call.now + 2 * peer.latency / 1000
    return json_reply({"latency": peer.latency})


def _read_peer(call: Call) -> Peer | None:
    address = call.parameters["address"]
    if _ADDRESS.fullmatch(address) is None:
        raise Refusal(text_reply(400, f"Invalid URL: Cannot parse `address` with value `{address}`"))
    return call.world.topology.peers.get(address.lower())


def node_version(call: Call) -> Response:
    """GET /node/version."""
    return json_reply({"version": call.world.rules.node_version})


def node_info(call: Call) -> Response:
    """GET /node/info, in the dialect's own field names."""
    connectivity = call.world.topology.connectivity
    addresses = ["/ip4/127.0.0.1/udp/9091/quic-v1"]
    if call.world.rules.status_route:
        return json_reply(
            {
                "announcedAddress": addresses,
                "listeningAddress": addresses,
                "providerUrl": "https://chain.invalid",
                "hoprNetworkName": "simulated",
                "hoprNodeSafe": _SAFE,
                "connectivityStatus": connectivity,
                "chainStatus": "Ready",
                "channelClosurePeriod": 300,
            }
        )
    return json_reply(
        {
            "network": "simulated",
            "announcedAddress": addresses,
            "listeningAddress": addresses,
            "chain": "anvil-localhost",
            "provider": "https://chain.invalid",
            "hoprToken": "0x0000000000000000000000000000000000000001",
            "hoprChannels": "0x0000000000000000000000000000000000000002",
            "hoprNetworkRegistry": "0x0000000000000000000000000000000000000003",
            "hoprNodeSafeRegistry": "0x0000000000000000000000000000000000000004",
            "hoprManagementModule": "0x0000000000000000000000000000000000000005",
            "hoprNodeSafe": _SAFE,
            "isEligible": True,
            "connectivityStatus": connectivity,
            "channelClosurePeriod": 300,
            "indexerBlock": 1000,
            "indexerLastLogBlock": 1000,
            "indexerLastLogChecksum": "0x" + "0" * 64,
            "isIndexerCorrupted": False,
        }
    )


def node_status(call: Call) -> Response:
    """GET /node/status of 4.x."""
    runs = call.world.runs(call.now)
    overall = "Ready" if runs else "Initializing"
    part = {"status": overall} if runs else {"status": overall, "detail": "the node is starting"}
    return json_reply(
        {
            "overall": overall,
            "nodeState": "Node is running" if runs else "Node is starting",
            "components": {"chain": part, "network": part, "transport": part},
        }
    )


def node_configuration(call: Call) -> Response:
    """GET /node/configuration; the token is not in it."""
    config = call.world.config
    return json_reply(
        {
            "api": {
                "enable": True,
                "auth": "None" if config.token is None else {"Token": "<REDACTED>"},
                "enable_explicit_path_sessions": config.explicit_path,
            },
            "network": {"session_idle_timeout": config.idle_timeout},
        }
    )


def started(call: Call) -> Response:
    """GET /startedz: whether the node runs (contract §2.7)."""
    return empty_reply(200 if call.world.runs(call.now) else 412)


def ready(call: Call) -> Response:
    """GET /readyz and /healthyz: ... and whether it is connected."""
    healthy = call.world.runs(call.now) and call.world.topology.connectivity != "Red"
    return empty_reply(200 if healthy else 412)


def eligible(_call: Call) -> Response:
    """GET /eligiblez: a simulated node always is."""
    return empty_reply(200)


def metrics(call: Call) -> Response:
    """GET /metrics, without anything about sessions, as the daemon strips it."""
    return text_reply(200, f"hopr_up 1\nhopr_peers {len(call.world.topology.connected)}\n")


def _milliseconds(now: float) -> int:
    return int((EPOCH + now) * 1000)
