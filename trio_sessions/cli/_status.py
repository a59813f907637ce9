"""Exit statuses: what they mean, and which one an error has."""

from __future__ import annotations

from collections.abc import Sequence

from trio_sessions._errors import (
    CannotPinRelayerError,
    InstanceInUseError,
    InvalidInputError,
    NodeUnavailableError,
    SessionsError,
    UnauthorizedError,
)

__all__ = [
    "CLEAN",
    "CONFIG",
    "FAILED",
    "INTERRUPTED",
    "LEFT",
    "STATUS_HELP",
    "TERMINATED",
    "TRY_AGAIN",
    "UNAUTHORIZED",
    "UNAVAILABLE",
    "USAGE",
    "CommandError",
    "ConfigError",
    "checklist",
    "lines_of",
    "numbered",
    "one_line",
    "status_of",
    "steps_of",
]

CLEAN = 0
FAILED = 1
USAGE = 2
LEFT = 3
# Of sysexits.h: EX_UNAVAILABLE, EX_TEMPFAIL, EX_NOPERM and EX_CONFIG.
UNAVAILABLE = 69
TRY_AGAIN = 75
UNAUTHORIZED = 77
CONFIG = 78
#: As shells say it of a program that SIGINT or SIGTERM ended: where a command had not done what it is for.
INTERRUPTED = 130
TERMINATED = 143

#: For the help: click keeps the lines of a paragraph that begins with \b.
STATUS_HELP = """\b
Exit status:
  0   clean: nothing left at the node, every message accounted for
  1   failure
  2   bad usage or input
  3   something was left at the node, or messages are unaccounted for
  69  the node was not there
  75  it did not work this time: try again
  77  the node refuses the token
  78  the configuration is wrong
  130, 143  ended by SIGINT, SIGTERM before it was done
"""


class CommandError(Exception):
    """A command cannot go on; its text is the one line to say.

    Attributes:
        status: to exit with.
    """

    def __init__(self, message: str, status: int = FAILED) -> None:
        super().__init__(message)
        self.status = status

    @property
    def lines(self) -> list[str]:
        """What to say of it."""
        return [one_line(self)]


class ConfigError(CommandError):
    """The configuration is wrong, in the places that ``problems`` names.

    Attributes:
        problems: each of them, as text in one line; there is at least one.
    """

    def __init__(self, problems: Sequence[object]) -> None:
        super().__init__("\n".join(map(str, problems)), CONFIG)
        self.problems = tuple(problems)

    @property
    def lines(self) -> list[str]:
        """A line for each problem."""
        return [str(problem) for problem in self.problems]


def status_of(error: SessionsError | CommandError) -> int:
    """The exit status for an error."""
    if isinstance(error, CommandError):
        return error.status
    if isinstance(error, InvalidInputError):
        return USAGE
    if isinstance(error, UnauthorizedError):
        return UNAUTHORIZED
    if isinstance(error, NodeUnavailableError):
        return UNAVAILABLE
    return FAILED


def lines_of(error: SessionsError | CommandError) -> list[str]:
    """What to say of an error, a line for each thing that is wrong."""
    return error.lines if isinstance(error, CommandError) else [one_line(error)]


def one_line(error: SessionsError | CommandError) -> str:
    """What to say of an error."""
    line = " ".join(str(error).split())
    if isinstance(error, CannotPinRelayerError):
        return f"{line} (--hops N)"
    return f"{line} (--instance NAME)" if isinstance(error, InstanceInUseError) else line


def steps_of(error: SessionsError | CommandError) -> tuple[str, ...]:
    """What to check after an error, likeliest first; none where its own line says all that there is."""
    # What a command says of an error of the library has that as its cause.
    decisive = error.__cause__ if isinstance(error, CommandError) else error
    advice = decisive.advice if isinstance(decisive, SessionsError) else ()
    return advice if len(advice) > 1 else ()


def checklist(steps: Sequence[str]) -> tuple[str, ...]:
    """The steps as lines to say below an error."""
    if not steps:
        return ()
    return ("what to check, likeliest first (trio-sessions doctor looks for you):", *numbered(steps))


def numbered(steps: Sequence[str]) -> tuple[str, ...]:
    """Each step as a line with its number."""
    return tuple(f"  {number}. {step}" for number, step in enumerate(steps, 1))
