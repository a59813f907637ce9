"""What the node's REST API speaks of, as frozen records: free of I/O, of HTTP and of JSON.

Field by field the facts are those of the contract (``hoprd-api.md``), whose section each class names.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from ipaddress import ip_address
from typing import Literal

import attrs

from trio_sessions._address import check_address, same_address
from trio_sessions._errors import InvalidInputError

__all__ = [
    "DEFAULT_CAPABILITIES",
    "MAX_HOPS",
    "Balance",
    "Balances",
    "Capability",
    "Channel",
    "Channels",
    "Connectivity",
    "Dialect",
    "Listener",
    "ListenerKey",
    "NodeInfo",
    "NodeStatus",
    "Path",
    "Peer",
    "Pinning",
    "Protocol",
    "SessionConfig",
    "SessionRequest",
    "TopologyChannel",
    "check_amount",
    "split_listen_host",
]

Protocol = Literal["udp", "tcp"]

#: The most hops that a path may have, by number or by relayers (contract §2.1).
MAX_HOPS = 3


class Capability(Enum):
    """What the two ends of a session do for its data (contract §4.4)."""

    SEGMENTATION = "Segmentation"
    RETRANSMISSION = "Retransmission"
    RETRANSMISSION_ACK_ONLY = "RetransmissionAckOnly"
    NO_DELAY = "NoDelay"
    NO_RATE_CONTROL = "NoRateControl"


#: One datagram in is one datagram out, and nothing throttles the echoes (contract §4.1: always ask for NoDelay).
DEFAULT_CAPABILITIES = frozenset({Capability.NO_DELAY, Capability.NO_RATE_CONTROL})


@attrs.frozen
class Path:
    """The way of one direction: by a number of ``hops`` that the node picks, or ``via`` chosen relayers.

    Exactly one of the two is given; ``hops=0`` is the direct way.
    """

    hops: int | None = None
    via: tuple[str, ...] = ()

    def __attrs_post_init__(self) -> None:
        if (self.hops is None) == (not self.via):
            raise InvalidInputError("path", (self.hops, self.via), "give either hops or relayers")
        if self.hops is not None and not 0 <= self.hops <= MAX_HOPS:
            raise InvalidInputError("hops", self.hops, f"must be 0 to {MAX_HOPS}")
        if len(self.via) > MAX_HOPS:
            raise InvalidInputError("path", self.via, f"has more than {MAX_HOPS} relayers")

    @property
    def length(self) -> int:
        """The number of relayers between the two ends."""
        return len(self.via) if self.hops is None else self.hops


@attrs.frozen
class SessionRequest:
    """What a POST of a session asks for (contract §2.1).

    Attributes:
        destination: the exit node's address.
        forward: the path to it.
        back: the path of the replies.
        target: what the exit connects to: a service number (0, the echo, is the only one there is), ``"host:port"``.
        protocol: of the listener.
        listen_host: ``"ip:port"``, ``"ip"`` or ``":port"``; ``None`` leaves the choice to the node.
        capabilities: see :class:`Capability`; the empty set opens a raw session.
        response_buffer: bytes of replies that the exit may send ahead; 0 switches the balancer off.
        max_surb_upstream: bits a second for the balancer, if that is on; ``None``: the node's default.
    """

    destination: str
    forward: Path
    back: Path
    target: int | str = 0
    protocol: Protocol = "udp"
    listen_host: str | None = None
    capabilities: frozenset[Capability] = DEFAULT_CAPABILITIES
    response_buffer: int | None = 0
    max_surb_upstream: int | None = None

    def __attrs_post_init__(self) -> None:
        check_address(self.destination, "destination")
        for relayer in (*self.forward.via, *self.back.via):
            check_address(relayer, "relayer")
            if same_address(relayer, self.destination):
                raise InvalidInputError(
                    "destination", self.destination, "is also the relayer", "choose another destination"
                )
        if self.listen_host is not None:
            split_listen_host(self.listen_host)
        _check_target(self.target)
        check_amount(self.response_buffer, "response buffer")
        check_amount(self.max_surb_upstream, "max SURB upstream")

    def at(self, listen_host: str) -> SessionRequest:
        """The same request for a listener there. Everything else was checked when it was made."""
        split_listen_host(listen_host)
        other = object.__new__(SessionRequest)
        for name in _REQUEST_FIELDS:
            object.__setattr__(other, name, getattr(self, name))
        object.__setattr__(other, "listen_host", listen_host)
        return other

    @property
    def balancer(self) -> bool:
        """Whether the node may run the balancer for it, and wait for that (contract §2.1, §3.3)."""
        return self.response_buffer != 0


_REQUEST_FIELDS = tuple(field.name for field in attrs.fields(SessionRequest))


@attrs.frozen(order=True)
class ListenerKey:
    """The identity of a listener as the API knows it: bound protocol, ip and port (contract §2.3).

    The same key may name another listener later: ports are used again. See :meth:`Listener.same_as`.
    """

    protocol: Protocol
    ip: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.ip}]" if ":" in self.ip else self.ip
        return f"{self.protocol}://{host}:{self.port}"


@attrs.frozen
class Listener:
    """The node's side of a session (contract §2.1, the reply; §2.3, the list).

    Attributes:
        key: its identity.
        destination: the exit node, as the daemon prints it.
        target: as the daemon prints it, e.g. ``"#0"`` for service 0.
        forward, back: the paths; ``None`` where the node prints them in a form of its own (contract §2.2).
        hopr_mtu: bytes of a session's packet.
        surb_len: bytes of one reply block.
        clients: the node's ids of the session behind the listener: one for UDP, opaque, unlike the key never reused.
        max_surb_upstream, response_buffer: text of the node, lossy: never compare it with what was asked
            (contract §2.1).
    """

    key: ListenerKey
    destination: str
    target: str
    forward: Path | None
    back: Path | None
    hopr_mtu: int
    surb_len: int
    clients: tuple[str, ...] = ()
    max_clients: int = 1
    max_surb_upstream: str | None = None
    response_buffer: str | None = None

    @property
    def payload_size(self) -> int:
        """Bytes of the largest datagram that pays for its own echo (contract §4.2)."""
        return self.hopr_mtu - self.surb_len

    def same_as(self, other: Listener) -> bool:
        """Whether both are sightings of one listener, and not of two that had the same port one after the other.

        One that names no session cannot be told from others; of TCP none does before a client comes (contract §2.1).
        """
        if self.key is not other.key and self.key != other.key:
            return False
        if not same_address(self.destination, other.destination):
            return False
        if self.key.protocol == "tcp" and not (self.clients and other.clients):
            return True
        return bool(self.clients) and self.clients == other.clients


@attrs.frozen
class SessionConfig:
    """The balancer of a session: bytes of replies ahead, bits a second of reply blocks (contract §2.5)."""

    response_buffer: int
    max_surb_upstream: int


@attrs.frozen
class Peer:
    """A node that our node is connected to (contract §2.6).

    Attributes:
        address: its chain address.
        quality: by the node's judgement, 0 to 1; 3.x calls it quality, 4.x score.
        latency: seconds, as the node last measured it; ``None`` when it did not.
    """

    address: str
    quality: float
    latency: float | None = None


@attrs.frozen
class Balance:
    """An amount of a token, e.g. ``0.1 xDai``."""

    amount: Decimal
    token: str


@attrs.frozen
class Balances:
    """What the node and its safe own (contract §2.6)."""

    native: Balance
    hopr: Balance
    safe_native: Balance
    safe_hopr: Balance
    safe_hopr_allowance: Balance


@attrs.frozen
class Channel:
    """A payment channel between our node and ``peer`` (contract §2.6)."""

    id: str
    peer: str
    status: str
    balance: Balance

    @property
    def is_open(self) -> bool:
        """Whether messages can be paid for through it."""
        return self.status == "Open"


@attrs.frozen
class TopologyChannel:
    """A payment channel anywhere in the network (contract §2.6, full topology)."""

    id: str
    source: str
    destination: str
    status: str
    balance: Balance


@attrs.frozen
class Channels:
    """Our node's channels by direction; ``all`` is filled by the full topology alone."""

    incoming: tuple[Channel, ...] = ()
    outgoing: tuple[Channel, ...] = ()
    all: tuple[TopologyChannel, ...] = ()


