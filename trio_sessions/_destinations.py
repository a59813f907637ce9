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
        self._address = SingleFlight(hoprd.addresses)
        self._peers = SingleFlight(hoprd.peers)

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
        connected = await self._known_peers()
        never = {own, (route.relayer or "").lower()}
        # In a fixed order, so that the same random source chooses the same ones.
        known = self._configured or [connected[peer] for peer in sorted(connected)]
        candidates = [peer for peer in known if peer.lower() not in never]
        reachable = [peer for peer in candidates if peer.lower() in connected]
        if not reachable:
            raise NoDestinationError(str(route), len(candidates) if self._configured else None)
        return self._rng.choice(reachable)

    async def _known_peers(self) -> dict[str, str]:
        if self._connected is not None:
            return self._connected
        if trio.current_time() >= self._asked_until:
            self._asked = {peer.address.lower(): peer.address for peer in await self._peers.get()}
            self._asked_until = trio.current_time() + _PEERS_KEPT
        return self._asked
