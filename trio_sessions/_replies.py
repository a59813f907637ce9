"""Replies of the node, from decoded JSON to the model: strict where we act on a value, lenient where we only show it.

Each ``read_…`` takes what :func:`decode_json` made of a body and raises :class:`Misshapen`, and nothing else, for
whatever breaks the contract. Fields that we do not know are ignored: the dialects differ in them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from functools import lru_cache
from ipaddress import ip_address
from types import MappingProxyType
from typing import NoReturn, TypeVar, cast

from trio_sessions._address import is_address, same_address
from trio_sessions._errors import InvalidInputError
from trio_sessions._model import (
    MAX_HOPS,
    Balance,
    Balances,
    Channel,
    Channels,
    Connectivity,
    Listener,
    ListenerKey,
    NodeInfo,
    NodeStatus,
    Path,
    Peer,
    Protocol,
    SessionConfig,
    SessionRequest,
    TopologyChannel,
)
from trio_sessions._units import parse_balance, parse_bandwidth, parse_size

__all__ = [
    "MISSING",
    "ListenersReader",
    "Misshapen",
    "daemon_error",
    "decode_json",
    "read_address",
    "read_balances",
    "read_channels",
    "read_config",
    "read_info",
    "read_old_peers",
    "read_openapi",
    "read_opened",
    "read_peers",
    "read_status",
    "read_version",
]

T = TypeVar("T")
JsonObject = dict[str, object]

#: The largest whole number that we take for a size or a count: what a JSON number can carry everywhere.
_MOST = 2**53

_MILLISECONDS = 1000.0


class Misshapen(Exception):  # noqa: N818 - never leaves the client: the edge makes a MalformedReplyError of it
    """A value of a reply breaks the contract.

    Attributes:
        where: the place in the body, without the leading ``$``, e.g. ``"[3].port"``.
        rule: what should stand there.
        value: what does; :data:`MISSING` where nothing does.
    """

    def __init__(self, where: str, rule: str, value: object) -> None:
        super().__init__(where, rule)
        self.where = where
        self.rule = rule
        self.value = value


#: Stands for the value of a field that is not there.
MISSING = object()


def decode_json(body: bytes) -> object:
    """The value of a JSON body: UTF-8, without the NaN and Infinity that Python's decoder would let through."""
    try:
        return json.loads(body.decode("utf-8"), parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        raise Misshapen("", "is not UTF-8", f"byte {error.start}") from None
    except RecursionError:
        raise Misshapen("", "is nested too deeply", MISSING) from None
    except ValueError as error:  # no JSON, or a number of more digits than Python converts
        raise Misshapen("", "is not JSON", str(error)) from None


def daemon_error(value: object) -> tuple[str, str] | None:
    """The status word and the error text if ``value`` is the daemon's error object (contract §1.4), else ``None``."""
    if not isinstance(value, dict) or not value.keys() <= {"status", "error"}:
        return None
    word, text = value.get("status"), value.get("error", "")
    return (word, text if isinstance(text, str) else "") if isinstance(word, str) else None


def read_address(value: object) -> str:
    """The native address of GET /account/addresses (contract §2.6)."""
    return _address(_object(value), "native")


def read_version(value: object) -> str:
    """The text of GET /node/version (contract §2.6)."""
    return _text(_object(value), "version")


def read_balances(value: object) -> Balances:
    """GET /account/balances (contract §2.6)."""
    record = _object(value)
    return Balances(
        native=_balance(record, "native"),
        hopr=_balance(record, "hopr"),
        safe_native=_balance(record, "safeNative"),
        safe_hopr=_balance(record, "safeHopr"),
        safe_hopr_allowance=_balance(record, "safeHoprAllowance"),
    )


def read_channels(value: object) -> Channels:
    """GET /channels (contract §2.6)."""
    record = _object(value)
    return Channels(
        incoming=_each(record, "incoming", _channel),
        outgoing=_each(record, "outgoing", _channel),
        all=_each(record, "all", _topology_channel),
    )


def read_peers(value: object) -> tuple[Peer, ...]:
    """GET /network/connected of 4.x (contract §2.6)."""
    return _items(value, _peer)


def read_old_peers(value: object) -> tuple[Peer, ...]:
    """The connected part of GET /node/peers of 3.x, without those whose address the node does not know yet."""
    return tuple(peer for peer in _each(_object(value), "connected", _old_peer) if peer is not None)


def read_info(value: object) -> NodeInfo:
    """GET /node/info; 3.x calls the network otherwise than 4.x does (contract §2.6)."""
    record = _object(value)
    connectivity = _text(record, "connectivityStatus")
    try:
        known = Connectivity(connectivity)
    except ValueError:
        raise Misshapen(".connectivityStatus", "is no connectivity that the contract knows", connectivity) from None
    return NodeInfo(
        connectivity=known,
        network=_text(record, "hoprNetworkName" if "hoprNetworkName" in record else "network"),
        announced=_within(".announcedAddress", _strings, record.get("announcedAddress", MISSING)),
        listening=_within(".listeningAddress", _strings, record.get("listeningAddress", MISSING)),
        safe=_text(record, "hoprNodeSafe"),
    )


def read_status(value: object) -> NodeStatus:
    """GET /node/status of 4.x (contract §2.6)."""
    record = _object(value)
    parts = {n: _within(f".components.{n}", _component, part) for n, part in _part(record, "components").items()}
    components = MappingProxyType({name: status for name, (status, _) in parts.items()})
    details = MappingProxyType({name: detail for name, (_, detail) in parts.items() if detail is not None})
    return NodeStatus(_text(record, "overall"), _text(record, "nodeState"), components, details)


def read_openapi(value: object) -> tuple[str, bool]:
    """Of GET /api-docs/openapi.json the REST crate's version, and whether the explicit-path route is compiled in."""
    record = _object(value)
    version = _text(_part(record, "info"), "version")
    return version, any(path.endswith("/explicit-path") for path in _part(record, "paths"))


def read_config(value: object) -> SessionConfig:
    """GET /session/config/{id} (contract §2.5)."""
    record = _object(value)
    return SessionConfig(
        response_buffer=_amount(record, "responseBuffer", parse_size),
        max_surb_upstream=_amount(record, "maxSurbUpstream", parse_bandwidth),
    )


def read_opened(value: object, request: SessionRequest) -> Listener:
    """The reply to a POST of ``request``: only what we asked for is taken for ours (contract §2.1)."""
    listener = _listener(value, request.protocol)
    if not same_address(listener.destination, request.destination):
        raise Misshapen(".destination", f"is not {request.destination}, which was asked for", listener.destination)
    if request.protocol == "udp" and not listener.clients:
        # Without it, the listener could not be told from a later one on its port.
        raise Misshapen(".activeClients", "names no session", listener.clients)
    return listener


class ListenersReader:
    """Reads the lists of GET /session/{protocol}, one after the other (contract §2.3).

    A pool looks often, and most of what is listed stands as it stood the time before, byte for byte: that is not read
    again. So a list of ten thousand costs a tenth of what it takes to decode it.
    """

    def __init__(self, protocol: Protocol) -> None:
        self._protocol = protocol
        self._known: dict[bytes, Listener] = {}

    def read_again(self, body: bytes) -> tuple[Listener, ...] | None:
        """The listeners of a body, read by its parts; ``None`` when it has to be read whole, by :meth:`read`."""
        if not body.startswith(b"[{") or not body.endswith(b"}]"):
            return None
        # Where each part is an object by itself, the whole is the list of these objects. Where a part is none, since
        # there was such a text within an object, it is no JSON.
        parts = body[2:-2].split(b"},{")
        known = {part: self._known.get(part) for part in parts}
        try:
            for part, listener in known.items():
                if listener is None:
                    known[part] = _listener(decode_json(b"{%b}" % part), self._protocol)
        except Misshapen:
            # Which one of all, and what is wrong with it, tells the other way.
            return None
        listeners = cast("dict[bytes, Listener]", known)
        self._known = listeners
        return tuple(map(listeners.__getitem__, parts))

    def read(self, value: object) -> tuple[Listener, ...]:
        """The listeners of one list."""
        return _items(value, lambda item: _listener(item, self._protocol))


def _listener(value: object, protocol: Protocol) -> Listener:
    record = _object(value)
    spoken = _text(record, "protocol")
    if spoken != protocol:
        raise Misshapen(".protocol", f"is not {protocol}, which was asked for", spoken)
    mtu, surb = _whole(record, "hoprMtu", 1), _whole(record, "surbLen", 1)
    if mtu <= surb:
        raise Misshapen(".hoprMtu", f"is not larger than surbLen, {surb}", mtu)
    clients = record.get("activeClients")
    return Listener(
        key=ListenerKey(protocol, _ip(record), _whole(record, "port", 1, 65535)),
        destination=_text(record, "destination"),
        target=_text(record, "target"),
        forward=_path(record.get("forwardPath")),
        back=_path(record.get("returnPath")),
        hopr_mtu=mtu,
        surb_len=surb,
        clients=() if clients is None else _within(".activeClients", _strings, clients),
        max_clients=_whole(record, "maxClientSessions", 0) if record.get("maxClientSessions") is not None else 1,
        max_surb_upstream=_optional_text(record, "maxSurbUpstream"),
        response_buffer=_optional_text(record, "responseBuffer"),
    )


def _component(value: object) -> tuple[str, str | None]:
    record = _object(value)
    return _text(record, "status"), _optional_text(record, "detail")


def _path(value: object) -> Path | None:
    """A path as the node prints it; ``None`` for forms of its own, e.g. of internal ids (contract §2.2)."""
    if type(value) is not dict or len(value) != 1:
        return None
    hops = value.get("Hops")
    if type(hops) is int:
        return _HOPS[hops] if 0 <= hops <= MAX_HOPS else None
    via = value.get("IntermediatePath")
    if type(via) is list and 0 < len(via) <= MAX_HOPS and all(type(text) is str and len(text) < 64 for text in via):
        return _via(tuple(via))
    return None


@lru_cache(maxsize=16384)
def _via(relayers: tuple[str, ...]) -> Path | None:
    """The path through ``relayers``; kept, as the same ones come again with every list."""
    return Path(via=relayers) if all(is_address(relayer) for relayer in relayers) else None


#: The few paths by hops, made once: a list may have ten thousand of them.
_HOPS = tuple(Path(hops=hops) for hops in range(MAX_HOPS + 1))


@lru_cache(maxsize=1024)
def _canonical_ip(text: str) -> str | None:
    """The one spelling of an ip address, since listeners are compared by it."""
    try:
        return str(ip_address(text))
    except ValueError:
        return None


def _ip(record: JsonObject) -> str:
    text = _text(record, "ip")
    # Long texts stay out of the cache.
    ip = _canonical_ip(text) if len(text) < 64 else None
    if ip is None:
        raise Misshapen(".ip", "is not an ip address", text)
    return ip


def _channel(value: object) -> Channel:
    record = _object(value)
    return Channel(
        id=_text(record, "id"),
        peer=_address(record, "peerAddress"),
        status=_text(record, "status"),
        balance=_balance(record, "balance"),
    )


def _topology_channel(value: object) -> TopologyChannel:
    record = _object(value)
    return TopologyChannel(
        id=_text(record, "channelId"),
        source=_address(record, "source"),
        destination=_address(record, "destination"),
        status=_text(record, "status"),
        balance=_balance(record, "balance"),
    )


def _peer(value: object) -> Peer:
    record = _object(value)
    return Peer(_address(record, "address"), _number(record, "score"), _latency(record, "averageLatency"))


def _old_peer(value: object) -> Peer | None:
    record = _object(value)
    if record.get("address", MISSING) is None:
        return None
    return Peer(_address(record, "address"), _number(record, "quality"), _latency(record, "lastSeenLatency"))


def _latency(record: JsonObject, name: str) -> float | None:
    return None if record.get(name) is None else _number(record, name) / _MILLISECONDS


def _balance(record: JsonObject, name: str) -> Balance:
    return _amount(record, name, parse_balance)


def _amount(record: JsonObject, name: str, parse: Callable[[str], T]) -> T:
    text = _text(record, name)
    try:
        return parse(text)
    except InvalidInputError as error:
        raise Misshapen(f".{name}", error.rule, text) from None


def _object(value: object) -> JsonObject:
    if type(value) is not dict:
        raise Misshapen("", "is not an object", value)
    return cast("JsonObject", value)


def _string(value: object) -> str:
    if type(value) is not str:
        raise Misshapen("", "is not a string", value)
    return value


def _text(record: JsonObject, name: str) -> str:
    value = record.get(name, MISSING)
    if type(value) is not str:
        raise Misshapen(f".{name}", "is not a string", value)
    return value


def _optional_text(record: JsonObject, name: str) -> str | None:
    return None if record.get(name) is None else _text(record, name)


def _address(record: JsonObject, name: str) -> str:
    value = record.get(name, MISSING)
    if not is_address(value):
        raise Misshapen(f".{name}", "is not a node address", value)
    return value


def _whole(record: JsonObject, name: str, least: int, most: int = _MOST) -> int:
    value = record.get(name, MISSING)
    # By type and not by isinstance: true and false are no numbers here.
    if type(value) is not int or not least <= value <= most:
        raise Misshapen(f".{name}", f"is not a whole number from {least} to {most}", value)
    return value


def _number(record: JsonObject, name: str) -> float:
    value = record.get(name, MISSING)
    if type(value) is int and 0 <= value <= _MOST:
        return float(value)
    if type(value) is float and value >= 0 and math.isfinite(value):
        return value
    raise Misshapen(f".{name}", "is not a number of 0 or more", value)


def _strings(value: object) -> tuple[str, ...]:
    return _items(value, _string)


def _each(record: JsonObject, name: str, read: Callable[[object], T]) -> tuple[T, ...]:
    return _within(f".{name}", lambda value: _items(value, read), record.get(name, MISSING))


def _items(value: object, read: Callable[[object], T]) -> tuple[T, ...]:
    if type(value) is not list:
        raise Misshapen("", "is not a list", value)
    items: list[T] = []
    try:
        for item in value:
            items.append(read(item))  # noqa: PERF401 - their number so far is the index of the bad one
    except Misshapen as error:
        raise Misshapen(f"[{len(items)}]{error.where}", error.rule, error.value) from None
    return tuple(items)


def _part(record: JsonObject, name: str) -> JsonObject:
    return _within(f".{name}", _object, record.get(name, MISSING))


def _within(where: str, read: Callable[[object], T], value: object) -> T:
    try:
        return read(value)
    except Misshapen as error:
        raise Misshapen(where + error.where, error.rule, error.value) from None


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")
