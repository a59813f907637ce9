"""Bad input: one line with the value, the rule and the remedy, and the right status. And the help."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from trio_sessions._session import MAX_BATCH
from trio_sessions.cli import main
from trio_sessions.cli._main import run_command
from trio_sessions.cli._run import LARGEST_BATCH

ADDRESS = "0x" + "ab" * 20
NOWHERE = ("run", "--url", "http://127.0.0.1:1", "--duration", "0.01")
SIMULATE = ("run", "--simulate", "--duration", "0.01")

BAD = {
    "no target": (("run",), "neither is given"),
    "two targets": (("run", "--simulate", "--url", "http://127.0.0.1:1"), "choose exactly one"),
    "url without scheme": (("run", "--url", "127.0.0.1:3001"), "127.0.0.1:3001"),
    "url of another scheme": (("run", "--url", "ftp://127.0.0.1"), "ftp://127.0.0.1"),
    "negative duration": ((*NOWHERE, "--duration", "-1"), "--duration '-1'"),
    "no duration": ((*NOWHERE, "--duration", "0"), "--duration '0'"),
    "duration nan": ((*NOWHERE, "--duration", "nan"), "finite number above 0"),
    "infinite duration": ((*NOWHERE, "--duration", "inf"), "leave it out to run until a signal"),
    "duration a word": ((*NOWHERE, "--duration", "ten"), "--duration 'ten'"),
    "rate 0": ((*NOWHERE, "--rate", "0"), "--rate '0'"),
    "negative rate": ((*NOWHERE, "--rate", "-5"), "--rate '-5'"),
    "rate nan": ((*NOWHERE, "--rate", "nan"), "finite"),
    "infinite rate": ((*NOWHERE, "--rate", "1e999"), "1e999"),
    "batch 0": ((*NOWHERE, "--batch", "0"), "from 1 to 1000"),
    "batch 1001": ((*NOWHERE, "--batch", "1001"), "'1001'"),
    "batch half": ((*NOWHERE, "--batch", "1.5"), "whole number"),
    "hops 4": ((*NOWHERE, "--hops", "4"), "from 0 to 3"),
    "hops -1": ((*NOWHERE, "--hops", "-1"), "'-1'"),
    "hops and relayers": ((*NOWHERE, "--hops", "1", "--relayers", "2"), "--relayers"),
    "relayers 0": ((*NOWHERE, "--relayers", "0"), "leave it out"),
    "relayers -3": ((*NOWHERE, "--relayers", "-3"), "--relayers '-3'"),
    "relayers a word": ((*NOWHERE, "--relayers", "all"), "neither a number nor a list"),
    "short relayer": ((*NOWHERE, "--relayers", "0x1234"), "0x followed by 40 hex digits"),
    "one bad relayer of two": ((*NOWHERE, "--relayers", f"{ADDRESS},0xzz"), "'0xzz'"),
    "empty relayer": ((*NOWHERE, "--relayers", f"{ADDRESS},"), "''"),
    "bad destination": ((*NOWHERE, "--destination", "peer"), "--destination 'peer'"),
    "destination is the relayer": (
        (*NOWHERE, "--relayers", ADDRESS, "--destination", ADDRESS.upper().replace("X", "x")),
        "choose another destination",
    ),
    "bad seed": ((*NOWHERE, "--seed", "x"), "--seed 'x'"),
    "huge seed": ((*NOWHERE, "--seed", "9" * 5000), "whole number"),
    "stop timeout 0": ((*NOWHERE, "--stop-timeout", "0"), "--stop-timeout '0'"),
    "negative grace": ((*NOWHERE, "--grace-period", "-1"), "from 0 up"),
    "no namespace": ((*NOWHERE, "--namespace", "mine"), "is neither shared, dedicated"),
    "reversed ports": ((*NOWHERE, "--namespace", "500-400"), "is reversed; write 400-500"),
    "too few ports": ((*NOWHERE, "--namespace", "4000-4001", "--relayers", "3"), "has 2 ports for 3 sessions"),
    "address of others": ((*NOWHERE, "--namespace", "192.168.0.1"), "outside of 127.0.0.0/8"),
    "address of all": ((*NOWHERE, "--namespace", "127.0.0.1"), "can belong to nobody alone"),
    "bad instance": ((*NOWHERE, "--instance", "a b"), "instance 'a b'"),
    "bad connect host": ((*NOWHERE, "--connect-host", "here"), "connect host 'here': is no ip address"),
    "journal is a folder": ((*NOWHERE, "--journal", "/"), "journal '/': is a folder; name a file"),
    "journal in no folder": ((*NOWHERE, "--journal", "/no/such/journal"), "its folder does not exist"),
    "journal on a device": ((*NOWHERE, "--journal", "/dev/full"), "is not a regular file"),
    "journal and none": ((*NOWHERE, "--journal", "x", "--no-journal"), "leave one out"),
    "no token file": ((*NOWHERE, "--token-file", "/no/such/file"), "no such file"),
    "token file is a folder": ((*NOWHERE, "--token-file", "/"), "cannot be read: Is a directory"),
    "token file has a null byte": ((*NOWHERE, "--token-file", "a\0b"), "cannot be read"),
    "token file is empty": ((*NOWHERE, "--token-file", os.devnull), "is empty"),
    "token file without end": ((*NOWHERE, "--token-file", "/dev/zero"), "more than 4096 bytes"),
    "token file for the simulator": ((*SIMULATE, "--token-file", "x"), "leave it out"),
    "more relayers than simulated": (
        (*SIMULATE, "--duration", "5", "--relayers", ADDRESS),
        "no relayer of this node with an open outgoing channel",
    ),
    "doctor with two routes": (("doctor", "--hops", "1", "--relayer", ADDRESS), "cannot be given together"),
    "doctor of the relayer as destination": (
        ("doctor", "--destination", ADDRESS, "--relayer", ADDRESS),
        "choose another destination",
    ),
    "doctor without patience": (("doctor", "--timeout", "0"), "--timeout '0'"),
    "doctor with a bad connect host": (("doctor", "--connect-host", "here"), "is no ip address"),
    "doctor of no url": (("doctor", "--url", "127.0.0.1:3001"), "not an http or https URL"),
    "unknown option": (("run", "--tokn", "x"), "see trio-sessions run --help"),
    "token on the command line": (("run", "--token", "x"), "No such option"),
    "missing value": (("run", "--url"), "requires an argument"),
    "extra argument": (("run", "now"), "unexpected extra argument"),
    "unknown command": (("stop",), "see trio-sessions --help"),
    "port too high": (("simulate", "--port", "65536"), "from 0 to 65535"),
    "negative port": (("simulate", "--port", "-1"), "'-1'"),
    "unknown fault": (("simulate", "--fault", "fire"), "fault 'fire': unknown kind"),
    "broken fault": (("simulate", "--fault", "loss:p=many"), "p needs a number"),
    "fault of nobody": (("simulate", "--fault", "flap:relayer=77:seconds=1"), "77"),
    "unknown dialect": (("simulate", "--dialect", "2"), "dialect '2'"),
    "short simulator token": (("simulate", "--token", "short"), "8 characters"),
    "negative latency": (("simulate", "--echo-latency", "-1"), "--echo-latency '-1'"),
    "negative relayers": (("simulate", "--relayers", "-1"), "--relayers '-1'"),
}


@pytest.mark.parametrize(("arguments", "told"), BAD.values(), ids=BAD)
def test_bad_input(arguments: tuple[str, ...], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("trio-sessions: error: ")
    assert told in captured.err
    assert len(captured.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"short\n", "fewer than 8 characters"),
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"secret-token\n\n", "other characters than visible ASCII"),
        (b"secret token", "other characters than visible ASCII"),
        (b"secret-t\xc3\xb6ken", "other characters than visible ASCII"),
        (b"secret\0token", "other characters than visible ASCII"),
        (b"secret-token" * 400, "more than 4096 bytes"),
    ],
)
def test_bad_token_is_never_shown(
    content: bytes, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "file"
    file.write_bytes(content)
    assert run_command([*NOWHERE, "--token-file", str(file)]) == 2
    captured = capsys.readouterr()
    assert told in captured.err
    assert len(captured.err.splitlines()) == 1
    assert "secret" not in captured.err
    assert "short" not in captured.err


def test_bad_token_of_the_environment(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("TRIO_SESSIONS_TOKEN", "short")
    # As every other variable.
    assert run_command(NOWHERE) == 78
    assert "fewer than 8 characters" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ((), ["trio-sessions run --simulate", "trio-sessions simulate"]),
        (("run",), ["trio-sessions run --simulate --relayers 20", "Exit status:", "  77  the node refuses", "100.0"]),
        (("doctor",), ["trio-sessions doctor --url", "Exit status:", "--relayer ADDR", "--json"]),
        (("simulate",), ["trio-sessions simulate --port 0", "Faults of datagrams", "Exit status:", "3001"]),
    ],
    ids=["all", "run", "doctor", "simulate"],
)
def test_help(command: tuple[str, ...], told: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command([*command, "--help"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    for text in ["Example", *told]:
        assert text in captured.out


def test_without_arguments_it_shows_the_help_as_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command([]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("Usage: trio-sessions ")


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["--version"]) == 0
    assert capsys.readouterr().out.startswith("trio-sessions, version ")


def test_help_loads_nothing_heavy() -> None:
    code = """
import sys
sys.modules["trio_sessions.simulator"] = None
from trio_sessions.cli._main import run_command
before = set(sys.modules)
assert run_command(["run", "--help"]) == 0
assert not {"hypercorn", "trio_sessions.cli._running"} & set(sys.modules), sys.modules
"""
    it = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=20)
    assert (it.returncode, it.stderr) == (0, "")


def test_batch_limit_is_the_library_s() -> None:
    assert LARGEST_BATCH == MAX_BATCH


@pytest.mark.parametrize(
    ("error", "status"), [(KeyboardInterrupt(), 130), (click.exceptions.Abort(), 130)], ids=["main", "command"]
)
def test_interrupted_before_it_began(error: BaseException, status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> int:
        raise error

    monkeypatch.setattr("trio_sessions.cli._main._commands.main", interrupted)
    monkeypatch.setattr(sys, "argv", ["trio-sessions"])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == status


def test_a_missing_module_of_another_kind_is_no_matter_of_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> int:
        raise ModuleNotFoundError("no such", name="something_else")

    monkeypatch.setattr("trio_sessions.cli._main._commands.main", broken)
    with pytest.raises(ModuleNotFoundError):
        main()
