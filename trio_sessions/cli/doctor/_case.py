"""What the checks share: the node, what was asked for, and what earlier ones found out."""

from __future__ import annotations

import attrs

from trio_sessions import Channels, Dialect, Hoprd, InvalidInputError, LeftListener, Listener, Peer
from trio_sessions._address import same_address
from trio_sessions.cli._access import Access
from trio_sessions.cli.doctor._look import Look

__all__ = ["Case", "Question"]


@attrs.frozen(kw_only=True)
class Question:
    """What the doctor is asked about.

    Attributes:
        relayer: of the loopback session; ``None``: the first in sight with an open channel.
        destination: of it; ``None``: any connected peer.
        hops: of a session by hops; ``None``: through a relayer.
        timeout: seconds that the session may take to open; ``None``: as long as the node itself may take.

    Raises:
        InvalidInputError: options that exclude each other.
    """

    relayer: str | None = None
    destination: str | None = None
    hops: int | None = None
    timeout: float | None = None

    def __attrs_post_init__(self) -> None:
        if self.hops is not None and self.relayer is not None:
            remedy = "leave one out: by hops it is the node that picks the relayers"
            raise InvalidInputError("--hops", self.hops, "cannot be given together with --relayer", remedy)
        if self.relayer is not None and self.destination is not None and same_address(self.relayer, self.destination):
            rule = "is the relayer, too"
            raise InvalidInputError("--destination", self.destination, rule, "choose another destination or relayer")


@attrs.define(kw_only=True)
class Case:
    """One examination. Each check reads what those that it needs have left here.

    Attributes:
        look: the reply to the first request, made by hand.
        needs_token: whether the API asks for one.
        listeners: of the node, everybody's, of both protocols.
        left: what the loopback session may have left at the node.
    """

    access: Access
    question: Question
    hoprd: Hoprd
    look: Look | None = None
    needs_token: bool = True
    dialect: Dialect | None = None
    peers: tuple[Peer, ...] = ()
    channels: Channels = attrs.field(factory=Channels)
    listeners: tuple[Listener, ...] = ()
    left: tuple[LeftListener, ...] = ()

    def is_connected(self, address: str) -> bool:
        """Whether the node has this peer in sight."""
        return any(same_address(peer.address, address) for peer in self.peers)

    @property
    def relayers(self) -> tuple[str, ...]:
        """The peers in sight that the node has an open channel to, with funds in it."""
        funded = (channel for channel in self.channels.outgoing if channel.is_open and channel.balance.amount)
        return tuple(channel.peer for channel in funded if self.is_connected(channel.peer))
