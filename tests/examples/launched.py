"""The example on several workers, as `scripts/demo --workers` starts it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import psutil

from ..harness.redis_binaries import redis_binary
from ..harness.waiting import wait_until
from ..harness.workers import ROOT
from .live import Framework

__all__ = ["Launched"]

_LAUNCHER: Final = ROOT / "examples" / "workers" / "main.py"
_START_SECONDS: Final = 90.0


class Launched:
    """The launcher with all that it starts. What it writes, it writes in `directory`."""

    def __init__(
        self, directory: Path, framework: Framework = "fastapi", *, workers: int = 2, gap_ms: float = 20, **more: str
    ) -> None:
        redis_binary()  # or skip
        # Sockets' paths are short, and those of tests' directories may not be.
        self._temporary = tempfile.TemporaryDirectory(prefix="streamguard-", dir="/tmp")
        self.temporary = Path(self._temporary.name)
        self._log = directory / "log"
        self._words = [sys.executable, str(_LAUNCHER), framework, "--workers", str(workers)]
        self._environment = {
            **os.environ,
            "DEMO_DATABASE_URL": "",
            "DEMO_GAP_MS": str(gap_ms),
            "DEMO_TRUST_X_USER": "1",
            "HOST": "127.0.0.1",
            "OPENAI_API_KEY": "",
            "PORT": "0",
            "PYTHONUNBUFFERED": "1",
            "SENTRY_DSN": "",
            "STREAMGUARD_SETTINGS": "",
            "STREAMGUARD_URL": "memory://",
            "TMPDIR": str(self.temporary),
            "XDG_STATE_HOME": str(directory / "state"),
            **more,
        }
        self._process: subprocess.Popen[bytes] | None = None
        self._seen: dict[int, psutil.Process] = {}
        self.url = ""
        self.port = 0

    def __enter__(self) -> Self:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                self._words, env=self._environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        try:
            self.url = wait_until(self._address, description="the workers serve", timeout=_START_SECONDS)
        except BaseException:
            self._kill_all()
            self._temporary.cleanup()
            raise
        self.port = int(self.url.rpartition(":")[2])
        self.processes()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if exc is not None:
            sys.stdout.write(f"\n--- log of the launcher ---\n{self.log()}\n")
        self._kill_all()
        self._temporary.cleanup()

    def log(self) -> str:
        return self._log.read_text(errors="replace")[-20_000:]

    def processes(self) -> Sequence[psutil.Process]:
        """What the launcher has started and is there now."""
        found = psutil.Process(self._running().pid).children(recursive=True)
        self._seen.update((one.pid, one) for one in found)
        return found

    def workers(self) -> dict[str, psutil.Process]:
        """The worker processes, by the paths of their sockets."""
        commands = [(one, one.cmdline()) for one in self.processes()]
        return {words[words.index("--uds") + 1]: one for one, words in commands if "--uds" in words}

    def send(self, how: signal.Signals) -> None:
        self.processes()
        self._running().send_signal(how)

    def wait(self, timeout: float = 40) -> int:
        """Wait for the launcher's end, and give its exit code."""
        return self._running().wait(timeout)

    def left(self) -> list[str]:
        """The processes that were started and are still there, and the temporary files."""
        there = [one for one in self._seen.values() if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]
        return [f"{one.pid} {one.name()}" for one in there] + [str(path) for path in self.temporary.iterdir()]

    def _address(self) -> str:
        assert self._running().poll() is None, f"the launcher ended:\n{self.log()}"
        found = re.search(r"The example chat is at (http://\S+)/, served by \d+ workers", self.log())
        return found[1] if found else ""

    def _running(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process

    def _kill_all(self) -> None:
        process = self._running()
        if process.poll() is None:
            self.processes()
            process.kill()
            process.wait(10)
        for one in self._seen.values():
            if one.is_running():
                one.kill()
