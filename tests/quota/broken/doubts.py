"""Stores that take amounts and ids that can never be, or are left in disorder by a call that was broken off."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from streamguard.errors import QuotaConflictError, QuotaInvalidError
from streamguard.quota import Admitted, Quota, Refused, Reservation, Settlement
from streamguard.quota.limits import MAX_AMOUNT
from streamguard.values import StreamRef

from .bench import Bench, breaks
from .settling import TOKENS


@breaks("test_bad_amounts_are_never_reserved")
class TakesBooleans(Bench):
    async def reserve(self, ref: StreamRef, amounts: Mapping[str, int], quotas: Sequence[Quota]) -> Admitted | Refused:
        return await super().reserve(ref, {unit: _number(amount) for unit, amount in amounts.items()}, quotas)


@breaks("test_bad_amounts_are_never_charged")
class ChargesBooleans(Bench):
    async def commit(self, ref: StreamRef, amounts: Mapping[str, int] | None = None) -> Settlement:
        known = None if amounts is None else {unit: _number(amount) for unit, amount in amounts.items()}
        return await super().commit(ref, known)


def _number(amount: object) -> int:
    return int(amount) if isinstance(amount, bool) else amount  # type: ignore[return-value] # that is what is broken


@breaks("test_amounts_are_of_the_units_that_are_counted")
class IgnoresOtherUnits(Bench):
    async def reserve(self, ref: StreamRef, amounts: Mapping[str, int], quotas: Sequence[Quota]) -> Admitted | Refused:
        units = {quota.unit for quota in quotas}
        return await super().reserve(ref, {unit: n for unit, n in amounts.items() if unit in units}, quotas)


@breaks("test_quotas_are_given_and_differ")
class TakesTheFirstOfTwo(Bench):
    async def reserve(self, ref: StreamRef, amounts: Mapping[str, int], quotas: Sequence[Quota]) -> Admitted | Refused:
        return await super().reserve(ref, amounts, list({(quota.unit, quota.per): quota for quota in quotas}.values()))


@breaks("test_the_largest_amounts_are_exact")
class CountsInSingles(Bench):
    async def commit(self, ref: StreamRef, amounts: Mapping[str, int] | None = None) -> Settlement:
        return await super().commit(ref, {"tokens": MAX_AMOUNT} if amounts == {"tokens": MAX_AMOUNT - 2} else amounts)


@breaks("test_sums_past_the_largest_amount_stay_there")
class Overflows(Bench):
    async def commit(self, ref: StreamRef, amounts: Mapping[str, int] | None = None) -> Settlement:
        window = self.window(ref.key.owner, TOKENS)
        before = 0 if window is None else window.used
        answer = await super().commit(ref, amounts)
        if before == MAX_AMOUNT and window is not None:
            window.used = -2
        return answer


@breaks("test_the_longest_ids_are_fine")
class CutsIdsOff(Bench):
    async def held(self, owner: str, *, limit: int = 100) -> list[Reservation]:
        found = await super().held(owner, limit=limit)
        return [
            Reservation(StreamRef(one.ref.key, one.ref.stream_id[:200]), one.state, one.amounts, one.charged)
            for one in found
        ]


@breaks("test_ids_that_can_never_be_are_invalid")
class KnowsNothingOfLongIds(Bench):
    async def find(self, ref: StreamRef) -> Reservation | None:
        try:
            return await super().find(ref)
        except QuotaInvalidError:
            return None


@breaks("test_an_error_names_what_was_asked")
class NamesItsOwnOperation(Bench):
    async def reserve(self, ref: StreamRef, amounts: Mapping[str, int], quotas: Sequence[Quota]) -> Admitted | Refused:
        try:
            return await super().reserve(ref, amounts, quotas)
        except QuotaConflictError as exc:
            raise QuotaConflictError("EVALSHA: differs", operation="evalsha") from exc


@breaks("test_a_reservation_that_was_broken_off_can_be_repeated")
class LeavesHalfAReservation(Bench):
    def __init__(self) -> None:
        super().__init__()
        self.half = 0

    async def reserve(self, ref: StreamRef, amounts: Mapping[str, int], quotas: Sequence[Quota]) -> Admitted | Refused:
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            self.half += amounts[quotas[0].unit]
            raise
        answer = await super().reserve(ref, amounts, quotas)
        window = self.window(ref.key.owner, quotas[0]) if quotas else None
        if window is not None:
            window.held += self.half
            self.half = 0
        return answer


@breaks("test_a_commit_that_was_broken_off_can_be_repeated")
class ForgetsWhatWasBrokenOff(Bench):
    async def commit(self, ref: StreamRef, amounts: Mapping[str, int] | None = None) -> Settlement:
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            self.forget(ref)
            raise
        return await super().commit(ref, amounts)
