"""A runtime without any web around it: a model the test speaks for, viewers read to their end, what was observed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from streamguard.cursor import Cursor
from streamguard.faults import FaultCode
from streamguard.observations import Observation, Signal
from streamguard.runtime import (
    Bindings,
    LiveStream,
    OnConflict,
    OnStoreFailure,
    Resumed,
    Runtime,
    StreamRequest,
    Viewer,
    ViewerCutError,
)
from streamguard.settings import Settings
from streamguard.stores.records import StreamMeta, Terminal
from streamguard.stores.store import StreamStore
from streamguard.values import START, EventKind, Position, SessionKey, StreamRef, StreamState, new_message_id
from streamguard.wire import KEEP_ALIVE, protocol_named

from ..harness.sse import EventReader, SseEvent
from ..harness.waiting import wait_until_async

__all__ = [
    "KEY",
    "Model",
    "Reading",
    "Worker",
    "closed",
    "declared_lost",
    "dying",
    "expired",
    "leftovers",
    "log_of",
    "next_chunk",
    "payloads",
    "quick",
    "read",
    "saying",
    "terminals",
    "working",
]

KEY = SessionKey("ana", "chat-1")


def quick(**overrides: object) -> Settings:
    """Settings at a pace for tests; `overrides` by name."""
    values: dict[str, object] = {
        "lease_seconds": 0.4,
        "heartbeat_seconds": 0.1,
        "sweep_seconds": 0.1,
        "registration_seconds": 0.2,
        "append_deadline_seconds": 0.25,
        "command_seconds": 0.3,
        "drain_seconds": 0.1,
        "replace_wait_seconds": 0.3,
        "breaker_probe_seconds": 0.05,
        "live_ttl_seconds": 60.0,
        "save_total_seconds": 2.0,
    }
    return Settings.model_validate(values | overrides)


def dying() -> Settings:
    """Settings of a worker that is going to fall silent: its lease is soon over."""
    return quick(lease_seconds=0.15, heartbeat_seconds=0.05)


class Model:
    """An endpoint whose items the test gives one by one; called, it is the iterator the runtime drives."""

    def __init__(self, *items: object) -> None:
        self._queue: asyncio.Queue[object] = asyncio.Queue()
        self._end = object()
        self.started = asyncio.Event()
        self.left = asyncio.Event()
        """Its generator is over, whatever ended it."""
        self.calls = 0
        self.say(*items)

    def say(self, *items: object) -> None:
        """Yield these."""
        for item in items:
            self._queue.put_nowait(item)

    def end(self) -> None:
        """Return."""
        self._queue.put_nowait(self._end)

    def fail(self, error: BaseException) -> None:
        """Raise."""
        self._queue.put_nowait(error)

    async def __call__(self) -> AsyncIterator[object]:
        self.calls += 1
        self.started.set()
        try:
            while (item := await self._queue.get()) is not self._end:
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            self.left.set()


def saying(*items: object) -> Model:
    """A model that says these and ends."""
    model = Model(*items)
    model.end()
    return model


@dataclass
class Reading:
    """What a client of one response has."""

    events: list[SseEvent] = field(default_factory=list)
    keep_alives: int = 0
    over: bool = False
    """It ended clean."""
    cut: str | None = None
    """It was cut, and why."""
    chunks: int = 0
    reader: EventReader = field(default_factory=EventReader)

    @property
    def text(self) -> str:
        """What the model said, under the plain protocol."""
        return "".join(event.data for event in self.events if event.event == "message")

    @property
    def ids(self) -> list[int]:
        """The numbers of the events that had one."""
        return [Cursor.parse(event.id).seq for event in self.events if event.id is not None]

    def named(self, name: str) -> list[dict[str, object]]:
        """The JSON of the events of this SSE name."""
        return [json.loads(event.data) for event in self.events if event.event == name]

    @property
    def notices(self) -> list[tuple[str, str]]:
        """Code and reason of each notice and fault."""
        faults = self.named("streamguard.notice") + self.named("streamguard.error")
        return [(str(fault["code"]), str(fault.get("reason"))) for fault in faults]

    @property
    def outcome(self) -> str | None:
        """The outcome its terminal record tells."""
        ends = self.named("streamguard.end")
        return str(ends[-1]["outcome"]) if ends else None

    def take(self, chunk: bytes) -> None:
        self.chunks += 1
        if chunk == KEEP_ALIVE:
            self.keep_alives += 1
        self.events += self.reader.feed(chunk)


async def next_chunk(viewer: Viewer) -> bytes:
    """The next chunk, as a response waits for it; empty at the stream's end."""
    news = asyncio.Event()
    viewer.listen(lambda *_: news.set())
    while True:
        found = viewer.poll()
        if isinstance(found, bytes):
            return found
        if found is None:
            await news.wait()
            news.clear()
        elif chunk := await found:
            return chunk


