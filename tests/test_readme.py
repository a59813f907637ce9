"""What the README shows runs as it stands there."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from trio_sessions import DedicatedAddress
from trio_sessions.simulator import ServedNode, SimulatorConfig, serve_node

README = (Path(__file__).parent.parent / "README.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def main_of(example: str) -> Callable[..., Awaitable[None]]:
    names: dict[str, Any] = {}
    exec(compile(example, "README.md", "exec"), names)
    main: Callable[..., Awaitable[None]] = names["main"]
    return main


async def run(main: Callable[..., Awaitable[None]], *with_relayer: bool) -> None:
    async with trio.open_nursery() as nursery:
        served: ServedNode = await nursery.start(serve_node, SimulatorConfig(relayers=2))
        await main(served.url, served.token, *(served.node.relayers[0] for _ in with_relayer))
        assert served.node.listeners() == ()
        assert served.node.counters.echoes_sent >= 10
        nursery.cancel_scope.cancel()


async def test_the_pool_example(capsys: pytest.CaptureFixture[str]) -> None:
    await run(main_of(EXAMPLES[0]), True)
    out = capsys.readouterr().out
    assert "10 of 10 answered" in out
    assert "answered=10" in out


async def test_the_node_example(capsys: pytest.CaptureFixture[str]) -> None:
    await run(main_of(EXAMPLES[1]))
    out = capsys.readouterr().out
    assert "10 of 10 answered" in out
    assert "closed=2" in out


def test_the_namespaces_example() -> None:
    names: dict[str, Any] = {}
    exec(compile(EXAMPLES[2], "README.md", "exec"), names)
    assert names["here"].namespace == DedicatedAddress()
    assert names["container"].connect_host == "127.0.0.1"


def test_the_two_commands_of_a_fresh_machine_stand_as_promised() -> None:
    commands = re.findall(r"```sh\n(python3 .*?)\n```", README)
    assert commands == [
        "python3 -m venv .venv && .venv/bin/pip install -q '.[cli]' && .venv/bin/trio-sessions run --simulate",
        "python3 -m venv .venv && .venv/bin/pip install -q -e '.[test]' && .venv/bin/pytest",
    ]
    assert len(EXAMPLES) == 3
