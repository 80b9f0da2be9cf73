"""One server process per worker: a real uvicorn, Hypercorn or Granian, with the ways a process ends or freezes."""

from __future__ import annotations

import atexit
import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, Self, TypeAlias

import psutil

from .ports import free_port
from .probe import PROBE_PATH
from .starting import Process, started
from .waiting import wait_until

__all__ = ["ROOT", "Server", "Worker"]

Server: TypeAlias = Literal["uvicorn", "hypercorn", "granian"]

ROOT: Final = Path(__file__).resolve().parents[2]
"""The project's directory, in which workers run, so that `tests.apps.…` can be imported."""

FRESH: Final = frozenset({"tests.apps.tomorrow:application"})
"""Applications that change the package before it is imported, so that nothing may be imported for them."""

_START_SECONDS: Final = 90.0


class Worker:
    """A server process for `app`, an import string as `tests.apps.chat:app`, on a free port of 127.0.0.1.

    Args:
        env: added to this process's environment.
        port: 0 takes a free one.
        server: which ASGI server.
        graceful_seconds: the server's own graceful shutdown timeout; None leaves the server's default
            (uvicorn and Granian: none at all, they wait for every connection).
        arguments: more command line words for the server.
    """

    def __init__(
        self,
        app: str,
        *,
        env: Mapping[str, str] | None = None,
        port: int = 0,
        server: Server = "uvicorn",
        graceful_seconds: int | None = None,
        arguments: Sequence[str] = (),
    ) -> None:
        self.app = app
        self.env = dict(env or {})
        self.port = port or free_port()
        self.server = server
        self._graceful_seconds = graceful_seconds
        self._arguments = list(arguments)
        self._process: Process | None = None
        handle, name = tempfile.mkstemp(prefix="streamguard-worker-", suffix=".log")
        os.close(handle)
        self.log_path = Path(name)
        # A test run that dies half way must not leave servers behind.
        atexit.register(self.close)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if exc is not None:
            # pytest shows it with the failure.
            sys.stdout.write(f"\n--- log of worker {self.port} ---\n{self.log()}\n")
        self.close()

    @property
    def url(self) -> str:
        """`http://127.0.0.1:<port>`."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        return self._running().pid

    @property
    def alive(self) -> bool:
        """Whether the process is there; a paused one is."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the process, again on the same port after it ended, and wait until it accepts connections.

        Servers listen once the application's lifespan has begun.

        Raises:
            AssertionError: it runs already, ended while starting, or does not listen within 90 seconds.
        """
        if self.alive:
            raise AssertionError("this worker is running already")
        with self.log_path.open("ab") as log:
            self._process = started(
                self.server,
                self._words(),
                cwd=ROOT,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **self.env},
                stdin=subprocess.DEVNULL,
                stdout=log,
                fresh=self.app in FRESH,
            )
        wait_until(self._listening, description=f"worker listens on port {self.port}", timeout=_START_SECONDS)

    def terminate(self) -> None:
        """SIGTERM: the graceful way. Does not wait."""
        self._running().send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL, also to the processes that it started and serves with, and wait for it to be gone."""
        children = psutil.Process(self.pid).children(recursive=True)
        self._running().kill()
        for child in children:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
        psutil.wait_procs(children, timeout=5.0)
        self.wait_exit(20)

    def pause(self) -> None:
        """SIGSTOP: the process freezes with its connections open."""
        self._running().send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT: it goes on where it was."""
        self._running().send_signal(signal.SIGCONT)

    def wait_exit(self, timeout: float) -> int:
        """Wait at most `timeout` seconds for the process to end, and give its exit code (negative: the signal).

        Blocks; in an async test that reads from the worker meanwhile, wait for `alive` with `wait_until_async`.

        Raises:
            AssertionError: it is still running; the message has its log.
        """
        if self._process is None:
            raise AssertionError("this worker was never started")
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"worker still runs after {timeout} s:\n{self.log()}") from None

    def log(self) -> str:
        """What the process wrote to its standard output and error, at most the last 20,000 characters."""
        return self.log_path.read_text(errors="replace")[-20_000:] if self.log_path.exists() else ""

    def open_files(self) -> int:
        """How many file descriptors the process has open, sockets included."""
        return psutil.Process(self.pid).num_fds()

    def rss_bytes(self) -> int:
        """Its resident memory, in bytes."""
        rss: int = psutil.Process(self.pid).memory_info().rss
        return rss

    def connections_to(self, port: int) -> int:
        """How many established TCP connections it has to a remote `port` (a Redis's, say)."""
        return len(self.ports_to(port))

    def ports_to(self, port: int) -> set[int]:
        """Its own ends of the established TCP connections to a remote `port`."""
        open_now = [
            connection
            for connection in psutil.Process(self.pid).net_connections(kind="tcp")
            if connection.status == psutil.CONN_ESTABLISHED
        ]
        return {connection.laddr[1] for connection in open_now if connection.raddr[1:] == (port,)}

    def probe(self) -> dict[str, int]:
        """What `tests.harness.probe.Probe`, if the app is wrapped in it, counts inside the process."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", PROBE_PATH)
            answer: dict[str, int] = json.loads(connection.getresponse().read())
            return answer
        finally:
            connection.close()

    def close(self) -> None:
        """Kill the process if it runs and delete its log; may be called twice."""
        atexit.unregister(self.close)
        if self.alive:
            self.kill()
        self.log_path.unlink(missing_ok=True)

    def _words(self) -> list[str]:
        if self.server == "uvicorn":
            words = ["--host", "127.0.0.1", "--port", str(self.port), "--no-access-log"]
            graceful = "--timeout-graceful-shutdown"
        elif self.server == "granian":
            # It serves in a child of this process, which passes signals on.
            words = ["--interface", "asgi", "--host", "127.0.0.1", "--port", str(self.port), "--no-ws"]
            graceful = "--workers-kill-timeout"
        else:
            # No workers: serve in this very process, so that signals and counts are about the right one.
            words = ["--bind", f"127.0.0.1:{self.port}", "--workers", "0"]
            graceful = "--graceful-timeout"
        if self._graceful_seconds is not None:
            words += [graceful, str(self._graceful_seconds)]
        return [self.app, *words, *self._arguments]

    def _running(self) -> Process:
        if self._process is None or self._process.poll() is not None:
            raise AssertionError(f"this worker is not running:\n{self.log()}")
        return self._process

    def _listening(self) -> bool:
        self._running()
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return False
        return True
