"""The example application in a process of its own, started as the README says."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

import httpx

from ..harness.redis import free_port
from ..harness.waiting import wait_until

__all__ = ["EXAMPLE", "LiveExample", "chat_body"]

EXAMPLE: Final = Path(__file__).resolve().parents[2] / "examples" / "fastapi_app"

_START_SECONDS: Final = 20.0
_END_SECONDS: Final = 10.0


def chat_body(session: str, prompt: str) -> dict[str, object]:
    """What AI SDK posts for a conversation's first question."""
    return {
        "id": session,
        "messages": [{"id": "m1", "role": "user", "parts": [{"type": "text", "text": prompt}]}],
        "trigger": "submit-message",
    }


class LiveExample:
    """`python main.py` on a free port of 127.0.0.1, with nothing from this machine's environment but what is given.

    Users are taken from `X-User` where that header is sent, else from the cookie. Use as a context manager.
    """

    def __init__(self, *, gap_ms: float = 10, environment: dict[str, str] | None = None) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._environment = {
            **{name: value for name, value in os.environ.items() if name in {"PATH", "HOME", "LANG", "PYTHONPATH"}},
            "HOST": "127.0.0.1",
            "PORT": str(self.port),
            "DEMO_GAP_MS": str(gap_ms),
            "DEMO_TRUST_X_USER": "1",
            **(environment or {}),
        }
        self._log: IO[bytes] | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> None:
        """Start the process and wait until it serves the page.

        Raises:
            AssertionError: it ended, or does not answer within 20 seconds; the message has its output.
        """
        self._log = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            [sys.executable, "-W", "error::DeprecationWarning:streamguard", str(EXAMPLE / "main.py")],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )
        wait_until(self._ready, description=f"the example answers on {self.url}", timeout=_START_SECONDS)

    def output(self) -> str:
        """What the process has written to its standard output and error so far."""
        if self._log is None:
            return ""
        self._log.seek(0)
        return self._log.read().decode(errors="replace")

    def close(self) -> None:
        """SIGTERM, and SIGKILL if that is not enough; may be called twice."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(_END_SECONDS)
        if self._log is not None:
            self._log.close()
            self._log = None

    def _ready(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise AssertionError(f"the example ended while starting:\n{self.output()}")
        try:
            return httpx.get(self.url, trust_env=False).status_code == 200
        except httpx.TransportError:
            return False
