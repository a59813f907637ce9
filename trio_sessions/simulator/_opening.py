"""How the daemon opens a session: bind, shake hands, commit; with retries and time-outs (contract §3.1, §3.3)."""

from __future__ import annotations

import errno
import os
from collections.abc import Generator

import attrs

from trio_sessions.simulator._call import Call
from trio_sessions.simulator._faults import LOW_PORTS
from trio_sessions.simulator._history import Key
from trio_sessions.simulator._http import Refusal, error_reply
from trio_sessions.simulator._kernel import Binding
from trio_sessions.simulator._sessions import Balancer, Session
from trio_sessions.simulator._spec import SessionSpec, read_listen_host
from trio_sessions.simulator._topology import same_address
from trio_sessions.simulator._world import World

__all__ = ["MAX_HOPS", "open_listener", "refusal"]

#: The longest path, by number or by addresses (contract §2.1).
MAX_HOPS = 3

#: Contract §3.3: seconds that one attempt waits for each leg of the way there and back.
LEG_TIMEOUT = 5.0
RETRY_DELAY = 2.0
RETRY_JITTER = 2.0

#: The reply to an open while the node isn't in the state Running (contract §2.1, §5).
NOT_RUNNING = "node not ready: the node is not in the state Running"

#: Contract §3.3: the longest wait for the replies that a balancer asks for.
READINESS_TIMEOUT = 10.0


class _OpenFailed(Exception):  # noqa: N818 - the text of a reply, no error of ours
    """Why and when an open failed, in the daemon's words."""

    def __init__(self, text: str, now: float) -> None:
        super().__init__(text, now)
        self.text = text
        self.now = now


@attrs.define(eq=False)
class _Opening:
    """An open that has a port and waits for the exit.

    Attributes:
        boots: of the node when it began; a restart ends it.
        due: when it will be committed, as long as nothing stands against it.
        waits_for_replies: whether the session stands and only its balancer is being filled.
    """

    id: str
    key: Key
    spec: SessionSpec
    binding: Binding
    explicit: bool
    boots: int
    due: float | None = None
    waits_for_replies: bool = False


def refusal(text: str) -> Refusal:
    """The daemon's own 422."""
    return Refusal(error_reply(422, "UNKNOWN_FAILURE", text))


def open_listener(call: Call, protocol: str, spec: SessionSpec, *, explicit: bool) -> Generator[float, float, Session]:
    """Open what ``spec`` asks for.

    Closed before its end, i.e. when the client has gone, it gives everything back (contract §3.3).

    Raises:
        Refusal: with the daemon's reply, when it fails.
    """
    world = call.world
    counters = world.history.counters
    if spec.forward.length > MAX_HOPS or spec.back.length > MAX_HOPS:
        raise refusal(f"a path has at most {MAX_HOPS} hops")
    ip, port = read_listen_host(spec.listen_host, world.config.listen_host)
    if port and (protocol, ip, port) in world.sessions.table:
        raise Refusal(error_reply(409, "LISTEN_HOST_ALREADY_USED"))
    binding = _bind(call, protocol, ip, port)
    opening = _Opening(
        world.sessions.new_id(), (protocol, ip, binding.port), spec, binding, explicit, boots=world.boots
    )
    counters.opens_started += 1
    world.opening += 1
    now = call.now
    try:
        # A TCP listener is bound and no more, unless it has a pool to fill (contract §3.1).
        if protocol == "udp" or spec.pool:
            now = yield from _establish(call, opening)
        elif call.fired.delay:
            now = yield now + call.fired.delay
        if world.boots != opening.boots:
            # The handshake ended in the very moment of a restart: nothing survives that (contract §3.8).
            raise _OpenFailed(NOT_RUNNING, now)
    except _OpenFailed as failure:
        binding.close()
        counters.opens_failed += 1
        world.history.note(failure.now, "open_failed", opening.key)
        status = world.rules.pool_failure if protocol == "tcp" else 422
        raise _failure(world, protocol, f"{ip}:{port}", failure.text, status) from None
    except GeneratorExit:
        counters.opens_abandoned += 1
        goes_on = call.fired.has("leave-after-disconnect") and not call.fired.has("exit-full")
        if goes_on and opening.due is not None and world.boots == opening.boots:
            world.pending[opening.id] = binding
            world.agenda.at(opening.due, _commit_late, (world, opening))
        else:
            _roll_back(world, opening, world.clock())
        raise
    finally:
        world.opening -= 1
    return world.commit(opening.id, opening.key, spec, binding, now, explicit=explicit)


