"""``config init``, ``check`` and ``show``, and what a configuration does to other commands."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cli.support import COMMAND, TOKEN, ended, environment, simulator
from trio_sessions.cli._main import run_command
from trio_sessions.cli.settings import SETTINGS


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder, and no file of the user's."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    monkeypatch.delenv("TRIO_SESSIONS_TOKEN", raising=False)
    return tmp_path


def done(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, list[str]]:
    """Status, stdout, and the lines on stderr."""
    status = run_command(arguments)
    captured = capsys.readouterr()
    return status, captured.out, captured.err.splitlines()


def test_init_writes_what_check_and_show_read(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert done(capsys, "config", "init") == (0, "trio-sessions.toml\n", [])
    file = folder / "trio-sessions.toml"
    assert file.stat().st_mode & 0o777 == 0o600
    assert done(capsys, "config", "check") == (0, "ok: trio-sessions.toml\n", [])
    shown = json.loads(done(capsys, "config", "show", "--json")[1])
    assert {each["origin"] for each in shown["settings"].values()} == {"default"}
    assert shown["files"] == ["trio-sessions.toml"]
    assert shown["token"] == {"set": False, "where": None}
    assert shown["schema"] == 1


def test_init_overwrites_nothing_unless_forced(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = folder / "trio-sessions.toml"
    file.write_text("traffic.rate = 1\n")
    file.chmod(0o644)
    told = "trio-sessions: error: trio-sessions.toml is there already: edit it, or overwrite it with --force"
    assert done(capsys, "config", "init") == (1, "", [told])
    assert file.read_text() == "traffic.rate = 1\n"
    status, out, err = done(capsys, "config", "init", "--force", "--json")
    assert (status, err) == (0, [])
    assert json.loads(out) == {"schema": 1, "file": str(file)}
    assert "rate = 100.0" in file.read_text()
    assert file.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in folder.iterdir()] == ["trio-sessions.toml"]


def test_init_force_keeps_a_link(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "dotfiles").mkdir()
    (folder / "trio-sessions.toml").symlink_to(folder / "dotfiles/mine.toml")
    assert done(capsys, "config", "init")[0] == 1
    assert done(capsys, "config", "init", "--force")[0] == 0
    assert (folder / "trio-sessions.toml").is_symlink()
    assert (folder / "dotfiles/mine.toml").exists()


def test_init_of_the_user_s_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = folder / "xdg/trio-sessions/config.toml"
    assert done(capsys, "config", "init", "--user") == (0, f"{file}\n", [])
    assert file.parent.stat().st_mode & 0o777 == 0o700
    assert done(capsys, "config", "check") == (0, f"ok: {file}\n", [])


def test_init_where_nothing_can_be_written(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "xdg").write_text("no folder")
    status, _, (line,) = done(capsys, "config", "init", "--user")
    assert status == 1
    assert "cannot be written: Not a directory; check the folder" in line
    (folder / "trio-sessions.toml").mkdir()
    status, _, (line,) = done(capsys, "config", "init", "--force")
    assert (status, [each.name for each in folder.iterdir() if each.name.startswith(".")]) == (1, [])
    assert "trio-sessions.toml cannot be written: Is a directory" in line


def test_check_tells_all(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIO_SESSIONS_HOPS", "7")
    (folder / "trio-sessions.toml").write_text("[log]\nlevel = 'x'\ncolour = 1\n")
    lines = [
        "trio-sessions.toml:2: log.level 'x': must be one of debug, info, warning, error",
        "trio-sessions.toml:3: log.colour: there is no such key; [log] has level, format",
        "TRIO_SESSIONS_HOPS '7': must be a whole number from 0 to 3",
    ]
    assert done(capsys, "config", "check") == (78, "", [f"trio-sessions: error: {line}" for line in lines])
    status, out, err = done(capsys, "config", "check", "--json")
    assert (status, err) == (78, [])
    told = json.loads(out)
    assert (told["schema"], told["ok"]) == (1, False)
    assert [each["text"] for each in told["problems"]] == lines
    assert told["problems"][1]["where"] == "trio-sessions.toml"
    assert told["problems"][1]["line"] == 3
    assert told["problems"][1]["key"] == "log.colour"
    # Every other command says the same.
    for command in (["run", "--url", "http://127.0.0.1:1"], ["run", "--simulate"], ["config", "show"]):
        assert done(capsys, *command) == (78, "", [f"trio-sessions: error: {line}" for line in lines])


def test_check_of_one_file_sees_that_alone(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRIO_SESSIONS_HOPS", "7")
    (folder / "trio-sessions.toml").write_text("what = 1")
    (folder / "one.toml").write_text("traffic.rate = 1")
    assert done(capsys, "config", "check", "one.toml") == (0, "ok: one.toml\n", [])
    assert json.loads(done(capsys, "config", "check", "one.toml", "--json")[1]) == {
        "schema": 1,
        "ok": True,
        "files": ["one.toml"],
        "problems": [],
    }
    status, _, (line,) = done(capsys, "config", "check", "none.toml")
    assert status == 2
    assert line.startswith("trio-sessions: error: FILE 'none.toml': there is no such file; check the path")


TOGETHER = {
    "hops and relayers": (
        "sessions.hops = 1\nsessions.relayers = 2",
        "trio-sessions.toml:1: sessions.hops 1: cannot be given together with --relayers; leave one out",
    ),
    "too few ports": (
        "sessions.relayers = 3\nsessions.namespace = '40000-40001'",
        "trio-sessions.toml:2: sessions.namespace '40000-40001': has 2 ports for 3 sessions",
    ),
    "token file": (
        "\nnode.token_file = 'none'",
        "trio-sessions.toml:2: node.token_file '{folder}/none': there is no such file; check the path",
    ),
}


@pytest.mark.parametrize(("text", "told"), TOGETHER.values(), ids=TOGETHER)
def test_what_does_not_go_together(text: str, told: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "trio-sessions.toml").write_text(f"{text}\n")
    for command in (["config", "check"], ["config", "show"], ["run", "--url", "http://127.0.0.1:1"]):
        status, out, (line,) = done(capsys, *command)
        assert (status, out) == (78, "")
        assert line.startswith(f"trio-sessions: error: {told.format(folder=folder)}")


def test_show_names_the_origin_of_each_value_and_is_a_configuration_itself(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    token = folder / "token"
    token.write_text("s3cret-token\n")
    token.chmod(0o644)
    (folder / "trio-sessions.toml").write_text("[node]\ntoken_file = 'token'\n[sessions]\nrelayers = 7\n")
    monkeypatch.setenv("TRIO_SESSIONS_GRACE_PERIOD", "60")
    monkeypatch.setenv("TRIO_SESSIONS_TOKEN", "another-s3cret")
    monkeypatch.setenv("TRIO_SESSIONS_RAET", "x")
    status, out, err = done(capsys, "config", "show")
    assert status == 0
    assert err == [
        "trio-sessions: warning: TRIO_SESSIONS_RAET: there is no such setting; did you mean TRIO_SESSIONS_RATE?",
        f"trio-sessions: warning: everybody on this machine can read the token in {token}: chmod 600 it",
    ]
    assert "s3cret" not in out
    lines = {line.partition("  #")[0].strip(): line.partition("  #")[2].strip() for line in out.splitlines()}
    assert lines["relayers = 7"] == "trio-sessions.toml:4"
    assert lines["grace_period = 60.0"] == "TRIO_SESSIONS_GRACE_PERIOD"
    assert lines["rate = 100.0"] == "default"
    assert f"# token: set, from {token}" in lines
    shown: dict[str, Any] = json.loads(done(capsys, "config", "show", "--json")[1])
    assert shown["token"] == {"set": True, "where": str(token)}
    assert shown["settings"]["sessions.relayers"] == {
        "value": 7,
        "origin": "project_file",
        "where": "trio-sessions.toml",
        "line": 4,
        "live": True,
    }
    assert shown["settings"].keys() == {each.path for each in SETTINGS.values()}
    (folder / "shown.toml").write_text(out)
    assert done(capsys, "config", "check", "shown.toml")[0] == 0


@pytest.mark.parametrize("command", [(), ("init",), ("check",), ("show",)])
def test_help(command: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = done(capsys, "config", *command, "--help")
    assert (status, err) == (0, [])
    assert "Example" in out
    assert "Exit status:" in out or not command


def test_help_of_run_has_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    out = done(capsys, "run", "--help")[1]
    for each in SETTINGS.values():
        assert each.flag in out


def test_help_needs_nothing_heavy() -> None:
    code = """
