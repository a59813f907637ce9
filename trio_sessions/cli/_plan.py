"""What a run is to do, as one frozen record."""

from __future__ import annotations

import sys

import attrs

from trio_sessions._address import same_address
from trio_sessions._errors import InvalidInputError
from trio_sessions._namespaces import DedicatedAddress, Namespace, PortRange, Shared
from trio_sessions.cli._listen import ListenAddress

__all__ = ["SIMULATED_RELAYERS", "Plan"]

#: Of a simulated node, when nobody names a number.
SIMULATED_RELAYERS = 5
#: ... and at the most: it runs in this process, with a socket for each.
MOST_SIMULATED = 1000


@attrs.frozen(kw_only=True)
class Plan:
    """The options of ``run``; durations in seconds.

    Attributes:
        url: of the node; ``None``: simulate one.
        token: for its API.
        relayers: which to use, or how many; ``None``: every one with an open channel.
        destinations: to choose from; none: every connected peer.
        hops: of sessions by hops; ``None``: through chosen relayers.
        batch: messages handed in at once.
        rate: messages a second, over all relayers together.
        duration: of the whole; ``None``: until a signal.
        seed: of every random choice; ``None``: another one each time.
        grace_period, stop_timeout: of the pool.
        namespace: of the listeners; ``None``: a dedicated address at a simulated node, else shared.
        instance: of several at one node.
        journal: the file; ``None``: one in the state folder where the namespace needs one, unless ``no_journal``.
        connect_host: where the listeners are reached, if not where the node says.
        metrics: where they are served; ``None``: nowhere.
        relayer_label: give metrics the relayers' names.

    Raises:
        InvalidInputError: options that exclude each other.
    """

    url: str | None
    token: str | None = attrs.field(default=None, repr=False)
    relayers: int | tuple[str, ...] | None = None
    destinations: tuple[str, ...] = ()
    hops: int | None = None
    batch: int = 10
    rate: float = 100.0
    duration: float | None = None
    seed: int | None = None
    grace_period: float = 300.0
    stop_timeout: float = 10.0
    namespace: Namespace | None = None
    instance: str = "default"
    journal: str | None = None
    no_journal: bool = False
    connect_host: str | None = None
    metrics: ListenAddress | None = None
    relayer_label: bool = False

    def __attrs_post_init__(self) -> None:
        wanted = self.relayers if isinstance(self.relayers, int) else len(self.relayers or ())
        if isinstance(self.namespace, PortRange) and len(self.namespace) < wanted:
            rule = f"has {len(self.namespace)} ports for {wanted} sessions"
            raise InvalidInputError("--namespace", str(self.namespace), rule, "widen it, to twice as many at best")
        if self.url is None and isinstance(self.relayers, int) and self.relayers > MOST_SIMULATED:
            rule = f"is more than the {MOST_SIMULATED} that a simulated node may have"
            raise InvalidInputError("--relayers", self.relayers, rule, "ask for fewer")
        if self.no_journal and self.journal is not None:
            raise InvalidInputError("--journal", self.journal, "is given together with --no-journal", "leave one out")
        if self.hops is not None and self.relayers is not None:
            remedy = "leave one out: by hops it is the node that picks the relayers"
            raise InvalidInputError("--hops", self.hops, "cannot be given together with --relayers", remedy)
        for relayer in self.named_relayers or ():
            if self.destinations and not self.has_destination(relayer):
                rule = "is the relayer, too, and there is no other"
                raise InvalidInputError("--destination", relayer, rule, "choose another destination or relayer")

    @property
    def namespace_to_use(self) -> Namespace:
        """The namespace that was asked for, or the one that suits."""
        if self.namespace is not None:
            return self.namespace
        # Elsewhere there are no loopback addresses to choose from.
        return DedicatedAddress() if self.url is None and sys.platform == "linux" else Shared()

    @property
    def has_default_journal(self) -> bool:
        """Whether what is open is remembered in the state folder: an address of our own needs no memory."""
        forgets = self.no_journal or self.url is None or isinstance(self.namespace_to_use, DedicatedAddress)
        return self.journal is None and not forgets

    @property
    def named_relayers(self) -> tuple[str, ...] | None:
        """The relayers that were given by address."""
        return self.relayers if isinstance(self.relayers, tuple) else None

    def has_destination(self, relayer: str) -> bool:
        """Whether there may be a destination for sessions through ``relayer``, which is never its own."""
        if self.hops is not None or not self.destinations:
            return True
        return any(not same_address(destination, relayer) for destination in self.destinations)
