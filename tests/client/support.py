"""A server of canned bytes on a real loopback socket, and a transport of canned replies for where time is virtual."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus
from ipaddress import IPv4Address
from typing import Any

import attrs
import httpx
import trio

from trio_sessions._model import Path, SessionRequest

EXIT = "0x" + "Ab" * 20
RELAYER = "0x" + "1" * 40
BY_HOPS = SessionRequest(EXIT, Path(hops=1), Path(hops=1))
BY_RELAYER = SessionRequest(EXIT, Path(via=(RELAYER,)), Path(via=(RELAYER,)))

#: Of this process alone: a pool in another one's tests may still ask for a node that was on one of our ports before.
HOST = str(IPv4Address("127.64.0.0") + os.getpid() % 2**20)

API = "/api/v4"
TOKEN = "s3cret-Token-x"


def listener_json(**changes: object) -> dict[str, object]:
    """One session as the node describes it (contract §2.1)."""
    return {
        "target": "#0",
        "destination": EXIT.lower(),
        "forwardPath": {"Hops": 1},
        "returnPath": {"Hops": 1},
        "protocol": "udp",
        "ip": "127.0.0.1",
        "port": 4711,
        "hoprMtu": 1002,
        "surbLen": 395,
        "activeClients": ["0xabcd:5"],
        "maxClientSessions": 1,
        "maxSurbUpstream": None,
        "responseBuffer": "0 KB",
        "sessionPool": None,
    } | changes


@attrs.frozen
class Asked:
    """A request as it came over the wire; header names in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def json(self) -> Any:
        return json.loads(self.body)


#: Raw bytes to answer; ``None`` never answers, ``b""`` closes at once.
Answer = Callable[[Asked], bytes | None]


def http(status: int, body: bytes | str = b"", content_type: str = "", *headers: str) -> bytes:
    """A reply as bytes."""
    raw = body.encode() if isinstance(body, str) else body
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", *headers]
    if content_type:
        lines.append(f"Content-Type: {content_type}")
    if status != 204:
        lines.append(f"Content-Length: {len(raw)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + raw


def http_json(value: object, status: int = 200) -> bytes:
    """A JSON reply as bytes."""
    return http(status, json.dumps(value), "application/json")


def error_json(status: int, word: str, text: str | None = None) -> bytes:
    """The daemon's error object (contract §1.4)."""
    return http_json({"status": word} | ({} if text is None else {"error": text}), status)


@attrs.define
class RawNode:
    """A loopback server under way: its URL, what it was asked, and how to go on."""

    url: str
    answer: Answer
    asked: list[Asked] = attrs.Factory(list)
    connections: int = 0

    def paths(self) -> list[str]:
        return [f"{each.method} {each.path}" for each in self.asked]


async def _read_request(stream: trio.SocketStream, buffer: bytearray) -> Asked | None:
    while b"\r\n\r\n" not in buffer:
        data = await stream.receive_some()
        if not data:
            return None
        buffer += data
    head, _, rest = bytes(buffer).partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    length = int(headers.get("content-length", "0"))
    while len(rest) < length:
        rest += await stream.receive_some()
    buffer[:] = rest[length:]
    return Asked(method, target, headers, rest[:length])


@asynccontextmanager
async def raw_server(handle: Callable[[trio.SocketStream], Awaitable[None]]) -> AsyncIterator[str]:
    """Serve ``handle`` on a free port of :data:`HOST`; gives the URL, ends with the block, whose errors come bare."""
    failure: Exception | None = None
    async with trio.open_nursery() as nursery:
        [listener] = await trio.open_tcp_listeners(0, host=HOST)
        nursery.start_soon(trio.serve_listeners, handle, [listener])
        try:
            yield f"http://{HOST}:{listener.socket.getsockname()[1]}"
        except Exception as error:  # noqa: BLE001 - a nursery would put it into a group
            failure = error
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure


@asynccontextmanager
async def raw_node(answer: Answer) -> AsyncIterator[RawNode]:
    """Serve ``answer`` on a free port of :data:`HOST`; connections are kept and closed at the end."""
    node = RawNode("", answer)

    async def handle(stream: trio.SocketStream) -> None:
        node.connections += 1
        buffer = bytearray()
        async with stream:
            with suppress(trio.BrokenResourceError):  # a client may go at any time
                while (asked := await _read_request(stream, buffer)) is not None:
                    node.asked.append(asked)
                    reply = node.answer(asked)
                    if reply is None:
                        await trio.sleep_forever()
                    elif reply:
                        await stream.send_all(reply)
                    else:
                        return

    async with raw_server(handle) as node.url:
        yield node


class Canned(httpx.AsyncBaseTransport):
    """A transport that asks ``answer`` for each reply; it may wait, or raise what a transport raises."""

    def __init__(self, answer: Callable[[httpx.Request], Awaitable[httpx.Response]]) -> None:
        self._answer = answer
        self.closed = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return await self._answer(request)

    async def aclose(self) -> None:
        self.closed += 1


def canned(response: Callable[[httpx.Request], httpx.Response]) -> Canned:
    """A transport whose replies are there at once."""

    async def answer(request: httpx.Request) -> httpx.Response:
        await trio.lowlevel.checkpoint()
        return response(request)

    return Canned(answer)


#: What each dialect's routes answer to a probe (contract §1.5, §2.2, §2.6).
ROUTES: dict[str, dict[str, bytes]] = {
    "3.x": {f"{API}/node/peers": http_json({"connected": [], "announced": []})},
    "4.0": {
        f"{API}/network/connected": http_json([]),
        f"{API}/node/status": http_json({}),
        "/api-docs/openapi.json": http_json({"info": {"version": "4.11.0"}, "paths": {}}),
    },
    "4.1": {
        f"{API}/network/connected": http_json([]),
        f"{API}/node/status": http_json({}),
        f"{API}/session/udp/explicit-path": http(405, b"", "", "Allow: POST"),
        "/api-docs/openapi.json": http_json(
            {"info": {"version": "4.14.0"}, "paths": {f"{API}/session/{{protocol}}/explicit-path": {}}}
        ),
    },
}


def routed(routes: Mapping[str, bytes | None], fallback: Answer | None = None) -> Answer:
    """Answers by path or by ``"METHOD path"``; an unknown route as the daemon does (contract §1.5)."""

    def answer(asked: Asked) -> bytes | None:
        for key in (f"{asked.method} {asked.path}", asked.path):
            if key in routes:
                return routes[key]
        if fallback is not None:
            return fallback(asked)
        return http(404 if "*/*" in asked.headers.get("accept", "*/*") else 406)

    return answer
