"""`RedisQuotaStore`: quotas in Redis 6.2 or later, shared by every process; one Lua script per step.

An owner's keys share a cluster slot, and the scripts touch no others. The layout is described in
`docs/reference/quota.md`.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Final

from ...decoding import read_json
from ...errors import QuotaConflictError, QuotaCorruptError, QuotaError, QuotaUnavailableError
from ...lua import ScriptClient, as_bytes, as_int, as_items
from ...values import SessionKey, StreamRef
from ..base import (
    Admitted,
    Audit,
    Counted,
    OwnerStatus,
    QuotaStore,
    Refused,
    Reservation,
    ReservationState,
    Settlement,
    Standing,
    refusal,
)
from ..ledger import MAX_PENDING
from ..limits import Quota, check_amounts, check_limit, check_owner, check_quotas, check_ref
from ..timing import Timing, checked_claim
from .reservation_index import ReservationIndex
from .scripts import called, undamaged

__all__ = ["RedisQuotaStore"]

_KEYS: Final = (b"l", b"r", b"o", b"d")
"""What an owner's keys end with: ledger, records, open, done."""

_UNREADABLE_MS: Final = 3_600_000
"""When a reservation is looked at again whose owner's ledger is damaged."""


class _LaterVersionError(QuotaUnavailableError):
    """A later version of this library wrote an owner's ledger; a worker of that version can go on."""


