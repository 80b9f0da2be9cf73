"""The steps of `RedisStore` about who views what: for operators one note per worker, which soon expires; for a stream's
writer the time in its record at which others viewed it last."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from ...decoding import read_json
from ...lua import Call
from ...values import StreamRef
from .calls import NoteViewed, ReadViewerCounts, ReportViewers
from .driver import CommandError
from .errors import checked, concerns_record
from .lease_index import milliseconds
from .namespace import Steps

__all__ = ["ViewerSteps"]

_TTL_MS: Final = 86_400_000
"""How long the notes are kept after the last of any worker; each says itself for how long it stands."""


class ViewerSteps(Steps):
    """Who views what, as workers say it."""

    async def report_viewers(self, worker: str, viewers: Mapping[str, int], *, seconds: float) -> None:
        counts = json.dumps(dict(viewers), separators=(",", ":")) if viewers else ""
        workers_key, counts_key = self._keys.viewers()
        report = ReportViewers(
            workers_key=workers_key,
            counts_key=counts_key,
            worker=worker,
            counts=counts,
            standing_ms=milliseconds(seconds),
            ttl_ms=_TTL_MS,
        )
        await self._call("report_viewers", report)

    async def viewer_counts(self) -> Mapping[str, int]:
        found: Counter[str] = Counter()
        workers_key, counts_key = self._keys.viewers()
        for note in await self._call("viewer_counts", ReadViewerCounts(workers_key=workers_key, counts_key=counts_key)):
            if isinstance(note, bytes):
                found.update(_counts(note))
        return dict(found)

    async def note_viewed(self, refs: Sequence[StreamRef]) -> None:
        await self._mark_each("note_viewed", [NoteViewed(meta_key=self._keys.stream(ref).meta) for ref in refs])

    async def _mark_each(self, operation: str, calls: Sequence[Call[int]]) -> None:
        """Make the calls, each about one stream. A record that one of them cannot use costs no other anything."""
        replies = await self._connections.run(operation, [self._connections.command(call) for call in calls])
        checked(operation, [one for one in replies if not (isinstance(one, CommandError) and concerns_record(one))])


def _counts(note: bytes) -> dict[str, int]:
    """One worker's note. What a later version may write instead is left out: it is for people only."""
    try:
        counts = read_json(note)
    except ValueError:
        return {}
    known = counts.items() if isinstance(counts, dict) else ()
    return {stream_id: count for stream_id, count in known if type(count) is int}
