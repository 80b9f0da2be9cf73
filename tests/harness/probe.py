"""Counts, inside a worker's process, what cannot be seen from outside."""

from __future__ import annotations

import asyncio
import gc
import json
import threading
from typing import Final

import psutil
from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["PROBE_PATH", "Probe"]

PROBE_PATH: Final = "/_probe"


class Probe:
    """Wraps a test application and answers `GET /_probe` itself.

    With `{"tasks", "threads", "open_files", "rss_bytes"}`, counted after a garbage collection and without the
    task of the request itself.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != PROBE_PATH:
            await self._app(scope, receive, send)
            return
        gc.collect()
        process = psutil.Process()
        counts = {
            "tasks": len(asyncio.all_tasks()) - 1,
            "threads": threading.active_count(),
            "open_files": process.num_fds(),
            "rss_bytes": process.memory_info().rss,
        }
        headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": json.dumps(counts).encode()})
