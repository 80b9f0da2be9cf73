"""One HTTP exchange with an ASGI application in this process, carried as a server carries it.

The body is handed over chunk by chunk while the application runs; the application waits while a client does not read;
a client that leaves is a disconnect; and a body that ends without its last message is a broken connection.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Final
from urllib.parse import unquote

from starlette.types import ASGIApp, Message, Scope

__all__ = ["Ending", "Exchange"]

HIGH_WATER_BYTES: Final = 65_536
"""What is kept for a client that does not read before the application has to wait: uvicorn's own mark."""


class Ending(Enum):
    """How an answer's body ended."""

    OPEN = "not yet"
    CLEAN = "with its last message"
    CUT = "the connection broke before the body ended"
    DROPPED = "the client left"


class Exchange:
    """A request and its answer. `run` is the application's side, for a task of its own; all else is the client's."""

    def __init__(
        self,
        app: ASGIApp,
        method: str,
        path: str,
        *,
        headers: Sequence[tuple[str, str]],
        body: bytes,
        state: Mapping[str, object],
    ) -> None:
        raw_path, _, query = path.partition("?")
        self._app = app
        self._scope: Scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": unquote(raw_path),
            "raw_path": raw_path.encode("ascii"),
            "query_string": query.encode("ascii"),
            "root_path": "",
            "headers": [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers],
            "client": ("127.0.0.1", 50_000),
            "server": ("testserver", 80),
            "state": dict(state),
            "extensions": {},
        }
        self._request: bytes | None = body
        self.status: int | None = None
        """None until the answer begins."""
        self.headers: list[tuple[str, str]] = []
        self.ending: Ending = Ending.OPEN
        self.error: BaseException | None = None
        """What the application raised."""
        self._chunks: deque[bytes] = deque()
        self._buffered = 0
        self._arrived = asyncio.Event()
        self._taken = asyncio.Event()
        self._over = asyncio.Event()
        """There is nobody to send to any more: the body ended, or the client left."""

    async def run(self) -> None:
        """Call the application, once. What it raises is kept in `error`."""
        try:
            await self._app(self._scope, self._receive, self._send)
        except Exception as exc:  # noqa: BLE001 -- as a server: it is for whoever reads the answer
            self.error = exc
        finally:
            self._end(Ending.CUT)

    async def begun(self) -> None:
        """Wait until the answer begins, or the application ended without one."""
        while self.status is None and self.ending is Ending.OPEN:
            await self._wait()

    async def chunk(self) -> bytes:
        """The next bytes of the body, waiting for them; empty once it ended."""
        while not self._chunks:
            if self.ending is not Ending.OPEN:
                return b""
            await self._wait()
        taken = b"".join(self._chunks)
        self._chunks.clear()
        self._buffered = 0
        self._taken.set()
        return taken

    def disconnect(self) -> None:
        """Leave: what was not read is gone, and the application is told. After the body's end it does nothing."""
        if self.ending is Ending.OPEN:
            self._chunks.clear()
            self._end(Ending.DROPPED)

    async def _wait(self) -> None:
        self._arrived.clear()
        await self._arrived.wait()

    def _end(self, ending: Ending) -> None:
        if self.ending is Ending.OPEN:
            self.ending = ending
        self._over.set()
        self._taken.set()
        self._arrived.set()

    async def _receive(self) -> Message:
        if self._request is not None:
            body, self._request = self._request, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self._over.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = [
                (name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in message.get("headers", ())
            ]
            self._arrived.set()
        elif message["type"] == "http.response.body" and self.ending is Ending.OPEN:
            body = bytes(message.get("body", b""))
            if body:
                self._chunks.append(body)
                self._buffered += len(body)
                self._arrived.set()
            if not message.get("more_body", False):
                self._end(Ending.CLEAN)
            while self._buffered > HIGH_WATER_BYTES and self.ending is Ending.OPEN:
                self._taken.clear()
                await self._taken.wait()