class Connectivity(Enum):
    """How well the node is connected, by its own judgement."""

    UNKNOWN = "Unknown"
    RED = "Red"
    ORANGE = "Orange"
    YELLOW = "Yellow"
    GREEN = "Green"


@attrs.frozen
class NodeInfo:
    """What all dialects tell of the node (contract §2.6)."""

    connectivity: Connectivity
    network: str
    announced: tuple[str, ...]
    listening: tuple[str, ...]
    safe: str


@attrs.frozen
class NodeStatus:
    """The 4.x status of the node's parts; each value is Ready, Initializing, Degraded or Unavailable.

    Attributes:
        details: what the node says of parts that are not Ready, for people.
    """

    overall: str
    node_state: str
    components: Mapping[str, str]
    details: Mapping[str, str] = attrs.field(factory=dict)


class Pinning(Enum):
    """How a node takes the relayer of a session."""

    INTERMEDIATE_PATH = "IntermediatePath in the request"
    EXPLICIT_PATH_ROUTE = "the explicit-path route"
    NONE = "not at all"


@attrs.frozen
class Dialect:
    """What a node was found to speak, by probing (contract §1.5, §2.2, §2.6).

    Attributes:
        name: ``"3.x"``, ``"4.0"``, ``"4.1"``, or ``"4.x"`` of a node that does not tell: for people; no decision hangs
            on it.
        pinning: how a relayer is pinned.
        pinning_remedy: what to do about it where ``pinning`` is NONE.
        connected_route: whether peers come from ``/network/connected``, else from ``/node/peers``.
        status_route: whether there is ``/node/status``.
    """

    name: str
    pinning: Pinning
    pinning_remedy: str
    connected_route: bool
    status_route: bool


