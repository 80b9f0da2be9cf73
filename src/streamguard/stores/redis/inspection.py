"""The steps of `RedisStore` that list streams for operators. They change nothing."""

from __future__ import annotations

from contextlib import suppress
from typing import Final

from ...errors import StoreCorruptError
from ...values import SessionKey, StreamRef, StreamState
from ..records import StreamMeta
from .calls import ReadMeta, SessionStreams
from .codec import decode_meta, decode_text
from .lease_index import LeaseIndex
from .namespace import Steps

__all__ = ["ListingSteps"]

_BATCH: Final = 500
"""How many records are read in one exchange, at most."""
_LEAST: Final = 16
"""How many of a session's streams are looked at in one exchange, at least: those that expired are passed over."""


class ListingSteps(Steps):
    """What `RedisStore` tells operators."""

    _leases: LeaseIndex

    async def active_streams(self, *, limit: int) -> list[StreamMeta]:
        refs = await self._leases.earliest(limit)
        found: list[StreamMeta] = []
        at = 0
        while at < len(refs) and len(found) < limit:
            batch = refs[at : at + min(_BATCH, limit - len(found))]
            at += len(batch)
            keys = [self._keys.stream(ref) for ref in batch]
            replies = await self._ask(
                "active_streams",
                *(self._connections.command(ReadMeta(meta_key=key.meta, log_key=key.log)) for key in keys),
            )
            for ref, reply in zip(batch, replies, strict=True):
                with suppress(StoreCorruptError):  # a later version's, or damaged: no reason to hide the others
                    meta = decode_meta(ref, reply, "active_streams")
                    if meta is not None and meta.state is not StreamState.CLOSED:
                        found.append(meta)
        return sorted(found, key=lambda meta: meta.lease_seconds)

    async def session_streams(self, key: SessionKey, *, limit: int) -> list[StreamMeta]:
        keys = self._keys.session(key)
        metas: dict[str, StreamMeta] = {}
        looked_at, more = 0, limit > 0
        while more and len(metas) < limit:
            most = min(_BATCH, max(_LEAST, limit - len(metas)))
            listed = await self._call(
                "session_streams",
                SessionStreams(
                    session_key=keys.session,
                    streams_key=keys.streams,
                    meta_prefix=keys.meta_prefix,
                    log_prefix=keys.log_prefix,
                    count=most,
                    skipped=looked_at,
                ),
            )
            self._status(listed.status, None, "session_streams")
            looked_at += listed.looked_at
            more = listed.more == 1
            for stream_id, snapshot in zip(listed.found[::2], listed.found[1::2], strict=True):
                with suppress(StoreCorruptError):  # a later version's, or damaged: no reason to hide the others
                    meta = decode_meta(StreamRef(key, decode_text(stream_id)), snapshot, "session_streams")
                    if meta is not None:  # once: a stream that begins meanwhile moves the others down
                        metas[meta.ref.stream_id] = meta
        return list(metas.values())[:limit]
