"""The token: from a file, the environment or systemd, in this order, and shown nowhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from trio_sessions import InvalidInputError
from trio_sessions.cli._status import ConfigError
from trio_sessions.cli._token import find_token


def secret(path: Path, text: str = "s3cret-token", mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def test_the_first_of_three_places_counts(tmp_path: Path) -> None:
    file = secret(tmp_path / "file", "token-of-the-file\n")
    secret(tmp_path / "trio-sessions-token", "token-of-systemd\r\n")
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path), "TRIO_SESSIONS_TOKEN": "token-of-the-environment"}
    found = []
    for each in (
        find_token(str(file), environ),
        find_token(None, environ),
        find_token(None, {**environ, "TRIO_SESSIONS_TOKEN": ""}),
    ):
        assert each is not None
        assert each.value not in repr(each)
        assert each.warning == ""
        found.append((each.value, each.origin))
    assert found == [
        ("token-of-the-file", str(file)),
        ("token-of-the-environment", "TRIO_SESSIONS_TOKEN"),
        ("token-of-systemd", str(tmp_path / "trio-sessions-token")),
    ]
    assert find_token(None, {}) is None
    assert find_token(None, {"CREDENTIALS_DIRECTORY": str(tmp_path / "none")}) is None


@pytest.mark.parametrize(("mode", "told"), [(0o600, False), (0o640, False), (0o604, True), (0o644, True)], ids=oct)
def test_a_file_that_everybody_can_read_is_told(mode: int, told: bool, tmp_path: Path) -> None:
    token = find_token(str(secret(tmp_path / "file", mode=mode)), {})
    assert token is not None
    assert (f"everybody on this machine can read the token in {tmp_path}/file: chmod 600" in token.warning) is told


@pytest.mark.parametrize(
    ("text", "told"),
    [("", "is empty"), ("s3cret", "fewer than 8"), ("s3cret tok", "visible ASCII"), ("s3cret" * 999, "more than 4096")],
    ids=["empty", "short", "blank", "long"],
)
def test_what_can_be_no_token_is_told_and_not_shown(text: str, told: str, tmp_path: Path) -> None:
    file = secret(tmp_path / "trio-sessions-token", text)
    with pytest.raises(InvalidInputError, match=told) as of_file:
        find_token(str(file), {})
    with pytest.raises(ConfigError, match=told) as of_systemd:
        find_token(None, {"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert str(of_systemd.value).startswith(f"credential {file}: ")
    for caught in (of_file, of_systemd):
        assert "s3cret" not in str(caught.value)
    if 0 < len(text) < 4096:
        with pytest.raises(ConfigError, match=f"^TRIO_SESSIONS_TOKEN: the API token .*{told}") as of_variable:
            find_token(None, {"TRIO_SESSIONS_TOKEN": text})
        assert "s3cret" not in str(of_variable.value)