async def read(
    viewer: Viewer, into: Reading | None = None, *, until: Callable[[Reading], bool] | None = None
) -> Reading:
    """Read a viewer to its end, or `until` it has enough; only the former closes it."""
    reading = into or Reading()
    async with asyncio.timeout(10):
        while until is None or not until(reading):
            try:
                chunk = await next_chunk(viewer)
            except ViewerCutError as exc:
                reading.take(exc.frame)
                reading.cut = exc.reason
                break
            if not chunk:
                reading.over = True
                break
            reading.take(chunk)
        else:
            return reading
    viewer.close()
    return reading


class Worker:
    """One process's runtime, as far as a test sees it."""

    def __init__(self, runtime: Runtime, observed: list[Observation]) -> None:
        self.runtime = runtime
        self.observed = observed

    def request(
        self,
        key: SessionKey = KEY,
        *,
        protocol: str = "plain",
        fingerprint: str = "",
        on_conflict: OnConflict = "reject",
        on_store_failure: OnStoreFailure = "continue",
        first_item_seconds: float | None = None,
        stall_seconds: float | None = None,
        max_stream_seconds: float | None = None,
        abandon_after_seconds: float | None = None,
        message_id: str | None = None,
        binding: str = "chat",
    ) -> StreamRequest:
        return StreamRequest(
            key=key,
            protocol=protocol_named(protocol),
            binding=binding,
            message_id=message_id or new_message_id(),
            fingerprint=fingerprint,
            on_conflict=on_conflict,
            on_store_failure=on_store_failure,
            request_id="req-1",
            first_item_seconds=first_item_seconds,
            stall_seconds=stall_seconds,
            max_stream_seconds=max_stream_seconds,
            abandon_after_seconds=abandon_after_seconds,
        )

    async def open(self, request: StreamRequest | None = None) -> LiveStream:
        opened = await self.runtime.open(request or self.request())
        assert isinstance(opened, LiveStream)
        return opened

    async def start(
        self, model: Callable[[], AsyncIterator[object]], request: StreamRequest | None = None
    ) -> LiveStream:
        """A stream that `model` speaks in."""
        stream = await self.open(request)
        self.runtime.launch(stream, model)
        return stream

    def view(self, stream: LiveStream, *, ids: bool = True) -> Viewer:
        return self.runtime.view(stream, ids=ids)

    async def watch(self, stream: LiveStream) -> Reading:
        """What a first response's client gets."""
        return await read(self.view(stream))

    async def tell(self, model: Callable[[], AsyncIterator[object]], request: StreamRequest | None = None) -> Reading:
        """Start a stream and read it to its end."""
        return await self.watch(await self.start(model, request))

    async def resume(self, key: SessionKey = KEY, cursor: Cursor | None = None) -> Viewer:
        """A viewer for a client that returns; fails when there is nothing to resume."""
        found = await self.runtime.sessions.resume(key, cursor)
        assert isinstance(found, Resumed), found
        return self.runtime.resume_view(found.meta, found.after, ids=True)

    def signals(self, *names: Signal) -> list[Observation]:
        return [observation for observation in self.observed if observation.name in names]

    def faults(self) -> list[FaultCode]:
        """The codes of every fault observed, in order."""
        return [seen.fault.code for seen in self.signals(Signal.FAULT) if seen.fault is not None]

    async def idle(self) -> None:
        """Wait until no stream is left here."""
        await wait_until_async(lambda: self.runtime.health().streams == 0, description="every stream has ended")