import sys
for name in ("cattrs", "rich", "hypercorn", "httpx", "prometheus_client"):
    sys.modules[name] = None
from trio_sessions.cli._main import run_command
sys.exit(run_command(["run", "--help"]) or run_command(["config", "show", "--help"]))
"""
    it = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=20)
    assert (it.returncode, it.stderr) == (0, "")


# -- processes


def test_the_commands_in_processes(folder: Path) -> None:
    env = environment(XDG_CONFIG_HOME=str(folder / "xdg"))

    def ran(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*COMMAND, *arguments], check=False, capture_output=True, text=True, env=env, cwd=folder)

    assert ran("config", "init").returncode == 0
    assert ran("config", "check").stdout == "ok: trio-sessions.toml\n"
    shown = ran("config", "show")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "# token: set, from TRIO_SESSIONS_TOKEN" in shown.stdout
    assert TOKEN not in shown.stdout
    (folder / "trio-sessions.toml").write_bytes(b"[x\n\xff")
    wrong = ran("run", "--simulate")
    assert (wrong.returncode, wrong.stdout) == (78, "")
    assert wrong.stderr == "trio-sessions: error: trio-sessions.toml:2: is no UTF-8 text; save it as such\n"


async def test_run_by_a_configuration_file_alone(folder: Path) -> None:
    (folder / "token").write_text(f"{TOKEN}\n")
    (folder / "token").chmod(0o600)
    async with simulator("--relayers", "4") as node:
        file = folder / "it.toml"
        file.write_text(
            f"[node]\nurl = '{node.url}'\ntoken_file = 'token'\n"
            "[sessions]\nrelayers = 2\njournal = false\n[traffic]\nduration = 1.2\n"
        )
        env = environment(TRIO_SESSIONS_CONFIG=str(file), TRIO_SESSIONS_TOKEN="not-the-right-one")
        it = await ended("run", "--json", env=env)
        assert (it.status, it.err) == (0, "")
        assert it.report["sessions"]["opened"] == 2
        # What this node has not is blamed on who asked for it.
        file.write_text(file.read_text().replace("relayers = 2", "relayers = 9"))
        it = await ended("run", env=env)
        assert (it.status, it.out) == (78, "")
        assert f"{file}:5: sessions.relayers 9: the node has 4 relayers with an open channel" in it.err
        # A simulated node is not that of the file.
        it = await ended("run", "--simulate", "--json", env=env)
        assert (it.status, it.err) == (0, "")
        assert it.report["sessions"]["opened"] == 5
        assert await node.listeners() == []
