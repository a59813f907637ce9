"""What to check when a session could not be opened: from the error to short sentences, likeliest first. Pure.

The node gives the same answer for many causes: a missing channel, a missing path and a peer that is offline are all a
time-out (contract §3.3, §5). So the sentences claim nothing but what the node said; they are a list to go through.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs

from trio_sessions._capacity import capacity
from trio_sessions._descriptors import DESCRIPTORS_REMEDY, out_of_descriptors
from trio_sessions._errors import (
    CannotPinRelayerError,
    ConnectionLostError,
    InstanceInUseError,
    JournalError,
    ListenHostInUseError,
    MalformedReplyError,
    NoDestinationError,
    NodeTimeoutError,
    NodeUnavailableError,
    NotAcceptableError,
    NotFoundError,
    NotReadyError,
    OutcomeUnknownError,
    PortsUsedUpError,
    RejectedError,
    ServerFailureError,
    SessionOpenError,
    SessionsError,
    UnauthorizedError,
)
from trio_sessions._model import Dialect, SessionRequest

__all__ = ["advise"]

_LOG = "read the daemon's log: it notes what its API does not tell"
_WAIT_FOR_IDLE_END = "or wait: what nobody uses ends by itself, 180 to 203 s after the last message"
_SEE_LISTENERS = "see what is open at the node, and close what nobody needs: `trio-sessions list`"
_OTHER_DESTINATION = "check that the destination is online, or try another one"
_URL = "check the URL: hoprd's API listens on http://127.0.0.1:3001 unless configured otherwise"
_BETWEEN = "check what is between here and the node: a proxy with a time-out or rules of its own answers for it"


@attrs.frozen
class _Asked:
    """What was asked for, as far as it is known.

    Attributes:
        request: of the session.
        dialect: of the node, as probed.
    """

    request: SessionRequest | None = None
    dialect: Dialect | None = None


def advise(
    error: SessionsError, request: SessionRequest | None = None, dialect: Dialect | None = None
) -> tuple[str, ...]:
    """What to check, in this order, after ``error`` kept a session from being opened.

    Args:
        error: why it could not be opened.
        request: what was asked for, if it is known.
        dialect: of the node, if it is known.

    Returns:
        Sentences of one line each, that hold no text of the node's; none where the error itself says all.
    """
    if error.advice:
        return error.advice
    if out_of_descriptors(error) is not None:
        return _NO_DESCRIPTORS
    asked = _Asked(request, dialect)
    for kind, steps in _BY_ERROR:
        if isinstance(error, kind):
            return steps(error, asked)
    return ()


# -- what the daemon says in a 422: by substring, since each dialect wraps it differently (contract §2.1)


def _nobody_answered(asked: _Asked) -> tuple[str, ...]:
    path = None if asked.request is None else asked.request.forward
    first: tuple[str, ...]
    beyond = "GET /channels?fullTopology=true has the network's"
    if path is None or path.via:
        first = (
            "check that the node's outgoing channel to the relayer is open and has funds",
            "check that the relayer is connected: that it is among the node's peers",
            f"check the channels between relayer and destination, for the way back too: {beyond}",
        )
    elif path.hops:
        way = f"over {path.hops} hop{'' if path.hops == 1 else 's'}"
        first = (
            "check that the node has open outgoing channels with funds, to peers that are connected",
            f"check that channels lead on to the destination, and back from it, {way}: {beyond}",
        )
    else:
        first = ("check that the destination is among the node's peers: without a relayer it must be in sight",)
    return (*first, _OTHER_DESTINATION, _LOG)


def _node_is_full(asked: _Asked) -> tuple[str, ...]:
    limit = capacity(None if asked.dialect is None else asked.dialect.name)
    return (
        _SEE_LISTENERS,
        "close what a killed run of ours left: `trio-sessions reap`",
        _WAIT_FOR_IDLE_END + "; before 4.1 a closed session may keep its slot until then",
        "check the node's limit: "
        + ("100 sessions with hoprd 4.0.3, 2048 with 3.x by default" if limit is None else limit.advice),
    )


_EXIT_IS_FULL = (
    "choose another destination: this one says that it has no slot for a session",
    _WAIT_FOR_IDLE_END,
    "ask its operator to make room, or to restart it: some builds from 4.0 on take no session until then",
)
_EXIT_REFUSES = (
    "try again later, or choose another destination: this one refuses",
    "ask its operator what its log says",
)
_OWN_NODE = ("choose another destination: this one is the node itself",)
_TOO_MANY_AT_ONCE = ("open fewer sessions at once: the node has too many openings under way", _LOG)
_RANGE_USED_UP = (
    _SEE_LISTENERS,
    "widen the node's range of ports: HOPRD_SESSION_PORT_RANGE of the daemon",
    "or choose ports of your own, which that range does not limit: --namespace dedicated, or FIRST-LAST",
)
_BAD_RANGE = ("correct the daemon's HOPRD_SESSION_PORT_RANGE: it is two ports, as in 40000:40999",)
_ADDRESS_TAKEN = (
    "check that the address is one of the node's machine, and that no other program has the port there",
    "or try again in a few seconds: a port is free only some time after its listener was closed",
    "or leave address and port to the node: --namespace shared",
)
_UNKNOWN_RELAYER = (
    "check the relayer's address: the node does not know it",
    "check that the relayer is connected: that it is among the node's peers",
)
_ROUTE_MOVED = ("try again: the node has changed, and is asked anew what it speaks",)
_NOT_READY = (
    "wait until the node runs: GET /startedz and /readyz answer 200 then",
    "check its funds and its connection to the chain: GET /node/status (4.x) or /node/info names what is missing",
    _LOG,
)
_NOT_UNDERSTOOD = (
    "check that nothing between here and the node changes the request",
    "check for a newer version of this program: the node does not read the request as its known dialects do",
)
_TOO_LONG = ("ask for fewer hops: a path has at most 3 relayers",)

#: The first that is found counts.
_REFUSALS: tuple[tuple[str, Callable[[_Asked], tuple[str, ...]] | tuple[str, ...]], ...] = (
    ("timed out", _nobody_answered),
    ("NoSlotsAvailable", _EXIT_IS_FULL),
    ("rejected session initiation", _EXIT_REFUSES),
    ("number of sessions exceeds", _node_is_full),
    ("loopback sessions are not allowed", _OWN_NODE),
    ("challenge slots are occupied", _TOO_MANY_AT_ONCE),
    ("no valid socket addresses", _RANGE_USED_UP),
    ("invalid port range", _BAD_RANGE),
    ("not available", _ADDRESS_TAKEN),
    ("not ready", _NOT_READY),
    ("intermediate path node address", _UNKNOWN_RELAYER),
    ("explicit path routing", _ROUTE_MOVED),
    ("hops", _TOO_LONG),
)


def _refused(error: SessionsError, asked: _Asked) -> tuple[str, ...]:
    assert isinstance(error, RejectedError)
    if error.word is None:
        return _NOT_UNDERSTOOD
    for text, steps in _REFUSALS:
        if text in error.text:
            return steps if isinstance(steps, tuple) else steps(asked)
    return (_LOG, "check that relayer and destination are among the node's peers, or try others")


# -- all other errors

_NO_DESCRIPTORS = (DESCRIPTORS_REMEDY, "or keep fewer sessions open at once")
_UNAUTHORIZED = (
    "check the API token",
    "check that it is this node's: each has its own",
    "check that nothing between here and the node takes the Authorization header away",
)
_NOT_FOUND = (
    "check that the node still pins relayers: `--enableExplicitPathSessions`, HOPRD_ENABLE_EXPLICIT_PATH_SESSIONS",
    _URL,
    _BETWEEN,
)
_IN_USE = (
    "choose another port, or leave it to the node: it has a listener there already",
    _SEE_LISTENERS,
    "or wait: an open under way holds its port unlisted, and cannot be cancelled, for up to some 90 s",
)
_UNAVAILABLE = (
    "check that the daemon runs, and that its API is switched on: it is off by default",
    _URL,
    "or wait: hoprd 4.x answers nothing until it has started",
    "check firewalls, and the published ports of a container",
)
_NO_REPLY = (
    "check that the node is not overloaded: how long does GET /readyz take?",
    "give it time: with one hop each way, an open that fails takes some 90 s",
    _BETWEEN,
    "don't open by hand once more: what the node may have opened is looked for, and closed",
)
_LOST = ("check whether the daemon restarted or crashed: its log tells", _BETWEEN)
_MISSHAPEN = (
    _URL,
    _BETWEEN,
    "check for a newer version of this program: the reply is not what the known dialects send",
)
_FAILURE = (_LOG, _BETWEEN)
_NO_GATEWAY = ("check that the daemon runs behind the proxy that answers for it", _URL)


def _failed(error: SessionsError, asked: _Asked) -> tuple[str, ...]:
    assert isinstance(error, ServerFailureError)
    return _NO_GATEWAY if error.status in (502, 503, 504) else _FAILURE


def _no_destination(error: SessionsError, asked: _Asked) -> tuple[str, ...]:
    assert isinstance(error, NoDestinationError)
    if error.configured is None:
        return ("wait for the node to connect to peers, or name a destination", "check the node's own connection")
    return ("check that the destinations are online, or name others", "check their addresses")


def _ports_used_up(error: SessionsError, asked: _Asked) -> tuple[str, ...]:
    return (
        "widen the range (--namespace FIRST-LAST): a port rests for 210 s after use, so have two for each session",
        "or use an address of our own, where the node is on this machine: --namespace dedicated",
    )


def _with_remedy(error: SessionsError, asked: _Asked) -> tuple[str, ...]:
    assert isinstance(error, CannotPinRelayerError | InstanceInUseError | JournalError)
    return (error.remedy,)


def _no_socket(error: SessionsError, asked: _Asked) -> tuple[str, ...]:
    return ("check that the listener's address can be reached from here: --connect-host names another one",)


def _always(*steps: str) -> Callable[[SessionsError, _Asked], tuple[str, ...]]:
    return lambda error, asked: steps


#: The first kind that fits counts.
_BY_ERROR: tuple[tuple[type[SessionsError], Callable[[SessionsError, _Asked], tuple[str, ...]]], ...] = (
    (UnauthorizedError, _always(*_UNAUTHORIZED)),
    (ListenHostInUseError, _always(*_IN_USE)),
    (NotReadyError, _always(*_NOT_READY)),
    (NotFoundError, _always(*_NOT_FOUND)),
    (NotAcceptableError, _always(*_NOT_FOUND)),
    (RejectedError, _refused),
    (ServerFailureError, _failed),
    (MalformedReplyError, _always(*_MISSHAPEN)),
    (NodeUnavailableError, _always(*_UNAVAILABLE)),
    (NodeTimeoutError, _always(*_NO_REPLY)),
    (ConnectionLostError, _always(*_LOST)),
    (OutcomeUnknownError, _always(*_NO_REPLY)),
    (CannotPinRelayerError, _with_remedy),
    (NoDestinationError, _no_destination),
    (PortsUsedUpError, _ports_used_up),
    (InstanceInUseError, _with_remedy),
    (JournalError, _with_remedy),
    (SessionOpenError, _no_socket),
)
