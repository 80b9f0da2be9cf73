"""A client that speaks HTTP/2 in the clear, several requests over one connection."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import ConnectionTerminated, DataReceived, ResponseReceived, StreamEnded, StreamReset

from .sse import Ending

__all__ = ["Http2Client", "open_http2"]

_READ_BYTES: Final = 65_536


class Http2Client:
    """What came of each request, by its number."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.bodies: defaultdict[int, bytes] = defaultdict(bytes)
        self.statuses: dict[int, int] = {}
        self.endings: defaultdict[int, Ending] = defaultdict(lambda: Ending.OPEN)
        self._reader = reader
        self._writer = writer
        self._connection = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        self._connection.initiate_connection()

    async def request(self, method: str, target: str, headers: Mapping[str, str], body: bytes = b"") -> int:
        """Send a request. Returns its number."""
        number = self._connection.get_next_available_stream_id()
        pseudo = {":method": method, ":path": target, ":scheme": "http", ":authority": "127.0.0.1"}
        lines = [*pseudo.items(), *((name.lower(), value) for name, value in headers.items())]
        self._connection.send_headers(number, lines, end_stream=not body)
        if body:
            self._connection.send_data(number, body, end_stream=True)
        await self._flush()
        return number

    async def reset(self, number: int) -> None:
        """Leave one response; the connection stays."""
        self._connection.reset_stream(number)
        self.endings[number] = Ending.DROPPED
        await self._flush()

    async def until_said(self, number: int, text: bytes) -> None:
        """Read until a response has said this.

        Raises:
            AssertionError: it ended before.
        """
        while text not in self.bodies[number]:
            assert self.endings[number] is Ending.OPEN, f"it ended before {text!r}: {self.bodies[number]!r}"
            await self._read()

    async def until_ended(self, number: int) -> Ending:
        """Read until a response has ended."""
        while self.endings[number] is Ending.OPEN:
            await self._read()
        return self.endings[number]

    async def _read(self) -> None:
        data = await self._reader.read(_READ_BYTES)
        assert data, "the server closed the connection"
        for event in self._connection.receive_data(data):
            if isinstance(event, ResponseReceived):
                self.statuses[event.stream_id] = int(dict(event.headers)[":status"])  # type: ignore[index]
            elif isinstance(event, DataReceived):
                self.bodies[event.stream_id] += event.data
                self._connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, StreamEnded):
                self.endings[event.stream_id] = Ending.CLEAN
            elif isinstance(event, StreamReset):
                self.endings[event.stream_id] = Ending.CUT
            elif isinstance(event, ConnectionTerminated):
                raise AssertionError("the server ended the connection")
        await self._flush()

    async def _flush(self) -> None:
        self._writer.write(self._connection.data_to_send())
        await self._writer.drain()


@asynccontextmanager
async def open_http2(port: int) -> AsyncIterator[Http2Client]:
    """A connection to 127.0.0.1."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Http2Client(reader, writer)
    finally:
        writer.close()
