"""``run --metrics`` as an operator has it: scraped while it runs, and unready while it stops."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
from contextlib import suppress

import httpx
import pytest
import trio
from hypothesis import given, strategies as st
from prometheus_client.parser import text_string_to_metric_families as parse_text

from tests.cli.support import PATIENCE, TOKEN, Running, ended, running, simulator
from trio_sessions import InvalidInputError
from trio_sessions.cli._listen import ListenAddress, parse_listen

NOWHERE = "http://127.0.0.1:1"


async def url_of(run: Running) -> str:
    """The server's URL, as the run says it."""
    await run.wait_for("err", "/metrics\n")
    found = re.search(r"metrics at (http://\S+)/metrics\n", run.text("err"))
    assert found is not None, run.text("err")
    return found[1]


async def answered(http: httpx.AsyncClient) -> float:
    """Wait until messages were answered; how many, as the metrics say."""
    with trio.fail_after(PATIENCE):
        while True:
            values = {
                (sample.name, sample.labels.get("outcome")): sample.value
                for family in parse_text((await http.get("/metrics")).text)
                for sample in family.samples
            }
            if values["trio_sessions_messages_total", "answered"]:
                return values["trio_sessions_messages_total", "answered"]
            await trio.sleep(0.02)


async def test_a_run_that_is_scraped() -> None:
    arguments = ("run", "--simulate", "--relayers", "2", "--metrics", "0", "--json")
    async with running(*arguments) as run:
        url = await url_of(run)
        assert url.startswith("http://127.0.0.1:")
        async with httpx.AsyncClient(base_url=url, trust_env=False) as http:
            number = await answered(http)
            assert (await http.get("/readyz")).status_code == 200
        it = await run.end(signal.SIGINT)
    assert it.status == 0, it.err
    assert it.report["messages"]["answered"] >= number
    assert "Traceback" not in it.err


async def test_unready_before_the_node_is_up_and_while_it_stops() -> None:
    async with running("run", "--url", NOWHERE, "--metrics", "127.0.0.1:0") as run:
        async with httpx.AsyncClient(base_url=await url_of(run), trust_env=False) as http:
            reply = await http.get("/readyz")
            assert (reply.status_code, reply.text) == (503, "waiting for the node\n")
            assert (await http.get("/healthz")).status_code == 200
        assert (await run.end(signal.SIGTERM)).status == 0
    # Answers take so long that the stop waits for them.
    async with (
        simulator("--relayers", "1", "--echo-latency", "30") as node,
        running("run", "--url", node.url, "--metrics", "0", "--stop-timeout", "20", "--json") as run,
    ):
        await node.wait_until_used(1, what="datagrams")
        async with httpx.AsyncClient(base_url=await url_of(run), trust_env=False) as http:
            assert (await http.get("/readyz")).status_code == 200
            run.process.send_signal(signal.SIGTERM)
            await run.wait_for("err", "stopping")
            reply = await http.get("/readyz")
            assert (reply.status_code, reply.text) == (503, "stopping, or stopped\n")
            text = (await http.get("/metrics")).text
            assert 'trio_sessions_open{state="active"} 1.0' in text
            assert TOKEN not in text
        it = await run.end(signal.SIGTERM)
    assert it.status == 0, it.err
    assert it.report["messages"]["unanswered"] > 0


async def test_a_port_that_is_in_use_is_one_line_and_nothing_is_opened() -> None:
    async with simulator("--relayers", "1") as node:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            address = f"127.0.0.1:{taken.getsockname()[1]}"
            it = await ended("run", "--url", node.url, "--metrics", address)
        assert await node.listeners() == []
    assert (it.status, it.out) == (1, "")
    assert it.err == (
        f"trio-sessions: error: metrics cannot be served at {address}: Address already in use;"
        " choose another one, or port 0 for a free one\n"
    )


async def test_without_prometheus_client_it_says_what_to_install() -> None:
    code = "import sys; sys.modules['prometheus_client'] = None; from trio_sessions.cli import main; main()"
    command = [sys.executable, "-c", code, "run", "--url", NOWHERE, "--metrics", "0"]
    it = await trio.run_process(command, check=False, stdout=subprocess.DEVNULL, capture_stderr=True)
    assert it.returncode == 1
    [line] = it.stderr.decode().splitlines()
    assert line.startswith("trio-sessions: error: prometheus_client is not installed: pip install")


GOOD = {
    "9464": ("127.0.0.1", 9464),
    "0": ("127.0.0.1", 0),
    "localhost:9464": ("127.0.0.1", 9464),
    "0.0.0.0:9464": ("0.0.0.0", 9464),
    "10.1.2.3:65535": ("10.1.2.3", 65535),
    "[::1]:9464": ("::1", 9464),
    "[::]:1": ("::", 1),
}


@pytest.mark.parametrize(("text", "address"), GOOD.items(), ids=GOOD)
def test_addresses(text: str, address: tuple[str, int]) -> None:
    found = parse_listen(text)
    assert found == ListenAddress(*address)
    assert parse_listen(str(found)) == found


BAD = {
    "": "port from 0 to 65535",
    "x": "port from 0 to 65535",
    "65536": "port from 0 to 65535",
    "-1": "port from 0 to 65535",
    "٣": "port from 0 to 65535",
    ":9464": "write 0.0.0.0",
    "::1:9464": "without brackets",
    "example.org:9464": "is no ip",
    "[::1]": "without a port",
    "[x]:1": "is no ip",
    "example:org:1": "without brackets",
    "127.0.0.1:": "port from 0 to 65535",
    "http://127.0.0.1:9464": "without brackets",
}


@pytest.mark.parametrize(("text", "rule"), BAD.items(), ids=BAD)
def test_bad_addresses(text: str, rule: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        parse_listen(text)
    assert caught.value.what == "--metrics"
    assert rule in str(caught.value)


@given(st.text() | st.from_regex(r"\A[\[\]:.0-9a-f]*\Z"))
def test_any_text_is_an_address_or_an_error_of_ours(text: str) -> None:
    with suppress(InvalidInputError):
        assert 0 <= parse_listen(text, "metrics.listen").port <= 65535
