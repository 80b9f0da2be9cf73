"""`RedisViewerReports`: who views what.

For operators there is one note per worker, which soon expires; for a stream's writer its record has the time at which
other processes viewed it last.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from ...decoding import read_json
from ...values import StreamRef
from ..roles.viewer_reports import ViewerReports
from .namespace import RedisNamespace, milliseconds
from .stream_calls import NoteViewed, ReadViewerCounts, ReportViewers

__all__ = ["RedisViewerReports"]

_TTL_MS: Final = 86_400_000
"""How long the notes are kept after the last of any worker; each says itself for how long it stands."""


class RedisViewerReports(ViewerReports):
    """Who views what, as workers say it."""

    def __init__(self, redis: RedisNamespace) -> None:
        self._redis = redis

    async def report_viewers(self, worker: str, viewers: Mapping[str, int], *, seconds: float) -> None:
        counts = json.dumps(dict(viewers), separators=(",", ":")) if viewers else ""
        workers_key, counts_key = self._redis.keys.viewers()
        report = ReportViewers(
            workers_key=workers_key,
            counts_key=counts_key,
            worker=worker,
            counts=counts,
            standing_ms=milliseconds(seconds),
            ttl_ms=_TTL_MS,
        )
        await self._redis.call("report_viewers", report)

    async def viewer_counts(self) -> Mapping[str, int]:
        found: Counter[str] = Counter()
        workers_key, counts_key = self._redis.keys.viewers()
        for note in await self._redis.call(
            "viewer_counts", ReadViewerCounts(workers_key=workers_key, counts_key=counts_key)
        ):
            if isinstance(note, bytes):
                found.update(_counts(note))
        return dict(found)

    async def note_viewed(self, refs: Sequence[StreamRef]) -> None:
        await self._redis.call_each(
            "note_viewed", [NoteViewed(meta_key=self._redis.keys.stream(ref).meta) for ref in refs]
        )


def _counts(note: bytes) -> dict[str, int]:
    """One worker's note. What a later version may write instead is left out: it is for people only."""
    try:
        counts = read_json(note)
    except ValueError:
        return {}
    known = counts.items() if isinstance(counts, dict) else ()
    return {stream_id: count for stream_id, count in known if type(count) is int}
