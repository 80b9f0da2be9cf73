"""The steps of `RedisStore` about who views what: for operators one note per worker, which soon expires; for a stream's
writer the time in its record at which others viewed it last."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from ...decoding import read_json
from ...values import StreamRef
from .codec import items
from .driver import Command, CommandError
from .errors import checked, concerns_record
from .lease_index import milliseconds
from .steps import Steps

__all__ = ["ViewerSteps"]

_TTL_MS: Final = 86_400_000
"""How long the notes are kept after the last of any worker; each says itself for how long it stands."""


class ViewerSteps(Steps):
    """Who views what, as workers say it."""

    async def report_viewers(self, worker: str, viewers: Mapping[str, int], *, seconds: float) -> None:
        counts = json.dumps(dict(viewers), separators=(",", ":")) if viewers else ""
        args = (worker, counts, milliseconds(seconds), _TTL_MS)
        await self._call("report_viewers", "view", self._keys.viewers(), args)

    async def viewer_counts(self) -> Mapping[str, int]:
        found: Counter[str] = Counter()
        for note in items(await self._call("viewer_counts", "views", self._keys.viewers())):
            if isinstance(note, bytes):
                found.update(_counts(note))
        return dict(found)

    async def note_viewed(self, refs: Sequence[StreamRef]) -> None:
        await self._mark_each(
            "note_viewed", [self._connections.script("viewed", (self._keys.stream(ref).meta,), ()) for ref in refs]
        )

    async def _mark_each(self, operation: str, commands: Sequence[Command]) -> None:
        """Run the commands, each about one stream. A record that one of them cannot use costs no other anything."""
        replies = await self._connections.run(operation, commands)
        checked(operation, [one for one in replies if not (isinstance(one, CommandError) and concerns_record(one))])


def _counts(note: bytes) -> dict[str, int]:
    """One worker's note. What a later version may write instead is left out: it is for people only."""
    try:
        counts = read_json(note)
    except ValueError:
        return {}
    known = counts.items() if isinstance(counts, dict) else ()
    return {stream_id: count for stream_id, count in known if type(count) is int}
