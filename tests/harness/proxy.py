"""A TCP proxy with switchable faults, living in a thread of its own so that a stuck test loop does not stop it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from enum import Enum
from types import TracebackType
from typing import Final, Self, TypeVar

__all__ = ["FaultProxy", "Matches"]

T = TypeVar("T")

Matches = bytes | Callable[[bytes], bool]
"""Chooses a request: bytes that occur in it, or a predicate over what the client sent since the last reply."""

_NO_LINGER: Final = struct.pack("ii", 1, 0)
_CHUNK_BYTES: Final = 262_144
_CALL_SECONDS: Final = 5.0
_PAUSE_SECONDS: Final = 0.05
_DRAIN_SECONDS: Final = 5.0
_REMEMBERED_BYTES: Final = 4_194_304


class _Fate(Enum):
    """What becomes of the exchange that a trap caught."""

    REPLY_LOST = "the request is applied, its reply is swallowed, the connection is cut"
    REPLY_WITHHELD = "the request is applied, its connection stays open and silent"
    REPLY_ENDS_EARLY = "the reply's connection is closed within the block after so many, as its end would be"
    REQUEST_LOST = "the request never arrives, the connection is cut"
    REQUEST_LATE = "the request arrives after a while, though its client may have given up"


class _CutError(Exception):
    """Ends both directions of a connection with a reset."""


@dataclass(slots=True)
class _Trap:
    matches: Matches
    fate: _Fate
    left: int
    late_seconds: float = 0.0
    blocks: int = 0

    def catches(self, request: bytes) -> bool:
        if self.left == 0:
            return False
        return self.matches in request if isinstance(self.matches, bytes) else self.matches(request)


@dataclass(slots=True, eq=False)
class _Link:
    """One client connection and its connection to the server."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter | None = None
    request: bytearray = field(default_factory=bytearray)
    """What the client sent since the server last answered."""
    fate: _Fate | None = None
    late_seconds: float = 0.0
    blocks_left: int = 0
    draining: bool = False
    """The server was told that no more requests come."""

    def abort(self) -> None:
        """Cut both connections with a reset."""
        for writer in (self.client, self.server):
            if writer is not None and not writer.transport.is_closing():
                # Zero linger: the kernel sends RST instead of FIN and forgets what it still had to send.
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
                writer.transport.abort()


