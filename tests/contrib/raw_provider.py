"""A provider that answers with the bytes of a script, and breaks off as the script says: over real connections.

`tests.contrib.upstream` follows the APIs; this one does what a server, or a proxy before it, does when it misbehaves.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, Final

__all__ = ["REQUEST_ID", "SECRET", "Break", "RawProvider", "Reply", "chat", "event", "raw_provider", "refused"]

Json = Any
"""A field of a scripted event."""

SECRET: Final = "words only the provider says"
REQUEST_ID: Final = "req_provider_1"


class Break(Enum):
    """How the connection ends after the last scripted byte."""

    WHOLE = auto()
    """The body has its end."""
    DROPPED = auto()
    """The connection is closed within the body."""
    HELD = auto()
    """It stays open until the client closes it."""


@dataclass(frozen=True)
class Reply:
    """What the provider answers every request with."""

    blocks: Iterable[bytes] = ()
    end: Break = Break.WHOLE
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


class RawProvider:
    """The provider; its address, and what it saw."""

    def __init__(self, reply: Reply) -> None:
        self.url = ""
        """Without a path."""
        self.client_closed = asyncio.Event()
        """Set when the client closed a connection that was held open."""
        self._reply = reply

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Read one request, and answer it."""
        reply = self._reply
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            _, _, length = head.partition(b"\r\ncontent-length:")
            await reader.readexactly(int(length.split(b"\r\n")[0] or 0))
            kind = "text/event-stream" if reply.status == 200 else "application/json"
            headers = {"content-type": kind, "connection": "close", "transfer-encoding": "chunked"}
            headers |= {"x-request-id": REQUEST_ID, "request-id": REQUEST_ID, **reply.headers}
            lines = [f"HTTP/1.1 {reply.status} Scripted", *(f"{name}: {value}" for name, value in headers.items())]
            writer.write("\r\n".join([*lines, "", ""]).encode())
            for block in reply.blocks:
                writer.write(b"%x\r\n%s\r\n" % (len(block), block))
            if reply.end is Break.WHOLE:
                writer.write(b"0\r\n\r\n")
            await writer.drain()
            if reply.end is Break.HELD:
                await reader.read()
                self.client_closed.set()
        except ConnectionError:  # the client was faster
            self.client_closed.set()
        finally:
            writer.close()


@asynccontextmanager
async def raw_provider(reply: Reply) -> AsyncIterator[RawProvider]:
    """Serve it while entered."""
    provider = RawProvider(reply)
    server = await asyncio.start_server(provider.answer, "127.0.0.1", 0)
    async with server:
        host, port = server.sockets[0].getsockname()
        provider.url = f"http://{host}:{port}"
        yield provider


def chat(delta: Mapping[str, Json] | None = None, finish: str | None = None, **more: Json) -> bytes:
    """A chunk of a chat completion; without `delta` and `finish`, one without choices."""
    choices = [] if delta is None and finish is None else [{"index": 0, "delta": delta or {}, "finish_reason": finish}]
    body = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": choices, **more}
    return b"data: " + json.dumps(body).encode() + b"\n\n"


def event(kind: str, **fields: Json) -> bytes:
    """An event of Anthropic's messages, or of OpenAI's Responses."""
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()


def refused(status: int, headers: Mapping[str, str] | None = None, **error: Json) -> Reply:
    """An error instead of a stream, in a form that both providers' clients read."""
    body = {"type": "error", "error": {"message": SECRET, **error}}
    return Reply([json.dumps(body).encode()], status=status, headers=headers or {})
