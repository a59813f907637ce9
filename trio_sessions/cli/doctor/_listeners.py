"""The node's listeners: how near they are to its limit, and whether there is room where ours shall be."""

from __future__ import annotations

from collections import Counter

from trio_sessions._capacity import capacity
from trio_sessions._namespaces import DedicatedAddress, PortRange, derive_address, node_key
from trio_sessions.cli.doctor._case import Case
from trio_sessions.cli.doctor._finding import Finding, fail, ok, warn

__all__ = ["check_ports", "check_slots"]

#: The share of a limit above which it gets tight.
_TIGHT = 0.9
_MAKE_ROOM = "see what is open, and close what nobody needs: trio-sessions list, trio-sessions reap"


async def check_slots(case: Case) -> Finding:
    """The node has room for more sessions, by the limit that its dialect is known for (contract §3.4)."""
    case.listeners = (*await case.hoprd.list_sessions("udp"), *await case.hoprd.list_sessions("tcp"))
    used = len(case.listeners)
    limit = capacity(None if case.dialect is None else case.dialect.name)
    if limit is None:
        return ok(f"{used} listeners at the node", listeners=used, limit=None)
    facts = {"listeners": used, "limit": limit.sessions}
    found = f"{used} of some {limit.sessions} session slots hold listeners"
    if used >= limit.sessions:
        return fail(f"the node may be full: {found}", _MAKE_ROOM, limit.advice, **facts)
    if used >= _TIGHT * limit.sessions:
        return warn(found, _MAKE_ROOM, limit.advice, **facts)
    return ok(found, **facts)


async def check_ports(case: Case) -> Finding:
    """Where our listeners shall be, there is room, and no two listeners share a port (contract §3.2)."""
    namespace = case.access.namespace
    shared = _shared_ports(case)
    facts: dict[str, object] = {"namespace": str(namespace), "shared": list(shared)}
    if shared:
        return warn(
            f"listeners share a port: {', '.join(shared)}",
            "expect lost answers there: the node's system divides the datagrams among them",
            "use a namespace of our own, in which we choose the ports: --namespace dedicated, or FIRST-LAST",
            **facts,
        )
    if isinstance(namespace, PortRange):
        return _range(case, namespace, facts)
    if isinstance(namespace, DedicatedAddress):
        address = namespace.ip or derive_address(node_key(case.hoprd.url), case.access.instance)
        return ok(f"ours is the address {address}, with ports enough", address=address, **facts)
    return ok("the node chooses the ports (namespace shared), and none is shared", **facts)


def _range(case: Case, namespace: PortRange, facts: dict[str, object]) -> Finding:
    taken = {
        listener.key.port
        for listener in case.listeners
        if namespace.first <= listener.key.port <= namespace.last and namespace.ip in (None, listener.key.ip)
    }
    free = len(namespace) - len(taken)
    facts |= {"taken": len(taken), "free": free}
    found = f"{free} of {len(namespace)} ports of {namespace} are free"
    widen = "widen the range: a port rests for 210 s after use, so have two for each session"
    if not free:
        return fail(found, _MAKE_ROOM, widen, **facts)
    if len(taken) >= _TIGHT * len(namespace):
        return warn(found, widen, _MAKE_ROOM, **facts)
    return ok(found, **facts)


def _shared_ports(case: Case) -> tuple[str, ...]:
    """The keys that the list shows more than once."""
    counts = Counter(str(listener.key) for listener in case.listeners)
    return tuple(key for key, count in counts.items() if count > 1)
