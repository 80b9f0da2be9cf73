"""Conversations with the application of `tests.apps.matrix`, on any framework and any server."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode
from uuid import uuid4

import httpx

from tests.e2e.logs import terminals
from tests.harness.redis import RedisServer
from tests.harness.sse import SseConnection, open_sse, resume
from tests.harness.waiting import wait_until_async
from tests.harness.workers import Server, Worker

__all__ = ["GRACEFUL_SECONDS", "Chat", "Site", "left", "said", "until", "worker_of"]

GRACEFUL_SECONDS: Final[dict[Server, int | None]] = {"uvicorn": None, "hypercorn": 30, "granian": None}
"""Each server's own graceful timeout; None: it waits for every connection."""
SETTINGS: Final = {
    "heartbeat_seconds": 0.25,
    "sweep_seconds": 0.3,
    "drain_seconds": 1.0,
    "max_sync_streams": 1,
    "settle_visible_seconds": 0.5,
    "lease_seconds": 4.0,
}


def worker_of(framework: str, server: Server, redis: RedisServer) -> Worker:
    """A process of the application, which is not started."""
    return Worker(
        f"tests.apps.matrix.on_{framework}:application",
        env={"STREAMGUARD_URL": redis.url, "STREAMGUARD_SETTINGS": json.dumps(SETTINGS)},
        server=server,
        graceful_seconds=GRACEFUL_SECONDS[server],
    )


class Site(NamedTuple):
    """One server process, and the Redis in which it keeps everything."""

    worker: Worker
    redis: RedisServer


class Chat:
    """One owner's one conversation, and what a client and an operator see of it.

    Args:
        through: the port of a proxy through which the client's requests go; 0 for none.
    """

    def __init__(self, site: Site, *, through: int = 0) -> None:
        self.site = site
        self.id = f"chat-{uuid4().hex[:12]}"
        self._through = through
        self.headers = {"X-User": f"user-{uuid4().hex[:12]}", "Content-Type": "application/json"}

    @property
    def port(self) -> int:
        """Where the client's requests go."""
        return self._through or self.site.worker.port

    def post(
        self, path: str = "/api/chat", *, timeout: float = 10.0, padding: int = 0, **script: object
    ) -> AbstractAsyncContextManager[SseConnection]:
        """Ask; the body has `padding` bytes more than it needs."""
        words = {"id": self.id, **script}
        target = f"{path}?{urlencode(words)}"
        body = json.dumps({**words, "padding": "x" * padding}).encode()
        return open_sse(self.port, target, method="POST", headers=self.headers, body=body, timeout=timeout)

    def resume(self, cursor: str | None = None) -> AbstractAsyncContextManager[SseConnection]:
        return resume(self.port, self.id, cursor, headers=self.headers)

    async def ask(self, method: str, path: str) -> httpx.Response:
        async with httpx.AsyncClient(trust_env=False, timeout=30.0) as client:
            return await client.request(method, self.site.worker.url + path, headers=self.headers)

    async def open_gate(self, suffix: str = "") -> None:
        """Let the model go on that waits at this conversation's gate; no proxy is asked."""
        assert (await self.ask("POST", f"/gate/{self.id}{suffix}")).status_code == 204

    async def left(self) -> dict[str, object]:
        """What is left of the conversation's one answer once all of it is settled."""

        async def settled() -> bool:
            last = (await self.ask("GET", f"/api/chat/{self.id}")).json()["last"]
            return last is not None and (last["persisted"], last["quota"]) == ("yes", "settled")

        await until(settled, description="the answer is saved and settled")
        status: dict[str, Any] = (await self.ask("GET", f"/api/chat/{self.id}")).json()
        (limit,) = status["quota"]["limits"]
        (terminal,) = terminals(self.site.redis, status["last"]["stream_id"])
        rows = (await self.ask("GET", f"/api/chat/{self.id}/messages")).json()["messages"]
        return {
            "terminal": terminal["outcome"],
            "rows": [
                (row["role"], row["status"], row["outcome"], "".join(part.get("text", "") for part in row["parts"]))
                for row in rows
            ],
            "charged": (limit["used"], limit["reserved"]),
        }


def left(outcome: str, pieces: int) -> dict[str, object]:
    """What is left of an answer that said this many pieces."""
    state = "complete" if outcome == "completed" else "partial"
    text = "".join(f"w{number} " for number in range(pieces))
    return {"terminal": outcome, "rows": [("assistant", state, outcome, text)], "charged": (pieces, 0)}


async def until(asked: Callable[[], Awaitable[bool]], *, description: str) -> None:
    either: Callable[[], Awaitable[bool] | bool] = asked
    await wait_until_async(either, description=description)


async def said(stream: SseConnection, text: str) -> None:
    """Read until the answer has said this."""
    while (event := await stream.next_event()) is not None:
        if text in event.data:
            return
    raise AssertionError(f"the answer ended before {text}")
