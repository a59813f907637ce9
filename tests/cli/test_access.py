"""The options that commands share: what of a configuration makes an access, and whatever a file says."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import pytest
from hypothesis import given, settings, strategies as st

from trio_sessions import DedicatedAddress, PortRange, Shared
from trio_sessions.cli import _main
from trio_sessions.cli._access import Access, node_options
from trio_sessions.cli._main import run_command

found: list[tuple[Access, str]] = []


@click.command()
@node_options
@click.option("--own", default="own")
def look(*, access: Access, own: str) -> int:
    """Look what a command gets."""
    found.append((access, own))
    return 0


@pytest.fixture(autouse=True)
def command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A command of ours among the others, in an empty folder."""
    monkeypatch.setitem(_main._commands.commands, "look", look)
    monkeypatch.chdir(tmp_path)
    found.clear()


def test_without_a_word_it_is_the_local_node() -> None:
    assert run_command(["look"]) == 0
    assert found == [(Access(), "own")]
    assert found[0][0] == Access(url="http://127.0.0.1:3001", namespace=Shared(), instance="default")
    assert found[0][0].needs_journal


def test_everything_by_flags() -> None:
    Path("token").write_text("token-of-the-file")
    Path("token").chmod(0o600)
    arguments = ["--url", "http://x:1", "--token-file", "token", "--namespace", "dedicated", "--instance", "i"]
    assert run_command(["look", *arguments, "--journal", "j", "--connect-host", "::1", "--own", "o"]) == 0
    access, own = found[0]
    assert own == "o"
    assert access == Access(
        url="http://x:1",
        token="token-of-the-file",
        namespace=DedicatedAddress(),
        instance="i",
        journal="j",
        connect_host="::1",
    )
    assert "token-of-the-file" not in repr(access)


def test_files_and_variables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "trio-sessions.toml").write_text("node.url = 'http://x:1'\nsessions.namespace = '40000-40001'\n")
    (tmp_path / "other.toml").write_text("node.url = 'http://y:1'\nsessions.journal = false\n")
    monkeypatch.setenv("TRIO_SESSIONS_INSTANCE", "i")
    monkeypatch.setenv("TRIO_SESSIONS_TOKEN", "token-of-the-environment")
    assert run_command(["look"]) == run_command(["look", "--config", "other.toml"]) == 0
    first, second = (access for access, _ in found)
    assert first == Access(
        url="http://x:1", token="token-of-the-environment", namespace=PortRange(40_000, 40_001), instance="i"
    )
    assert second == Access(url="http://y:1", token="token-of-the-environment", instance="i", no_journal=True)


@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    [
        (("--journal", "j", "--no-journal"), 2, "--journal 'j': is given together with --no-journal; leave one out"),
        (("--config", "none.toml"), 2, "--config 'none.toml': there is no such file"),
        (("--token-file", "none"), 2, "--token-file 'none': there is no such file"),
        (("--config", "wrong.toml"), 78, "wrong.toml:1: traffic.rate -1: must be a finite number above 0"),
        (("--namespace", "mine"), 2, "namespace 'mine': is neither shared"),
    ],
)
def test_what_is_wrong(arguments: tuple[str, ...], status: int, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("wrong.toml").write_text("traffic.rate = -1")
    assert run_command(["look", *arguments]) == status
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"trio-sessions: error: {told}")
    assert found == []


lines = st.lists(
    st.one_of(
        st.text(max_size=12),
        st.tuples(
            st.sampled_from(["url", "token_file", "relayers", "hops", "rate", "level", "journal", "namespace", "x"]),
            st.sampled_from(["1", "-1", "true", "false", "''", "'x'", "[]", "[1]", "{}", "nan", "1979-05-27", "'/'"]),
        ).map(" = ".join),
        st.sampled_from(["[node]", "[sessions]", "[traffic]", "[log]", "[[log]]", "[x]", "x.y.z = 1"]),
    ),
    max_size=6,
)


@settings(max_examples=100, deadline=None)
@given(lines)
def test_whatever_a_file_says(written: list[str]) -> None:
    with TemporaryDirectory() as folder:
        file = Path(folder, "it.toml")
        file.write_bytes("\n".join(written).encode("utf-8", "surrogatepass"))
        # None of these runs for long.
        run = ["run", "--url", "http://127.0.0.1:1", "--duration", "0.01", "--no-journal"]
        for arguments in (["config", "check", str(file)], [*run, "--config", str(file)]):
            out, err = io.StringIO(), io.StringIO()
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                status = run_command(arguments)
            assert status in (0, 2, 69, 78)
            assert "Traceback" not in out.getvalue() + err.getvalue()
            said = err.getvalue().splitlines()
            assert all(line.startswith("trio-sessions: ") for line in said)
            if status == 78:
                assert all(str(file) in line for line in said)
