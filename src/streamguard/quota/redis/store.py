"""`RedisQuotaStore`: quotas in Redis 6.2 or later, shared by every process; one Lua script per step.

An owner's keys share a cluster slot, and the scripts touch no others. The layout is described in
`docs/reference/quota.md`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Final, TypedDict

from ...compact_json import compact_json
from ...contained import gathered
from ...decoding import read_json
from ...errors import QuotaConflictError, QuotaCorruptError, QuotaError, QuotaUnavailableError
from ...lua import Call, ScriptClient, Word, check_script_client, read_reply
from ...values import SessionKey, StreamRef
from ..ledger import MAX_PENDING
from ..limits import Quota, check_amounts, check_limit, check_owner, check_quotas, check_ref
from ..measures import MeasuredQuota
from ..records import (
    Admitted,
    Audit,
    Counted,
    OwnerStatus,
    QuotaDepths,
    Refused,
    Reservation,
    ReservationState,
    Settlement,
    Standing,
    refusal,
)
from ..store import QuotaStore
from ..timing import Timing, checked_claim
from . import calls
from .reservation_index import ReservationIndex
from .scripts import LaterVersionError, run, undamaged

__all__ = ["RedisQuotaStore"]

_KEYS: Final = (b"l", b"r", b"o", b"d")
"""What an owner's keys end with: ledger, records, open, done."""

_UNREADABLE_MS: Final = 3_600_000
"""When a reservation is looked at again whose owner's ledger is damaged."""


class _LedgerFields(TypedDict):
    """The fields of `calls.LedgerCall`."""

    ledger_key: bytes
    records_key: bytes
    open_key: bytes
    done_key: bytes
    late_ms: int
    ttl_ms: int


class _ReservationFields(_LedgerFields):
    """The fields of `calls.ReservationCall`."""

    id: bytes


