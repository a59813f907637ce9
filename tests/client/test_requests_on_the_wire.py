"""Requests as bytes: the short way makes what the long one makes, and neither lets anything into the head."""

from __future__ import annotations

import httpx
import pytest
from hypothesis import given, settings, strategies as st

from trio_sessions._rest_edge import Edge
from trio_sessions._rest_requests import ANY, JSON
from trio_sessions._transport_wire import check_fields, encode, write

NAMES = st.text("abcXYZ-_09", min_size=1, max_size=6).filter(
    lambda name: name.lower() not in ("host", "content-length", "transfer-encoding")
)
#: What one is likely to break a head with, beside what is harmless.
VALUES = st.binary(max_size=12) | st.lists(
    st.sampled_from([b"a", b" ", b"\t", b"\r", b"\n", b"\r\n", b"\r\nEvil: x", b"\x00", b"\x7f", b"\xe9", b":"]),
    max_size=4,
).map(b"".join)
FIELDS = st.lists(st.tuples(NAMES.map(str.encode), VALUES), max_size=4)
TARGETS = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E, exclude_characters="#"), max_size=12)


def by_httpx(method: str, target: str, fields: list[tuple[bytes, bytes]], body: bytes | None) -> bytes | None:
    """What the other way makes of it; ``None`` where it refuses."""
    request = httpx.Request(method, f"http://n{target}", headers=[(b"Host", b"n"), *fields], content=body)
    try:
        return encode(request, body or b"")
    except httpx.LocalProtocolError:
        return None


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(["GET", "POST", "DELETE"]),
    TARGETS,
    FIELDS,
    st.none() | st.binary(min_size=1, max_size=20) | st.just(b"\r\n\r\nGET / HTTP/1.1\r\n\r\n"),
)
def test_both_ways_write_the_same(
    method: str, path: str, fields: list[tuple[bytes, bytes]], body: bytes | None
) -> None:
    # httpx quotes what it has to; that is the edge's business, once for each node, and its callers'.
    target = httpx.URL(f"http://n/{path}").raw_path.decode()
    if body is None and method == "POST":
        # httpx says then that there is none.
        fields = [*fields, (b"Content-Length", b"0")]
    expected = by_httpx(method, target, fields, body)
    try:
        written = write(method, target, check_fields([(b"Host", b"n"), *fields]), body)
    except httpx.LocalProtocolError:
        written = None
    assert written == expected
    if written is not None:
        assert written.count(b"\r\n", 0, written.index(b"\r\n\r\n")) == 1 + len(fields) + (body is not None)


@given(st.binary(max_size=8), st.binary(max_size=8))
def test_no_header_adds_a_line_or_ends_the_head(name: bytes, value: bytes) -> None:
    try:
        lines = check_fields([(b"A", b"b"), (name, value)])
    except httpx.LocalProtocolError:
        return
    assert lines == b"A: b\r\n%b: %b\r\n" % (name, value)
    assert lines.count(b"\r") == lines.count(b"\n") == 2
    assert name
    assert not set(name) & set(b" :\t\r\n\x00")
    assert b"\x00" not in value


@given(st.text(max_size=8).map("/".__add__) | st.text("/ \r\n\té\ud800#?%", max_size=6))
def test_no_target_is_another_one_on_the_wire(target: str) -> None:
    try:
        message = write("GET", target, check_fields([(b"Host", b"n")]), None)
    except httpx.LocalProtocolError:
        assert not target or any(not "!" <= char <= "~" for char in target)
        return
    assert message == f"GET {target} HTTP/1.1\r\nHost: n\r\n\r\n".encode("ascii")


@pytest.mark.parametrize("target", ["/é", "/a b", "/a\r\nEvil: x", "/ HTTP/1.1\r\n\r\n", "/\x7f", "", "/\ud800"])
def test_targets_that_are_not_fit(target: str) -> None:
    with pytest.raises(httpx.LocalProtocolError, match="target"):
        write("GET", target, b"", None)


@pytest.mark.parametrize(
    "field",
    [(b"", b"x"), (b"a b", b"x"), (b"a:", b"x"), (b"a", b"x\r\nEvil: y"), (b"a", b"x\ny"), (b"a\r\nEvil", b"y")],
    ids=repr,
)
def test_headers_that_are_not_fit(field: tuple[bytes, bytes]) -> None:
    with pytest.raises(httpx.LocalProtocolError, match="header") as caught:
        check_fields([field])
    # One of them is the token.
    assert "Evil" not in str(caught.value)


@pytest.mark.parametrize("url", ["http://node", "http://Node:80/", "http://[::1]:3001", "http://n/a/base/", "HTTP://n"])
@pytest.mark.parametrize("accept", [JSON, ANY])
@pytest.mark.parametrize("body", [None, b"{}"])
def test_what_the_edge_sends_by_itself_is_what_httpx_would_send(url: str, accept: str, body: bytes | None) -> None:
    edge = Edge(url, token="secret-token", timeout=1, transport=None, max_connections=1)
    method = "GET" if body is None else "POST"
    request = httpx.Request(
        method, f"{edge.url}/api?a=b%20c", headers=edge._headers[accept, body is not None], content=body
    )
    written = write(method, f"{edge._base}/api?a=b%20c", edge._fields[accept, body is not None], body)
    assert written == encode(request, body or b"")
    assert b"\r\nAuthorization: Bearer secret-token\r\n" in written
