"""What the applications have in common: the guard, the models, and how a test steers them.

A request's script is its JSON body and its query, which are the same: frameworks read the one or the other.
`POST /gate/<name>` opens a gate, for models in the event loop and in threads.
"""

from __future__ import annotations

import asyncio
import threading
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from typing import Final

from pydantic import BaseModel
from starlette.types import ASGIApp, Receive, Scope, Send

from streamguard import Run, StreamGuard
from streamguard.messages import RedisMessageStore
from streamguard.quota import Quota
from streamguard.stores import RedisClient

from ..given import SETTINGS, URL, owner

__all__ = [
    "ESTIMATE",
    "LIMIT",
    "PREFIX",
    "ModelError",
    "Script",
    "Steered",
    "answer",
    "guard",
    "opened",
    "threaded_answer",
]

PREFIX: Final = "/api/chat"
LIMIT: Final = Quota(limit=1_000, per="day", unit="tokens")
ESTIMATE: Final = 100


class Script(BaseModel):
    """What a model does: `n` pieces; it waits for `gate` before piece `gate_at`, raises before piece `crash_at`, and
    waits for `STEP-NUMBER` before each piece."""

    id: str
    n: int = 3
    gate: str = ""
    gate_at: int = 1
    crash_at: int = -1
    step: str = ""


class ModelError(Exception):
    """As provider SDKs make them."""

    status_code = 500


_gates: Final[defaultdict[str, asyncio.Event]] = defaultdict(asyncio.Event)
_thread_gates: Final[defaultdict[str, threading.Event]] = defaultdict(threading.Event)

guard = StreamGuard(
    URL,
    authenticate=owner,
    messages=RedisMessageStore(RedisClient(URL, command_seconds=5.0), ttl_seconds=3600),
    settings=SETTINGS,
)


async def opened(gate: str) -> None:
    """Wait until a test has opened a gate."""
    await _gates[gate].wait()


async def answer(script: Script, run: Run) -> AsyncIterator[str]:
    """The model in the event loop."""
    for number in range(script.n):
        if script.gate and number == script.gate_at:
            await _gates[script.gate].wait()
        if script.step:
            await _gates[f"{script.step}-{number}"].wait()
        if number == script.crash_at:
            raise ModelError("secret words of the provider")
        run.usage(tokens=1)
        yield f"w{number} "


def threaded_answer(script: Script, run: Run) -> Iterator[str]:
    """The model in a thread."""
    for number in range(script.n):
        if script.gate and number == script.gate_at:
            _thread_gates[script.gate].wait()
        run.usage(tokens=1)
        yield f"w{number} "


class Steered:
    """Wraps an application of any framework, and opens gates."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith("/gate/"):
            await self._app(scope, receive, send)
            return
        name = scope["path"].removeprefix("/gate/")
        _gates[name].set()
        _thread_gates[name].set()
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})
