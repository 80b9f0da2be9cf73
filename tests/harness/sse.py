"""A streaming client written without the package's own parser, which tells a clean end from a broken connection.

HTTP is h11's; the SSE reading is the WHATWG algorithm in its plainest form, to check the fast one against.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections import deque
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from enum import Enum
from typing import Final
from urllib.parse import quote

import h11

__all__ = [
    "Ending",
    "EventReader",
    "SseConnection",
    "SseEvent",
    "chat_body",
    "open_sse",
    "post_chat",
    "resume",
    "ui_text",
]

_NO_LINGER: Final = struct.pack("ii", 1, 0)
_READ_BYTES: Final = 65_536


@dataclass(frozen=True, slots=True)
class SseEvent:
    """One dispatched event. `id` is what its own block set, or None; `event` defaults to `message`."""

    id: str | None
    event: str
    data: str


class Ending(Enum):
    """How a response body ended."""

    OPEN = "not yet"
    CLEAN = "with its final chunk, or all of its declared length"
    CUT = "the connection ended before the body did"
    UNFRAMED = "the connection was closed, and nothing said where the body ends"
    DROPPED = "this client broke the connection"


class EventReader:
    """Bytes in, events out, by the WHATWG rules; keeps comments and the last id too."""

    def __init__(self) -> None:
        self.last_id = ""
        """What a browser would send as `Last-Event-ID`."""
        self.comments: list[str] = []
        self.retry_ms: int | None = None
        self._pending = b""
        self._started = False
        self._data: list[str] = []
        self._event = ""
        self._id: str | None = None

    def feed(self, data: bytes) -> list[SseEvent]:
        """The events that became complete."""
        self._pending += data
        events = []
        while (line := self._next_line()) is not None:
            if (event := self._line(line.decode("utf-8", "replace"))) is not None:
                events.append(event)
        return events

    def _next_line(self) -> bytes | None:
        ends = [at for at in (self._pending.find(b"\r"), self._pending.find(b"\n")) if at >= 0]
        if not ends:
            return None
        at = min(ends)
        width = 1
        if self._pending[at : at + 1] == b"\r":
            if at + 1 == len(self._pending):
                return None  # the other half of a CRLF may still come
            width = 2 if self._pending[at + 1 : at + 2] == b"\n" else 1
        line, self._pending = self._pending[:at], self._pending[at + width :]
        if not self._started:
            self._started = True
            line = line.removeprefix(b"\xef\xbb\xbf")
        return line

    def _line(self, line: str) -> SseEvent | None:
        if not line:
            return self._dispatch()
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match name:
            case "":
                self.comments.append(value)
            case "data":
                self._data.append(value)
            case "event":
                self._event = value
            case "id" if "\0" not in value:
                self._id = self.last_id = value
            case "retry" if value.isascii() and value.isdigit():
                self.retry_ms = int(value)
        return None

    def _dispatch(self) -> SseEvent | None:
        event = SseEvent(self._id, self._event or "message", "\n".join(self._data)) if self._data else None
        self._data, self._event, self._id = [], "", None
        return event


class SseConnection:
    """One request and its streamed response. Made by `open_sse`; reads are bounded by `timeout` seconds each."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        protocol: h11.Connection,
        response: h11.Response,
        timeout: float,
    ) -> None:
        self.status = response.status_code
        self.headers = {name.decode().lower(): value.decode("latin-1") for name, value in response.headers}
        self.events: list[SseEvent] = []
        """Every event read so far."""
        self.body = bytearray()
        """Every body byte looked at so far; see `read_bytes`."""
        self.ending = Ending.OPEN
        self.reader = EventReader()
        self._stream = reader
        self._writer = writer
        self._protocol = protocol
        self._timeout = timeout
        self._ahead = b""
        self._ready: deque[SseEvent] = deque()
        self._framed = "transfer-encoding" in self.headers or "content-length" in self.headers

    @property
    def cursor(self) -> str | None:
        """The id of the last complete event that had one: what a client resumes with."""
        return next((event.id for event in reversed(self.events) if event.id is not None), None)

    async def next_event(self) -> SseEvent | None:
        """The next event, or None once the body ended (`ending` says how).

        Raises:
            TimeoutError: nothing came within the timeout.
        """
        while not self._ready:
            data = await self._more()
            if not data:
                return None
            self._look_at(data)
        event = self._ready.popleft()
        self.events.append(event)
        return event

    async def read_events(self, count: int) -> list[SseEvent]:
        """The next `count` events; fewer when the body ends first."""
        read: list[SseEvent] = []
        while len(read) < count and (event := await self.next_event()) is not None:
            read.append(event)
        return read

    async def read_bytes(self, count: int) -> bytes:
        """Look at exactly the next `count` bytes of the body, as if no more had arrived; fewer when it ends first.

        Events that became complete are in `events`.
        """
        read = b""
        while len(read) < count:
            data = await self._more()
            if not data:
                break
            need = count - len(read)
            data, self._ahead = data[:need], data[need:]
            self._look_at(data)
            read += data
        self.events += self._ready
        self._ready.clear()
        return read

    async def read_rest(self) -> list[SseEvent]:
        """All events until the body ends."""
        read = []
        while (event := await self.next_event()) is not None:
            read.append(event)
        return read

    async def drop(self) -> None:
        """Break the connection with a reset, as a closed tab or a lost network does."""
        if self.ending is Ending.OPEN:
            self.ending = Ending.DROPPED
        if not self._writer.transport.is_closing():
            self._writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
            self._writer.transport.abort()
            await asyncio.sleep(0)  # the socket is closed in the loop's next turn

    def _look_at(self, data: bytes) -> None:
        self.body += data
        self._ready.extend(self.reader.feed(data))

    async def _more(self) -> bytes:
        """The next bytes of the body; empty once it ended."""
        if self._ahead:
            data, self._ahead = self._ahead, b""
            return data
        async with asyncio.timeout(self._timeout):
            while self.ending is Ending.OPEN:
                try:
                    happened = await _next(self._protocol, self._stream)
                except (OSError, h11.RemoteProtocolError):
                    self.ending = Ending.CUT
                    break
                if isinstance(happened, h11.Data):
                    return bytes(happened.data)
                if isinstance(happened, h11.EndOfMessage):
                    self.ending = Ending.CLEAN if self._framed else Ending.UNFRAMED
        return b""


