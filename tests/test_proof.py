"""The result page: a command replaces its own section and keeps the others."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.proof import PAGE, commit, record


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project with one commit."""
    (tmp_path / "tests").mkdir()
    (tmp_path / "code").write_text("a")
    for arguments in (
        ("init", "-q"),
        ("add", "."),
        ("-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "-m", "first"),
    ):
        subprocess.run(("git", *arguments), cwd=tmp_path, check=True)
    return tmp_path


def test_a_command_writes_its_own_section_alone(root: Path) -> None:
    record("campaign", command="b", facts={"seeds": 10_000}, seconds=1234, lines=["None failed."], root=root)
    record("sweep", command="a", facts={"points": 7}, seconds=1, root=root)
    record("campaign", command="c", facts={"seeds": 20_000}, seconds=1, root=root)
    page = (root / PAGE).read_text()
    assert page.index("## Cancellation sweep") < page.index("## Campaigns")
    assert page.count("<!-- end -->") == 2
    assert "`a`" in page
    assert "`b`" not in page
    assert "| seeds | 20,000 |" in page
    assert "10,000" not in page
    assert f"At commit {commit(root)}" in page


def test_the_commit_says_whether_the_tree_is_another(root: Path) -> None:
    clean = commit(root)
    record("sweep", command="a", facts={}, seconds=1, root=root)
    assert commit(root) == clean
    (root / "code").write_text("b")
    assert commit(root) == clean + "+changes"
