"""Whatever a node answers, only leaves of our tree come out, and only well-formed values."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
import trio
from hypothesis import HealthCheck, given, settings, strategies as st

from trio_sessions import _errors
from trio_sessions._errors import SessionsError
from trio_sessions._hoprd import Hoprd
from trio_sessions._model import Listener, ListenerKey

from .support import BY_HOPS, BY_RELAYER, EXIT, canned, listener_json, raw_server

CALLS: dict[str, Callable[[Hoprd], Awaitable[object]]] = {
    "probe": lambda hoprd: hoprd.probe(),
    "addresses": lambda hoprd: hoprd.addresses(),
    "peers": lambda hoprd: hoprd.peers(quality=0.5),
    "channels": lambda hoprd: hoprd.channels(),
    "balances": lambda hoprd: hoprd.balances(),
    "version": lambda hoprd: hoprd.version(),
    "info": lambda hoprd: hoprd.info(),
    "status": lambda hoprd: hoprd.status(),
    "check": lambda hoprd: hoprd.check("healthyz"),
    "open": lambda hoprd: hoprd.open_session(BY_HOPS),
    "open through a relayer": lambda hoprd: hoprd.open_session(BY_RELAYER),
    "list": lambda hoprd: hoprd.list_sessions(),
    "close": lambda hoprd: hoprd.close_session(ListenerKey("udp", "127.0.0.1", 4711)),
    "config": lambda hoprd: hoprd.session_config("0xab"),
    "set config": lambda hoprd: hoprd.set_session_config("0xab", response_buffer=0),
}
EVERY_CALL = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)

#: The public leaves: what has no class below it in the tree, and those that stand for a whole group.
LEAVES = {
    cls
    for cls in vars(_errors).values()
    if isinstance(cls, type) and issubclass(cls, SessionsError) and (not cls.__subclasses__())
}

JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from([EXIT, "1 xDai", "udp", "::1"]),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text() | st.sampled_from(sorted(listener_json())), inner)
    ),
    max_leaves=12,
)
STATUSES = st.sampled_from([200, 200, 200, 201, 204, 301, 400, 401, 404, 405, 406, 409, 412, 422, 500, 503, 599])
TYPES = st.sampled_from(["application/json", "application/json; charset=utf-8", "text/plain", "", "a/b;;;\x80"])
LESS = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def check(error: SessionsError) -> None:
    """It is a leaf, and can be shown anywhere."""
    assert type(error) in LEAVES
    assert len(str(error)) < 1000
    assert f"{error} {error!r}".encode()


async def outcome(call: Callable[[Hoprd], Awaitable[object]], status: int, body: bytes, content_type: str) -> object:
    """What comes out when the node answers everything with that; ``None`` for one of our errors."""

    def reply(request: httpx.Request) -> httpx.Response:
        headers = [(b"content-type", content_type.encode("latin-1"))]
        return httpx.Response(status, headers=headers, stream=httpx.ByteStream(body))

    async with Hoprd("http://node", transport=canned(reply)) as hoprd:
        try:
            return await call(hoprd)
        except SessionsError as error:
            check(error)
            return None


@EVERY_CALL
@given(status=STATUSES, body=st.binary() | st.text().map(str.encode), content_type=TYPES)
@LESS
def test_any_bytes(call: Callable[[Hoprd], Awaitable[object]], status: int, body: bytes, content_type: str) -> None:
    trio.run(outcome, call, status, body, content_type)


@EVERY_CALL
@given(status=STATUSES, value=JSON_VALUES)
@settings(LESS, max_examples=15)
def test_any_json(call: Callable[[Hoprd], Awaitable[object]], status: int, value: object) -> None:
    trio.run(outcome, call, status, json.dumps(value).encode(), "application/json")


@given(
    field=st.sampled_from(sorted(listener_json())),
    value=JSON_VALUES | st.integers(-2, 70000),
    drop=st.booleans(),
    call=st.sampled_from(["open", "list"]),
)
@settings(max_examples=200, deadline=None)
def test_one_wrong_field(field: str, value: object, drop: bool, call: str) -> None:
    item = listener_json() | {field: value}
    if drop:
        del item[field]
    body = json.dumps(item if call == "open" else [item]).encode()
    result: Any = trio.run(outcome, CALLS[call], 200, body, "application/json")
    if result is not None:
        [listener] = [result] if call == "open" else result
        assert isinstance(listener, Listener)
        assert 0 < listener.key.port < 65536
        assert listener.payload_size > 0
        assert listener.key.protocol == "udp"
        assert all(type(client) is str for client in listener.clients)


@EVERY_CALL
@given(raw=st.binary(max_size=200) | st.binary(max_size=60).map(lambda tail: b"HTTP/1.1 200 OK\r\n" + tail))
@settings(max_examples=8, deadline=None)
def test_any_bytes_instead_of_http(call: Callable[[Hoprd], Awaitable[object]], raw: bytes) -> None:
    async def main() -> None:
        async def serve(stream: trio.SocketStream) -> None:
            async with stream:
                await stream.receive_some()
                await stream.send_all(raw)

        async with raw_server(serve) as url, Hoprd(url, timeout=5) as hoprd:
            try:
                await call(hoprd)
            except SessionsError as error:
                check(error)

    trio.run(main)