class RedisQuotaStore(QuotaStore):
    """Counts in Redis, for every process that uses the same server and namespace.

    Args:
        client: Where to: `RedisClient("redis://…")` from `streamguard.stores`. Whoever made it closes it.
        namespace: What every key begins with; letters, digits, `_` and `-`.
        hold_seconds: How long a reservation lasts without being renewed: a few heartbeats.
        stale_seconds: How long ago its last renewal may be before it counts as pending release; less than
            `hold_seconds`.
        remember_seconds: How long what was committed or released is remembered, so that a repeated step gets its
            outcome.
        late_seconds: How long what expired is remembered, so that a late commit is charged.

    Raises:
        ConfigurationError: a time is under a millisecond or over 366 days.
    """

    def __init__(
        self,
        client: ScriptClient,
        *,
        namespace: str = "streamguard",
        hold_seconds: float = 60.0,
        stale_seconds: float = 15.0,
        remember_seconds: float = 3_600.0,
        late_seconds: float = 604_800.0,
    ) -> None:
        self._timing = Timing.of(
            hold_seconds=hold_seconds,
            stale_seconds=stale_seconds,
            remember_seconds=remember_seconds,
            late_seconds=late_seconds,
        )
        self.hold_seconds = hold_seconds
        self.server: str | None = getattr(client, "server", None)  # a client of the host's own need not say
        self._client = client
        self._namespace = namespace
        self._index = ReservationIndex(client, namespace, ttl_ms=self._timing.longest_ms)

    async def start(self) -> list[str]:
        return await self._client.start()

    async def reserve(self, ref: StreamRef, amounts: Mapping[str, int], quotas: Sequence[Quota]) -> Admitted | Refused:
        check_ref("reserve", ref)
        quotas = check_quotas(quotas)
        amounts = check_amounts("reserve", amounts, quotas=quotas)
        # The index lies elsewhere in a cluster: it is written before and cleared after.
        await self._index.enter(ref, self._timing.hold_ms)
        word, *rest = await self._call(
            "reserve",
            "reserve",
            ref.key.owner,
            _field(ref),
            ref.key.owner,
            self._timing.hold_ms,
            len(amounts),
            *(str(word) for pair in amounts.items() for word in pair),
            *(str(word) for quota in quotas for word in (quota.unit, quota.period_ms, quota.limit)),
            ttl_ms=self._timing.longest_ms + max(quota.period_ms for quota in quotas),
        )
        if word == b"differs":
            raise QuotaConflictError(
                "reserve: this stream has a reservation of other amounts; an id is never used twice",
                operation="reserve",
            )
        with undamaged("reserve"):
            if word == b"admitted":
                shown, standings = rest
                return Admitted(_reservation(ref, shown), _standings(quotas, standings))
            (standings,) = rest
            refused = refusal(_standings(quotas, standings), amounts)
        if refused is None:
            raise QuotaUnavailableError("reserve: Redis gave an unexpected answer", operation="reserve")
        await self._leave(ref)
        return refused

    async def commit(self, ref: StreamRef, amounts: Mapping[str, int] | None = None) -> Settlement:
        check_ref("commit", ref)
        known = check_amounts("commit", amounts or {})
        return await self._settle("commit", ref, *(str(word) for pair in known.items() for word in pair))

    async def release(self, ref: StreamRef) -> Settlement:
        check_ref("release", ref)
        return await self._settle("release", ref)

    async def renew(self, refs: Sequence[StreamRef]) -> list[ReservationState]:
        by_owner: dict[str, dict[StreamRef, ReservationState]] = {}
        for ref in refs:
            check_ref("renew", ref)
            by_owner.setdefault(ref.key.owner, {})[ref] = ReservationState.UNKNOWN
        renewing = (self._renew(owner, states) for owner, states in by_owner.items())
        for failed in await asyncio.gather(*renewing, return_exceptions=True):
            # A damaged ledger costs its owner's reservations, which are unknown then, and nobody else's.
            if failed is not None and not isinstance(failed, QuotaCorruptError):
                raise failed
        return [by_owner[ref.key.owner][ref] for ref in refs]

    async def expire(self, ref: StreamRef) -> Settlement:
        check_ref("expire", ref)
        answer = await self._settle("expire", ref)
        if answer.state is ReservationState.EXPIRED:
            await self._leave(ref)
        return answer

    async def due(self, *, limit: int, claim_seconds: float) -> list[Reservation]:
        claim_ms = checked_claim(limit, claim_seconds)
        found: list[Reservation] = []
        async for shard, refs in self._index.claimed(limit, claim_ms):
            reservations = await asyncio.gather(*(self._seen(ref) for ref in refs))
            moves: dict[StreamRef, int | None] = {}
            for ref, reservation in zip(refs, reservations, strict=True):
                if reservation is None:
                    continue
                if isinstance(reservation, QuotaCorruptError):  # it must not hold up, or hide, the others
                    moves[ref] = _UNREADABLE_MS
                elif reservation.state is ReservationState.EXPIRED:
                    found.append(reservation)
                elif reservation.state is ReservationState.RESERVED:
                    moves[ref] = max(1, round(reservation.expires_in_seconds * 1000))
                else:
                    moves[ref] = None
            if claim_ms:
                await self._index.move("due", shard, moves)
        return found

    async def find(self, ref: StreamRef) -> Reservation | None:
        check_ref("find", ref)
        word, *rest = await self._call("find", "find", ref.key.owner, _field(ref))
        if word == b"unknown":
            return None
        with undamaged("find"):
            (shown,) = rest
            return _reservation(ref, shown)

    async def held(self, owner: str, *, limit: int = 100) -> list[Reservation]:
        check_owner("held", owner)
        check_limit(limit)
        _, *rest = await self._call("held", "held", owner, limit)
        with undamaged("held"):
            return [
                _reservation(_ref(owner, as_bytes(name)), shown)
                for name, shown in zip(rest[::2], rest[1::2], strict=True)
            ]

    async def status(self, owner: str, quotas: Sequence[Quota]) -> OwnerStatus:
        check_owner("status", owner)
        quotas = check_quotas(quotas)
        fresh_ms = self._timing.hold_ms - self._timing.stale_ms
        _, *rest = await self._call("status", "status", owner, fresh_ms, MAX_PENDING, *_windows(quotas))
        with undamaged("status"):
            pending, standings = rest
            return OwnerStatus(_standings(quotas, standings), as_int(pending))

    async def audit(self, owner: str, quotas: Sequence[Quota], *, repair: bool = False) -> Audit:
        check_owner("audit", owner)
        quotas = check_quotas(quotas)
        _, *rest = await self._call("audit", "audit", owner, int(repair), *_windows(quotas))
        with undamaged("audit"):
            conflicts, sums = rest
            numbers = [as_int(number) for number in as_items(sums)]
            windows = (Counted(quota, *numbers[4 * n : 4 * n + 4]) for n, quota in enumerate(quotas))
            return Audit(tuple(windows), as_int(conflicts))

    # -- parts --------------------------------------------------------------------------------------------------------

    def _keys(self, owner: str) -> list[bytes]:
        """An owner's keys. Ids from outside never reach them: a digest stands for the owner, the cluster's hash tag."""
        digest = hashlib.blake2b(owner.encode(), digest_size=16).hexdigest()
        return [f"{self._namespace}:{{q.{digest}}}:".encode() + end for end in _KEYS]

    async def _call(
        self, operation: str, script: str, owner: str, *args: str | bytes | int, ttl_ms: int | None = None
    ) -> list[object]:
        """What a script on an owner's ledger answers: a word and more."""
        timing = self._timing
        header = (timing.late_ms, timing.remember_ms, ttl_ms or timing.longest_ms)
        reply = await called(self._client, operation, script, self._keys(owner), (*header, *args))
        with undamaged(operation):
            found = as_items(reply)
            if not found:
                raise ValueError("empty")
        if found == [b"newer"]:
            raise _LaterVersionError(
                f"{operation}: this owner's ledger was written by a later version of streamguard; upgrade this process",
                operation=operation,
            )
        return found

    async def _settle(self, operation: str, ref: StreamRef, *args: str) -> Settlement:
        word, *rest = await self._call(operation, operation, ref.key.owner, _field(ref), *args)
        if word == b"unknown":
            await self._leave(ref)
            return Settlement(ReservationState.UNKNOWN)
        with undamaged(operation):
            changed, conflict, shown = rest
            found = _reservation(ref, shown)
            answer = Settlement(found.state, found.charged, changed == 1, conflict == 1, found.late)
        if answer.state not in (ReservationState.RESERVED, ReservationState.EXPIRED):
            await self._leave(ref)
        return answer

    async def _renew(self, owner: str, states: dict[StreamRef, ReservationState]) -> None:
        _, *rest = await self._call("renew", "renew", owner, self._timing.hold_ms, *map(_field, states))
        with undamaged("renew"):
            for ref, state in zip(list(states), rest, strict=True):
                states[ref] = ReservationState(as_bytes(state).decode())

    async def _leave(self, ref: StreamRef) -> None:
        """Take a reservation out of the index. What was asked for is done: where this fails, `due` does it."""
        with suppress(QuotaError):
            await self._index.leave(ref)

    async def _seen(self, ref: StreamRef) -> Reservation | QuotaCorruptError | None:
        """A reservation that `due` came upon, or why its owner's ledger cannot be read; None when a later version wrote
        it, and it is for a worker of that."""
        try:
            found = await self.find(ref)
        except _LaterVersionError:
            return None
        except QuotaCorruptError as exc:
            return exc
        return found or Reservation(ref, ReservationState.UNKNOWN, {})


