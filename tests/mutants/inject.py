"""Puts a changed source in the place of a module, be it imported already or not."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from types import CodeType, FunctionType, ModuleType

__all__ = ["Functions", "import_instead"]


class _Loader(SourceFileLoader):
    def __init__(self, name: str, path: str, source: bytes) -> None:
        super().__init__(name, path)
        self._source = source

    def get_code(self, fullname: str) -> CodeType:
        # Past all caches: what is compiled here is nobody else's.
        return _compiled(self._source, Path(self.path))


class _Finder(MetaPathFinder):
    def __init__(self, name: str, path: Path, source: bytes) -> None:
        self._name = name
        self._path = path
        self._source = source

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self._name:
            return None
        loader = _Loader(fullname, str(self._path), self._source)
        return spec_from_file_location(fullname, self._path, loader=loader)


def import_instead(root: Path, file: str, source: bytes) -> None:
    """Have ``source`` imported in the place of ``file``, whose module must not be loaded yet."""
    name = ".".join(Path(file).with_suffix("").parts)
    assert name not in sys.modules
    sys.meta_path.insert(0, _Finder(name, root / file, source))


def _compiled(source: bytes, path: Path) -> CodeType:
    code = compile(source, str(path), "exec", dont_inherit=True)
    assert isinstance(code, CodeType)
    return code


class Functions:
    """The functions and methods of some modules that are loaded, whose code can be exchanged.

    The code alone: so a change shows wherever a module's functions were imported to, and default arguments, decorators
    and all that stands outside of functions stay as they were.
    """

    def __init__(self, root: Path, files: Sequence[str]) -> None:
        self._root = root
        paths = {str(root / file): file for file in files}
        self._live: dict[tuple[str, CodeType], list[FunctionType]] = {}
        for each in gc.get_objects():
            if isinstance(each, FunctionType) and each.__code__.co_filename in paths:
                self._live.setdefault((paths[each.__code__.co_filename], each.__code__), []).append(each)

    def exchange(self, file: str, source: bytes) -> int:
        """Give every function of ``file`` the code that it has in ``source``; how many got another than they had.

        Raises:
            ValueError: the source has other functions, or one of them cannot be exchanged.
        """
        path = self._root / file
        before = list(_functions(_compiled(path.read_bytes(), path)))
        after = list(_functions(_compiled(source, path)))
        if [code.co_qualname for code in before] != [code.co_qualname for code in after]:
            raise ValueError(f"{file}: its functions are others")
        changed = 0
        for old, new in zip(before, after, strict=True):
            if old == new:
                continue
            for function in self._live.get((file, old), ()):
                function.__code__ = new
                changed += 1
        return changed


def _functions(code: CodeType) -> Iterator[CodeType]:
    """The code of the functions and methods in a module, of the outermost ones, in their order."""
    for each in code.co_consts:
        if isinstance(each, CodeType):
            # A class's body has no local variables of its own that are fast.
            if each.co_flags & 0x2:
                yield each
            else:
                yield from _functions(each)