class FaultProxy:
    """Forwards TCP connections from a free port of 127.0.0.1 to `port`, until told otherwise.

    Modes hold until the next one is chosen: `forward`, `refuse`, `hang`, `delay`. `cut` resets the open connections
    once. `lose_reply` and `lose_request` are traps for single exchanges. All methods may be called from any thread
    and return once the change is in force, so nothing needs a pause after them. Use as a context manager.

    A trap sees requests as bytes, so it suits request-reply protocols (Redis, HTTP). A long request or pipeline may
    arrive in several reads, and a server may answer its beginning before its end has come: match on what comes first.
    """

    def __init__(self, port: int) -> None:
        self.connections = 0
        """How many connections were accepted."""
        self.requests_bytes = 0
        """How many bytes were passed on to the server."""
        self.replies_bytes = 0
        """How many bytes were passed on to clients."""
        self.replies_lost = 0
        """How many replies `lose_reply` has swallowed."""
        self.replies_cut = 0
        """How many replies `cut_reply` has cut; one that is shorter is none of them."""
        self.requests_lost = 0
        """How many requests `lose_request` has swallowed."""
        self._target_port = port
        self._links: set[_Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._traps: list[_Trap] = []
        self._delay_seconds = 0.0
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._socket = self._bound(0)
        self.port: int = self._socket.getsockname()[1]
        self._server: asyncio.Server | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"fault-proxy-{self.port}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self.forward()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def open_connections(self) -> int:
        return len(self._links)

    def redis_url(self, database: int = 0) -> str:
        """`redis://` URL that leads through this proxy."""
        return f"redis://127.0.0.1:{self.port}/{database}"

    def forward(self) -> None:
        """Pass everything, at once; what `hang` held back flows on."""
        self._call(self._set_mode(listening=True, flowing=True, delay_seconds=0.0))

    def refuse(self) -> None:
        """Reset every connection and refuse new ones, as a machine without the server does."""
        self._call(self._set_mode(listening=False, flowing=True, delay_seconds=0.0))

    def hang(self) -> None:
        """Keep connections and accept new ones, but pass no byte either way, as a partition does."""
        self._call(self._set_mode(listening=True, flowing=False, delay_seconds=0.0))

    def delay(self, seconds: float) -> None:
        """Hold back everything the server sends for `seconds`."""
        self._call(self._set_mode(listening=True, flowing=True, delay_seconds=seconds))

    def cut(self) -> None:
        """Reset every open connection; new ones are treated as before."""
        self._call(self._cut())

    def lose_reply(self, matches: Matches, *, times: int = 1, cut: bool = True) -> None:
        """For the next `times` matching requests: let the server carry them out, swallow its reply, cut the connection.

        With `cut=False` the connection stays open but silent instead, so that the client runs into its timeout.
        """
        self._call(self._set_trap(_Trap(matches, _Fate.REPLY_LOST if cut else _Fate.REPLY_WITHHELD, times)))

    def cut_reply(self, matches: Matches, *, blocks: int) -> None:
        """For the next matching request: pass so many blocks of its reply's events, and some of the next one, and close
        the connection."""
        self._call(self._set_trap(_Trap(matches, _Fate.REPLY_ENDS_EARLY, 1, blocks=blocks)))

    def lose_request(self, matches: Matches, *, times: int = 1) -> None:
        """For the next `times` matching requests: cut the connection before the server sees them.

        Of a request that came in several reads, what came before the match has been passed on.
        """
        self._call(self._set_trap(_Trap(matches, _Fate.REQUEST_LOST, times)))

    def delay_request(self, matches: Matches, seconds: float) -> None:
        """Pass the next matching request on after `seconds`, whether its client still waits for the reply or not."""
        self._call(self._set_trap(_Trap(matches, _Fate.REQUEST_LATE, 1, seconds)))

    def disarm(self, matches: Matches) -> None:
        """Forget the traps for these requests that have not sprung."""
        self._call(self._disarm(matches))

    def retarget(self, port: int) -> None:
        """Reset every open connection, and lead those that come now to another `port` of 127.0.0.1."""
        self._call(self._retarget(port))

    def close(self) -> None:
        """Reset what is open and end the thread; may be called twice."""
        if not self._thread.is_alive():
            return
        self._call(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_CALL_SECONDS)
        self._loop.close()

    # -- below, everything runs in the proxy's thread ----------------------------------------------------------------

    def _call(self, change: Coroutine[None, None, T]) -> T:
        return asyncio.run_coroutine_threadsafe(change, self._loop).result(_CALL_SECONDS)

    @staticmethod
    def _bound(port: int) -> socket.socket:
        bound = socket.socket()
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(("127.0.0.1", port))
        bound.setblocking(False)
        return bound

    async def _set_mode(self, *, listening: bool, flowing: bool, delay_seconds: float) -> None:
        self._delay_seconds = delay_seconds
        if flowing:
            self._flowing.set()
        else:
            self._flowing.clear()
        if listening and self._server is None:
            self._server = await asyncio.start_server(self._accept, sock=self._socket, limit=_CHUNK_BYTES)
        elif not listening and self._server is not None:
            await self._stop_listening(self._server)
            # Bound but not listening: connections are refused, and nobody else can take the port meanwhile.
            self._socket = self._bound(self.port)
            self._server = None
            await self._cut()

    async def _stop_listening(self, server: asyncio.Server) -> None:
        """Close the server once each connection that was accepted has its transport: asyncio would leave it open."""
        self._loop.remove_reader(self._socket)
        await asyncio.sleep(0)  # the tasks that accept take their first step
        server.close()

    async def _set_trap(self, trap: _Trap) -> None:
        self._traps = [one for one in self._traps if one.left]
        self._traps.append(trap)

    async def _disarm(self, matches: Matches) -> None:
        self._traps = [one for one in self._traps if one.matches != matches]

    async def _cut(self) -> None:
        for link in self._links:
            link.abort()
        await asyncio.sleep(0)  # an aborted transport closes its socket in the next turn of the loop

    async def _retarget(self, port: int) -> None:
        self._target_port = port
        await self._cut()

    async def _stop(self) -> None:
        if self._server is not None:
            await self._stop_listening(self._server)
        else:
            self._socket.close()
        # A connection that is being accepted is a task of the event loop's own first: it must not outlive the loop.
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            await self._cut()
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(others)
        await self._cut()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        # Entered before the first await, so that `cut` and `refuse` miss no connection that was accepted before them.
        link = _Link(writer)
        self._links.add(link)
        task = self._loop.create_task(self._serve(link, reader))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, link: _Link, reader: asyncio.StreamReader) -> None:
        try:
            await self._flowing.wait()
            from_server, link.server = await asyncio.open_connection("127.0.0.1", self._target_port, limit=_CHUNK_BYTES)
            async with asyncio.TaskGroup() as pumps:
                requests = pumps.create_task(self._pump_requests(link, reader, link.server))
                await self._pump_replies(link, from_server, link.server)
                requests.cancel()
        except* (OSError, _CutError):
            link.abort()
        finally:
            self._links.discard(link)
            for writer in (link.client, link.server):
                if writer is not None:
                    writer.close()

    async def _pump_requests(self, link: _Link, reader: asyncio.StreamReader, server: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(_CHUNK_BYTES):
            await self._flowing.wait()
            link.request += chunk
            del link.request[:-_REMEMBERED_BYTES]
            if link.fate is None:
                self._spring_trap(link)
            if link.fate is _Fate.REQUEST_LOST:
                self.requests_lost += 1
                raise _CutError
            if link.fate is _Fate.REQUEST_LATE:
                await asyncio.sleep(link.late_seconds)
                link.fate = None
            if not link.draining:
                self.requests_bytes += len(chunk)
                server.write(chunk)
                await server.drain()
        # The client sends no more but may still read: its connection ends when the server closes.
        if not link.draining:
            server.write_eof()

    def _spring_trap(self, link: _Link) -> None:
        request = bytes(link.request) if self._traps else b""
        for trap in self._traps:
            if trap.catches(request):
                trap.left -= 1
                link.fate, link.late_seconds, link.blocks_left = trap.fate, trap.late_seconds, trap.blocks
                return

    async def _pump_replies(self, link: _Link, reader: asyncio.StreamReader, server: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(_CHUNK_BYTES):
            link.request.clear()
            if self._delay_seconds:
                await asyncio.sleep(self._delay_seconds)
            await self._flowing.wait()
            if link.fate in (_Fate.REPLY_LOST, _Fate.REPLY_WITHHELD):
                self.replies_lost += 1
                await self._swallow(link, reader, server)
                raise _CutError
            if link.fate is _Fate.REPLY_ENDS_EARLY:
                chunk, is_cut = _up_to_the_cut(link, chunk)
            else:
                is_cut = False
            self.replies_bytes += len(chunk)
            link.client.write(chunk)
            await link.client.drain()
            if is_cut:
                self.replies_cut += 1
                return

    @staticmethod
    async def _swallow(link: _Link, reader: asyncio.StreamReader, server: asyncio.StreamWriter) -> None:
        """Read the rest of the replies and forget them.

        Before a connection is cut, the rest of a long pipeline gets through: replies must have paused. Then the server
        is told that no more comes, and closes once it has carried out all it got.
        """
        cutting = link.fate is _Fate.REPLY_LOST
        with contextlib.suppress(TimeoutError):
            while True:
                async with asyncio.timeout(_PAUSE_SECONDS if cutting else None):
                    if not await reader.read(_CHUNK_BYTES):
                        return
        link.draining = True
        server.write_eof()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_DRAIN_SECONDS):
                while await reader.read(_CHUNK_BYTES):
                    pass


def _up_to_the_cut(link: _Link, chunk: bytes) -> tuple[bytes, bool]:
    """What of a reply's bytes passes, and whether the cut is in them."""
    start = 0
    while link.blocks_left and (end := chunk.find(b"\n\n", start)) >= 0:
        link.blocks_left -= 1
        start = end + 2
    rest = chunk[start:]
    if link.blocks_left or b"data:" not in rest:
        return chunk, False
    return chunk[:start] + rest[: rest.index(b"data:") + 9], True
