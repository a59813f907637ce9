"""A node that costs little: ``python -m benchmarks._bare JSON``.

The simulator opens some hundred sessions a second: where opens and closes are measured, one would see its limit. This
one opens, lists and closes without looking at more than it must, on sockets that nobody reads; every other call is
answered by a simulated node in the same process. Control as in :mod:`benchmarks._simulated`.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import time
from collections import Counter
from http import HTTPStatus
from itertools import count

import attrs

from trio_sessions.simulator import SimulatedNode, SimulatorConfig
from trio_sessions.simulator._http import Request, Response
from trio_sessions.simulator._perform import begin

_END = b"\r\n\r\n"
_SESSIONS = "/api/v4/session/udp"
_GONE = b"HTTP/1.1 204 No Content\r\ndate: Sat, 01 Nov 2025 00:00:00 GMT\r\n\r\n"
#: Connections that may wait to be accepted.
_BACKLOG = 1024


@attrs.define
class _Node:
    model: SimulatedNode
    latency: float
    #: The socket of each listener and how it is listed, by ip and port.
    listeners: dict[tuple[str, int], tuple[socket.socket, bytes]] = attrs.field(factory=dict)
    calls: Counter[str] = attrs.field(factory=Counter)
    numbers: dict[str, int] = attrs.field(init=False)
    ids: count[int] = attrs.field(factory=count)

    def __attrs_post_init__(self) -> None:
        self.numbers = {address.lower(): number for number, address in enumerate(self.model.relayers, 1)}

    def answer(self, method: str, path: str, head: bytes, body: bytes) -> bytes:
        """The whole reply."""
        if method == "DELETE":
            self.calls["close"] += 1
            _, ip, port = path.rsplit("/", 2)
            self.close(ip, int(port))
            return _GONE
        if method == "POST":
            self.calls["open"] += 1
            return _reply(self.open(json.loads(body)))
        if path == _SESSIONS:
            self.calls["list"] += 1
            return _reply(b"[%b]" % b",".join(listed for _, listed in self.listeners.values()))
        self.calls["other"] += 1
        return self.ask_model(method, path, head)

    def open(self, asked: dict[str, object]) -> bytes:
        """Bind a socket; what a POST is answered."""
        ip, _, port = str(asked.get("listenHost", "")).partition(":")
        ip = ip or "127.0.0.1"
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind((ip, int(port or 0)))
        bound = sock.getsockname()[1]
        via = asked["forwardPath"]
        assert isinstance(via, list)
        shown = {
            "target": "#0",
            "destination": asked["destination"],
            "forwardPath": {"IntermediatePath": via},
            "returnPath": {"IntermediatePath": via},
            "protocol": "udp",
            "ip": ip,
            "port": bound,
            "hoprMtu": 1002,
            "surbLen": 395,
            "activeClients": [f"0x{next(self.ids):020x}"],
            "maxClientSessions": 1,
            "maxSurbUpstream": None,
            "responseBuffer": "0 B",
            "sessionPool": None,
        }
        opened = json.dumps(shown).encode()
        # The list shows relayers of an explicit path by number, and a balancer that is off as none at all.
        by_number = {"IntermediatePath": [f"#{self.numbers[address.lower()]}" for address in via]}
        listed = json.dumps({**shown, "forwardPath": by_number, "returnPath": by_number, "responseBuffer": None})
        self.listeners[ip, bound] = sock, listed.encode()
        return opened

    def close(self, ip: str, port: int) -> None:
        """Close a listener, or with port 0 all of the address; one that is not there counts as closed."""
        keys = [(ip, port)] if port else [key for key in self.listeners if key[0] == ip]
        for key in keys:
            found = self.listeners.pop(key, None)
            if found is not None:
                found[0].close()

    def ask_model(self, method: str, target: str, head: bytes) -> bytes:
        """What the simulated node answers."""
        fields = (line.partition(":") for line in head.decode("latin-1").split("\r\n")[1:])
        headers = tuple((name.lower(), value.strip()) for name, _, value in fields)
        path, _, query = target.partition("?")
        reply = begin(self.model.handle(Request(method, path, query, headers), time.monotonic()))
        assert isinstance(reply, Response)
        lines = "".join(f"{name}: {value}\r\n" for name, value in reply.wire_headers)
        return f"HTTP/1.1 {reply.status} {HTTPStatus(reply.status).phrase}\r\n{lines}\r\n".encode() + reply.body


class _Client(asyncio.Protocol):
    """A connection, which sends the next request when the last one was answered."""

    def __init__(self, node: _Node) -> None:
        self._node = node
        self._held = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._held += data
        while (end := self._held.find(_END)) >= 0:
            head = self._held[:end]
            whole = end + len(_END)
            at = head.lower().find(b"\r\ncontent-length:")
            if at >= 0:
                whole += int(head[at + 17 :].split(b"\r\n", 1)[0])
            if len(self._held) < whole:
                return
            body, self._held = self._held[end + len(_END) : whole], self._held[whole:]
            method, path, _ = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
            if self._node.latency and method != "GET":
                loop = asyncio.get_running_loop()
                loop.call_later(self._node.latency, self._answer, method, path, head, body)
            else:
                self._answer(method, path, head, body)

    def _answer(self, method: str, path: str, head: bytes, body: bytes) -> None:
        self._transport.write(self._node.answer(method, path, head, body))


def _reply(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)


async def _serve(relayers: int, seed: int, latency: float) -> None:
    model = SimulatedNode(SimulatorConfig(relayers=relayers, seed=seed))
    node = _Node(model, latency)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Client(node), "127.0.0.1", 0, backlog=_BACKLOG)
    port = server.sockets[0].getsockname()[1]
    ready = {
        "url": f"http://127.0.0.1:{port}",
        "token": model.config.token,
        "relayers": model.relayers,
        "destination": model.destinations[0],
    }
    print(json.dumps(ready), flush=True)
    ended = asyncio.Event()

    def control() -> None:
        if not sys.stdin.readline():
            ended.set()
            return
        listeners = [f"udp://{ip}:{port}" for ip, port in node.listeners]
        print(json.dumps([[0, 0.0], time.process_time(), listeners, dict(node.calls)]), flush=True)

    loop.add_reader(sys.stdin.fileno(), control)
    await ended.wait()


if __name__ == "__main__":
    asyncio.run(_serve(**json.loads(sys.argv[1])))