async def _next(protocol: h11.Connection, stream: asyncio.StreamReader) -> h11.Event | type[h11.PAUSED]:
    while True:
        happened = protocol.next_event()
        if isinstance(happened, h11.Event) or happened is h11.PAUSED:
            return happened
        protocol.receive_data(await stream.read(_READ_BYTES))


@asynccontextmanager
async def open_sse(
    port: int,
    path: str,
    *,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
    timeout: float = 10.0,
) -> AsyncIterator[SseConnection]:
    """Send one request to 127.0.0.1 and give the response once its headers are there; resets the connection on leaving.

    `path` is sent as it is, so it must be encoded already. `timeout`, in seconds, bounds the wait for the headers
    and each read.

    Raises:
        OSError: refused, or cut before the headers.
        h11.RemoteProtocolError: the answer is not HTTP, or ended within its headers.
        TimeoutError: no headers in time.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    protocol = h11.Connection(h11.CLIENT)
    lines = {"Host": f"127.0.0.1:{port}", "Accept": "text/event-stream", **(headers or {})}
    if body or method == "POST":
        lines = {"Content-Length": str(len(body)), **lines}
    connection: SseConnection | None = None
    try:
        async with asyncio.timeout(timeout):
            writer.write(protocol.send(h11.Request(method=method, target=path, headers=list(lines.items()))) or b"")
            if body:
                writer.write(protocol.send(h11.Data(data=body)) or b"")
            writer.write(protocol.send(h11.EndOfMessage()) or b"")
            await writer.drain()
            response = await _next(protocol, reader)
            while isinstance(response, h11.InformationalResponse):
                response = await _next(protocol, reader)
        assert isinstance(response, h11.Response)
        connection = SseConnection(reader, writer, protocol, response, timeout)
        yield connection
    finally:
        if connection is not None:
            await connection.drop()
        writer.close()


def chat_body(session: str, text: str, **more: object) -> bytes:
    """The JSON body the AI SDK posts for one user message; `more` adds or replaces top-level keys."""
    message = {"id": "m1", "role": "user", "parts": [{"type": "text", "text": text}]}
    return json.dumps({"id": session, "messages": [message], "trigger": "submit-message", **more}).encode()


def post_chat(
    port: int, session: str, text: str, *, path: str = "/api/chat", headers: Mapping[str, str] | None = None
) -> AbstractAsyncContextManager[SseConnection]:
    """POST one chat message as the AI SDK does; an async context manager giving the `SseConnection`."""
    return open_sse(
        port,
        path,
        method="POST",
        headers={"Content-Type": "application/json", **(headers or {})},
        body=chat_body(session, text),
    )


def resume(
    port: int,
    session: str,
    cursor: str | None = None,
    *,
    in_query: bool = False,
    prefix: str = "/api/chat",
    headers: Mapping[str, str] | None = None,
) -> AbstractAsyncContextManager[SseConnection]:
    """GET a session's stream from `cursor`, sent as `Last-Event-ID` or as `?cursor=`; as `post_chat` otherwise."""
    path = f"{prefix}/{quote(session, safe='')}/stream"
    more = dict(headers or {})
    if cursor is not None and in_query:
        path += f"?cursor={quote(cursor, safe='')}"
    elif cursor is not None:
        more["Last-Event-ID"] = cursor
    return open_sse(port, path, headers=more)


def ui_text(events: Iterable[SseEvent]) -> str:
    """The text a UI message stream's deltas add up to."""
    parts = [json.loads(event.data) for event in events if event.data.startswith("{")]
    return "".join(part["delta"] for part in parts if part.get("type") == "text-delta")
