"""``python -m benchmarks``: see :mod:`benchmarks._command`."""

from __future__ import annotations

import sys

try:
    import click  # noqa: F401
    import rich  # noqa: F401
except ImportError as error:
    sys.stderr.write(f"python -m benchmarks needs {error.name}: pip install -e '.[bench]'\n")
    sys.exit(2)

from benchmarks._command import main

if __name__ == "__main__":
    sys.exit(main())
