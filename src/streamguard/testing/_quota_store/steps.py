"""The steps the quota store suite's clauses are written in."""
# ruff: noqa: S101 - assertions are what a suite is made of

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from typing import Final, ParamSpec, TypeVar

import anyio

from ...errors import QuotaError
from ...quota.limits import Quota
from ...quota.records import Admitted, Refused, Reservation
from ...quota.store import QuotaStore
from ...values import SessionKey, StreamRef, new_stream_id

P = ParamSpec("P")
T = TypeVar("T")

RACERS: Final = 8
"""How many do the same thing at once."""

LONG: Final = timedelta(days=366)
"""A window that will not end while a clause runs: the next boundary after 2025 is in February 2027."""

FORWARD_SECONDS: Final = 0.05
"""How far past a deadline to go, so that clocks that differ a little agree that it is past."""

ROUNDING_SECONDS: Final = 1e-6
"""What a difference of two times may be off: a hold just taken may seem longer than it is."""

_TRIES = 50
_PAUSE_SECONDS = 0.02


def fresh_owner() -> str:
    """An owner nobody used: suites may share one store."""
    return f"owner-{secrets.token_hex(8)}"


def fresh_ref(owner: str | None = None) -> StreamRef:
    """A stream of a session nobody used."""
    return StreamRef(SessionKey(owner or fresh_owner(), f"session-{secrets.token_hex(8)}"), new_stream_id())


def tokens(limit: int) -> Quota:
    return Quota(limit, LONG, "tokens")


def requests(limit: int) -> Quota:
    return Quota(limit, LONG, "requests")


async def asked(
    store: QuotaStore, ref: StreamRef, amounts: int | Mapping[str, int], *quotas: Quota
) -> Admitted | Refused:
    """Reserve tokens, or amounts by unit."""
    return await store.reserve(ref, {"tokens": amounts} if isinstance(amounts, int) else amounts, quotas)


async def reserved(
    store: QuotaStore, quota: Quota, amount: int, *, owner: str | None = None, ref: StreamRef | None = None
) -> StreamRef:
    """Reserve `amount` of the quota's unit, and see that it is admitted."""
    ref = ref or fresh_ref(owner)
    answer = await store.reserve(ref, {quota.unit: amount}, [quota])
    assert isinstance(answer, Admitted)
    return ref


async def counters(store: QuotaStore, owner: str, *quotas: Quota) -> list[tuple[int, int]]:
    """What is used and what is reserved, for each quota."""
    status = await store.status(owner, quotas)
    assert [standing.quota for standing in status.standings] == list(quotas)
    return [(standing.used, standing.reserved) for standing in status.standings]


async def conflicts(store: QuotaStore, owner: str) -> int:
    return (await store.audit(owner, [tokens(0)])).conflicts


async def all_due(store: QuotaStore, owner: str, *, claim_seconds: float = 3_600.0) -> list[Reservation]:
    """Everything of an owner that is due, claimed; also what others left in the store, which is not looked at."""
    found: list[Reservation] = []
    quiet = 0
    while quiet < 2:  # a store may look at a part of what it has at a time
        some = await store.due(limit=100, claim_seconds=claim_seconds)
        quiet = 0 if some else quiet + 1
        found += some
    return [reservation for reservation in found if reservation.ref.key.owner == owner]


def refs(reservations: Sequence[Reservation]) -> list[StreamRef]:
    return [reservation.ref for reservation in reservations]


async def insistently(call: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
    """The answer to a call, made again while the store says that asking again may help."""
    for _ in range(_TRIES):
        try:
            return await call(*args, **kwargs)
        except QuotaError as exc:
            if not exc.retryable:
                raise
            await anyio.sleep(_PAUSE_SECONDS)
    return await call(*args, **kwargs)