def _field(ref: StreamRef) -> bytes:
    """A reservation's name in its owner's ledger."""
    return json.dumps([ref.key.session_id, ref.stream_id], separators=(",", ":")).encode()


def _ref(owner: str, name: bytes) -> StreamRef:
    session_id, stream_id = read_json(name)
    return StreamRef(SessionKey(owner, session_id), stream_id)


def _windows(quotas: Sequence[Quota]) -> list[str]:
    return [str(word) for quota in quotas for word in (quota.unit, quota.period_ms)]


def _reservation(ref: StreamRef, shown: object) -> Reservation:
    """A reservation as `shown` in ledger.lua gives it."""
    state, left_ms, late, amounts = as_items(shown)
    words = [as_bytes(word).decode() for word in as_items(amounts)]
    found = Reservation(
        ref,
        ReservationState(as_bytes(state).decode()),
        amounts={unit: int(reserved) for unit, reserved in zip(words[::3], words[1::3], strict=True)},
        expires_in_seconds=as_int(left_ms) / 1000,
        late=late == b"1",
    )
    if found.state is ReservationState.COMMITTED:
        charged = {unit: int(amount) for unit, amount in zip(words[::3], words[2::3], strict=True)}
        found = replace(found, charged=charged)
    return found


def _standings(quotas: Sequence[Quota], flat: object) -> tuple[Standing, ...]:
    numbers = [as_int(number) for number in as_items(flat)]
    if len(numbers) != 3 * len(quotas):
        raise ValueError("not a standing for each quota")
    return tuple(
        Standing(quota, used, held, resets_ms / 1000)
        for quota, used, held, resets_ms in zip(quotas, numbers[::3], numbers[1::3], numbers[2::3], strict=True)
    )
