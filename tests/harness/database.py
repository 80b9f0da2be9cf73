"""What the real database servers of tests have in common: a process of one's own, and the ways it goes away."""

from __future__ import annotations

import atexit
import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Final, Self, TypedDict

import psutil

from .ports import free_port
from .waiting import wait_until

__all__ = ["DatabaseServer"]

_START_SECONDS: Final = 90.0
_STOP_SECONDS: Final = 10.0


class _RunAs(TypedDict, total=False):
    user: int
    group: int
    extra_groups: list[int]


class DatabaseServer(ABC):
    """One server process on a free port of 127.0.0.1, its files in a temporary directory.

    It keeps its port and its data over `stop`, `kill` and `start`: what it has committed survives a kill. Use as a
    context manager, or call `close`.

    Args:
        user: Who runs it when the tests are root's: servers refuse to be. Without such a user, `nobody`.
    """

    _stop_signal: ClassVar[signal.Signals]
    """Ends the server at once, though clients are connected."""

    def __init__(self, *, user: str) -> None:
        self.port = free_port()
        self.directory = Path(tempfile.mkdtemp(prefix="streamguard-database-"))
        self._log_path = self.directory / "server.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._prepared = False
        self._run_as: _RunAs = {}
        if os.geteuid() == 0:
            entry = _user(user)
            os.chown(self.directory, entry.pw_uid, entry.pw_gid)
            self._run_as = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
        # A test run that dies half way must not leave servers behind.
        atexit.register(self.close)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @abstractmethod
    def _preparation(self) -> Sequence[str]:
        """The command that makes an empty data directory."""

    @abstractmethod
    def _command(self) -> Sequence[str]:
        """The command that is the server, in the foreground."""

    @abstractmethod
    def _answers(self) -> bool:
        """Whether it takes connections. May raise `OSError`, which means no."""

    @abstractmethod
    def url(self, port: int | None = None) -> str:
        """SQLAlchemy URL of an empty database, with the default driver; `port` leads through a proxy."""

    @property
    def running(self) -> bool:
        """Whether the process is there; a paused one is."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the process and wait until it answers.

        Raises:
            AssertionError: it runs already, or does not answer within ninety seconds; the message has its log.
        """
        if self.running:
            raise AssertionError("this server is running already")
        if not self._prepared:
            self._prepare()
        with self._log_path.open("ab") as log:
            self._process = subprocess.Popen(
                list(self._command()),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.directory,
                **self._run_as,
            )
        wait_until(self._ready, description=f"the database answers on port {self.port}", timeout=_START_SECONDS)

    def stop(self) -> None:
        """Let it close its connections and its files properly, and wait."""
        self._end(self._stop_signal)

    def kill(self) -> None:
        """SIGKILL, and wait."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """SIGSTOP to the server and the processes it has made: connections stay open, but nothing answers."""
        self._signal_all(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT: it works off what arrived meanwhile."""
        self._signal_all(signal.SIGCONT)

    def close(self) -> None:
        """Kill it if it runs and delete its directory; may be called twice."""
        atexit.unregister(self.close)
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def log(self) -> str:
        """The end of what it has said."""
        return self._log_path.read_text(errors="replace")[-4000:]

    def _prepare(self) -> None:
        made = subprocess.run(
            list(self._preparation()),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_START_SECONDS,
            cwd=self.directory,
            **self._run_as,
        )
        assert made.returncode == 0, (made.stdout + made.stderr).decode(errors="replace")[-4000:]
        self._prepared = True

    def _ready(self) -> bool:
        if not self.running:
            raise AssertionError(f"the server ended while starting:\n{self.log()}")
        try:
            return self._answers()
        except OSError:
            return False

    def _family(self) -> list[psutil.Process]:
        if self._process is None:
            return []
        server = psutil.Process(self._process.pid)
        return [server, *server.children(recursive=True)]

    def _signal_all(self, what: signal.Signals) -> None:
        for process in self._family():
            process.send_signal(what)

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        family = self._family() if self.running else []
        self._process.send_signal(how)
        for member in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                if how is signal.SIGKILL:
                    # PostgreSQL's own children notice after a while, and until then hold the data directory.
                    member.kill()
                member.send_signal(signal.SIGCONT)  # a paused process would not see another signal
        self._process.wait(timeout=_STOP_SECONDS)
        self._process = None
        psutil.wait_procs(family[1:], timeout=_STOP_SECONDS)


def _user(name: str) -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return pwd.getpwnam("nobody")
