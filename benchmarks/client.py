"""What a load process connects with: raw sockets that keep every byte with its arrival time."""

from __future__ import annotations

import asyncio
import os
import time
from typing import Final, cast
from urllib.parse import quote

from .contenders.contract import Wire
from .transcript import Transcript

__all__ = ["SETTLE_SECONDS", "Client", "Connection"]

SETTLE_SECONDS: Final = 0.15
"""Time after the last byte. A guarded server still cleans up then, which is part of a stream's cost."""


class Connection(asyncio.Protocol):
    """One connection for one response. It keeps the bytes and their arrival times."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.transcript = Transcript()
        self.first: asyncio.Future[None] = loop.create_future()
        self.ended: asyncio.Future[None] = loop.create_future()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self.transcript.times.append(time.monotonic_ns())
        self.transcript.chunks.append(data)
        if not self.first.done() and b" e0" in data:
            self.first.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.first.done():
            self.first.set_result(None)  # reading the transcript will report what is missing
        if not self.ended.done():
            self.ended.set_result(None)

    def ask(self, request: bytes) -> None:
        assert self._transport is not None
        self.transcript.asked = time.monotonic_ns()
        self._transport.write(request)

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()


class Client:
    """Makes connections and requests to one contender."""

    def __init__(self, wire: Wire, port: int) -> None:
        self._wire = wire
        self._port = port
        self._nonce = f"b{os.getpid():x}t{time.monotonic_ns():x}"

    async def connect(self, count: int, port: int | None = None) -> list[Connection]:
        """Accepted, idle connections, where the time of connecting is not measured."""
        made = [await self.connected(port) for _ in range(count)]
        await asyncio.sleep(SETTLE_SECONDS)
        return made

    async def connected(self, port: int | None = None) -> Connection:
        """One new connection."""
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(Connection, "127.0.0.1", port or self._port)
        return connection

    def post(self, stream: int, events: int, gap_seconds: float = 0.0, *, hold: bool = False) -> bytes:
        """A request for a new answer."""
        query = f"stream={stream}&events={events}&gap={gap_seconds}&hold={int(hold)}"
        return (
            f"POST {self._wire.path}?{query} HTTP/1.1\r\nHost: bench\r\nX-User: user-{stream}\r\n"
            f"X-Session: {self._session(stream)}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        ).encode()

    def get(self, made: Transcript, stream: int, cursor: str = "") -> bytes:
        """A resume of the answer `made` for `stream`, after the event with the id `cursor`, or from the beginning."""
        session = quote(made.session_id or self._session(stream), safe="")
        path = (self._wire.resume or "").replace("{session}", session)
        last = f"Last-Event-ID: {cursor}\r\n" if cursor else ""
        return (
            f"GET {path} HTTP/1.1\r\nHost: bench\r\nX-User: user-{stream}\r\n{last}Connection: close\r\n\r\n"
        ).encode()

    def _session(self, stream: int) -> str:
        return f"{self._nonce}-{stream}"
