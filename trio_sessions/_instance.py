"""The lock of an instance: a socket that is bound to its address. The kernel frees it when the process dies."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from trio_sessions._errors import InstanceInUseError, InvalidInputError, SessionsError

__all__ = ["hold_address"]

#: Any port does, as long as it is always the same. Of TCP, so that it is never in a session's way.
_LOCK_PORT = 9_473


@contextmanager
def hold_address(ip: str) -> Iterator[None]:
    """Have the address ``ip`` for this instance alone; never waits.

    Raises:
        InstanceInUseError: another process has it.
        InvalidInputError: this machine has no such address.
        SessionsError: the system has no socket to give.
    """
    try:
        lock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    except OSError as error:
        raise SessionsError(f"no socket to hold the address {ip} with: {error.strerror}") from error
    with lock:
        try:
            lock.bind((ip, _LOCK_PORT))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                remedy = "stop that one, or give this one a name of its own"
                raise InstanceInUseError(f"the address {ip}", remedy) from error
            rule = f"is no address of this machine ({error.strerror})"
            raise InvalidInputError("dedicated address", ip, rule, "use a range of ports instead") from error
        yield
