"""``Hoprd``: the node's REST API as typed calls, in every dialect."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

import trio

from trio_sessions._advice import advise
from trio_sessions._budget import open_budget
from trio_sessions._errors import (
    ConnectionLostError,
    InvalidInputError,
    MalformedReplyError,
    NodeError,
    NodeUnavailableError,
    NotFoundError,
    NotReadyError,
    OutcomeUnknownError,
    RejectedError,
    ServerFailureError,
    SessionsError,
    StatusError,
)
from trio_sessions._instruments import Instruments, guarded
from trio_sessions._model import (
    Balances,
    Channels,
    Dialect,
    Listener,
    ListenerKey,
    NodeInfo,
    NodeStatus,
    Peer,
    Pinning,
    Protocol,
    SessionConfig,
    SessionRequest,
)
from trio_sessions._probe import Dialects, probe, unknown_route
from trio_sessions._replies import (
    ListenersReader,
    read_address,
    read_balances,
    read_channels,
    read_config,
    read_info,
    read_old_peers,
    read_opened,
    read_peers,
    read_status,
    read_version,
)
from trio_sessions._rest_requests import (
    ADDRESSES,
    ANY,
    BALANCES,
    CHANNELS,
    CONNECTED_PEERS,
    HEALTH_CHECKS,
    INFO,
    JSON,
    OLD_PEERS,
    STATUS,
    VERSION,
    address_path,
    config_body,
    config_path,
    is_pinned,
    listener_path,
    session_call,
    sessions_path,
)

if TYPE_CHECKING:
    import httpx

    from trio_sessions._rest_errors import Reply

__all__ = ["Hoprd"]

T = TypeVar("T")

# The daemon's words for a listener that it does not have (contract §2.4); the second is the one it should be.
_GONE = ("INVALID_INPUT", "SESSION_NOT_FOUND")


class Hoprd:
    """A client of one node's REST API; use it as ``async with Hoprd(url, token=token) as hoprd:``.

    Entering connects nowhere: the node may come up later. Calls may run side by side in any number of tasks. Every
    call may be cancelled at any time and leaves the client usable; whether the node acted on it is unknown then.

    Each call raises :class:`NodeError`'s leaves, and for a caller's mistake :class:`InvalidInputError`, nothing else:

    * :class:`NodeUnavailableError`: surely nothing was sent;
    * :class:`NodeTimeoutError`, :class:`ConnectionLostError`: the call may have had its effect;
    * :class:`MalformedReplyError`: the reply breaks the contract;
    * :class:`StatusError`: the node answered with an error.

    Args:
        url: e.g. ``"http://127.0.0.1:3001"``, without the API's base path.
        token: the API token, if the node asks for one; it is shown nowhere.
        timeout: seconds for a whole call, unless the call has its own.
        transport: what carries the requests, instead of connections of our own; closed at the end.
        max_connections: at most so many at a time, of which calls that open sessions have three quarters; those of
            them that wait for longer than a second do not count, up to 16 times as many. Not for a ``transport`` of
            your own.
        instruments: hear of each call; see :class:`Instruments`.

    Raises:
        InvalidInputError: the URL, the token or the time-out breaks a rule.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        timeout: float = 10.0,
        transport: httpx.AsyncBaseTransport | None = None,
        max_connections: int = 512,
        instruments: Instruments | None = None,
    ) -> None:
        # Here, since httpx takes as long to import as all the rest: who only imports the library need not wait for it.
        from trio_sessions._rest_edge import Edge  # noqa: PLC0415

        self._edge = Edge(
            url,
            token=token,
            timeout=timeout,
            transport=transport,
            max_connections=max_connections,
            instruments=guarded(instruments),
        )
        self._dialects = Dialects(lambda: probe(self._edge))
        self._readers: dict[Protocol, ListenersReader] = {"udp": ListenersReader("udp"), "tcp": ListenersReader("tcp")}

    def __repr__(self) -> str:
        return f"<Hoprd {self._edge.url}>"

    async def __aenter__(self) -> Self:
        await self._edge.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._edge.aclose()

    @property
    def url(self) -> str:
        """The node's URL, without a slash at the end."""
        return self._edge.url

    @property
    def dialect(self) -> Dialect | None:
        """What the node was last found to speak; ``None`` before the first probe and after the node was away."""
        return self._dialects.known

    async def probe(self) -> Dialect:
        """What the node speaks, asked of it unless known: three to five GETs (contract §1.5, §2.2, §2.6).

        Any number of tasks may ask at the same time: one probes, and if it is cancelled, another one goes on.
        The answer is forgotten when the node was away or did not know one of its routes any more.

        Raises:
            UnauthorizedError: an unknown route cannot be told from a known one without the right token.
            NotFoundError: it is no hoprd.
        """
        await trio.lowlevel.checkpoint()
        return await self._dialects.get()

    async def addresses(self) -> str:
        """The node's own chain address, as it prints it (contract §2.6)."""
        return await self._get(ADDRESSES, read_address)

    async def peers(self, *, quality: float = 0.0) -> tuple[Peer, ...]:
        """The peers that the node is connected to now, of ``quality`` (0 to 1) or better (contract §2.6).

        3.x leaves out those whose address it does not know yet.
        """
        if not 0.0 <= quality <= 1.0:
            raise InvalidInputError("quality", quality, "must be 0 to 1")
        if not (await self._dialects.get()).connected_route:
            return await self._get(OLD_PEERS, read_old_peers, query=f"?quality={quality:f}")
        peers = await self._get(CONNECTED_PEERS, read_peers)
        return tuple(peer for peer in peers if peer.quality >= quality)

    async def channels(self, *, full_topology: bool = False, including_closed: bool = False) -> Channels:
        """The node's payment channels, or with ``full_topology`` all of the network, and only those in ``all``.

        ``including_closed`` does not apply to the full topology (contract §2.6).
        """
        flags = f"?fullTopology={_boolean(full_topology)}&includingClosed={_boolean(including_closed)}"
        return await self._get(CHANNELS, read_channels, query=flags)

    async def balances(self) -> Balances:
        """What the node and its safe own (contract §2.6)."""
        return await self._get(BALANCES, read_balances)

    async def version(self) -> str:
        """The version that the node gives itself: some builds give their library's (contract §2.6)."""
        return await self._get(VERSION, read_version)

    async def info(self) -> NodeInfo:
        """The node's network, addresses and connectivity (contract §2.6)."""
        return await self._get(INFO, read_info)

    async def status(self) -> NodeStatus | None:
        """The state of the node's parts; ``None`` if its dialect does not tell (contract §2.6)."""
        if not (await self._dialects.get()).status_route:
            return None
        return await self._get(STATUS, read_status)

    async def check(self, name: str) -> bool:
        """Whether a health check passes: ``startedz``, ``readyz``, ``healthyz`` or ``eligiblez`` (contract §2.7).

        None of them says that a session can be opened.

        Raises:
            StatusError: the node answered neither 200 nor 412.
        """
        if name not in HEALTH_CHECKS:
            raise InvalidInputError("health check", name, f"must be one of {', '.join(HEALTH_CHECKS)}")
        try:
            await self._call("GET", f"/{name}", accept=ANY)
        except NotReadyError:
            return False
        return True

    async def open_session(self, request: SessionRequest, *, timeout: float | None = None) -> Listener:
        """Open a session: the node makes a listener and keeps it until it is closed, idle or restarted (contract §2.1).

        The node may take minutes; without a ``timeout`` of yours it gets what it may need, see :func:`open_budget`.
        On :class:`OutcomeUnknownError`, :class:`MalformedReplyError`, :class:`ServerFailureError` and on a cancel a
        listener may exist that you have not heard of (contract §3.3): look for it in :meth:`list_sessions`. After
        every other error there is none. ``advice`` of the error says what to check.

        Raises:
            InvalidInputError: one path goes by hops, the other by relayers.
            CannotPinRelayerError: the node takes no relayers; the error says what to do about it.
            ListenHostInUseError: the node listens there already.
            RejectedError: every other refusal, most often that nobody answered at the far end.
            MalformedReplyError: the reply is not what was asked for; nothing in it is to be acted on.
        """
        try:
            return await self._open_session(request, timeout)
        except SessionsError as error:
            error.advice = advise(error, request, self.dialect)
            raise

    async def _open_session(self, request: SessionRequest, timeout: float | None) -> Listener:
        dialect = await self._dialect_for(request) if is_pinned(request) else None
        path, body = session_call(request, dialect)
        if timeout is None:
            timeout = open_budget(request.forward.length, request.back.length, request.balancer)
        try:
            reply = await self._call("POST", path, body=body, timeout=timeout)
        except RejectedError as error:
            if dialect is not None and dialect.pinning is Pinning.INTERMEDIATE_PATH and _refuses_relayers(error):
                self._dialects.forget()
            raise
        return self._edge.parse(reply, lambda value: read_opened(value, request))

    async def list_sessions(self, protocol: Protocol = "udp", *, timeout: float | None = None) -> tuple[Listener, ...]:
        """The node's listeners, everybody's, in no order; one that is still opening is not in it (contract §2.3)."""
        path, reader = sessions_path(protocol), self._readers[protocol]
        reply = await self._call("GET", path, timeout=timeout)
        listeners = reader.read_again(reply.body) if reply.is_json else None
        return self._edge.parse(reply, reader.read) if listeners is None else listeners

    async def close_session(self, key: ListenerKey, *, timeout: float | None = None) -> bool:
        """Close a listener; ``False`` if the node has none of that key (contract §2.4).

        The node answers before the port is free. Whoever has the key now loses the listener: it names no owner.

        Raises:
            InvalidInputError: port 0, which would close every listener of the address, and other impossible keys.
            NotFoundError: the 404 is not the daemon's: the URL is wrong, or a proxy answered.
        """
        return await self._delete(listener_path(key), timeout)

    async def close_address(self, ip: str, protocol: Protocol = "udp", *, timeout: float | None = None) -> bool:
        """Close every listener on a dedicated address, whoever opened it; ``False`` if there is none (contract §2.4).

        Raises:
            InvalidInputError: an address that others may have listeners on: outside of 127.0.0.0/8, or 127.0.0.1.
            NotFoundError: the 404 is not the daemon's: the URL is wrong, or a proxy answered.
        """
        return await self._delete(address_path(protocol, ip), timeout)

    async def session_config(self, session_id: str) -> SessionConfig:
        """The balancer of a session, by an id of ``Listener.clients``; asking counts as use of it (contract §2.5).

        Raises:
            NotFoundError: no such session, or its balancer is off.
            RejectedError: no such session, in 3.x.
        """
        return await self._get(config_path(session_id), read_config)

    async def set_session_config(
        self, session_id: str, *, response_buffer: int | None = None, max_surb_upstream: int | None = None
    ) -> None:
        """Set the balancer of a session: bytes and bits a second; this counts as use of it (contract §2.5).

        Raises:
            NotFoundError: no such session.
            NotAcceptableError: its balancer is off and stays off.
            RejectedError: the buffer is too small.
        """
        body = config_body(response_buffer, max_surb_upstream)
        await self._call("POST", config_path(session_id), body=body, expect=204)

    def _close_idle(self) -> None:
        """Give back most of the file descriptors that no call uses now."""
        self._edge.close_idle()

    async def _delete(self, path: str, timeout: float | None) -> bool:
        try:
            await self._call("DELETE", path, expect=204, timeout=timeout)
        except NotFoundError as error:
            if error.word in _GONE:
                return False
            raise
        return True

    async def _dialect_for(self, request: SessionRequest) -> Dialect:
        try:
            return await self._dialects.get()
        except (OutcomeUnknownError, MalformedReplyError, ServerFailureError) as error:
            # With a POST these would mean that it may have had its effect; it was not even sent.
            path = sessions_path(request.protocol)
            raise NodeUnavailableError("POST", path, f"not sent: probing the node failed: {error}") from error

    async def _get(self, path: str, read: Callable[[object], T], *, query: str = "", timeout: float | None = None) -> T:
        return self._edge.parse(await self._call("GET", path, query=query, timeout=timeout), read)

    async def _call(
        self,
        method: str,
        path: str,
        *,
        expect: int = 200,
        accept: str = JSON,
        query: str = "",
        body: bytes | None = None,
        timeout: float | None = None,
    ) -> Reply:
        """The one way of all calls but the probe's: what shows that the node may be another one now is noted here."""
        error: NodeError
        try:
            reply = await self._edge.call(method, path, accept=accept, query=query, body=body, timeout=timeout)
        except (NodeUnavailableError, ConnectionLostError):
            self._dialects.forget()
            raise
        if reply.status == expect:
            return reply
        error = self._edge.error(reply)
        if isinstance(error, StatusError) and unknown_route(error):
            self._dialects.forget()
        raise error


def _boolean(value: bool) -> str:
    """As the node's parser wants it: exactly so (contract §1.5)."""
    return "true" if value else "false"


def _refuses_relayers(error: RejectedError) -> bool:
    """Whether a node that took relayers in the plain route takes none there any more (contract §2.1).

    From 4.0.3 on the daemon says so; before, the framework does, since it does not know the variant.
    """
    return "explicit path routing" in error.text or (error.word is None and "IntermediatePath" in error.text)
