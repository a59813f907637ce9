"""Where sessions go when nobody said: a random reachable destination, never the relayer, never ourselves."""

from __future__ import annotations

import random
from collections.abc import Iterable

import trio

from trio_sessions._errors import NoDestinationError
from trio_sessions._flight import SingleFlight
from trio_sessions._hoprd import Hoprd
from trio_sessions._route import Route

__all__ = ["Destinations"]

#: For this long, in seconds, a list of peers that we asked for ourselves serves further choices.
_PEERS_KEPT = 10.0


class _Choice:
    """The destinations to choose from while the same peers are connected: known ones that are not our own node.

    Attributes:
        connected: the peers, by address in lower case.
    """

    def __init__(self, connected: dict[str, str], candidates: list[tuple[str, str]]) -> None:
        self.connected = connected
        self._candidates = candidates
        self._reachable = [each for each in candidates if each[0] in connected]
        #: Where an address stands among them, in rising order.
        self._places: dict[str, list[int]] = {}
        for place, (address, _) in enumerate(self._reachable):
            self._places.setdefault(address, []).append(place)

    def other_than(self, relayer: str, rng: random.Random) -> str | None:
        """One of those that are connected, by chance, but not the relayer; ``None`` if there is none."""
        places = self._places.get(relayer, ())
        if len(self._reachable) == len(places):
            return None
        chosen = rng.randrange(len(self._reachable) - len(places))
        for place in places:
            chosen += chosen >= place
        return self._reachable[chosen][1]

    def known_besides(self, relayer: str | None) -> int:
        """How many there are, connected or not, without the relayer."""
        return sum(address != (relayer or "").lower() for address, _ in self._candidates)


class Destinations:
    """Chooses destinations, from the peers that somebody feeds or that the node is asked for."""

    def __init__(self, hoprd: Hoprd, configured: Iterable[str], rng: random.Random) -> None:
        self._configured = tuple(configured)
        self._rng = rng
        #: Connected peers as they were fed, or as the node told when asked; by address in lower case.
        self._connected: dict[str, str] | None = None
        self._asked: dict[str, str] = {}
        self._asked_until = 0.0
        self._own: str | None = None
        self._choice: _Choice | None = None
        self._address = SingleFlight(hoprd.addresses)
        self._hoprd = hoprd
        self._peers = SingleFlight(self._ask_for_peers)

    def set_configured(self, configured: Iterable[str]) -> None:
        """Choose from these from now on; from all peers if there are none."""
        self._configured = tuple(configured)
        self._choice = None

    def is_connected(self, address: str) -> bool | None:
        """Whether the peer was fed as connected; ``None`` when no peers ever were."""
        return None if self._connected is None else address.lower() in self._connected

    def set_connected(self, peers: Iterable[str]) -> None:
        """Feed the connected peers: the node is not asked any more."""
        self._connected = {peer.lower(): peer for peer in peers}

    async def own_address(self) -> str:
        """The address of our node; asked once.

        Raises:
            NodeError: the node didn't tell.
        """
        if self._own is None:
            self._own = await self._address.get()
        return self._own

    async def choose(self, route: Route) -> str:
        """A destination for ``route``.

        Raises:
            NodeError: the node could not be asked for its peers.
            NoDestinationError: there is none to choose.
        """
        own = (await self.own_address()).lower()
        choice = self._choice_of(await self._known_peers(), own)
        destination = choice.other_than((route.relayer or "").lower(), self._rng)
        if destination is None:
            raise NoDestinationError(str(route), choice.known_besides(route.relayer) if self._configured else None)
        return destination

    def _choice_of(self, connected: dict[str, str], own: str) -> _Choice:
        """What there is to choose from; worked out once for all who choose while the same peers are connected."""
        if self._choice is None or self._choice.connected is not connected:
            # In a fixed order, so that the same random source chooses the same ones.
            known = self._configured or [connected[peer] for peer in sorted(connected)]
            candidates = [(peer.lower(), peer) for peer in known]
            self._choice = _Choice(connected, [each for each in candidates if each[0] != own])
        return self._choice

    async def _known_peers(self) -> dict[str, str]:
        if self._connected is not None:
            return self._connected
        if trio.current_time() >= self._asked_until:
            return await self._peers.get()
        return self._asked

    async def _ask_for_peers(self) -> dict[str, str]:
        # Here, once for all who wait, and not by each of them.
        self._asked = {peer.address.lower(): peer.address for peer in await self._hoprd.peers()}
        self._asked_until = trio.current_time() + _PEERS_KEPT
        return self._asked
