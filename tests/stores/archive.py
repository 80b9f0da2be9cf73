"""A stream store with no role but the log: streams that are over, one JSON file each."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from hashlib import sha256
from pathlib import Path

from streamguard import LogBrokenError
from streamguard.stores import Hint, SessionRecord, StreamLog, StreamMeta, ended_meta
from streamguard.values import Event, EventKind, Position, SessionKey, StreamRef


def file_of(directory: Path, ref: StreamRef) -> Path:
    """Where a stream is kept: its protocol, and its events as [number, epoch, kind, text]."""
    return directory / sha256(f"{ref.key.owner} {ref.key}".encode()).hexdigest() / f"{ref.stream_id}.json"


class Archive(StreamLog):
    """Serves replays from files that something else writes."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    async def session(self, key: SessionKey) -> SessionRecord:
        last = await asyncio.to_thread(self._latest, key)
        return SessionRecord(None, None, None if last is None else last.ref.stream_id, last)

    async def meta(self, ref: StreamRef) -> StreamMeta | None:
        return (await asyncio.to_thread(self._load, ref))[0]

    async def check_position(self, ref: StreamRef, at: Position) -> tuple[StreamMeta | None, bool]:
        meta, events = await asyncio.to_thread(self._load, ref)
        return meta, at.seq == 0 or (at.seq <= len(events) and events[at.seq - 1].epoch == at.epoch)

    async def read(self, ref: StreamRef, after: Position, *, max_bytes: int) -> list[Event]:
        if not (await self.check_position(ref, after))[1]:
            raise LogBrokenError(ref.stream_id, epoch=after.epoch, seq=after.seq)
        return (await asyncio.to_thread(self._load, ref))[1][after.seq :]

    def subscribe(
        self, ref: StreamRef, on_hint: Callable[[Hint], None], *, data: bool = True
    ) -> AbstractAsyncContextManager[None]:
        return nullcontext()  # what is over does not change

    def _latest(self, key: SessionKey) -> StreamMeta | None:
        paths = file_of(self._directory, StreamRef(key, "")).parent.glob("*.json")
        found = [meta for path in paths if (meta := self._load(StreamRef(key, path.stem))[0]) is not None]
        return max(found, key=lambda meta: meta.created_at, default=None)

    def _load(self, ref: StreamRef) -> tuple[StreamMeta | None, list[Event]]:
        path = file_of(self._directory, ref)
        if not path.exists():
            return None, []
        kept = json.loads(path.read_text())
        events = [Event(seq, EventKind(kind), text.encode(), epoch) for seq, epoch, kind, text in kept["events"]]
        return ended_meta(ref, events, protocol=kept["protocol"], created_at=kept["at"], closed_seconds=0.0), events
