"""Work in forked processes, a few at a time: each starts from what this one has loaded, and none can harm it."""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from multiprocessing import connection as connections
from multiprocessing.connection import Connection
from typing import Any, TypeVar

import attrs

__all__ = ["Ended", "in_forks"]

#: Bytes of address space for each: what grows without end is told so before the machine suffers.
_MEMORY = 3 * 2**30

T = TypeVar("T")


@attrs.frozen
class Ended:
    """How a forked process ended.

    Attributes:
        messages: all that it sent.
        signal: which one killed it, 0 for none.
    """

    messages: list[Any]
    signal: int


@attrs.define
class _Fork:
    task: Any
    pid: int
    messages: list[Any] = attrs.field(factory=list)


def in_forks(
    tasks: Iterable[T], work: Callable[[T, Callable[[object], None]], None], jobs: int
) -> Iterator[tuple[T, Ended]]:
    """Do ``work`` for each task in a fork of its own, at most ``jobs`` at a time; yields them as they end.

    ``work`` is given the task and a function that sends a message to this process. Tasks are taken one by one, when
    there is room, so what a task is may depend on those that ended before.
    """
    waiting = iter(tasks)
    running: dict[Connection, _Fork] = {}
    try:
        while True:
            while len(running) < jobs:
                try:
                    task = next(waiting)
                except StopIteration:
                    break
                connection, fork = _fork(task, work)
                running[connection] = fork
            if not running:
                return
            for ready in connections.wait(list(running)):
                assert isinstance(ready, Connection)
                fork = running[ready]
                try:
                    fork.messages.append(ready.recv())
                except (EOFError, OSError):
                    del running[ready]
                    ready.close()
                    _, status = os.waitpid(fork.pid, 0)
                    yield fork.task, Ended(fork.messages, os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0)
    finally:
        for connection, fork in running.items():
            os.kill(fork.pid, signal.SIGKILL)
            os.waitpid(fork.pid, 0)
            connection.close()


def _fork(task: T, work: Callable[[T, Callable[[object], None]], None]) -> tuple[Connection, _Fork]:
    ours, theirs = multiprocessing.Pipe(duplex=False)
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        theirs.close()
        return ours, _Fork(task, pid)
    try:
        ours.close()
        nowhere = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(nowhere, descriptor)
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
        # Ctrl-C is the first process's matter.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        work(task, theirs.send)
    except BaseException:  # noqa: BLE001 - told to the first process; nothing of this one may go further
        theirs.send(traceback.format_exc())
    finally:
        # Nothing that the first process registered to be done at its end is done here.
        os._exit(0)