class RedisQuotaStore(QuotaStore, MeasuredQuota):
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
        check_script_client("RedisQuotaStore", client, namespace)
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
        reserved = await run(
            self._client,
            "reserve",
            calls.Reserve(
                **self._ledger(ref.key.owner, longest_ms=max(quota.period_ms for quota in quotas)),
                id=_field(ref),
                owner=ref.key.owner,
                hold_ms=self._timing.hold_ms,
                amount_count=len(amounts),
                amounts_and_quotas=[
                    *(word for pair in amounts.items() for word in pair),
                    *(word for quota in quotas for word in (quota.unit, quota.period_ms, quota.limit)),
                ],
            ),
        )
        if reserved.answer == b"differs":
            raise QuotaConflictError(
                "reserve: this stream has a reservation of other amounts; an id is never used twice",
                operation="reserve",
            )
        with undamaged("reserve"):
            standings = _standings(quotas, reserved.standings)
            if reserved.answer == b"admitted":
                return Admitted(_reservation(ref, reserved.reservation), standings)
            refused = refusal(standings, amounts)
        if refused is None:
            raise QuotaUnavailableError("reserve: Redis gave an unexpected answer", operation="reserve")
        await self._leave(ref)
        return refused

    async def commit(self, ref: StreamRef, amounts: Mapping[str, int] | None = None) -> Settlement:
        check_ref("commit", ref)
        known = check_amounts("commit", amounts or {})
        words = [word for pair in known.items() for word in pair]
        return await self._settle(
            "commit", ref, calls.Commit(**self._reserved(ref), remember_ms=self._timing.remember_ms, known=words)
        )

    async def release(self, ref: StreamRef) -> Settlement:
        check_ref("release", ref)
        return await self._settle(
            "release", ref, calls.Release(**self._reserved(ref), remember_ms=self._timing.remember_ms)
        )

    async def renew(self, refs: Sequence[StreamRef]) -> list[ReservationState]:
        by_owner: dict[str, dict[StreamRef, ReservationState]] = {}
        for ref in refs:
            check_ref("renew", ref)
            by_owner.setdefault(ref.key.owner, {})[ref] = ReservationState.UNKNOWN
        await gathered(partial(self._renew_undamaged, owner, states) for owner, states in by_owner.items())
        return [by_owner[ref.key.owner][ref] for ref in refs]

    async def expire(self, ref: StreamRef) -> Settlement:
        check_ref("expire", ref)
        answer = await self._settle("expire", ref, calls.Expire(**self._reserved(ref)))
        if answer.state is ReservationState.EXPIRED:
            await self._leave(ref)
        return answer

    async def due(self, *, limit: int, claim_seconds: float) -> list[Reservation]:
        claim_ms = checked_claim(limit, claim_seconds)
        found: list[Reservation] = []
        async for shard, refs in self._index.claimed(limit, claim_ms):
            reservations = await gathered(partial(self._seen, ref) for ref in refs)
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
        found = await run(self._client, "find", calls.Find(**self._reserved(ref)))
        if found.answer == b"unknown":
            return None
        with undamaged("find"):
            return _reservation(ref, found.reservation)

    async def held(self, owner: str, *, limit: int = 100) -> list[Reservation]:
        check_owner("held", owner)
        check_limit(limit)
        held = await run(self._client, "held", calls.Held(**self._ledger(owner), limit=limit))
        with undamaged("held"):
            return [
                _reservation(_ref(owner, read_reply(bytes, name)), read_reply(calls.Shown, shown))
                for name, shown in zip(held.found[::2], held.found[1::2], strict=True)
            ]

    async def status(self, owner: str, quotas: Sequence[Quota]) -> OwnerStatus:
        check_owner("status", owner)
        quotas = check_quotas(quotas)
        status = await run(
            self._client,
            "status",
            calls.Status(
                **self._ledger(owner),
                stale_ms=self._timing.hold_ms - self._timing.stale_ms,
                most_pending=MAX_PENDING,
                quotas=_windows(quotas),
            ),
        )
        with undamaged("status"):
            return OwnerStatus(_standings(quotas, status.standings), status.pending)

    async def audit(self, owner: str, quotas: Sequence[Quota], *, repair: bool = False) -> Audit:
        check_owner("audit", owner)
        quotas = check_quotas(quotas)
        return (await self._audit("audit", owner, quotas, repair=repair)) or Audit((), 0)

    async def depths(self) -> QuotaDepths:
        counts = await self._index.counts()
        due_ms = max((shard.due_ms for shard in counts if shard.due), default=None)
        all_, due = sum(shard.all for shard in counts), sum(shard.due for shard in counts)
        return QuotaDepths(all_, due, None if due_ms is None else max(0.0, due_ms / 1000))

    async def drift(self, owner: str, quotas: Sequence[Quota], *, most: int) -> int | None:
        check_owner("drift", owner)
        audit = await self._audit("drift", owner, check_quotas(quotas), most=most)
        return None if audit is None else audit.drift

    # -- parts --------------------------------------------------------------------------------------------------------

    async def _audit(
        self, operation: str, owner: str, quotas: Sequence[Quota], *, repair: bool = False, most: int = 0
    ) -> Audit | None:
        """See `audit`; None for more than `most` reservations."""
        call = calls.Audit(**self._ledger(owner), repair=repair, most=most, quotas=_windows(quotas))
        audit = await run(self._client, operation, call)
        if audit.answer == b"many":
            return None
        with undamaged(operation):
            numbers = audit.sums or []
            windows = (Counted(quota, *numbers[4 * n : 4 * n + 4]) for n, quota in enumerate(quotas))
            return Audit(tuple(windows), audit.conflicts)

    def _keys(self, owner: str) -> list[bytes]:
        """An owner's keys. Ids from outside never reach them: a digest stands for the owner, the cluster's hash tag."""
        digest = hashlib.blake2b(owner.encode(), digest_size=16).hexdigest()
        return [f"{self._namespace}:{{q.{digest}}}:".encode() + end for end in _KEYS]

    def _ledger(self, owner: str, *, longest_ms: int = 0) -> _LedgerFields:
        """What every call about an owner's ledger begins with; its counters are kept for `longest_ms` more."""
        ledger, records, open_, done = self._keys(owner)
        return {
            "ledger_key": ledger,
            "records_key": records,
            "open_key": open_,
            "done_key": done,
            "late_ms": self._timing.late_ms,
            "ttl_ms": self._timing.longest_ms + longest_ms,
        }

    def _reserved(self, ref: StreamRef) -> _ReservationFields:
        """What every call about one reservation begins with."""
        return {**self._ledger(ref.key.owner), "id": _field(ref)}

    async def _settle(self, operation: str, ref: StreamRef, call: Call[calls.SettleAnswer]) -> Settlement:
        settled = await run(self._client, operation, call)
        if settled.answer == b"unknown":
            await self._leave(ref)
            return Settlement(ReservationState.UNKNOWN)
        with undamaged(operation):
            found = _reservation(ref, settled.reservation)
            answer = Settlement(found.state, found.charged, settled.changed == 1, settled.conflict == 1, found.late)
        if answer.state not in (ReservationState.RESERVED, ReservationState.EXPIRED):
            await self._leave(ref)
        return answer

    async def _renew(self, owner: str, states: dict[StreamRef, ReservationState]) -> None:
        renewing = calls.Renew(**self._ledger(owner), hold_ms=self._timing.hold_ms, ids=[_field(ref) for ref in states])
        renewed = await run(self._client, "renew", renewing)
        with undamaged("renew"):
            for ref, state in zip(list(states), renewed.states, strict=True):
                states[ref] = ReservationState(state.decode())

    async def _leave(self, ref: StreamRef) -> None:
        """Take a reservation out of the index. The step itself is done: where this fails, `due` does it."""
        with suppress(QuotaError):
            await self._index.leave(ref)

    async def _renew_undamaged(self, owner: str, states: dict[StreamRef, ReservationState]) -> None:
        """A damaged ledger costs its owner's reservations, which are unknown then, and no other owner's."""
        with suppress(QuotaCorruptError):
            await self._renew(owner, states)

    async def _seen(self, ref: StreamRef) -> Reservation | QuotaCorruptError | None:
        """A reservation that `due` came upon, or why its owner's ledger cannot be read; None when a later version wrote
        it, and it is for a worker of that."""
        try:
            found = await self.find(ref)
        except LaterVersionError:
            return None
        except QuotaCorruptError as exc:
            return exc
        return found or Reservation(ref, ReservationState.UNKNOWN, {})


