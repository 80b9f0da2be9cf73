"""The example application in a process of its own, started as the README says."""

from __future__ import annotations

import os
import runpy
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import httpx

from ..harness.redis import free_port
from ..harness.waiting import wait_until

__all__ = ["EXAMPLE", "LiveExample", "chat_body", "scripted_answer"]

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


def scripted_answer(prompt: str) -> str:
    """What the scripted model says to `prompt` before it ends, breaks or hangs, in one piece."""
    script = runpy.run_path(str(EXAMPLE / "model.py"))["script"]
    return "".join(script(prompt, gap_seconds=0).pieces)


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
        self._directory = tempfile.TemporaryDirectory(prefix="streamguard-example-", ignore_cleanup_errors=True)
        self._log = Path(self._directory.name, "output.log")
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
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, str(EXAMPLE / "main.py")],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        wait_until(self._ready, description=f"the example answers on {self.url}", timeout=_START_SECONDS)

    def output(self) -> str:
        """What the process has written to its standard output and error so far."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

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
        self._directory.cleanup()

    def _ready(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise AssertionError(f"the example ended while starting:\n{self.output()}")
        try:
            return httpx.get(self.url, trust_env=False).status_code == 200
        except httpx.TransportError:
            return False