def check_amount(value: int | None, what: str) -> None:
    """Refuse what is not a size or a bandwidth of 0 or more; ``None`` leaves it to the node.

    Raises:
        InvalidInputError: naming ``what``.
    """
    if value is not None and not 0 <= value < 2**64:
        raise InvalidInputError(what, value, "must be a whole number of 0 or more")


def _check_target(value: int | str) -> None:
    """A service by its number, or ``host:port``; anything else the node refuses as text (contract §2.1)."""
    if isinstance(value, int):
        if not 0 <= value < 2**32:
            raise InvalidInputError("target", value, "a service's number has 32 bits")
        return
    host, _, port = value.rpartition(":")
    if not host or not _is_port(port):
        raise InvalidInputError("target", value, "not host:port", "write for example 127.0.0.1:8080, or 0 for the echo")


@lru_cache(maxsize=1024)
def split_listen_host(value: str) -> tuple[str, str]:
    """The ip and the port of a listen host, either of them ``""`` where it is left out.

    The daemon takes its default, silently, for a host that it cannot parse (contract §2.1): so we refuse it.

    Raises:
        InvalidInputError: not of the form.
    """
    if value.startswith("["):
        ip, colon, port = value[1:].partition("]:")
        good = bool(colon) and _is_ip(ip, 6) and _is_port(port)
    elif value.count(":") == 1:
        ip, _, port = value.partition(":")
        good = (not ip or _is_ip(ip, 4)) and _is_port(port)
    else:
        ip, port = value, ""
        good = _is_ip(ip)
    if not good:
        raise InvalidInputError("listen host", value, "not ip:port, ip or :port", "write an ip, not a name")
    return ip, port


@lru_cache(maxsize=1024)
def _is_ip(text: str, version: int | None = None) -> bool:
    try:
        ip = ip_address(text)
    except ValueError:
        return False
    # A scope ("fe80::1%eth0") is Python's reading, not the daemon's.
    return "%" not in text and version in (None, ip.version)


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 5 and int(text) <= 65535
