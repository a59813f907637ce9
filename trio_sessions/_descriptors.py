"""The limit of file descriptors: each session has a socket, and each call under way a connection."""

from __future__ import annotations

import errno

__all__ = [
    "DESCRIPTORS_REMEDY",
    "descriptor_limit",
    "descriptor_limits",
    "out_of_descriptors",
    "raise_descriptor_limit",
    "why_no_socket",
]

_NONE_LEFT = frozenset({errno.EMFILE, errno.ENFILE})
#: What macOS lets a process have; it says that there is no hard limit, and refuses that nevertheless.
_OPEN_MAX = 10240
#: What is above that says that there is none.
_NO_LIMIT = 1 << 40
#: What to do where the limit of this process is too low.
DESCRIPTORS_REMEDY = "raise it: trio_sessions.raise_descriptor_limit(), ulimit -n, or LimitNOFILE= of systemd"
_REMEDY_OF_SYSTEM = "the system's limit; Linux has it in fs.file-max"


def raise_descriptor_limit() -> int | None:
    """Let this process open as many files and sockets as the system lets it.

    Raises the soft limit to the hard one. A library doesn't do that by itself: a program whose code, or whose children,
    use select() breaks with descriptors above 1023. The command line does it.

    Returns:
        How many it may open now; ``None`` where nobody knows, or where there is no limit.
    """
    limits = descriptor_limits()
    if limits is None:
        return None
    # Not at the top: there is none on Windows.
    import resource  # noqa: PLC0415

    soft, hard = limits
    for most in (hard, _OPEN_MAX):
        # Never less than there was.
        if most == hard or (hard == resource.RLIM_INFINITY and most > soft):
            try:
                resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
            except (ValueError, OSError):
                continue
            soft = most
            break
    return None if soft == resource.RLIM_INFINITY else soft


def descriptor_limit() -> int | None:
    """How many files and sockets this process may have open; ``None`` where nobody knows, or there is no limit."""
    limits = descriptor_limits()
    # Without a limit it is a negative number, or one that no process comes near.
    return None if limits is None or not 0 <= limits[0] < _NO_LIMIT else limits[0]


def why_no_socket(error: OSError) -> str:
    """What the system said when it gave no socket; when there are no descriptors left, the limit and the remedy."""
    cause = out_of_descriptors(error)
    if cause is None:
        return error.strerror or str(error)
    limits = descriptor_limits()
    if cause.errno == errno.ENFILE or limits is None:
        return f"{cause.strerror} ({_REMEDY_OF_SYSTEM})"
    return f"{cause.strerror} (the limit is {limits[0]}; {DESCRIPTORS_REMEDY})"


def out_of_descriptors(error: BaseException | None) -> OSError | None:
    """What the system said, if ``error`` comes of it that there are no file descriptors left."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _NONE_LEFT:
            return error
        # Trio puts what went wrong with an address below an error of its own, and several together.
        below = error.__cause__
        error = below.exceptions[0] if isinstance(below, BaseExceptionGroup) else below
    return None


def descriptor_limits() -> tuple[int, int] | None:
    """The soft and the hard limit of this process; ``None`` where the system has none to tell."""
    try:
        import resource  # noqa: PLC0415
    except ImportError:
        return None
    return resource.getrlimit(resource.RLIMIT_NOFILE)
