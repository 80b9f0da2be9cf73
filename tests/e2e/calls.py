"""The requests end-to-end tests make, in one line each."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import httpx

from tests.harness.sse import SseConnection, open_sse
from tests.harness.workers import Worker

__all__ = ["expected_text", "get", "new_session", "open_gate", "post", "raw_post", "status", "trace"]

USER = {"X-User": "ann"}


def new_session() -> str:
    return f"chat-{uuid4().hex[:12]}"


def expected_text(n: int) -> str:
    """What the scripted model of `tests.apps.chat` says in `n` pieces."""
    return "".join(f"w{number} " for number in range(n))


def post(
    worker: Worker, session: str, *, path: str = "/api/chat", user: str = "ann", timeout: float = 30.0, **script: object
) -> AbstractAsyncContextManager[SseConnection]:
    """POST a script; the response is read event by event."""
    return open_sse(
        worker.port,
        path,
        method="POST",
        headers={"Content-Type": "application/json", "X-User": user},
        body=json.dumps({"id": session, **script}).encode(),
        timeout=timeout,
    )


def raw_post(
    worker: Worker, session: str, *, path: str = "/api/chat", user: str = "ann", **script: object
) -> httpx.Response:
    """POST a script and read the whole response."""
    return httpx.post(
        worker.url + path,
        content=json.dumps({"id": session, **script}),  # in ASCII, so that lone surrogates survive
        headers={"X-User": user, "Content-Type": "application/json"},
        timeout=30.0,
        trust_env=False,
    )


def get(
    worker: Worker,
    session: str,
    cursor: str | None = None,
    *,
    user: str | None = "ann",
    query: str = "",
    headers: Mapping[str, str] | None = None,
) -> httpx.Response:
    """GET a session's stream and read the whole response."""
    more = dict(headers or {})
    if user is not None:
        more["X-User"] = user
    if cursor is not None:
        more["Last-Event-ID"] = cursor
    url = f"{worker.url}/api/chat/{quote(session, safe='')}/stream{query}"
    return httpx.get(url, headers=more, timeout=30.0, trust_env=False)


def status(worker: Worker, session: str, *, user: str = "ann") -> dict[str, Any]:
    """The session's status document."""
    answer = httpx.get(
        f"{worker.url}/api/chat/{quote(session, safe='')}", headers={"X-User": user}, timeout=30.0, trust_env=False
    )
    answer.raise_for_status()
    body: dict[str, Any] = answer.json()
    return body


def open_gate(worker: Worker, name: str) -> None:
    """Let the models of a worker that wait at this gate go on."""
    httpx.post(f"{worker.url}/gate/{name}", timeout=30.0, trust_env=False).raise_for_status()


def trace(worker: Worker) -> list[str]:
    """What ran in a worker, in order."""
    return httpx.get(f"{worker.url}/trace", timeout=30.0, trust_env=False).text.splitlines()
