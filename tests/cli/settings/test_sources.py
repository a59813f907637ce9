"""Where values come from: the highest source wins, whatever the others say, and each value knows its origin."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from trio_sessions import InvalidInputError, PortRange
from trio_sessions.cli._listen import ListenAddress
from trio_sessions.cli._status import ConfigError
from trio_sessions.cli.settings import SETTINGS, Configuration, Source, Sources

ADDRESS = "0x" + "ab" * 20
OTHER = "0x" + "cd" * 20

#: Of each setting some values, as text; flags get them as click's readers make them.
TEXTS = {
    "url": ["http://127.0.0.1:1", "https://node.example"],
    "token_file": ["/run/a", "/run/b"],
    "relayers": ["1", "20", ADDRESS, f"{ADDRESS},{OTHER}"],
    "destinations": [ADDRESS, f"{ADDRESS},{OTHER}"],
    "hops": ["0", "3"],
    "grace_period": ["0", "1.5"],
    "keepalive_interval": ["1", "2"],
    "reconcile_interval": ["1", "2"],
    "poll_interval": ["1", "2"],
    "reply_timeout": ["1", "2"],
    "drain_timeout": ["0", "2"],
    "stop_timeout": ["1", "2"],
    "opens_per_second": ["1", "2"],
    "max_opens": ["1", "2"],
    "namespace": ["shared", "dedicated", "40000-40010"],
    "instance": ["a", "b"],
    "journal": ["/a", "/b", "true", "false"],
    "connect_host": ["127.0.0.1", "::1"],
    "batch": ["1", "2"],
    "rate": ["1", "2"],
    "duration": ["1", "2"],
    "log_level": ["debug", "error"],
    "log_format": ["text", "json"],
    "metrics": ["9100", "0.0.0.0:1"],
    "metrics_relayer_label": ["true", "false"],
}
#: A relayer setting excludes another: it has a test of its own.
FREE = [name for name in TEXTS if name != "hops"]

said = st.dictionaries(st.sampled_from(FREE), st.integers(0, 3))


def meant(name: str, number: int) -> Any:
    each = SETTINGS[name]
    return each.kind.from_text(TEXTS[name][number % len(TEXTS[name])])


def write(path: Path, values: Mapping[str, int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = []
    for name, number in values.items():
        each = SETTINGS[name]
        lines.append(f"{each.section}.{each.key} = {each.kind.to_toml(meant(name, number))}")
    path.write_text("\n".join(lines))


def read(folder: Path, *, environ: Mapping[str, str] | None = None, **more: Any) -> Configuration:
    return Sources(environ={"XDG_CONFIG_HOME": str(folder), **(environ or {})}, **more).read()


def test_there_are_texts_for_every_setting() -> None:
    assert TEXTS.keys() == SETTINGS.keys()


@settings(max_examples=150, deadline=None)
@given(flags=said, environment=said, project=said, user=said)
def test_the_highest_source_wins(
    flags: dict[str, int], environment: dict[str, int], project: dict[str, int], user: dict[str, int]
) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        write(folder / "trio-sessions/config.toml", user)
        write(folder / "project.toml", project)
        found = read(
            folder,
            flags={name: meant(name, number) for name, number in flags.items()},
            config=str(folder / "project.toml"),
            environ={SETTINGS[n].variable: TEXTS[n][number % len(TEXTS[n])] for n, number in environment.items()},
        )
    layers = [
        (flags, Source.FLAG),
        (environment, Source.ENVIRONMENT),
        (project, Source.PROJECT_FILE),
        (user, Source.USER_FILE),
    ]
    for name, each in SETTINGS.items():
        value, source = next(
            ((meant(name, said[name]), source) for said, source in layers if name in said),
            (each.default, Source.DEFAULT),
        )
        assert found.value(name) == value
        origin = found.origins[name]
        assert origin.source is source
        if source is Source.ENVIRONMENT:
            assert str(origin) == each.variable
        if source is Source.PROJECT_FILE:
            assert str(origin) == f"{folder}/project.toml:{list(project).index(name) + 1}"
        if source is Source.USER_FILE:
            assert str(origin) == f"{folder}/trio-sessions/config.toml:{list(user).index(name) + 1}"
        if source is Source.DEFAULT:
            assert str(origin) == "default"
    assert found.files == (f"{folder}/trio-sessions/config.toml", f"{folder}/project.toml")


def test_the_project_file_is_that_of_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "trio-sessions.toml").write_text("traffic.rate = 1")
    (tmp_path / "other.toml").write_text("traffic.batch = 2")
    (tmp_path / "third.toml").write_text("traffic.batch = 3")
    found = read(tmp_path)
    assert (found.value("rate"), str(found.origins["rate"])) == (1.0, "trio-sessions.toml:1")
    # One that is named takes its place, and a flag's the variable's.
    environ = {"TRIO_SESSIONS_CONFIG": "other.toml"}
    found = read(tmp_path, environ=environ)
    assert (found.value("rate"), found.value("batch")) == (100.0, 2)
    assert read(tmp_path, environ=environ, config="third.toml").value("batch") == 3
    # An empty one names none.
    assert read(tmp_path, environ={"TRIO_SESSIONS_CONFIG": ""}).value("rate") == 1.0


def test_the_user_s_file_without_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    write(tmp_path / ".config/trio-sessions/config.toml", {"batch": 1})
    for environ in ({}, {"XDG_CONFIG_HOME": "relative"}):
        assert Sources(environ=environ).read().value("batch") == 2


def test_a_user_without_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    assert Sources(environ={}).read().files == ()


def test_all_problems_of_all_sources_are_told_together(tmp_path: Path) -> None:
    user = tmp_path / "trio-sessions/config.toml"
    user.parent.mkdir()
    user.write_text("[log]\nlevel = 1\n")
    project = tmp_path / "p.toml"
    project.write_text("[traffic]\nrate = 0\nbatc = 1\n")
    environ = {"TRIO_SESSIONS_GRACE_PERIOD": "-1", "TRIO_SESSIONS_DESTINATIONS": f"{ADDRESS}, x"}
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, config=str(project), environ=environ)
    assert caught.value.status == 78
    assert caught.value.lines == [
        f"{user}:2: log.level 1: must be a string, in quotes",
        f"{project}:2: traffic.rate 0: must be a finite number above 0 (messages a second)",
        f"{project}:3: traffic.batc: there is no such key; did you mean batch?",
        "TRIO_SESSIONS_DESTINATIONS 'x': not a node address; write 0x followed by 40 hex digits",
        "TRIO_SESSIONS_GRACE_PERIOD '-1': must be a finite number from 0 up (seconds)",
    ]


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("destinations", f" {ADDRESS} , {OTHER} ", (ADDRESS, OTHER)),
        ("destinations", "false", ()),
        ("relayers", f"{ADDRESS},{OTHER}", (ADDRESS, OTHER)),
        ("relayers", "False", None),
        ("hops", "false", None),
        ("journal", "TRUE", True),
        ("journal", "./false", "./false"),
        ("metrics", "9100", ListenAddress("127.0.0.1", 9100)),
        ("metrics_relayer_label", "true", True),
        ("namespace", "40000-40010", PortRange(40_000, 40_010)),
    ],
)
def test_texts_of_variables(name: str, text: str, value: object, tmp_path: Path) -> None:
    found = read(tmp_path, environ={SETTINGS[name].variable: text})
    assert found.value(name) == value


def test_an_empty_variable_says_nothing(tmp_path: Path) -> None:
    found = read(tmp_path, environ={each.variable: "" for each in SETTINGS.values()})
    assert {origin.source for origin in found.origins.values()} == {Source.DEFAULT}


def test_a_variable_of_no_setting_is_told(tmp_path: Path) -> None:
    environ = {
        "TRIO_SESSIONS_GRACE_PEROID": "s3cret",
        "TRIO_SESSIONS_QQQ": "1",
        "TRIO_SESSIONS_TOKEN": "x",
        "TRIO_SESSIONS_CONFIG": os.devnull,
    }
    assert read(tmp_path, environ=environ).warnings == (
        "TRIO_SESSIONS_GRACE_PEROID: there is no such setting; did you mean TRIO_SESSIONS_GRACE_PERIOD?",
        "TRIO_SESSIONS_QQQ: there is no such setting",
    )


def test_a_named_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"^--config '/no/file': there is no such file; check the path"):
        read(tmp_path, config="/no/file")
    with pytest.raises(ConfigError, match=r"^TRIO_SESSIONS_CONFIG '/no/file': there is no such file; check the path"):
        read(tmp_path, environ={"TRIO_SESSIONS_CONFIG": "/no/file"})


def test_a_file_of_ours_that_cannot_be_read_is_no_file_that_is_not_there(tmp_path: Path) -> None:
    user = tmp_path / "trio-sessions/config.toml"
    user.mkdir(parents=True)
    with pytest.raises(ConfigError, match=f"^{user}: cannot be read: Is a directory; check path and permissions$"):
        read(tmp_path)


def test_of_hops_and_relayers_the_higher_source_counts(tmp_path: Path) -> None:
    write(tmp_path / "trio-sessions/config.toml", {"relayers": 1})
    assert read(tmp_path).value("relayers") == 20
    found = read(tmp_path, flags={"hops": 1})
    assert (found.value("hops"), found.value("relayers")) == (1, None)
    found = read(tmp_path, environ={"TRIO_SESSIONS_HOPS": "1"}, flags={"relayers": 3})
    assert (found.value("hops"), found.value("relayers")) == (None, 3)
    # No hops are no rival.
    assert read(tmp_path, environ={"TRIO_SESSIONS_HOPS": "false"}).value("relayers") == 20
    # Of one source, they both stay: whoever uses them says that they exclude each other.
    found = read(tmp_path, environ={"TRIO_SESSIONS_HOPS": "1", "TRIO_SESSIONS_RELAYERS": "1"})
    assert (found.value("hops"), found.value("relayers")) == (1, 1)


def test_with_a_simulated_node_what_is_said_of_a_real_one_counts_as_a_flag_alone(tmp_path: Path) -> None:
    write(tmp_path / "trio-sessions/config.toml", dict.fromkeys(FREE, 0))
    environ = {"TRIO_SESSIONS_URL": "http://127.0.0.1:9", "TRIO_SESSIONS_RATE": "7"}
    found = read(tmp_path, simulate=True, environ=environ, flags={"relayers": 3})
    kept = {name for name, origin in found.origins.items() if origin.source is not Source.DEFAULT}
    assert kept == {name for name in FREE if not SETTINGS[name].of_node} | {"relayers"}
    assert found.value("relayers") == 3
    assert found.value("rate") == 7.0


def test_errors_are_told_where_the_value_was_said(tmp_path: Path) -> None:
    write(tmp_path / "trio-sessions/config.toml", {"connect_host": 0, "batch": 0})
    found = read(tmp_path, environ={"TRIO_SESSIONS_INSTANCE": "x"}, flags={"batch": 7})

    def told(what: str) -> str:
        return str(found.blame(InvalidInputError(what, 1, "is wrong", "change it")))

    file = tmp_path / "trio-sessions/config.toml"
    assert told("connect host") == f"{file}:1: sessions.connect_host 1: is wrong; change it"
    assert told("instance") == "TRIO_SESSIONS_INSTANCE 1: is wrong; change it"
    # A flag's, a default's, and what is no setting stay as they are.
    for what in ("--batch", "--rate", "payload"):
        assert told(what) == f"{what} 1: is wrong; change it"
