"""What the README tells operators is true of the program: service, configuration, metrics and commands."""

from __future__ import annotations

import configparser
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.exposition import generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from trio_sessions.cli import _main, _status
from trio_sessions.cli._main import run_command
from trio_sessions.prometheus import PrometheusInstruments

COMMANDS = _main._commands
README = (Path(__file__).parent.parent / "README.md").read_text()


#: Of the samples, by the type of their metric.
ENDINGS = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "info": ("_info",)}


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    [text] = blocks("ini")
    path = tmp_path / "trio-sessions.service"
    path.write_text(text)
    return path


def metric_names() -> set[str]:
    """The names of all samples that can be scraped; a counter's and a histogram's with their endings."""
    registry = CollectorRegistry()
    PrometheusInstruments(registry)
    names = set()
    text = generate_latest(registry).decode()  # type: ignore[no-untyped-call] # of prometheus_client
    for family in text_string_to_metric_families(text):  # type: ignore[no-untyped-call] # the same
        endings = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "info": ("_info",)}.get(
            family.type, ("",)
        )
        names |= {family.name + ending for ending in endings}
    return names


def test_the_service_starts_a_run_that_its_arguments_allow(unit: Path) -> None:
    parser = configparser.RawConfigParser(strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign] # systemd's names have capitals
    parser.read(unit)
    program, name, *arguments = shlex.split(parser["Service"]["ExecStart"])
    assert Path(program).name == "trio-sessions"
    command = COMMANDS.commands[name]
    # All of the command but its work: each option is known, and each value read.
    with command.make_context(name, list(arguments)) as context:
        assert context.params["metrics"] is not None
    assert f"LoadCredential={_credential()}:" in unit.read_text()
    never_again = set(map(int, parser["Service"]["RestartPreventExitStatus"].split()))
    assert never_again == {_status.USAGE, _status.UNAUTHORIZED, _status.CONFIG}


def _credential() -> str:
    from trio_sessions.cli._token import CREDENTIAL

    return CREDENTIAL


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed here")
def test_systemd_finds_nothing_wrong_with_the_service(unit: Path) -> None:
    # It looks for the program, too, which nobody has installed there.
    unit.write_text(re.sub(r"ExecStart=\S+", "ExecStart=/bin/true", unit.read_text()))
    found = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False)
    ours = [line for line in (found.stdout + found.stderr).splitlines() if unit.name in line]
    assert ours == []


def test_the_configuration_is_read_as_it_stands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    [text] = blocks("toml")
    path = tmp_path / "trio-sessions.toml"
    path.write_text(text)
    (tmp_path / "token").write_text("a-token-for-tests\n")
    (tmp_path / "token").chmod(0o600)
    assert run_command(["config", "check", str(path)]) == _status.CLEAN, capsys.readouterr()


def test_prometheus_is_told_of_metrics_that_exist() -> None:
    scrape, rules = (yaml.safe_load(block) for block in blocks("yaml"))
    [job] = scrape["scrape_configs"]
    [target] = job["static_configs"][0]["targets"]
    assert target == "127.0.0.1:9464"
    assert "--metrics 9464" in README
    known = metric_names()
    alerts: list[dict[str, Any]] = rules["groups"][0]["rules"]
    for alert in alerts:
        named = set(re.findall(r"trio_sessions_\w+", alert["expr"]))
        assert named
        assert named <= known, alert["alert"]
        assert alert["annotations"]["summary"]


def test_the_metrics_that_it_lists_are_all_there_are() -> None:
    [listed] = re.findall(r"Metrics \(all begin with `trio_sessions_`\): (.*?)\n\n", README, re.DOTALL)
    names = {each.partition("{")[0] for each in re.findall(r"`([a-z_]+(?:\{[a-z,]+\})?)`", listed)}
    bare = {re.sub(r"_(bucket|sum|count)$", "", name).removeprefix("trio_sessions_") for name in metric_names()}
    assert names == bare


def test_every_command_and_status_has_its_row() -> None:
    [table] = re.findall(r"\| command \| what for \|\n\|---\|---\|\n(.*?)\n\n", README, re.DOTALL)
    rows = [row.split("|")[1] for row in table.splitlines()]
    assert {name for row in rows for name in re.findall(r"`([a-z]+)`", row)} == set(COMMANDS.commands)
    [table] = re.findall(r"\| status \| meaning \|\n\|---\|---\|\n(.*?)\n\n", README, re.DOTALL)
    told = {int(number) for row in table.splitlines() for number in re.findall(r"\d+", row.split("|")[1])}
    known = {value for name, value in vars(_status).items() if name in _status.__all__ and isinstance(value, int)}
    assert told == known


def test_the_commands_that_it_shows_are_understood() -> None:
    shown = [line for block in blocks("sh") for line in block.splitlines() if line.startswith("trio-sessions ")]
    assert len(shown) >= 3
    for line in shown:
        _, name, *arguments = shlex.split(line)
        command = COMMANDS.commands[name]
        assert isinstance(command, click.Command)
        command.make_context(name, list(arguments))
