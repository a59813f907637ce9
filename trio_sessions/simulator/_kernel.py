"""What the model needs of a network: sockets bound to an address, and no more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

__all__ = ["Binding", "Kernel", "Receive", "Source"]

#: Where a datagram came from, and where its echo goes.
Source = tuple[str, int]

#: Takes one datagram: its source, its bytes and the time.
Receive = Callable[[Source, bytes, float], None]


class Binding(Protocol):
    """A bound socket of the node."""

    @property
    def port(self) -> int:
        """The port that it is bound to."""

    def start(self, receive: Receive) -> None:
        """Hand every datagram to ``receive``, those waiting since the bind included."""

    def send(self, data: bytes, to: Source) -> None:
        """Send one datagram; like UDP, it may be lost."""

    def close(self) -> None:
        """Give the port back; called once."""


class Kernel(Protocol):
    """Gives out sockets."""

    def bind(self, protocol: str, ip: str, port: int, *, share: bool = False) -> Binding:
        """A socket bound to ``ip`` and ``port``; 0 is any free port, ``share`` lets two have the same.

        Raises:
            OSError: the address is in use or not ours.
        """