@asynccontextmanager
async def working(
    store: StreamStore, settings: Settings | None = None, *, clean: bool = True, bindings: Bindings | None = None
) -> AsyncIterator[Worker]:
    """A worker for as long as the block runs. `clean`: at its end nothing of any stream or viewer is left in it."""
    observed: list[Observation] = []
    runtime = Runtime(store, settings or quick(), [observed.append], bindings=bindings)
    async with runtime:
        yield Worker(runtime, observed)
    if clean:
        assert leftovers(runtime) == {}


def leftovers(runtime: Runtime) -> dict[str, int]:
    """Per-stream state that a runtime without streams and viewers should not have."""
    sizes = {
        "streams": len(runtime.streams),
        "dirty": runtime.writer.waiting,
        "viewers": len(runtime.viewer_registry.viewers),
        "feeds": len(runtime.viewer_registry._feeds),
        "followed": len(runtime.viewer_registry._followed),
        "replays": len(runtime.viewer_registry.replays.logs),
        "replayed bytes": runtime.viewer_registry.replays.held_bytes,
        "saves": runtime.saving.under_way,
    }
    return {name: size for name, size in sizes.items() if size}


async def log_of(store: StreamStore, ref: StreamRef) -> list[tuple[int, EventKind, bytes]]:
    """The whole log of a stream."""
    log: list[tuple[int, EventKind, bytes]] = []
    at = START
    while events := await store.read(ref, at, max_bytes=1_000_000):
        log += [(event.seq, event.kind, event.data) for event in events]
        at = Position(events[-1].epoch, events[-1].seq)
    return log


def payloads(log: Iterable[tuple[int, EventKind, bytes]], kind: EventKind = EventKind.DATA) -> list[bytes]:
    """The payloads of one kind of event."""
    return [data for _, found, data in log if found is kind]


def terminals(log: Iterable[tuple[int, EventKind, bytes]]) -> list[Terminal]:
    """The terminal records of a log; there should be one, at its end."""
    return [Terminal.from_json(data) for data in payloads(log, EventKind.TERMINAL)]


async def closed(store: StreamStore, ref: StreamRef) -> StreamMeta:
    """Wait until a stream is closed in the store, and check its log: contiguous numbers, one terminal, at the end."""

    metas: list[StreamMeta] = []

    async def found() -> bool:
        meta = await store.meta(ref)
        if meta is not None and meta.state is StreamState.CLOSED:
            metas.append(meta)
        return bool(metas)

    is_closed: Callable[[], Awaitable[bool] | bool] = found
    await wait_until_async(is_closed, description=f"stream {ref.stream_id} is closed")
    meta = metas[0]
    log = await log_of(store, ref)
    assert [seq for seq, _, _ in log] == list(range(1, meta.last_seq + 1))
    assert [kind for _, kind, _ in log].count(EventKind.TERMINAL) == 1
    assert log[-1][1] is EventKind.TERMINAL
    return meta


async def expired(store: StreamStore, ref: StreamRef) -> None:
    """Wait until a stream's lease ran out."""

    async def found() -> bool:
        return ref in await store.expired_leases(limit=100)

    is_due: Callable[[], Awaitable[bool] | bool] = found
    await wait_until_async(is_due, description=f"the lease of {ref.stream_id} ran out")


async def declared_lost(store: StreamStore, ref: StreamRef) -> StreamMeta:
    """Wait until the store knows that a stream's log is lost."""
    metas: list[StreamMeta] = []

    async def found() -> bool:
        meta = await store.meta(ref)
        if meta is not None and meta.lost:
            metas.append(meta)
        return bool(metas)

    is_lost: Callable[[], Awaitable[bool] | bool] = found
    await wait_until_async(is_lost, description=f"the log of {ref.stream_id} is declared lost")
    return metas[0]