def _bind(call: Call, protocol: str, ip: str, port: int) -> Binding:
    """The first socket to be had: the asked one, one of the range, or any (contract §3.2)."""
    world = call.world
    shares = call.fired.has("same-port")
    wanted = port or (_latest_port(world, protocol, ip) if shares else 0)
    bounds = _port_bounds(call)
    used_up = call.fired.has("ports-used-up")
    if wanted or bounds is None:
        try:
            if used_up:
                raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
            return world.bind(protocol, ip, wanted, share=shares and wanted != 0)
        except OSError as error:
            if protocol == "tcp" and error.errno == errno.EADDRINUSE:
                raise Refusal(error_reply(409, "LISTEN_HOST_ALREADY_USED")) from error
            raise _failure(world, protocol, f"{ip}:{port}", "address not available") from error
    for candidate in () if used_up else range(bounds[0], bounds[1] + 1):
        try:
            return world.bind(protocol, ip, candidate)
        except OSError:
            continue
    text = f"no valid socket addresses found within range: {bounds[0]}:{bounds[1]}"
    raise _failure(world, protocol, f"{ip}:{port}", text)


def _latest_port(world: World, protocol: str, ip: str) -> int:
    """The port of the listener that was opened last; 0 when there is none."""
    return next((key[2] for key in reversed(world.sessions.table) if key[:2] == (protocol, ip)), 0)


def _port_bounds(call: Call) -> tuple[int, int] | None:
    """The range that the node gives out ports from; ``None`` leaves them to the system."""
    bounds = call.world.config.port_range
    if bounds is None and (call.fired.has("low-port") or call.fired.has("ports-used-up")):
        # Only a node with a range can run out of it.
        return LOW_PORTS
    return bounds


def _failure(world: World, protocol: str, bind: str, text: str, status: int = 422) -> Refusal:
    """The reply to a failed open: the later dialects blame the listener whatever the cause (contract §2.1)."""
    if world.rules.prefix_errors:
        text = f"failed to start {protocol.upper()} listener on {bind}: unknown failure: {text}"
    return Refusal(error_reply(status, "UNKNOWN_FAILURE", text))


def _establish(call: Call, opening: _Opening) -> Generator[float, float, float]:
    """Shake hands with the exit; returns the time of success.

    Raises:
        _OpenFailed: after the last attempt, or at once when the node doesn't run.
    """
    world, spec, now = call.world, opening.spec, call.now
    text = ""
    for attempt in range(1 + world.config.open_retries):
        if attempt:
            now = yield now + RETRY_DELAY + world.retries.uniform(0, RETRY_JITTER)
        if not world.runs(now):
            raise _OpenFailed(NOT_RUNNING, now)
        if world.sessions.is_full or call.fired.has("cap"):
            text = "number of sessions exceeds the maximum allowed"
            continue
        if same_address(spec.destination, world.topology.address):
            text = "loopback sessions are not allowed"
            continue
        world.sessions.take_slot(opening.id)
        began = now
        if world.topology.carries(spec.forward, spec.back, spec.destination):
            opening.due = now + world.config.open_latency + call.fired.delay
            now = yield opening.due
            opening.due = None
            if call.fired.has("exit-full"):
                text = "the other party rejected session initiation with error: NoSlotsAvailable"
            elif world.topology.carries(spec.forward, spec.back, spec.destination):
                return (yield from _fill(opening, world.balancer_of(spec), now))
        if not call.fired.has("exit-full"):
            text = world.rules.timeout_text
            now = yield max(now, began + LEG_TIMEOUT * (spec.forward.length + spec.back.length + 2))
        world.sessions.free_slot(opening.id)
    raise _OpenFailed(text, now)


def _fill(opening: _Opening, balancer: Balancer | None, now: float) -> Generator[float, float, float]:
    """Wait for half of the replies that the balancer asks for (contract §3.3)."""
    if balancer is None:
        return now
    opening.waits_for_replies = True
    opening.due = now + min(balancer.target / 2 / balancer.rate, READINESS_TIMEOUT)
    return (yield opening.due)


def _roll_back(world: World, opening: _Opening, now: float) -> None:
    opening.binding.close()
    if opening.waits_for_replies and not world.rules.drop_frees_slot:
        world.sessions.leave_slot(opening.id, now)
    else:
        world.sessions.free_slot(opening.id)
    world.history.note(now, "abandoned", opening.key)


def _commit_late(work: tuple[World, _Opening], now: float) -> None:
    """The client has left, and yet: what it never heard of is there (contract §3.3)."""
    world, opening = work
    if world.pending.pop(opening.id, None) is None:
        # A restart has forgotten it.
        return
    world.history.counters.opens_late += 1
    world.commit(opening.id, opening.key, opening.spec, opening.binding, now, explicit=opening.explicit)
