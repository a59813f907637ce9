"""Where ``run`` gets the API token from: never from the command line, where everybody on the machine could read it."""

from __future__ import annotations

import os
from pathlib import Path

from trio_sessions._errors import InvalidInputError
from trio_sessions.cli._redaction import hide

__all__ = ["TOKEN_VARIABLE", "read_token"]

TOKEN_VARIABLE = "TRIO_SESSIONS_TOKEN"  # noqa: S105 - the name of the variable

#: Bytes: far above any token, and it ends the reading of what has no end.
_LONGEST = 4096


def read_token(file: str | None) -> str | None:
    """The token in ``file``, or in the environment, or none. Its own rules are the client's to check.

    Nothing that the command prints shows it from then on.

    Raises:
        InvalidInputError: the file cannot be read, or cannot be one with a token; shows nothing of its content.
    """
    token = _read(file) if file is not None else os.environ.get(TOKEN_VARIABLE) or None
    hide(token)
    return token


def _read(file: str) -> str:
    try:
        with Path(file).open("rb") as stream:
            content = stream.read(_LONGEST + 1)
    except FileNotFoundError:
        raise InvalidInputError("--token-file", file, "there is no such file", "check the path") from None
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise InvalidInputError("--token-file", file, f"cannot be read: {why}", "check path and permissions") from None
    # latin-1 takes every byte: which characters a token may have is said in one place, by the client.
    token = content.decode("latin-1").removesuffix("\n").removesuffix("\r")
    if not token:
        raise InvalidInputError("--token-file", file, "is empty", "write the token into it, on one line")
    if len(content) > _LONGEST:
        raise InvalidInputError("--token-file", file, f"has more than {_LONGEST} bytes", "that is no file with a token")
    return token
