"""The example application on a real server, and what its scripted model says."""

from __future__ import annotations

import runpy
import tempfile
from pathlib import Path
from typing import Final, Literal

from ..harness.workers import ROOT, Worker

__all__ = ["FRAMEWORKS", "SHARED", "Example", "Framework", "chat_body", "directory_of", "example", "scripted_answer"]

Framework = Literal["fastapi", "litestar"]
FRAMEWORKS: Final[tuple[Framework, ...]] = ("fastapi", "litestar")
"""What the two examples are written with; they are one chat."""
SHARED: Final[Path] = ROOT / "examples" / "shared"
"""What they have in common."""


def directory_of(framework: Framework) -> Path:
    """Where the example is."""
    return ROOT / "examples" / f"{framework}_app"


class Example(Worker):
    """A server process of an example, with a place of its own for what outlives it; gone when it is closed."""

    def __init__(self, framework: Framework, environment: dict[str, str]) -> None:
        self._state = tempfile.TemporaryDirectory(prefix="streamguard-example-", ignore_cleanup_errors=True)
        environment = {"XDG_STATE_HOME": self._state.name, **environment}
        super().__init__("main:app", arguments=["--app-dir", str(directory_of(framework))], env=environment)

    @property
    def database(self) -> Path:
        """The SQLite file of its chats, if it was given no other database."""
        return Path(self._state.name, "streamguard-demo", "chats.db")

    def close(self) -> None:
        super().close()
        self._state.cleanup()


def example(framework: Framework = "fastapi", /, *, gap_ms: float = 10, **environment: str) -> Example:
    """An example, not yet started, as `scripts/demo` runs it; `environment` is its own.

    Users are taken from `X-User` where that header is sent, else from the cookie. What this machine's environment says
    of OpenAI, Sentry, Redis and databases does not reach it.
    """
    settings = {
        "DEMO_DAILY_TOKENS": "",
        "DEMO_DATABASE_URL": "",
        "DEMO_GAP_MS": str(gap_ms),
        "DEMO_TRUST_X_USER": "1",
        "OPENAI_API_KEY": "",
        "OPENAI_BASE_URL": "",
        "SENTRY_DSN": "",
        "STREAMGUARD_SETTINGS": "{}",
        "STREAMGUARD_URL": "memory://",
    }
    return Example(framework, {**settings, **environment})


def chat_body(session: str, prompt: str) -> dict[str, object]:
    """What AI SDK posts for a conversation's first question."""
    return {
        "id": session,
        "messages": [{"id": "m1", "role": "user", "parts": [{"type": "text", "text": prompt}]}],
        "trigger": "submit-message",
    }


def scripted_answer(prompt: str) -> str:
    """What the scripted model says to `prompt` before it ends, breaks or hangs, in one piece."""
    script = runpy.run_path(str(SHARED / "model.py"))["script"]
    return "".join(script(prompt, gap_seconds=0).pieces)
