"""The simulator's own routes, for tests in another process: what hoprd has not (below /simulator)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from trio_sessions._errors import InvalidInputError
from trio_sessions.simulator._call import Call
from trio_sessions.simulator._faults import parse_fault
from trio_sessions.simulator._http import Response, json_reply, read_json
from trio_sessions.simulator._world import World

__all__ = ["add_faults", "add_strangers", "restart", "set_peer", "state"]

#: Seconds until a restart that was asked for over HTTP: its reply goes first.
REPLY_TIME = 0.05


def state(call: Call) -> Response:
    """GET /simulator/state: what is open, what may still open, and how often what happened.

    When ``opening`` and ``pending`` are both 0, no open that got its port so far makes a listener any more.
    """
    world = call.world
    return json_reply(
        {
            "now": call.now,
            "address": world.topology.address,
            "relayers": list(world.topology.relayers),
            "destinations": list(world.topology.destinations),
            "connected": [peer.address for peer in world.topology.connected],
            "listeners": [attrs.asdict(session.record()) for session in world.sessions.table.values()],
            "delisted": [attrs.asdict(session.record()) for session in world.sessions.delisted()],
            "opening": world.opening,
            "pending": len(world.pending),
            "sockets": len(world.sessions.alive),
            "slots": len(world.sessions.slots),
            "counters": world.history.counters.as_dict(),
            "events": [list(event) for event in list(world.history.events)[-100:]],
        }
    )


def set_peer(call: Call) -> Response:
    """POST /simulator/peers {address, connected} and/or {address, channel}."""

    def change(world: World, data: dict[str, Any]) -> object:
        if "connected" in data:
            world.set_connected(data["address"], bool(data["connected"]), call.now)
        if "channel" in data:
            world.topology.set_channel(data["address"], data["channel"])
        return {}

    return _do(call, change)


def restart(call: Call) -> Response:
    """POST /simulator/restart {down_for}."""

    def plan(world: World, data: dict[str, Any]) -> object:
        down_for = float(data.get("down_for", 0.0))
        world.agenda.at(call.now + REPLY_TIME, lambda _, now: world.restart(down_for, now))
        return {}

    return _do(call, plan)


def add_faults(call: Call) -> Response:
    """POST /simulator/faults {faults: [text, ...], clear: bool}: clears first, if asked to."""

    def arm(world: World, data: dict[str, Any]) -> object:
        faults = [parse_fault(text) for text in data.get("faults", [])]
        if data.get("clear", False):
            world.faults.clear()
        for fault in faults:
            world.add_fault(fault, call.now)
        return {}

    return _do(call, arm)


def add_strangers(call: Call) -> Response:
    """POST /simulator/strangers {ip, port, protocol, destination, relayer, count}, all optional.

    Returns the listener; with a count {listeners: [...]}, so many on ports of their own.
    """

    def add(world: World, data: dict[str, Any]) -> object:
        names = ("ip", "port", "protocol", "destination", "relayer")
        given = {name: data[name] for name in names if name in data}
        if "count" not in data:
            return attrs.asdict(world.add_stranger(call.now, **given).record())
        count = data["count"]
        if type(count) is not int or count < 0:
            raise InvalidInputError("count", count, "must be a whole number from 0 up")
        if given.get("port"):
            raise InvalidInputError("port", given["port"], "is for one listener", "leave out the port or the count")
        return {"listeners": [attrs.asdict(world.add_stranger(call.now, **given).record()) for _ in range(count)]}

    return _do(call, add)


def _do(call: Call, action: Callable[[World, dict[str, Any]], object]) -> Response:
    """Read the body and act on it; what is wrong with it is told in one line."""
    data = read_json(call.request)
    try:
        if not isinstance(data, dict):
            raise InvalidInputError("body", data, "must be a JSON object")
        return json_reply(action(call.world, data))
    except InvalidInputError as error:
        return json_reply({"error": str(error)}, 400)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        return json_reply({"error": f"{type(error).__name__}: {error}"}, 400)
