"""The network around the node: who is in sight, which channels are open, which paths carry (contract §2.6)."""

from __future__ import annotations

import hashlib
import random
from itertools import pairwise

import attrs

from trio_sessions._errors import InvalidInputError

__all__ = ["Channel", "Peer", "Route", "Topology", "print_address", "same_address"]

_STATUSES = ("Open", "PendingToClose", "Closed")


def print_address(address: str) -> str:
    """``address`` in the mixed case of a checksum, so that nobody can compare it as text.

    The case follows from the digits, like the daemon's; it isn't the daemon's checksum.
    """
    digits = address[2:].lower()
    pattern = hashlib.sha256(digits.encode()).hexdigest()
    return "0x" + "".join(d.upper() if p >= "8" else d for d, p in zip(digits, pattern, strict=False))


def same_address(one: str, other: str) -> bool:
    """Whether both name the same node, in whatever case."""
    return one.lower() == other.lower()


@attrs.frozen
class Route:
    """A path of a request: a number of ``hops``, or the addresses it leads ``via``."""

    hops: int | None = None
    via: tuple[str, ...] = ()

    @property
    def length(self) -> int:
        """Relayers on the way."""
        return len(self.via) if self.hops is None else self.hops

    def as_json(self) -> dict[str, object]:
        """As the daemon shows it."""
        return {"IntermediatePath": list(self.via)} if self.hops is None else {"Hops": self.hops}


@attrs.define(eq=False)
class Peer:
    """A node that our node knows.

    Attributes:
        address: as the daemon prints it.
        number: the node's internal id of it.
        connected: whether it is in sight.
        latency: milliseconds, as last measured.
        score: 0 to 1.
    """

    address: str
    number: int
    connected: bool
    latency: int
    score: float

    @property
    def multiaddr(self) -> str:
        """Where it says that it listens."""
        return f"/ip4/10.0.0.{self.number % 250 + 1}/udp/9091/quic-v1"


@attrs.define(eq=False)
class Channel:
    """A payment channel between our node and a peer."""

    id: str
    peer: str
    status: str
    balance: str


class Topology:
    """Peers and channels. Addresses and everything else follow from the seed.

    Attributes:
        address: of the node itself.
        relayers: addresses of the peers with open channels.
        destinations: addresses of the peers without.
        version: grows with every change, so that an answer of :meth:`carries` can be kept.
    """

    def __init__(self, seed: int, relayers: int, destinations: int) -> None:
        rng = random.Random(f"{seed}:topology")
        self.address = _random_address(rng)
        self.relayers = tuple(_random_address(rng) for _ in range(relayers))
        self.destinations = tuple(_random_address(rng) for _ in range(destinations))
        self.version = 0
        self._numbers = {address.lower(): number for number, address in enumerate(self.relayers)}
        #: How many peers the node could pick as a relayer, by the version that this was counted at.
        self._carriers = (-1, 0)
        self.peers = {
            address.lower(): Peer(address, number, True, rng.randrange(8, 90), round(rng.uniform(0.8, 1.0), 3))
            for number, address in enumerate((*self.relayers, *self.destinations), 1)
        }
        self.outgoing = {a.lower(): Channel(_random_id(rng), a, "Open", "10 wxHOPR") for a in self.relayers}
        self.incoming = {a.lower(): Channel(_random_id(rng), a, "Open", "10 wxHOPR") for a in self.relayers}

    def peer(self, address: str) -> Peer:
        """The peer with this address, in any case.

        Raises:
            InvalidInputError: there is none.
        """
        peer = self.peers.get(address.lower())
        if peer is None:
            raise InvalidInputError("address", address, "is no peer of the simulated node")
        return peer

    def set_connected(self, address: str, connected: bool) -> bool:
        """Bring a peer in or out of sight; whether that changed anything."""
        peer = self.peer(address)
        changed = peer.connected != connected
        peer.connected = connected
        self.version += 1
        return changed

    def set_channel(self, address: str, status: str) -> None:
        """Change the outgoing channel to a relayer, to Open, PendingToClose or Closed."""
        channel = self.outgoing.get(self.peer(address).address.lower())
        if channel is None:
            raise InvalidInputError("address", address, "has no channel")
        if status not in _STATUSES:
            raise InvalidInputError("channel status", status, f"use one of {', '.join(_STATUSES)}")
        channel.status = status
        self.version += 1

    @property
    def connected(self) -> list[Peer]:
        """The peers in sight."""
        return [peer for peer in self.peers.values() if peer.connected]

    @property
    def connectivity(self) -> str:
        """The node's judgement of its own connection, by the number of peers in sight."""
        return ("Red", "Orange", "Yellow", "Green")[min(len(self.connected), 3)]

    def numbers(self, routes: tuple[Route, ...]) -> frozenset[int]:
        """Which relayers, counted from 0, these routes lead through by choice."""
        via = {address.lower() for route in routes for address in route.via}
        return frozenset(self._numbers[address] for address in via if address in self._numbers)

    def carries(self, forward: Route, back: Route, destination: str) -> bool:
        """Whether messages get to ``destination`` and back."""
        peer = self.peers.get(destination.lower())
        if peer is None or not peer.connected:
            return False
        return self._leads(forward, destination.lower(), paid=True) and self._leads(back, destination.lower())

    def _leads(self, route: Route, destination: str, *, paid: bool = False) -> bool:
        if route.hops is None:
            via = [address.lower() for address in route.via]
            if any(one == following for one, following in pairwise((*via, destination))):
                return False
            in_sight = all(address in self.peers and self.peers[address].connected for address in via)
            return in_sight and (not paid or not via or self._has_open_channel(via[0]))
        if self._carriers[0] != self.version:
            self._carriers = (self.version, sum(map(self._is_carrier, self.peers)))
        return self._carriers[1] - self._is_carrier(destination) >= route.hops

    def _is_carrier(self, address: str) -> bool:
        return self.peers[address].connected and self._has_open_channel(address)

    def _has_open_channel(self, address: str) -> bool:
        channel = self.outgoing.get(address)
        return channel is not None and channel.status == "Open"


def _random_address(rng: random.Random) -> str:
    return print_address(f"0x{rng.getrandbits(160):040x}")


def _random_id(rng: random.Random) -> str:
    return f"0x{rng.getrandbits(256):064x}"