def _field(ref: StreamRef) -> bytes:
    """A reservation's name in its owner's ledger."""
    return compact_json([ref.key.session_id, ref.stream_id])


def _ref(owner: str, name: bytes) -> StreamRef:
    session_id, stream_id = read_json(name)
    return StreamRef(SessionKey(owner, session_id), stream_id)


def _windows(quotas: Sequence[Quota]) -> list[Word]:
    return [word for quota in quotas for word in (quota.unit, quota.period_ms)]


def _reservation(ref: StreamRef, shown: calls.Shown | None) -> Reservation:
    """A reservation as a script gives it."""
    if shown is None:
        raise TypeError("no reservation")
    words = [word.decode() for word in shown.amounts]
    found = Reservation(
        ref,
        ReservationState(shown.state.decode()),
        amounts={unit: int(reserved) for unit, reserved in zip(words[::3], words[1::3], strict=True)},
        expires_in_seconds=shown.left_ms / 1000,
        late=shown.late == b"1",
    )
    if found.state is ReservationState.COMMITTED:
        charged = {unit: int(amount) for unit, amount in zip(words[::3], words[2::3], strict=True)}
        found = replace(found, charged=charged)
    return found


def _standings(quotas: Sequence[Quota], numbers: Sequence[int] | None) -> tuple[Standing, ...]:
    if numbers is None or len(numbers) != 3 * len(quotas):
        raise ValueError("not a standing for each quota")
    return tuple(
        Standing(quota, used, held, resets_ms / 1000)
        for quota, used, held, resets_ms in zip(quotas, numbers[::3], numbers[1::3], numbers[2::3], strict=True)
    )
