"""The server of metrics, over real sockets: its pages, bad requests, and an end that nothing delays."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

import httpx
import pytest
import trio
from hypothesis import given, strategies as st
from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families as parse_text

from tests.openmetrics import parse_openmetrics
from trio_sessions._metrics_server import _MAX_CONNECTIONS, _metrics
from trio_sessions.prometheus import PrometheusInstruments, serve_metrics


@asynccontextmanager
async def served(
    registry: CollectorRegistry | None = None, ready: Callable[[], str] = str
) -> AsyncIterator[tuple[str, httpx.AsyncClient]]:
    """A server on a free port, its URL, and a client of it."""
    registry = registry or PrometheusInstruments().registry
    async with trio.open_nursery() as nursery:
        url = await nursery.start(partial(serve_metrics, registry, ready=ready))
        async with httpx.AsyncClient(base_url=url, timeout=5, trust_env=False) as http:
            yield url, http
        nursery.cancel_scope.cancel()


def connect(url: str) -> socket.socket:
    """A connection for what no client library sends."""
    host, _, port = url.removeprefix("http://").rpartition(":")
    return socket.create_connection((host, int(port)), timeout=5)


async def talk(url: str, request: bytes) -> bytes:
    """Send this, and nothing more, and read until the server closes."""

    def run() -> bytes:
        with connect(url) as sock:
            sock.sendall(request)
            sock.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: sock.recv(65536), b""))

    return await trio.to_thread.run_sync(run)


async def test_metrics_in_the_format_that_the_client_asks_for() -> None:
    async with served() as (url, http):
        assert url.startswith("http://127.0.0.1:")
        reply = await http.get("/metrics")
        assert reply.status_code == 200
        assert reply.headers["content-type"].startswith("text/plain; version=0.0.4")
        assert "trio_sessions_build_info" in {family.name for family in parse_text(reply.text)}
        accept = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3"
        reply = await http.get("/metrics", headers={"accept": accept})
        assert reply.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
        assert "trio_sessions_build" in {family.name for family in parse_openmetrics(reply.text)}


async def test_whether_it_is_ready() -> None:
    problem = "waiting\nfor the node"
    async with served(ready=lambda: problem) as (_, http):
        reply = await http.get("/readyz")
        assert (reply.status_code, reply.text) == (503, "waiting for the node\n")
        problem = ""
        reply = await http.get("/readyz")
        assert (reply.status_code, reply.text) == (200, "ok\n")
        reply = await http.get("/healthz")
        assert (reply.status_code, reply.text) == (200, "ok\n")
        reply = await http.get("/")
        assert reply.status_code == 200
        assert all(page in reply.text for page in ("/metrics", "/healthz", "/readyz"))


async def test_other_pages_and_methods() -> None:
    async with served() as (_, http):
        reply = await http.get("/metrics/")
        assert (reply.status_code, reply.headers["content-type"]) == (404, "text/plain; charset=utf-8")
        assert "\n" not in reply.text.strip()
        reply = await http.post("/metrics", content=b"x" * 100_000)
        assert (reply.status_code, reply.headers["allow"]) == (405, "GET, HEAD")
        length = (await http.get("/readyz")).headers["content-length"]
        reply = await http.head("/readyz")
        assert (reply.status_code, reply.content, reply.headers["content-length"]) == (200, b"", length)


BAD = {
    "no http": b"\x00\xff\x16\x03\x01 hello\r\n\r\n",
    "half a request": b"GET /metrics HT",
    "nothing": b"",
    "a path of bytes": b"GET /\xff\xfe?name[]=\xff HTTP/1.1\r\nHost: x\r\n\r\n",
    "a long line": b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    "a body that never comes": b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n",
    "a websocket": b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    "http/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "an accept of bytes": b"GET /metrics HTTP/1.1\r\nHost: x\r\n"
    b"Accept: application/openmetrics-text;version=\xe9\r\n\r\n",
}


@pytest.mark.parametrize("request_", BAD.values(), ids=BAD)
async def test_bad_requests_do_not_kill_it(request_: bytes) -> None:
    async with served() as (url, http):
        with trio.fail_after(5):
            await talk(url, request_)
        assert (await http.get("/metrics")).status_code == 200


@given(
    st.text(st.characters(max_codepoint=255)) | st.from_regex(r"\A(application/openmetrics-text|text/plain);version=.*")
)
def test_whatever_a_client_accepts_it_gets_metrics(accept: str) -> None:
    page = _metrics(PrometheusInstruments().registry, accept.encode("latin-1", "replace"))
    assert page.status == 200
    assert b"trio_sessions_build_info" in page.body


async def test_a_collector_that_fails_is_an_error_of_one_request(caplog: pytest.LogCaptureFixture) -> None:
    class Failing:
        broken = False

        def collect(self) -> list[Metric]:
            if self.broken:
                raise RuntimeError("of a user's collector")
            return [GaugeMetricFamily("fine", "Fine", 1)]

    registry, failing = CollectorRegistry(), Failing()
    registry.register(failing)
    async with served(registry) as (_, http):
        failing.broken = True
        assert (await http.get("/metrics")).status_code == 500
        failing.broken = False
        assert "fine 1.0" in (await http.get("/metrics")).text
    assert "of a user's collector" in caplog.text


async def test_a_client_that_takes_no_answer_does_not_delay_the_end() -> None:
    class Large:
        def collect(self) -> list[Metric]:
            return [GaugeMetricFamily("large", "x" * 30_000_000, 1)]

    registry = CollectorRegistry()
    registry.register(Large())
    async with served(registry) as (url, http):
        deaf = await trio.to_thread.run_sync(connect, url)
        deaf.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 20)
        assert (await http.get("/healthz")).status_code == 200
        # The answer has begun, and cannot end.
        assert await trio.to_thread.run_sync(deaf.recv, 12) == b"HTTP/1.1 200"
        began = trio.current_time()
    assert trio.current_time() - began < 1.0
    deaf.close()


async def test_connections_are_bounded() -> None:
    async with served() as (url, http):
        held = [await trio.to_thread.run_sync(connect, url) for _ in range(_MAX_CONNECTIONS)]
        # One more than there may be is closed at once.
        assert await talk(url, b"") == b""
        with pytest.raises(httpx.TransportError):
            await http.get("/healthz")
        for sock in held:
            sock.close()
        with trio.fail_after(5):
            while True:
                try:
                    assert (await http.get("/healthz")).status_code == 200
                except httpx.TransportError:
                    await trio.sleep(0.01)
                else:
                    break


async def test_an_address_that_is_in_use() -> None:
    async with served() as (url, _):
        port = int(url.rpartition(":")[2])
        with pytest.raises(OSError, match="in use"):
            await serve_metrics(CollectorRegistry(), port=port)
