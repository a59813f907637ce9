"""The settings of a pool, checked when they are made."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable
from ipaddress import ip_address
from math import isfinite
from typing import Any

import attrs

from trio_sessions._address import check_address
from trio_sessions._errors import InvalidInputError
from trio_sessions._model import DEFAULT_CAPABILITIES, Capability, split_listen_host
from trio_sessions._namespaces import Namespace, Shared, check_instance

__all__ = ["CHANGEABLE", "PoolOptions", "check_unchanged", "duration", "whole"]

#: The options that a pool may be given anew while it runs; see :meth:`SessionPool.set_options`.
CHANGEABLE = frozenset(
    {
        "destinations",
        "drain_timeout",
        "grace_period",
        "keepalive_interval",
        "opens_per_second",
        "reconcile_interval",
        "reply_timeout",
        "stop_timeout",
    }
)


def check_unchanged(old: attrs.AttrsInstance, new: attrs.AttrsInstance, changeable: Collection[str]) -> None:
    """Check that two records of options differ in nothing but what is ``changeable``.

    Raises:
        InvalidInputError: naming the first field that differs.
    """
    for field in attrs.fields(type(old)):
        before, after = getattr(old, field.name), getattr(new, field.name)
        if field.name not in changeable and before != after:
            rule = f"cannot change while it runs: it is {before}"
            raise InvalidInputError(field.name.replace("_", " "), str(after), rule, "keep it, or start anew")


def duration(*, positive: bool = False) -> Callable[[Any, attrs.Attribute[float], object], None]:
    """A validator: a finite number of seconds, not negative, or above 0."""

    def check(_: Any, attribute: attrs.Attribute[float], value: object) -> None:
        what = attribute.name.replace("_", " ")
        if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
            raise InvalidInputError(what, value, "must be a finite number of seconds")
        if value < 0 or (positive and value == 0):
            raise InvalidInputError(what, value, f"must be {'above 0' if positive else '0 or more'} seconds")

    return check


def whole(lowest: int) -> Callable[[Any, attrs.Attribute[int], object], None]:
    """A validator: a whole number of at least ``lowest``."""

    def check(_: Any, attribute: attrs.Attribute[int], value: object) -> None:
        if isinstance(value, bool) or not isinstance(value, int) or value < lowest:
            raise InvalidInputError(attribute.name.replace("_", " "), value, f"must be a whole number from {lowest} up")

    return check


def _addresses(value: Iterable[str]) -> tuple[str, ...]:
    return tuple(value)


def _check_destinations(_: Any, __: attrs.Attribute[tuple[str, ...]], value: tuple[str, ...]) -> None:
    for address in value:
        check_address(address, "destination")


def _path(value: str | os.PathLike[str] | None) -> str | None:
    return None if value is None else os.fspath(value)


def _check_listen_host(_: Any, __: attrs.Attribute[str | None], value: str | None) -> None:
    if value is not None:
        split_listen_host(value)


def _check_connect_host(_: Any, __: attrs.Attribute[str | None], value: str | None) -> None:
    if value is None:
        return
    try:
        ip_address(value)
    except ValueError:
        raise InvalidInputError("connect host", value, "is no ip address", "write an ip, not a name") from None


#: The share of the stop timeout that draining may take at most, whatever the drain timeout says.
_DRAIN_SHARE = 0.5


@attrs.frozen(kw_only=True)
class PoolOptions:
    """How a pool behaves. Durations in seconds.

    Attributes:
        destinations: exit nodes to choose from; none: any connected peer.
        grace_period: how long a session outlives the reachability of its relayer.
        keepalive_interval: between the calls that keep the listener of an unreachable relayer from its idle end:
            nothing comes back through it, and the node ends what receives nothing for 180 s (contract §3.5).
        reconcile_interval: between looks at the node's list of listeners.
        reply_timeout: how long the answers of a batch are waited for after its last message was sent.
        drain_timeout: how long an ending session waits for answers; at a stop at most half of ``stop_timeout``.
        stop_timeout: how long leaving the pool's block takes at most.
        close_timeout: of one DELETE; failed ones are tried again.
        open_attempts: POSTs that a session tries before it gives up.
        wait_for_node: whether outages of the whole node don't count as attempts, so that a session waits for its end.
        opens_per_second: POSTs of all sessions together.
        max_opens: POSTs in flight, without those that the node has had for longer than a second: of these there may be
            16 times as many, so that relayers that never answer hold up no other.
        max_closes: DELETEs in flight; at a stop, which has little time, 16 times as many.
        namespace: which listeners are ours: see :class:`Shared`, :class:`DedicatedAddress`, :class:`PortRange`.
        instance: this one's name: at one node, each instance needs another.
        journal: the file that remembers what is open, so that the next start closes what a killed process left; None:
            no such memory. Only an address of our own needs none.
        listen_host: in the shared namespace, where the node shall listen, ``"ip:port"``, ``"ip"`` or ``":port"``; None:
            where it likes.
        connect_host: the ip to reach the listeners at, when that is not the one that the node names: a node in a
            container listens on 0.0.0.0 and has its ports published elsewhere.
        capabilities: of the sessions (contract §4.4).
        response_buffer: of the sessions, in bytes; 0 switches the node's balancer off.
    """

    destinations: tuple[str, ...] = attrs.field(default=(), converter=_addresses, validator=_check_destinations)
    grace_period: float = attrs.field(default=300.0, validator=duration())
    keepalive_interval: float = attrs.field(default=60.0, validator=duration(positive=True))
    reconcile_interval: float = attrs.field(default=10.0, validator=duration(positive=True))
    reply_timeout: float = attrs.field(default=2.0, validator=duration(positive=True))
    drain_timeout: float = attrs.field(default=3.0, validator=duration())
    stop_timeout: float = attrs.field(default=10.0, validator=duration(positive=True))
    close_timeout: float = attrs.field(default=5.0, validator=duration(positive=True))
    open_attempts: int = attrs.field(default=3, validator=whole(1))
    wait_for_node: bool = True
    opens_per_second: float = attrs.field(default=200.0, validator=duration(positive=True))
    max_opens: int = attrs.field(default=256, validator=whole(1))
    max_closes: int = attrs.field(default=16, validator=whole(1))
    namespace: Namespace = attrs.field(factory=Shared)
    instance: str = attrs.field(default="default", converter=check_instance)
    journal: str | None = attrs.field(default=None, converter=_path)
    listen_host: str | None = attrs.field(default=None, validator=_check_listen_host)
    connect_host: str | None = attrs.field(default=None, validator=_check_connect_host)
    capabilities: frozenset[Capability] = DEFAULT_CAPABILITIES
    response_buffer: int | None = 0

    @property
    def drain_time(self) -> float:
        """Seconds of a stop that may be spent on waiting for answers."""
        return min(self.drain_timeout, self.stop_timeout * _DRAIN_SHARE)

    def __attrs_post_init__(self) -> None:
        if self.listen_host is not None and not isinstance(self.namespace, Shared):
            rule = "is for the shared namespace: any other one chooses it"
            raise InvalidInputError("listen host", self.listen_host, rule, "leave it out")
