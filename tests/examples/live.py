"""The example application on a real server, and what its scripted model says."""

from __future__ import annotations

import runpy
import tempfile
from pathlib import Path
from typing import Final

from ..harness.workers import ROOT, Worker

__all__ = ["EXAMPLE", "Example", "chat_body", "example", "scripted_answer"]

EXAMPLE: Final[Path] = ROOT / "examples" / "fastapi_app"


class Example(Worker):
    """A server process of the example, with a place of its own for what outlives it; gone when it is closed."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._state = tempfile.TemporaryDirectory(prefix="streamguard-example-", ignore_cleanup_errors=True)
        environment = {"XDG_STATE_HOME": self._state.name, **environment}
        super().__init__("main:app", arguments=["--app-dir", str(EXAMPLE)], env=environment)

    @property
    def database(self) -> Path:
        """The SQLite file of its chats, if it was given no other database."""
        return Path(self._state.name, "streamguard-demo", "chats.db")

    def close(self) -> None:
        super().close()
        self._state.cleanup()


def example(*, gap_ms: float = 10, **environment: str) -> Example:
    """The example, not yet started, as `scripts/demo` runs it; `environment` is its own.

    Users are taken from `X-User` where that header is sent, else from the cookie. What this machine's environment says
    of OpenAI, Sentry, Redis and databases does not reach it.
    """
    settings = {
        "DEMO_DAILY_TOKENS": "",
        "DEMO_DATABASE_URL": "",
        "DEMO_GAP_MS": str(gap_ms),
        "DEMO_TRUST_X_USER": "1",
        "OPENAI_API_KEY": "",
        "SENTRY_DSN": "",
        "STREAMGUARD_SETTINGS": "{}",
        "STREAMGUARD_URL": "memory://",
    }
    return Example({**settings, **environment})


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
