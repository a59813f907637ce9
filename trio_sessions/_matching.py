"""Whose is a listener that the node lists and nobody claims? Pure: it only compares.

The API has no owner label (contract §2), so after a lost reply a listener is known to be ours by everything that the
list shows of it, by not having been there before, and by nobody else of ours waiting for one like it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import ip_address

from trio_sessions._address import same_address
from trio_sessions._listeners import Claim, ListenerState
from trio_sessions._model import Listener, ListenerKey, Path, SessionRequest, split_listen_host

__all__ = [
    "MAY_HAVE_MADE_ONE",
    "answers",
    "chose_port",
    "fits",
    "is_ambiguous",
    "is_certain",
    "is_where_asked",
    "recognise",
]

#: Claims in these states may have a listener that we have not heard of.
MAY_HAVE_MADE_ONE = (ListenerState.POSTING, ListenerState.UNKNOWN)


def answers(request: SessionRequest, listener: Listener) -> bool:
    """Whether ``listener`` shows nothing that ``request`` did not ask for."""
    target = f"#{request.target}" if isinstance(request.target, int) else request.target
    return (
        listener.key.protocol == request.protocol
        and same_address(listener.destination, request.destination)
        and is_where_asked(listener.key, request)
        and listener.target == target
        and _same_path(listener.forward, request.forward)
        and _same_path(listener.back, request.back)
    )


def is_where_asked(key: ListenerKey, request: SessionRequest) -> bool:
    """Whether the listener is at the address and port that ``request`` asked for, as far as it did."""
    if request.listen_host is None:
        return True
    ip, port = split_listen_host(request.listen_host)
    return (not port or int(port) in (0, key.port)) and (not ip or ip == key.ip or ip_address(ip) == ip_address(key.ip))


def fits(claim: Claim, listener: Listener) -> bool:
    """Whether ``listener`` could be what the claim's POST made."""
    return answers(claim.request, listener) and (claim.before is None or not claim.before.has(listener))


def recognise(claim: Claim, claims: Iterable[Claim], unclaimed: Sequence[Listener]) -> Listener | None:
    """The listener to close for ``claim``: beyond doubt one of ours, that nobody of ours waits for; or none.

    ``unclaimed`` are the listed ones that nobody of ours holds.
    """
    own = _own(claim, unclaimed)
    if not own:
        # So it is with most of a thousand that look at one time.
        return None
    others = [other for other in claims if other.state is ListenerState.POSTING]
    if any(fits(other, listener) for other in others for listener in own) or is_ambiguous(claim, claims, unclaimed):
        return None
    return next((listener for listener in own if is_certain(claim, listener)), None)


def is_ambiguous(claim: Claim, claims: Iterable[Claim], unclaimed: Sequence[Listener]) -> bool:
    """Whether more listeners fit than there are claims that no others could have made: one may be a stranger's.

    Where there are as many claims as that, all of these listeners are ours, in whatever order.
    """
    own = _own(claim, unclaimed)
    if len(own) <= 1:
        return False
    keys = {listener.key for listener in own}
    rivals = (other for other in claims if other is claim or other.state in MAY_HAVE_MADE_ONE)
    # One that could have made nothing that is listed has made none of these.
    made = [[listener.key for listener in _own(other, unclaimed)] for other in rivals]
    return len(own) > sum(bool(theirs) and keys.issuperset(theirs) for theirs in made)


def _own(claim: Claim, unclaimed: Sequence[Listener]) -> list[Listener]:
    return [listener for listener in unclaimed if fits(claim, listener)]


def is_certain(claim: Claim, listener: Listener) -> bool:
    """Whether enough was there to compare: what was there before, and the whole path or a port that we chose."""
    shows_path = listener.forward is not None and listener.back is not None
    enough = shows_path or chose_port(claim.request)
    return claim.before is not None and not claim.is_ambiguous and enough


def chose_port(request: SessionRequest) -> bool:
    """Whether it was we who chose the listener's port."""
    return request.listen_host is not None and split_listen_host(request.listen_host)[1] not in ("", "0")


def _same_path(listed: Path | None, asked: Path) -> bool:
    # The list shows the relayers of the explicit-path route by ids of the node's own (contract §2.2).
    if listed is None:
        return True
    return listed.hops == asked.hops and [a.lower() for a in listed.via] == [a.lower() for a in asked.via]
