"""The example application on a real server, and what its scripted model says."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Final

from ..harness.workers import ROOT, Worker

__all__ = ["EXAMPLE", "chat_body", "example", "scripted_answer"]

EXAMPLE: Final[Path] = ROOT / "examples" / "fastapi_app"


def example(*, gap_ms: float = 10, **environment: str) -> Worker:
    """The example, not yet started, as `scripts/demo` runs it; `environment` is its own.

    Users are taken from `X-User` where that header is sent, else from the cookie. What this machine's environment says
    of OpenAI, Sentry and Redis does not reach it.
    """
    settings = {
        "DEMO_GAP_MS": str(gap_ms),
        "DEMO_TRUST_X_USER": "1",
        "OPENAI_API_KEY": "",
        "SENTRY_DSN": "",
        "STREAMGUARD_SETTINGS": "{}",
        "STREAMGUARD_URL": "memory://",
    }
    return Worker("main:app", arguments=["--app-dir", str(EXAMPLE)], env={**settings, **environment})


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
