"""What a request costs that no rule of `StreamGuardMiddleware` matches: calls in this process, without a server."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from streamguard import StreamGuard, StreamGuardMiddleware, StreamRule, anonymous

from .plan import Measured

__all__ = ["measure_passing"]

_PATHS: Final = (("GET", "/"), ("POST", "/v1/files"), ("GET", "/v1/chat/completions"), ("POST", "/api/users/7"))
_REPEATS: Final = 7
"""How often the calls are measured. The fastest counts: everything else is other load."""


async def _nothing(scope: Scope, receive: Receive, send: Send) -> None:
    """An application that does nothing."""


def measure_passing(*, guarded: bool, requests: int) -> Measured:
    """`requests` calls of an application that does nothing, on its own or `guarded` by three rules."""
    app: ASGIApp = _nothing
    if guarded:
        rules = [
            StreamRule("/v1/chat/completions", session="header.x-session", when="body.stream"),
            StreamRule("/v1/responses"),
            StreamRule("/threads/{thread}/runs", session="path.thread"),
        ]
        app = StreamGuardMiddleware(_nothing, guard=StreamGuard(authenticate=anonymous), rules=rules)
    seconds = min(asyncio.run(_call(app, requests)) for _ in range(_REPEATS))
    return Measured(events=requests, seconds=seconds, server_cpu_us=seconds / requests * 1e6)


async def _call(app: ASGIApp, requests: int) -> float:
    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None: ...

    scopes: list[Scope] = [
        {"type": "http", "method": method, "path": path, "root_path": "", "headers": []} for method, path in _PATHS
    ]
    started = time.perf_counter()
    for _ in range(requests // len(scopes)):
        for scope in scopes:
            await app(scope, receive, send)
    return time.perf_counter() - started
