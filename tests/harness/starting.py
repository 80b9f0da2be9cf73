"""Starting Python modules as processes, quickly: forked by a template that has imported what they need.

One template for each process of a test run, started with its first use. What comes from it is a process of its own in
all that tests look at: standard streams, environment, working directory, signals, exit code. It differs from a fresh
one in what was imported before `PYTHONPATH` and the environment were set, so a process whose start is itself under
test asks for a `fresh` one. With `STREAMGUARD_FRESH_PROCESSES` set all of them start afresh, as on a system without
pidfd.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final, Protocol, TypedDict

import psutil

import streamguard

from .waiting import wait_until

__all__ = ["Process", "serving", "started"]

TEMPLATE: Final = Path(__file__).with_name("template.py")

PACKAGES: Final = Path(streamguard.__file__).parents[1]
"""Where the package under test is: in a second checkout, that is not the one that is installed."""

_FRESH: Final = "STREAMGUARD_FRESH_PROCESSES" in os.environ or not hasattr(os, "pidfd_open")
_START_SECONDS: Final = 120.0
"""A template imports for some seconds, and longer when every process of a run begins with that."""
_CHANGES_A_START: Final = frozenset({"PYTHONPATH", "PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE"})
"""Variables that the template can heed though it runs already; with another of Python's own, a process starts anew."""


class Process(Protocol):
    """What tests use of `subprocess.Popen`."""

    @property
    def pid(self) -> int: ...

    def poll(self) -> int | None: ...

    def wait(self, timeout: float | None = None) -> int: ...

    def send_signal(self, sig: int) -> None: ...

    def kill(self) -> None: ...


class Request(TypedDict):
    module: str
    arguments: list[str]
    env: dict[str, str]
    cwd: str


def started(
    module: str,
    arguments: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: Path,
    stdin: int,
    stdout: IO[bytes],
    stderr: IO[bytes] | None = None,
    fresh: bool = False,
) -> Process:
    """Start `python -m MODULE ARGUMENTS` with exactly this environment; without `stderr` it goes to `stdout`.

    Args:
        stdin: a descriptor, or `subprocess.DEVNULL`.
        fresh: start Python anew, for a process in which nothing may have been imported.
    """
    command = [sys.executable, "-m", module, *arguments]
    if fresh or _FRESH or any(_differs(name, env) for name in {*env, *os.environ} if name.startswith("PYTHON")):
        errors = subprocess.STDOUT if stderr is None else stderr
        return subprocess.Popen(command, env=env, cwd=cwd, stdin=stdin, stdout=stdout, stderr=errors)
    sys.audit("subprocess.Popen", sys.executable, command, str(cwd), None)  # what the fast tier refuses
    request = Request(module=module, arguments=list(arguments), env=dict(env), cwd=str(cwd))
    null = os.open(os.devnull, os.O_RDONLY) if stdin == subprocess.DEVNULL else None
    try:
        outputs = stdout.fileno(), (stdout if stderr is None else stderr).fileno()
        return _Forked(_template(), request, (stdin if null is None else null, *outputs))
    finally:
        if null is not None:
            os.close(null)


@contextmanager
def serving(
    words: Sequence[str], directory: Path, *, env: Mapping[str, str], ready: Callable[[psutil.Process], bool]
) -> Iterator[psutil.Process]:
    """A server of several processes, such as `["uvicorn", "shop:app", "--workers", "2"]`, run in `directory`.

    It is entered once `ready` holds; it and all its children are killed at the end. What it said is in the file `log`
    of the directory, and is printed if the test fails.
    """
    log = directory / "log"
    with log.open("wb") as output:
        process = started(words[0], words[1:], env=env, cwd=directory, stdin=subprocess.DEVNULL, stdout=output)
    server = psutil.Process(process.pid)
    try:

        def is_ready() -> bool:
            assert process.poll() is None, "the server ended"
            return ready(server)

        wait_until(is_ready, description="the server is ready", timeout=90)
        yield server
    except BaseException:
        print(log.read_text())
        raise
    finally:
        everybody = [server, *server.children(recursive=True)] if process.poll() is None else []
        for one in everybody:
            one.kill()
        process.wait(10)


def _differs(name: str, env: Mapping[str, str]) -> bool:
    return name not in _CHANGES_A_START and env.get(name) != os.environ.get(name)


class _Forked:
    """A process that the template forked; it is the template's child, so its exit code comes from there."""

    def __init__(self, requests: socket.socket, request: Request, descriptors: tuple[int, int, int]) -> None:
        self.returncode: int | None = None
        self._replies, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with other:
            socket.send_fds(requests, [json.dumps(request).encode()], [*descriptors, other.fileno()])
        self._replies.settimeout(_START_SECONDS)
        pid = self._replies.recv(32)
        assert pid, "the template of the tests' processes has ended"
        self.pid = int(pid)

    def poll(self) -> int | None:
        return self._waited(0)

    def wait(self, timeout: float | None = None) -> int:
        code = self._waited(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(str(self.pid), timeout or 0.0)
        return code

    def send_signal(self, sig: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, sig)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _waited(self, timeout: float | None) -> int | None:
        if self.returncode is None and self._answered(timeout):
            code = self._replies.recv(32)
            assert code, "the template of the tests' processes has ended"
            self.returncode = int(code)
            self._replies.close()
        return self.returncode

    def _answered(self, timeout: float | None) -> bool:
        replies = select.poll()  # unlike `select`, whatever the number of the descriptor
        replies.register(self._replies, select.POLLIN)
        return bool(replies.poll(None if timeout is None else timeout * 1000))


_starting = threading.Lock()
_requests: list[socket.socket] = []


def _template() -> socket.socket:
    """The socket for requests; the first call starts the template."""
    with _starting:
        if not _requests:
            ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
            with its:
                process = subprocess.Popen(
                    [sys.executable, "-P", str(TEMPLATE), str(its.fileno()), str(PACKAGES)],
                    env=env,
                    stdin=subprocess.DEVNULL,
                    pass_fds=[its.fileno()],
                )
            _requests.append(ours)

            def end() -> None:
                ours.close()
                process.wait(_START_SECONDS)

            atexit.register(end)
        return _requests[0]
