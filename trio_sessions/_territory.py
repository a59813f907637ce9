"""A namespace at work: where each new listener goes, and what listens where nobody else does."""

from __future__ import annotations

import random

import trio

from trio_sessions._listing import Listing
from trio_sessions._model import ListenerKey, SessionRequest, split_listen_host
from trio_sessions._namespaces import DEDICATED_PORTS, DedicatedAddress, Namespace, PortRange
from trio_sessions._past import MEMORY
from trio_sessions._ports import Ports

__all__ = ["Territory"]


class Territory:
    """Where a pool's listeners are.

    Attributes:
        own_address: the address on which every listener is ours; ``None`` where there is none.
    """

    def __init__(self, namespace: Namespace, own_address: str | None, rng: random.Random) -> None:
        self.own_address = own_address
        self._ip = own_address
        self._ports: Ports | None = None
        #: How long a port rests after a listener's confirmed end, seconds. On an address of ours nobody can be hit by
        #: what is late; elsewhere one that a list had hidden may live as long as that.
        self._quarantine = 0.0
        #: The last list that was sifted, and the ports in it.
        self._sifted: tuple[Listing, frozenset[int]] | None = None
        if isinstance(namespace, DedicatedAddress):
            self._ports = Ports(*DEDICATED_PORTS, rng)
        elif isinstance(namespace, PortRange):
            self._ip = namespace.ip
            self._ports = Ports(namespace.first, namespace.last, rng)
            self._quarantine = MEMORY

    @property
    def room(self) -> int | None:
        """How many listeners there can be at one time; ``None``: as many as the node has ports for."""
        return None if self._ports is None else len(self._ports)

    def is_ours(self, key: ListenerKey) -> bool:
        """Whether a listener there can be nobody else's."""
        return self.own_address is not None and key.ip == self.own_address

    def has(self, key: ListenerKey) -> bool:
        """Whether a listener there is one of those that only we may have."""
        return self._ports is not None and key.port in self._ports and self._ip in (None, key.ip)

    def place(self, request: SessionRequest, listing: Listing | None) -> SessionRequest:
        """The request with the port that its listener shall have; none that is listed already.

        Raises:
            PortsUsedUpError: there is none left.
        """
        if self._ports is None:
            return request
        port = self._ports.take(trio.current_time(), self._taken_in(listing))
        ip = self._ip or ""
        host = f"[{ip}]" if ":" in ip else ip
        return request.at(f"{host}:{port}")

    def _taken_in(self, listing: Listing | None) -> frozenset[int]:
        """The listed ports; worked out once for all who ask with the same list."""
        if listing is None:
            return frozenset()
        if self._sifted is None or self._sifted[0] is not listing:
            ports = frozenset(key.port for key in listing.listeners if self._ip in (None, key.ip))
            self._sifted = (listing, ports)
        return self._sifted[1]

    def occupy(self, request: SessionRequest) -> None:
        """A listener of an earlier run may have its port."""
        if self._ports is not None and (port := _port(request)):
            self._ports.occupy(port)

    def vacate(self, request: SessionRequest, *, there_was_one: bool, may_be_one: bool) -> float:
        """The request's listener is settled: its port can be given out again, after the seconds that this returns."""
        rest = MEMORY if may_be_one else self._quarantine if there_was_one else 0.0
        if self._ports is None or not (port := _port(request)):
            return 0.0
        self._ports.free(port, trio.current_time() + rest)
        return rest

    def let_rest(self, request: SessionRequest, seconds: float) -> None:
        """The request's port is still in quarantine, from an earlier run."""
        if self._ports is not None and (port := _port(request)):
            self._ports.occupy(port)
            self._ports.free(port, trio.current_time() + seconds)


def _port(request: SessionRequest) -> int:
    """The port that is asked for, or 0."""
    return int(split_listen_host(request.listen_host)[1] or 0) if request.listen_host is not None else 0
