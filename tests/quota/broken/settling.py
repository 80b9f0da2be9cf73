"""Stores that are wrong about committing and releasing."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace

from streamguard.quota import Quota, Reservation, ReservationState, Settlement
from streamguard.testing._quota_store.steps import LONG
from streamguard.values import StreamRef

from .bench import Bench, breaks

TOKENS = Quota(1, LONG)
COMMITTED, RELEASED, RESERVED = ReservationState.COMMITTED, ReservationState.RELEASED, ReservationState.RESERVED


class Miscounting(Bench):
    """Does something to the counters after a settlement."""

    def after(self, ref: StreamRef, answer: Settlement, used: int, held: int) -> tuple[int, int]:
        return 0, 0

    def miscount(self, ref: StreamRef, answer: Settlement) -> Settlement:
        window = self.window(ref.key.owner, TOKENS)
        if window is not None:
            used, held = self.after(ref, answer, window.used, window.held)
            window.used += used
            window.held += held
        return answer

    async def commit(self, ref: StreamRef, amounts: Mapping[str, int] | None = None) -> Settlement:
        return self.miscount(ref, await super().commit(ref, amounts))

    async def release(self, ref: StreamRef) -> Settlement:
        return self.miscount(ref, await super().release(ref))


@breaks("test_a_commit_charges_what_was_consumed")
class ChargesWithoutSaying(Bench):
    async def commit(self, ref: StreamRef, amounts: Mapping[str, int] | None = None) -> Settlement:
        answer = await super().commit(ref, amounts)
        fresh = answer.changed and not answer.late and answer.charged == {"tokens": 12}
        return replace(answer, charged={"tokens": 30}) if fresh else answer


@breaks("test_a_commit_frees_the_rest")
class KeepsTheRest(Miscounting):
    def after(self, ref: StreamRef, answer: Settlement, used: int, held: int) -> tuple[int, int]:
        record = self.record(ref)
        large = record is not None and record.amounts == {"tokens": 90} and answer.charged == {"tokens": 12}
        return 0, 78 if large and not answer.late else 0


@breaks("test_unknown_consumption_is_charged_as_reserved")
class ChargesNothingUnknown(Bench):
    async def commit(self, ref: StreamRef, amounts: Mapping[str, int] | None = None) -> Settlement:
        record = self.record(ref)
        if amounts is None and record is not None and "requests" in record.amounts and record.amounts["tokens"] == 30:
            amounts = {"tokens": 0}
        return await super().commit(ref, amounts)


@breaks("test_a_unit_that_is_not_named_is_charged_as_reserved")
class ChargesNothingUnnamed(Bench):
    async def commit(self, ref: StreamRef, amounts: Mapping[str, int] | None = None) -> Settlement:
        return await super().commit(
            ref, {"requests": 0, **amounts} if amounts and "output_tokens" in amounts else amounts
        )


@breaks("test_more_than_was_reserved_is_charged")
class ChargesNoMoreThanReserved(Bench):
    async def commit(self, ref: StreamRef, amounts: Mapping[str, int] | None = None) -> Settlement:
        return await super().commit(ref, {"tokens": 30} if amounts == {"tokens": 130} else amounts)


@breaks("test_a_repeated_commit_charges_once")
class SaysAgainThatItChanged(Bench):
    async def commit(self, ref: StreamRef, amounts: Mapping[str, int] | None = None) -> Settlement:
        answer = await super().commit(ref, amounts)
        repeated = answer.state is COMMITTED and not answer.conflict and not answer.late
        return replace(answer, changed=True) if repeated and not self.racing() else answer

    def racing(self) -> bool:
        return len([task for task in asyncio.all_tasks() if not task.done()]) > 8


@breaks("test_a_commit_of_something_else_is_a_conflict")
class ChargesTheDifference(Bench):
    async def commit(self, ref: StreamRef, amounts: Mapping[str, int] | None = None) -> Settlement:
        answer = await super().commit(ref, amounts)
        record, window = self.record(ref), self.window(ref.key.owner, TOKENS)
        if answer.conflict and not answer.late and amounts == {"tokens": 13} and record and window:
            record.charged = {"tokens": 13}
            window.used += 1
        return answer


@breaks("test_a_release_charges_nothing")
class ReleasesWithAFee(Miscounting):
    def after(self, ref: StreamRef, answer: Settlement, used: int, held: int) -> tuple[int, int]:
        record = self.record(ref)
        fresh = answer.state is RELEASED and answer.changed
        return 1 if fresh and record is not None and record.amounts == {"tokens": 90} else 0, 0


@breaks("test_a_repeated_release_changes_nothing")
class FreesAgain(Miscounting):
    def after(self, ref: StreamRef, answer: Settlement, used: int, held: int) -> tuple[int, int]:
        repeated = answer.state is RELEASED and not answer.changed and not answer.conflict
        return 0, -30 if repeated and held >= 30 else 0


@breaks("test_a_commit_after_a_release_is_a_conflict")
class CommitsWhatWasReleased(Bench):
    async def commit(self, ref: StreamRef, amounts: Mapping[str, int] | None = None) -> Settlement:
        answer = await super().commit(ref, amounts)
        return replace(answer, conflict=False) if answer.state is RELEASED else answer


@breaks("test_a_release_after_a_commit_is_a_conflict")
class RefundsWhatWasCommitted(Miscounting):
    async def release(self, ref: StreamRef) -> Settlement:
        answer = await super().release(ref)
        window = self.window(ref.key.owner, TOKENS)
        if answer.conflict and answer.charged == {"tokens": 12} and window is not None:
            window.used -= 12
        return answer


@breaks("test_what_was_never_reserved_cannot_be_settled")
class ChargesStrangers(Bench):
    async def commit(self, ref: StreamRef, amounts: Mapping[str, int] | None = None) -> Settlement:
        answer = await super().commit(ref, amounts)
        if answer.state is ReservationState.UNKNOWN and amounts == {"tokens": 12}:
            return Settlement(COMMITTED, {"tokens": 12}, changed=True)
        return answer


@breaks("test_what_was_settled_can_be_found")
class LosesWhatWasReleased(Bench):
    async def find(self, ref: StreamRef) -> Reservation | None:
        found = await super().find(ref)
        return None if found is not None and found.state is RELEASED else found


@breaks("test_of_settlements_at_once_one_counts")
class SettlesTwice(Bench):
    """Between the look at a reservation and its end, others get in."""

    async def release(self, ref: StreamRef) -> Settlement:
        record = self.record(ref)
        before = record is not None and record.state is RESERVED
        await asyncio.sleep(0)
        answer = await super().release(ref)
        return replace(answer, state=RELEASED, charged={}) if before and answer.conflict else answer

    async def commit(self, ref: StreamRef, amounts: Mapping[str, int] | None = None) -> Settlement:
        await asyncio.sleep(0)
        return await super().commit(ref, amounts)
