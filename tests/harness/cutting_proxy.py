"""A proxy that cuts each connection after so many bytes of the reply, and leads each to the next of several servers."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import struct
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Final, Self

__all__ = ["CuttingProxy"]

_NO_LINGER: Final = struct.pack("ii", 1, 0)


class CuttingProxy:
    """Forwards connections from a free port of 127.0.0.1 to `ports` in turn, in the event loop that enters it.

    `cuts` says for each connection after how many bytes of replies it is reset; None for never.
    """

    def __init__(self, ports: Sequence[int], cuts: Iterator[int | None]) -> None:
        self._ports = itertools.cycle(ports)
        self._cuts = cuts
        self._server: asyncio.Server | None = None
        self._links: set[asyncio.Task[None]] = set()
        self.connections = 0
        """How many were accepted."""
        self.cut = 0
        """How many were reset."""

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for link in self._links:
            link.cancel()
        await asyncio.gather(*self._links, return_exceptions=True)
        await self._server.wait_closed()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._links.add(task)
        server: asyncio.StreamWriter | None = None
        try:
            replies, server = await asyncio.open_connection("127.0.0.1", next(self._ports))
            requests = asyncio.create_task(_pump(reader, server))
            try:
                await self._pump_replies(replies, writer, next(self._cuts))
            finally:
                requests.cancel()
                await asyncio.gather(requests, return_exceptions=True)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._links.discard(task)
            for one in (writer, server):
                if one is not None:
                    one.close()

    async def _pump_replies(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter, left: int | None) -> None:
        while chunk := await reader.read(65_536):
            if left is not None:
                chunk, left = chunk[:left], left - len(chunk)
            client.write(chunk)
            await client.drain()
            if left is not None and left <= 0:
                self.cut += 1
                # The bytes before the cut arrive; nothing says that no more come.
                with contextlib.suppress(OSError):
                    client.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
                client.transport.abort()
                return


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while chunk := await reader.read(65_536):
            writer.write(chunk)
            await writer.drain()
