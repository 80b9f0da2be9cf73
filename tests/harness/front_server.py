"""A web server of one's own that stands in front of an application: a real process on a free port."""

from __future__ import annotations

import atexit
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from .ports import free_port
from .waiting import wait_until

__all__ = ["FrontServer"]


class FrontServer:
    """The server `name` on `port` of 127.0.0.1, with its files and its log in `directory`.

    Args:
        within: where the directory is made; None for the system's place for temporary files.
    """

    name: str
    start_seconds: float = 20.0
    """How long it may take until it listens."""

    def __init__(self, *, within: Path | None = None) -> None:
        self.port = free_port()
        self.directory = Path(tempfile.mkdtemp(prefix=f"streamguard-{self.name}-", dir=within))
        self._process: subprocess.Popen[bytes] | None = None

    def command(self) -> list[str]:
        """Write the configuration; the command that serves by it in the foreground."""
        raise NotImplementedError

    def environment(self) -> Mapping[str, str] | None:
        """The process's environment; None for this one's."""
        return None

    def __enter__(self) -> Self:
        atexit.register(self.close)
        with (self.directory / "log").open("wb") as log:
            self._process = subprocess.Popen(
                self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.environment()
            )
        wait_until(self._listening, description=f"{self.name} listens on port {self.port}", timeout=self.start_seconds)
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def log(self) -> str:
        """What the server wrote."""
        path = self.directory / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def close(self) -> None:
        """End the process with those that it started, and remove its files; may be called twice."""
        atexit.unregister(self.close)
        if self._process is not None and self._process.poll() is None:
            children = psutil.Process(self._process.pid).children(recursive=True)
            self._process.kill()
            self._process.wait(10)
            for child in children:
                with suppress(psutil.NoSuchProcess):
                    child.kill()
            psutil.wait_procs(children, timeout=10)
        shutil.rmtree(self.directory, ignore_errors=True)

    def _listening(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log()
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return False
        return True
