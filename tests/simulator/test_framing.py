"""What the web framework answers: token, Accept, unknown routes, malformed bodies (contract §1.2 to §1.5)."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
import trio
from trio.testing import MockClock

from trio_sessions.simulator import DEFAULT_TOKEN

from .harness import DIALECTS, body, running, via

TEXT = "text/plain; charset=utf-8"
TOKEN = {"x-auth-token": DEFAULT_TOKEN}


async def bare(harness: Any, method: str, path: str, **kwargs: Any) -> httpx.Response:
    """A request with no header but these."""
    async with httpx.AsyncClient(transport=harness.sim.transport, base_url=harness.sim.url) as client:
        headers = {"accept": "*/*", **kwargs.pop("headers", {})}
        given = {name: value for name, value in headers.items() if value is not None}
        request = client.build_request(method, path, headers=given, **kwargs)
        if headers["accept"] is None:
            del request.headers["accept"]
        return await client.send(request)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(
    ("headers", "exact", "lenient"),
    [
        ({}, 401, 401),
        ({"x-auth-token": DEFAULT_TOKEN}, 200, 200),
        ({"x-auth-token": "wrong"}, 401, 401),
        ({"authorization": f"Bearer {DEFAULT_TOKEN}"}, 200, 200),
        ({"authorization": f"bearer {DEFAULT_TOKEN}"}, 401, 200),
        ({"authorization": f"Basic {DEFAULT_TOKEN}"}, 401, 401),
        ({"authorization": "Bearer wrong", "x-auth-token": DEFAULT_TOKEN}, 200, 200),
    ],
    ids=["none", "x-auth", "x-auth wrong", "bearer", "lower case", "basic", "one of two"],
)
async def test_the_token(
    dialect: str, headers: dict[str, str], exact: int, lenient: int, autojump_clock: MockClock
) -> None:
    async with running(dialect=dialect) as harness:
        reply = await bare(harness, "GET", "/api/v4/node/version", headers=headers)
    assert reply.status_code == (exact if dialect in ("3", "4.0-rc") else lenient)
    if reply.status_code == 401:
        assert reply.json() == {"status": "UNAUTHORIZED"}


async def test_without_a_configured_token_every_request_passes(autojump_clock: MockClock) -> None:
    async with running(token=None) as harness:
        assert (await bare(harness, "GET", "/api/v4/node/version")).status_code == 200


@pytest.mark.parametrize(
    ("accept", "status"),
    [
        (None, 200),
        ("*/*", 200),
        ("application/*", 200),
        ("text/html, application/json;q=0.5", 200),
        ("text/plain", 406),
        ("", 406),
    ],
)
async def test_accept_of_the_api(accept: str | None, status: int, autojump_clock: MockClock) -> None:
    async with running() as harness:
        reply = await bare(harness, "GET", "/api/v4/node/version", headers={**TOKEN, "accept": accept})
        assert reply.status_code == status
        assert harness.node.counters.not_acceptable == (status == 406)
        if status == 406:
            assert reply.content == b""
            assert "content-type" not in reply.headers
            without_token = await bare(harness, "GET", "/api/v4/node/version", headers={"accept": accept})
            assert without_token.status_code == 406


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({**TOKEN, "accept": "application/json"}, 406),
        ({**TOKEN, "accept": "text/plain"}, 404),
        ({**TOKEN, "accept": "text/*"}, 404),
        ({**TOKEN, "accept": "*/*"}, 404),
        ({**TOKEN, "accept": None}, 404),
        ({"accept": "*/*"}, 401),
        ({"accept": "application/json"}, 406),
    ],
)
@pytest.mark.parametrize("path", ["/api/v4/nothing", "/nothing", "/api/v3/node/version", "/simulator/nothing"])
async def test_an_unknown_route(
    path: str, headers: dict[str, str | None], status: int, autojump_clock: MockClock
) -> None:
    async with running() as harness:
        reply = await bare(harness, "GET", path, headers=headers)
    assert reply.status_code == status
    assert reply.content == (b'{"status":"UNAUTHORIZED"}' if status == 401 else b"")


@pytest.mark.parametrize(
    ("dialect", "missing"),
    [
        ("3", ["/network/connected", "/node/status", "/session/udp/explicit-path"]),
        ("4.0-rc", ["/node/peers", "/session/udp/explicit-path", "/session/websocket/x"]),
        ("4.0", ["/node/peers"]),
        ("4.1", ["/node/peers"]),
    ],
)
async def test_endpoints_of_another_dialect(dialect: str, missing: list[str], autojump_clock: MockClock) -> None:
    async with running(dialect=dialect) as harness:
        for path in missing:
            assert (await harness.get(path)).status_code == 404
            assert (await harness.get(path, headers={"accept": "application/json"})).status_code == 406


async def test_the_explicit_path_route_can_be_off(autojump_clock: MockClock) -> None:
    async with running(explicit_path=False) as harness:
        reply = await harness.post(
            "/session/udp/explicit-path", via(harness.node), headers={"accept": "application/json"}
        )
        assert reply.status_code == 406
        document = (await harness.http.get("/api-docs/openapi.json")).json()
    assert "/api/v4/session/{protocol}/explicit-path" in document["paths"]


@pytest.mark.parametrize(
    ("path", "method", "allow"),
    [
        ("/api/v4/node/version", "POST", "GET,HEAD"),
        ("/api/v4/session/udp", "PUT", "GET,HEAD,POST"),
        ("/api/v4/session/udp/127.0.0.1/1", "GET", "DELETE"),
        ("/api/v4/session/udp/explicit-path", "GET", "POST"),
        ("/metrics", "POST", "GET,HEAD"),
        ("/healthyz", "POST", "GET,HEAD"),
    ],
)
async def test_a_wrong_method(path: str, method: str, allow: str, autojump_clock: MockClock) -> None:
    async with running() as harness:
        reply = await harness.http.request(method, path)
        assert (reply.status_code, reply.content, reply.headers["allow"]) == (405, b"", allow)
        if path.startswith("/api"):
            assert (await bare(harness, method, path)).status_code == 401


async def test_head_and_options(autojump_clock: MockClock) -> None:
    async with running() as harness:
        head = await harness.http.head("/api/v4/node/version")
        assert (head.status_code, head.content) == (200, b"")
        assert int(head.headers["content-length"]) > 0
        options = await bare(harness, "OPTIONS", "/api/v4/session/udp")
        assert (options.status_code, options.headers["access-control-allow-origin"]) == (200, "*")


@pytest.mark.parametrize(
    ("content", "kind", "status", "text"),
    [
        (b"{}", None, 415, "Expected request with `Content-Type: application/json`"),
        (b"{}", "text/plain", 415, "Expected request with `Content-Type: application/json`"),
        (b"{", "application/json", 400, "Failed to parse the request body as JSON: "),
        (b"\xff", "application/json", 400, "Failed to parse the request body as JSON: "),
        (b"[" * 100_000, "application/json", 400, "Failed to parse the request body as JSON: "),
        (b"[]", "application/json; charset=utf-8", 422, "Failed to deserialize the JSON body into the target type: "),
        (b"{}", "application/x+json", 422, "Failed to deserialize the JSON body into the target type: missing field "),
        (b" " * (2 * 1024 * 1024 + 1), "application/json", 413, "Failed to buffer the request body"),
    ],
    ids=["no type", "other type", "malformed", "not utf-8", "deep", "wrong type", "missing field", "too large"],
)
async def test_a_bad_body(content: bytes, kind: str | None, status: int, text: str, autojump_clock: MockClock) -> None:
    async with running() as harness:
        headers = {} if kind is None else {"content-type": kind}
        reply = await harness.http.post("/api/v4/session/udp", content=content, headers=headers)
    assert (reply.status_code, reply.headers["content-type"]) == (status, TEXT)
    assert reply.text.startswith(text)


@pytest.mark.parametrize(
    "changes",
    [
        {"destination": "0x12"},
        {"destination": 7},
        {"forwardPath": {"Hops": -1}},
        {"forwardPath": {"Hops": True}},
        {"forwardPath": {"IntermediatePath": "0x"}},
        {"forwardPath": {"IntermediatePath": ["0x"]}},
        {"forwardPath": {"Steps": 1}},
        {"returnPath": 1},
        {"returnPath": {}},
        {"target": {}},
        {"target": {"Service": -1}},
        {"target": {"Service": 2**32}},
        {"target": {"Plain": "nowhere"}},
        {"target": {"Plain": "host:99999"}},
        {"target": {"Sealed": "*"}},
        {"target": {"Service": 0, "Plain": "a:1"}},
        {"listenHost": 5},
        {"capabilities": "NoDelay"},
        {"capabilities": ["nodelay"]},
        {"capabilities": [["NoDelay"]]},
        {"responseBuffer": 1000},
        {"responseBuffer": "much"},
        {"maxSurbUpstream": "5 MBps"},
        {"sessionPool": -1},
        {"maxClientSessions": "1"},
        {"flowControl": "fast"},
    ],
    ids=str,
)
async def test_a_body_of_the_wrong_shape(changes: dict[str, Any], autojump_clock: MockClock) -> None:
    async with running() as harness:
        reply = await harness.post("/session/udp", body(harness.node, **changes))
        assert (reply.status_code, reply.headers["content-type"]) == (422, TEXT)
        assert reply.text.startswith("Failed to deserialize the JSON body into the target type: ")
        assert harness.node.counters.opens_started == 0


async def test_unknown_keys_are_ignored(autojump_clock: MockClock) -> None:
    async with running(dialect="4.0") as harness:
        await harness.open(flowControl="fast", colour="blue")


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("protocol", ["foo", "UDP"])
async def test_an_unknown_protocol(method: str, protocol: str, autojump_clock: MockClock) -> None:
    async with running() as harness:
        reply = await harness.http.request(method, f"/api/v4/session/{protocol}")
    assert reply.status_code == 400
    assert reply.text == f"Invalid URL: unknown variant `{protocol}`, expected `tcp` or `udp`"
    assert reply.headers["content-type"] == TEXT


@pytest.mark.parametrize("port", ["x", "65536", "-1"])
async def test_a_port_that_is_none(port: str, autojump_clock: MockClock) -> None:
    async with running() as harness:
        reply = await harness.delete(f"/session/udp/127.0.0.1/{port}")
    assert (reply.status_code, reply.text) == (400, f"Invalid URL: Cannot parse `port` with value `{port}` to a `u16`")


async def test_bad_queries(autojump_clock: MockClock) -> None:
    async with running(dialect="3") as harness:
        for path in ("/channels?fullTopology=1", "/channels?includingClosed=True", "/node/peers?quality=good"):
            reply = await harness.get(path)
            assert (reply.status_code, reply.headers["content-type"]) == (400, TEXT)
            assert reply.text.startswith("Failed to deserialize query string")
        reply = await harness.get("/node/peers?quality=2")
        assert (reply.status_code, reply.json()) == (400, {"status": "INVALID_QUALITY"})


@pytest.mark.parametrize(("dialect", "status"), [("3", 200), ("4.0-rc", 200), ("4.0", 404), ("4.1", 404)])
async def test_an_error_object_with_200(dialect: str, status: int, autojump_clock: MockClock) -> None:
    async with running(dialect=dialect) as harness:
        reply = await harness.get("/peers/0x" + "ab" * 20)
    assert (reply.status_code, reply.json()) == (status, {"status": "PEER_NOT_FOUND"})


async def test_metrics_need_a_token_and_text(autojump_clock: MockClock) -> None:
    async with running() as harness:
        assert (await bare(harness, "GET", "/metrics")).status_code == 401
        assert (await bare(harness, "GET", "/metrics", headers={"accept": "application/json"})).status_code == 406
        reply = await harness.http.get("/metrics", headers={"accept": "text/plain"})
    assert reply.status_code == 200
    assert "session" not in reply.text


@pytest.mark.parametrize(
    ("dialect", "version"), [("3", "4.2.2"), ("4.0-rc", "4.11.0"), ("4.0", "4.12.1"), ("4.1", "4.14.0")]
)
async def test_the_openapi_document_is_public(dialect: str, version: str, autojump_clock: MockClock) -> None:
    async with running(dialect=dialect) as harness:
        document = (await bare(harness, "GET", "/api-docs/openapi.json", headers={"accept": "text/html"})).json()
    assert document["info"]["version"] == version
    paths = document["paths"]
    assert set(paths["/api/v4/session/{protocol}"]) == {"get", "post"}
    assert ("/api/v4/session/{protocol}/explicit-path" in paths) == (dialect in ("4.0", "4.1"))
    assert ("/api/v4/node/peers" in paths) == (dialect == "3")


async def test_a_websocket_is_not_offered_to_plain_http(autojump_clock: MockClock) -> None:
    async with running(dialect="3") as harness:
        assert (await harness.get("/session/websocket")).status_code == 400
        assert (await harness.post("/session/websocket")).status_code == 405


async def test_an_empty_part_of_a_path_is_no_parameter(autojump_clock: MockClock) -> None:
    async with running() as harness:
        assert (await harness.get("/session/")).status_code == 404
        assert (await harness.get("/session/udp/")).status_code == 404


async def test_latency_of_every_call(autojump_clock: MockClock) -> None:
    async with running(call_latency=2.0, delete_latency=3.0) as harness:
        await harness.get("/node/version")
        assert trio.current_time() == 2.0
        await harness.delete("/session/udp/127.0.0.1/1")
        assert trio.current_time() == 7.0
