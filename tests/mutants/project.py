"""What is mutated, and by which tests it is judged: read from a file, ``project.toml`` beside this one by default."""

from __future__ import annotations

import fnmatch
import tomllib
from pathlib import Path

import attrs

__all__ = ["DEFAULT", "Project"]

DEFAULT = Path(__file__).parent / "project.toml"


@attrs.frozen
class Project:
    """A project whose tests are tried.

    Attributes:
        root: its folder.
        groups: names of groups, and the files in each, seen from the root.
        tests: the files of tests, seen from the root.
        rate: the share of each group's mutants that must be killed.
        survivors: the file of those that are accepted.
    """

    root: Path
    groups: dict[str, tuple[str, ...]]
    tests: tuple[str, ...]
    rate: float
    survivors: Path

    @property
    def files(self) -> tuple[str, ...]:
        """All files that are mutated."""
        return tuple(file for files in self.groups.values() for file in files)

    @staticmethod
    def load(path: Path = DEFAULT) -> Project:
        """Read a project's file.

        Raises:
            OSError: it cannot be read.
            ValueError: it is no such file.
        """
        data = tomllib.loads(path.read_text(encoding="utf-8"))
        root = (path.parent / data["root"]).resolve()
        found = sorted({each.relative_to(root).as_posix() for glob in data["tests"] for each in root.glob(glob)})
        tests = [each for each in found if not any(fnmatch.fnmatch(each, pattern) for pattern in data["not_tests"])]
        return Project(
            root=root,
            groups={name: tuple(files) for name, files in data["groups"].items()},
            tests=tuple(tests),
            rate=data["rate"],
            survivors=path.parent / "survivors.toml",
        )
