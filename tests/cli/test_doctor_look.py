"""What answers at a URL that is no hoprd: each is told from the others, and gets its own remedy."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import trio

from tests.cli.support import TOKEN, ended, environment
from trio_sessions.cli.doctor._look import NoAnswerError, look

PAGE = b"HTTP/1.1 404 Not Found\r\nContent-Type: text/html\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno"
#: As OpenSSL answers to plain text.
ALERT = b"\x15\x03\x01\x00\x02\x02\x46"
NGINX = b"HTTP/1.1 400 Bad Request\r\n\r\n<center>The plain HTTP request was sent to HTTPS port</center>"


@asynccontextmanager
async def server(
    answer: bytes | None, heard: list[bytes] | None = None, *, lingers: bool = False
) -> AsyncIterator[str]:
    """``host:port`` of one that answers so to everything; ``None``: never. One that ``lingers`` closes nothing."""

    async def serve(stream: trio.SocketStream) -> None:
        async with stream:
            text = await stream.receive_some()
            if heard is not None:
                heard.append(bytes(text))
            if answer is None:
                await trio.sleep_forever()
            else:
                await stream.send_all(answer)
            if lingers:
                await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        (listener, *_) = await nursery.start(lambda task_status: _listen(serve, task_status))
        yield f"127.0.0.1:{listener.socket.getsockname()[1]}"
        nursery.cancel_scope.cancel()


async def _listen(
    serve: Callable[[trio.SocketStream], object], task_status: trio.TaskStatus[list[trio.SocketListener]]
) -> None:
    await trio.serve_tcp(serve, 0, host="127.0.0.1", task_status=task_status)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("scheme", "answer", "problem", "remedy"),
    [
        ("http", ALERT, "speaks TLS", "https://"),
        ("http", NGINX, "speaks TLS", "https://"),
        ("https", PAGE, "does not speak TLS", "http://"),
        ("http", b"", "closes the connection without an answer", "something else"),
        ("http", b"SSH-2.0-OpenSSH_9.6\r\n", "answers, but not in HTTP", "something else"),
        ("http", b"\x00\xff" * 20_000, "answers, but not in HTTP", "something else"),
        ("http", None, "does not answer within 0.3 s", "restart the daemon"),
        ("https", None, "does not answer within 0.3 s", "restart the daemon"),
    ],
    ids=["tls", "tls, nginx", "no tls", "closes", "ssh", "noise", "silent", "silent, tls"],
)
async def test_what_is_no_answer_in_http(scheme: str, answer: bytes | None, problem: str, remedy: str) -> None:
    async with server(answer) as where:
        with pytest.raises(NoAnswerError) as caught:
            await look(f"{scheme}://{where}", timeout=0.3)
    assert caught.value.problem.startswith(where)
    assert problem in caught.value.problem
    assert any(remedy in step for step in caught.value.remedy)


async def test_nobody_there() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(NoAnswerError) as caught:
            await look(f"http://127.0.0.1:{port}", timeout=1)
    assert caught.value.problem == f"nothing listens at 127.0.0.1:{port}"
    assert "off by default" in caught.value.remedy[0]


async def test_no_such_host() -> None:
    with pytest.raises(NoAnswerError) as caught:
        await look("http://no-such-host.invalid", timeout=5)
    assert caught.value.problem.startswith("there is no host no-such-host.invalid")


async def test_a_connection_that_is_never_made() -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        name = full.getsockname()
        waiting = [socket.socket() for _ in range(4)]
        try:
            for each in waiting:
                each.setblocking(False)
                each.connect_ex(name)
            with pytest.raises(NoAnswerError, match=r"no connection to 127\.0\.0\.1:\d+ within 0.2 s"):
                await look(f"http://127.0.0.1:{name[1]}", timeout=0.2)
        finally:
            for each in waiting:
                each.close()


async def test_a_reply_is_read() -> None:
    heard: list[bytes] = []
    async with server(b"HTTP/1.1 412 \r\nDate: Wed, 25 Nov 2026 03:10:50 GMT\r\nX: \r\n\r\n", heard) as where:
        found = await look(f"http://{where}/behind/", timeout=1)
    assert (found.status, found.headers["date"]) == (412, "Wed, 25 Nov 2026 03:10:50 GMT")
    assert 0 < found.seconds < 1
    assert heard[0].startswith(f"GET /behind/startedz HTTP/1.1\r\nHost: {where}\r\n".encode())


async def test_a_reply_is_read_though_its_connection_stays_open() -> None:
    async with server(PAGE, lingers=True) as where:
        found = await look(f"http://{where}", timeout=5)
    assert found.status == 404
    assert found.seconds < 1


async def test_a_web_server_is_no_hoprd_and_never_sees_the_token() -> None:
    heard: list[bytes] = []
    async with server(PAGE, heard) as where:
        it = await ended("doctor", "--url", f"http://{where}", "--json", env=environment())
    assert it.status == 69
    assert it.report["checks"][0]["verdict"] == "fail"
    assert "answers, but is no hoprd: GET /api/v4/account/addresses: HTTP 404" in it.report["checks"][0]["found"]
    assert len(heard) == 2
    assert TOKEN.encode() not in b"".join(heard)
