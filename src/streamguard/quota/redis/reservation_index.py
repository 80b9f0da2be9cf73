"""Reservations of all owners by when to look at them: a sharded index, to find those that were never settled.

A ledger and its entries in the index lie on different cluster slots, so no script touches both. An entry is made before
the reservation and removed after its end; renewals leave it alone. In between, and after any crash, it may be early
or wrong, so its finder reads the ledger and corrects it.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import AsyncIterator, Mapping
from functools import partial
from typing import Final

from ...compact_json import compact_json
from ...contained import gathered
from ...decoding import DAMAGE, read_json
from ...lua import ScriptClient
from ...values import SessionKey, StreamRef
from .calls import ClaimDue, CountIndex, CountIndexAnswer, EnterIndex, MoveEntries
from .scripts import run

__all__ = ["SHARDS", "ReservationIndex"]

SHARDS: Final = 16
"""A cluster spreads them, and none grows large."""


class ReservationIndex:
    """The index of one namespace.

    Every method raises `QuotaError` for what the client raises.
    """

    def __init__(self, client: ScriptClient, namespace: str, *, ttl_ms: int) -> None:
        self._client = client
        self._namespace = namespace
        self._ttl_ms = ttl_ms
        self._next_shard = 0
        """Where the next look begins: a full shard does not hide the others."""

    async def enter(self, ref: StreamRef, look_in_ms: int) -> None:
        """Enter a reservation that is about to be made. One that is there stays: too early corrects itself."""
        entering = EnterIndex(
            shard_key=self._key(_shard(ref)), look_in_ms=look_in_ms, ttl_ms=self._ttl_ms, member=_member(ref)
        )
        await run(self._client, "reserve", entering)

    async def leave(self, ref: StreamRef) -> None:
        """Remove a reservation."""
        await self.move("settle", _shard(ref), {ref: None})

    async def move(self, operation: str, shard: int, moves: Mapping[StreamRef, int | None]) -> None:
        """Look at reservations of a shard again in so many milliseconds, or never for None."""
        if not moves:
            return
        words = [word for ref, ms in moves.items() for word in (_member(ref), "" if ms is None else ms)]
        await run(self._client, operation, MoveEntries(shard_key=self._key(shard), moves=words))

    async def claimed(self, limit: int, claim_ms: int) -> AsyncIterator[tuple[int, list[StreamRef]]]:
        """Claim up to `limit` reservations whose time has come, shard by shard: no other worker gets them for
        `claim_ms`; with 0 they are only listed. What a later version entered, and this one cannot read, is left to
        it."""
        first, left = self._next_shard, limit
        for shard in range(first, first + SHARDS):
            shard %= SHARDS
            claiming = ClaimDue(shard_key=self._key(shard), claim_ms=claim_ms, ttl_ms=self._ttl_ms, count=left)
            members = await run(self._client, "due", claiming)
            refs = [ref for member in members if (ref := _named(member)) is not None]
            left -= len(refs)
            self._next_shard = (shard + 1) % SHARDS
            if refs:
                yield shard, refs
            if left <= 0:
                return

    async def counts(self) -> list[CountIndexAnswer]:
        """How many there are, and how many are due, of each shard."""
        counting = [
            partial(run, self._client, "depths", CountIndex(shard_key=self._key(shard))) for shard in range(SHARDS)
        ]
        return await gathered(counting)

    def _key(self, shard: int) -> bytes:
        return f"{self._namespace}:{{quota.{shard}}}".encode()


def _shard(ref: StreamRef) -> int:
    digest = hashlib.blake2b(ref.key.owner.encode(), digest_size=2).digest()
    return int.from_bytes(digest, "big") % SHARDS


def _member(ref: StreamRef) -> bytes:
    """A reservation's name in the index: base64url of a JSON array, so that it can be read back."""
    text = compact_json([ref.key.owner, ref.key.session_id, ref.stream_id])
    return base64.urlsafe_b64encode(text)


def _named(member: bytes) -> StreamRef | None:
    try:
        owner, session_id, stream_id = read_json(base64.urlsafe_b64decode(member))
    except DAMAGE:
        return None
    return StreamRef(SessionKey(str(owner), str(session_id)), str(stream_id))
