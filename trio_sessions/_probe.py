"""Which dialect a node speaks: found by asking for its routes, not by believing its version number."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from trio_sessions._errors import MalformedReplyError, NotFoundError, StatusError, UnauthorizedError
from trio_sessions._flight import SingleFlight
from trio_sessions._model import Dialect, Pinning
from trio_sessions._replies import read_openapi
from trio_sessions._rest_requests import ANY, CONNECTED_PEERS, OLD_PEERS, OPENAPI, STATUS, explicit_path

if TYPE_CHECKING:
    from trio_sessions._rest_edge import Edge

__all__ = ["Dialects", "probe", "unknown_route"]

_SWITCH_ON = (
    "switch on `api.enable_explicit_path_sessions` in the node's configuration, or start it with "
    "`--enableExplicitPathSessions` or `HOPRD_ENABLE_EXPLICIT_PATH_SESSIONS`"
)
_BY_HOPS = "or open sessions by a number of hops"

#: From this minor version of the 4.x REST crate on a node is called 4.1: 4.0.3 has 12, 4.1.0 has 14.
_MINOR_OF_41 = 13
#: The REST crate of a node with ``/network/connected`` has at least this one: smaller ones are hoprd's own version.
_MINOR_OF_40 = 11


async def probe(edge: Edge) -> Dialect:
    """Find the dialect by three to five GETs that change nothing (contract §1.5, §2.2, §2.6).

    Raises:
        NodeError: a call failed. :class:`UnauthorizedError` comes before all else, since an unknown route looks like
            a known one to a caller without a token; :class:`NotFoundError` means that it is no hoprd.
    """
    connected = await _has_route(edge, CONNECTED_PEERS)
    if not connected and not await _has_route(edge, OLD_PEERS):
        raise NotFoundError("GET", OLD_PEERS, status=404, text=f"nor is there {CONNECTED_PEERS}: this is no hoprd")
    # Sessions are only posted there: a GET of it is the wrong method.
    pinned = await _has_route(edge, explicit_path("udp"), status=405)
    tells_status = await _has_route(edge, STATUS)
    if not connected:
        pinning = Pinning.EXPLICIT_PATH_ROUTE if pinned else Pinning.INTERMEDIATE_PATH
        return Dialect("3.x", pinning, "", connected_route=False, status_route=tells_status)
    version, compiled_in = await _openapi(edge)
    return Dialect(
        name=_name(version),
        pinning=Pinning.EXPLICIT_PATH_ROUTE if pinned else Pinning.NONE,
        pinning_remedy="" if pinned else _remedy(compiled_in),
        connected_route=True,
        status_route=tells_status,
    )


class Dialects:
    """What is known of the dialect, and the one probe at a time that finds it out."""

    def __init__(self, probe: Callable[[], Awaitable[Dialect]]) -> None:
        self.known: Dialect | None = None
        self._probe = SingleFlight(probe)
        self._forgotten = 0

    async def get(self) -> Dialect:
        """The dialect, known or probed now. Those who ask meanwhile wait for the one probe and share its error.

        If the one who probes is cancelled, one of the others goes on.
        """
        if self.known is not None:
            return self.known
        forgotten = self._forgotten
        found = await self._probe.get()
        if self._forgotten == forgotten:
            self.known = found
        return found

    def forget(self) -> None:
        """The node may be another one now: what is known, or being found out, counts no more."""
        self.known = None
        self._forgotten += 1
        self._probe.forget()


async def _has_route(edge: Edge, path: str, *, status: int = 200) -> bool:
    """Whether a GET of ``path`` answers as a known route: with ``status``, or with an error of the daemon's own."""
    reply = await edge.call("GET", path, accept=ANY)
    try:
        if reply.status != status:
            raise edge.error(reply)
        if status == 200:
            edge.parse(reply, lambda value: value)
    except UnauthorizedError:
        raise
    except StatusError as error:
        if error.status == 404 and error.word is None:
            return False
        if error.word is None or error.status >= 500:
            raise
    return True


async def _openapi(edge: Edge) -> tuple[str, bool | None]:
    """The REST crate's version, and whether the explicit-path route is compiled in; ``""`` and ``None`` if not told."""
    reply = await edge.call("GET", OPENAPI, accept=ANY)
    if reply.status != 200:
        return "", None
    try:
        return edge.parse(reply, read_openapi)
    except (MalformedReplyError, StatusError):
        return "", None


def _name(version: str) -> str:
    """The dialect of a node with ``/network/connected``, for people to read."""
    major, _, rest = version.partition(".")
    minor = rest.partition(".")[0]
    if not (major.isdecimal() and minor.isdecimal() and len(major + minor) < 10):
        return "4.x"
    number = int(minor)
    if number < _MINOR_OF_40:
        return "4.1" if (int(major), number) >= (4, 1) else "4.0"
    return "4.1" if int(major) > 4 or number >= _MINOR_OF_41 else "4.0"


def _remedy(compiled_in: bool | None) -> str:
    if compiled_in:
        return f"{_SWITCH_ON}, {_BY_HOPS}"
    if compiled_in is None:
        return f"{_SWITCH_ON} (hoprd 4.0.3 or later), {_BY_HOPS}"
    return f"upgrade the node to hoprd 4.0.3 or later and {_SWITCH_ON}, {_BY_HOPS}"


def unknown_route(error: StatusError) -> bool:
    """Whether the node does not know the route: then no daemon's error object comes with it (contract §1.5)."""
    return error.status in (404, 406) and error.word is None
