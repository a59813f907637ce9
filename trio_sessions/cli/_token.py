"""Where a command gets the API token from: never from the command line, where everybody could read it."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path

import attrs

from trio_sessions._errors import InvalidInputError
from trio_sessions._inputs import check_token
from trio_sessions.cli._redaction import hide
from trio_sessions.cli._status import ConfigError

__all__ = ["TOKEN_VARIABLE", "Token", "find_token"]

TOKEN_VARIABLE = "TRIO_SESSIONS_TOKEN"  # noqa: S105 - the name of the variable
#: Where systemd puts what ``LoadCredential=`` names, and the name that it must have there.
CREDENTIALS_VARIABLE = "CREDENTIALS_DIRECTORY"
CREDENTIAL = "trio-sessions-token"

#: Bytes: far above any token, and it ends the reading of what has no end.
_LONGEST = 4096


@attrs.frozen(kw_only=True)
class Token:
    """A token that was found.

    Attributes:
        value: the token itself, which is shown nowhere.
        origin: the file or the variable that it comes from.
        warning: what is wrong with keeping it there, or ``""``.
    """

    value: str = attrs.field(repr=False)
    origin: str
    warning: str = ""


def find_token(file: str | None, environ: Mapping[str, str] = os.environ) -> Token | None:
    """The token in ``file``; without one that in the environment, else systemd's credential, or none.

    Nothing that the command prints shows it from then on.

    Raises:
        InvalidInputError: ``file`` cannot be read, or has what can be no token, which isn't shown.
        ConfigError: the same of the variable, or of the credential.
    """
    if file is not None:
        return _read(file)
    token = environ.get(TOKEN_VARIABLE)
    if token:
        try:
            _check(token, TOKEN_VARIABLE, None)
        except InvalidInputError as error:
            raise ConfigError([error]) from None
        return Token(value=token, origin=TOKEN_VARIABLE)
    folder = environ.get(CREDENTIALS_VARIABLE)
    credential = Path(folder) / CREDENTIAL if folder else None
    if credential is None or not os.path.lexists(credential):
        return None
    try:
        return _read(str(credential))
    except InvalidInputError as error:
        raise ConfigError([f"credential {error.value}: {error.rule}; {error.remedy}"]) from None


def _read(file: str) -> Token:
    try:
        with Path(file).open("rb") as stream:
            mode = os.fstat(stream.fileno()).st_mode
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
    _check(token, "--token-file", file)
    is_open = stat.S_ISREG(mode) and mode & stat.S_IROTH
    warning = f"everybody on this machine can read the token in {file}: chmod 600 it" if is_open else ""
    return Token(value=token, origin=file, warning=warning)


def _check(token: str, what: str, file: str | None) -> None:
    hide(token)
    try:
        check_token(token)
    except InvalidInputError as error:
        raise InvalidInputError(what, file, f"the API token {error.rule}", error.remedy) from None
