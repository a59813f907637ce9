"""The echo in C: compiled on demand, and plugged into a simulated node in place of the system's sockets."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import IO

import attrs

from benchmarks._case import FailedError
from trio_sessions.simulator._kernel import Receive, Source

__all__ = ["ECHO_PATH", "EchoKernel", "EchoLoad", "compile_echo"]

#: The environment variable with the path of an echo that is compiled already.
ECHO_PATH = "TRIO_SESSIONS_BENCH_ECHO"

_SOURCE = Path(__file__).with_name("echo.c")


def compile_echo(folder: str) -> str:
    """The path of the compiled echo: the one that :data:`ECHO_PATH` names, or else a new one in ``folder``.

    Raises:
        FailedError: there is no C compiler, or it refuses the source.
    """
    ready = os.environ.get(ECHO_PATH)
    if ready is not None:
        return ready
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise FailedError("the echo side needs a C compiler: install gcc or clang, or set CC")
    path = str(Path(folder) / "echo")
    try:
        done = subprocess.run([compiler, "-O2", "-o", path, str(_SOURCE)], capture_output=True, text=True, check=False)
    except OSError as error:
        raise FailedError(f"the C compiler {compiler} does not start: {error.strerror or error}") from error
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise FailedError(f"{compiler} does not compile {_SOURCE.name}: {reason}")
    return path


@attrs.frozen
class EchoLoad:
    """What an echo did in a while.

    Attributes:
        datagrams: echoed.
        seconds: of CPU that this took.
    """

    datagrams: int
    seconds: float

    def __sub__(self, earlier: EchoLoad) -> EchoLoad:
        return EchoLoad(self.datagrams - earlier.datagrams, self.seconds - earlier.seconds)

    @property
    def ceiling(self) -> float:
        """Datagrams a second that it can do with a core of its own; more, if it was hardly busy and woke for each."""
        return self.datagrams / self.seconds if self.seconds else 0.0


class _EchoBinding:
    """A socket of the echo. It echoes by itself; the simulated node never sees a datagram."""

    def __init__(self, kernel: EchoKernel, handle: str, port: int) -> None:
        self._kernel = kernel
        self._handle = handle
        self.port = port

    def start(self, receive: Receive) -> None:
        """Nothing to do: it echoes from the beginning."""

    def send(self, data: bytes, to: Source) -> None:
        """Never called: nothing is received."""

    def close(self) -> None:
        """Close the socket in the echo's process."""
        self._kernel.tell(f"close {self._handle}")


class EchoKernel:
    """Gives out sockets of one echo process; see :class:`trio_sessions.simulator._kernel.Kernel`."""

    def __init__(self, path: str, *, gso: bool) -> None:
        self._process = subprocess.Popen(
            [path, *(["gso"] if gso else [])], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def bind(self, protocol: str, ip: str, port: int, *, share: bool = False) -> _EchoBinding:
        """A socket bound in the echo's process."""
        handle, answer = self.ask(f"bind {ip} {port}")
        if handle == "error":
            raise OSError(int(answer), os.strerror(int(answer)))
        return _EchoBinding(self, handle, int(answer))

    def tell(self, command: str) -> None:
        """Send a command that has no answer."""
        pipe = _pipe(self._process.stdin)
        pipe.write(f"{command}\n".encode())
        pipe.flush()

    def load(self) -> EchoLoad:
        """What it did so far."""
        datagrams, seconds = self.ask("stats")
        return EchoLoad(int(datagrams), float(seconds))

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        _pipe(self._process.stdin).close()
        _pipe(self._process.stdout).close()

    def ask(self, command: str) -> list[str]:
        """The words of the echo's answer to ``command``."""
        self.tell(command)
        words = _pipe(self._process.stdout).readline().decode().split()
        if len(words) < 2:
            raise RuntimeError("the echo has died")
        return words


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None
    return pipe
