"""What a caller may write and what not: refused at once, with the rule and the remedy."""

from __future__ import annotations

import math
from typing import Any

import pytest

from trio_sessions._errors import InvalidInputError
from trio_sessions._hoprd import Hoprd
from trio_sessions._model import Listener, ListenerKey, Path, SessionRequest

from .support import EXIT, RELAYER


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:3001", "https://node.example", "http://[::1]:3001/", "HTTP://node", "http://proxy/node-1/"],
)
def test_urls(url: str) -> None:
    hoprd = Hoprd(url)
    assert hoprd.url == url.rstrip("/")
    assert repr(hoprd) == f"<Hoprd {hoprd.url}>"


@pytest.mark.parametrize(
    ("url", "rule"),
    [
        ("", "not an http or https URL"),
        ("127.0.0.1:3001", "not an http"),
        ("node", "not an http"),
        ("ftp://node", "not an http"),
        ("http://", "not an http"),
        ("http://:3001", "not an http"),
        ("http://node:port", "not an http"),
        ("http://node:70000", "not an http"),
        ("http://node:0", "not an http"),
        ("http://[::1", "not an http"),
        ("http://no de", "not an http"),
        ("http://node\n", "not an http"),
        ("http://nöde", "not an http"),
        ("http://node/#top", "credentials, a query or a fragment"),
        ("http://node/api/v4", "base path /api/v4"),
        ("http://node/api/v4/", "base path /api/v4"),
    ],
)
def test_no_urls(url: str, rule: str) -> None:
    with pytest.raises(InvalidInputError, match=rule) as caught:
        Hoprd(url)
    assert caught.value.value == url
    assert "http://127.0.0.1:3001" in caught.value.remedy


@pytest.mark.parametrize("url", ["http://user:hidden@node", "http://node?token=hidden", "gopher://user:hidden@node"])
def test_urls_with_secrets_are_not_shown(url: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        Hoprd(url)
    assert "hidden" not in f"{caught.value} {caught.value!r}"


@pytest.mark.parametrize(
    "token", ["", "seven77", "with space", "line-end-\n", "näme-läng", "bell-\x07-bell", "del-\x7f-del"]
)
def test_tokens_that_no_node_takes(token: str) -> None:
    with pytest.raises(InvalidInputError, match="API token: has") as caught:
        Hoprd("http://node", token=token)
    assert caught.value.value is None
    assert not token or token not in f"{caught.value} {caught.value!r}"


def test_connections() -> None:
    with pytest.raises(InvalidInputError, match="max_connections"):
        Hoprd("http://node", max_connections=0)


@pytest.mark.parametrize("timeout", [0, -1, math.inf, math.nan])
async def test_time_outs(timeout: float) -> None:
    with pytest.raises(InvalidInputError, match="timeout"):
        Hoprd("http://node", timeout=timeout)
    async with Hoprd("http://node") as hoprd:
        with pytest.raises(InvalidInputError, match="timeout"):
            await hoprd.close_session(ListenerKey("udp", "127.0.0.1", 1), timeout=timeout)


def request(**changes: Any) -> SessionRequest:
    values: dict[str, Any] = {"destination": EXIT, "forward": Path(hops=1), "back": Path(hops=1)}
    return SessionRequest(**(values | changes))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:0", ":4711", "::1", "[::1]:65535", "0.0.0.0:1"])
def test_listen_hosts(host: str) -> None:
    assert request(listen_host=host).listen_host == host


@pytest.mark.parametrize(
    "host",
    ["", ":", "localhost", "localhost:1000", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:x", "127.0.0.1:-1", "[::1]",
     "[::1]x", "[::1]80", "[::1]:", "[127.0.0.1]:80", "127.0.0.1 ", "1.2.3", "fe80::1%eth0", "127.0.0.1:" + "1" * 5000,
     "[::1]:٣"],
    ids=lambda host: host[:20],
)  # fmt: skip
def test_hosts_that_the_daemon_would_silently_ignore(host: str) -> None:
    with pytest.raises(InvalidInputError, match="listen host"):
        request(listen_host=host)


@pytest.mark.parametrize("target", [0, 2**32 - 1, "127.0.0.1:80", "[::1]:80", "example.org:65535"])
def test_targets(target: int | str) -> None:
    assert request(target=target).target == target


@pytest.mark.parametrize("target", [-1, 2**32, "", "host", ":80", "host:", "host:http", "host:70000"])
def test_no_targets(target: int | str) -> None:
    with pytest.raises(InvalidInputError, match="target"):
        request(target=target)


@pytest.mark.parametrize("name", ["response_buffer", "max_surb_upstream"])
@pytest.mark.parametrize("value", [-1, 2**64])
def test_amounts(name: str, value: int) -> None:
    with pytest.raises(InvalidInputError, match="whole number"):
        request(**{name: value})


@pytest.mark.parametrize(("buffer", "balancer"), [(0, False), (None, True), (1, True)])
def test_who_runs_the_balancer(buffer: int | None, balancer: bool) -> None:
    assert request(response_buffer=buffer).balancer is balancer


def test_paths() -> None:
    assert Path(hops=0).length == 0
    assert Path(via=(RELAYER,)).length == 1
    wrongs: list[dict[str, Any]] = [
        {},
        {"hops": 1, "via": (RELAYER,)},
        {"hops": 4},
        {"hops": -1},
        {"via": (RELAYER,) * 4},
    ]
    for wrong in wrongs:
        with pytest.raises(InvalidInputError):
            Path(**wrong)


def test_addresses() -> None:
    with pytest.raises(InvalidInputError, match="destination 'me': not a node address"):
        request(destination="me")
    with pytest.raises(InvalidInputError, match="relayer"):
        request(forward=Path(via=("you",)))
    with pytest.raises(InvalidInputError, match="is also the relayer"):
        request(back=Path(via=(EXIT.lower(),)))


def test_sightings_of_a_listener() -> None:
    def seen(**changes: Any) -> Listener:
        values: dict[str, Any] = {
            "key": ListenerKey("udp", "::1", 1),
            "destination": EXIT,
            "target": "#0",
            "forward": None,
            "back": None,
            "hopr_mtu": 1002,
            "surb_len": 395,
        }
        return Listener(**(values | changes))

    assert str(seen().key) == "udp://[::1]:1"
    assert seen().payload_size == 607
    one = seen(clients=("a",))
    assert one.same_as(seen(destination=EXIT.lower(), clients=("a",)))
    assert not one.same_as(seen(clients=("b",)))
    assert not one.same_as(seen(clients=("a",), destination=RELAYER))
    assert not one.same_as(seen(clients=("a",), key=ListenerKey("udp", "::1", 2)))
    # Without an id nothing is certain; a TCP listener has none before somebody connects to it.
    assert not one.same_as(seen())
    assert not seen().same_as(seen())
    tcp = ListenerKey("tcp", "::1", 1)
    assert seen(key=tcp).same_as(seen(key=tcp, clients=("a",)))
