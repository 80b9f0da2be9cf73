"""Stores that are wrong about reservations nobody renews."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from streamguard.quota import Admitted, OwnerStatus, Quota, Refused, Reservation, ReservationState, Settlement
from streamguard.values import StreamRef

from .bench import Bench, breaks
from .settling import TOKENS

RESERVED, EXPIRED, COMMITTED = ReservationState.RESERVED, ReservationState.EXPIRED, ReservationState.COMMITTED


@breaks(
    "test_a_reservation_nobody_renews_holds_nothing_back",
    "test_a_new_window_begins_with_nothing_reserved",
    "test_an_expired_reservation_is_not_brought_back",
)
class HoldsOnToTheExpired(Bench):
    async def reserve(self, ref: StreamRef, amounts: Mapping[str, int], quotas: Sequence[Quota]) -> Admitted | Refused:
        if self.record(ref) is None and dict(amounts) == {"tokens": 100}:
            held = await self.held(ref.key.owner)
            ledger = self.ledger(ref.key.owner)
            if not held and ledger is not None and any(one.state is EXPIRED for one in ledger._records.values()):
                quotas = [replace(quota, limit=quota.limit - 90) for quota in quotas]
        return await super().reserve(ref, amounts, quotas)


@breaks("test_a_reservation_nobody_renews_is_expired")
class ShowsTheExpiredAsReserved(Bench):
    async def find(self, ref: StreamRef) -> Reservation | None:
        found = await super().find(ref)
        return replace(found, state=RESERVED) if found is not None and found.state is EXPIRED else found


class Renewing(Bench):
    """Renews in its own way: `deadline` says until when."""

    def deadline(self, before_ms: int, after_ms: int) -> int:
        return after_ms

    async def renew(self, refs: Sequence[StreamRef]) -> list[ReservationState]:
        before = {ref: record.deadline_ms for ref in refs if len(ref.stream_id) < 256 and (record := self.record(ref))}
        answer = await super().renew(refs)
        for ref, deadline_ms in before.items():
            record, ledger = self.record(ref), self.ledger(ref.key.owner)
            if record is not None and record.state is RESERVED and ledger is not None:
                record.deadline_ms = self.deadline(deadline_ms, record.deadline_ms)
                ledger._open.put((ref.key.session_id, ref.stream_id), record.deadline_ms)
        return answer


@breaks("test_a_renewed_reservation_is_kept", "test_ids_that_can_never_be_are_invalid")
class RenewsTwiceOnly(Renewing):
    def __init__(self) -> None:
        super().__init__()
        self.renewals = 0

    async def renew(self, refs: Sequence[StreamRef]) -> list[ReservationState]:
        self.renewals += 1
        if self.renewals == 3 and len(refs) == 1:
            return [EXPIRED]
        return await super().renew(refs)


@breaks("test_a_reservation_lasts_its_time_from_its_renewal", "test_what_is_renewed_is_not_due")
class AddsToWhatIsLeft(Renewing):
    def deadline(self, before_ms: int, after_ms: int) -> int:
        return before_ms + round(self.hold_seconds * 1000)


@breaks("test_a_repeated_reservation_renews_nothing")
class RenewsOnARepeat(Bench):
    async def reserve(self, ref: StreamRef, amounts: Mapping[str, int], quotas: Sequence[Quota]) -> Admitted | Refused:
        answer = await super().reserve(ref, amounts, quotas)
        if isinstance(answer, Admitted):
            await self.renew([ref])
        return answer


@breaks("test_renewing_many_answers_for_each")
class AnswersInItsOwnOrder(Bench):
    async def renew(self, refs: Sequence[StreamRef]) -> list[ReservationState]:
        return sorted(await super().renew(refs))


@breaks("test_an_expired_reservation_is_not_brought_back")
class BringsBackTheExpired(Bench):
    async def renew(self, refs: Sequence[StreamRef]) -> list[ReservationState]:
        answer = await super().renew(refs)
        return [RESERVED] if answer == [EXPIRED] else answer


@breaks("test_a_late_commit_charges_once")
class DoesNotSayThatItWasLate(Bench):
    async def commit(self, ref: StreamRef, amounts: Mapping[str, int] | None = None) -> Settlement:
        return replace(await super().commit(ref, amounts), late=False)


@breaks("test_a_release_after_expiry_changes_nothing")
class CountsALateReleaseAsAConflict(Bench):
    async def release(self, ref: StreamRef) -> Settlement:
        answer = await super().release(ref)
        return replace(answer, conflict=True) if answer.state is EXPIRED else answer


@breaks("test_what_has_not_expired_is_left_as_it_is", "test_who_sees_an_expiry_first_is_told_so")
class ExpiresTheLiving(Bench):
    async def expire(self, ref: StreamRef) -> Settlement:
        record = self.record(ref)
        if record is not None and record.state is RESERVED:
            await self.release(ref)
        return await super().expire(ref)


@breaks("test_who_sees_an_expiry_first_is_told_so")
class TellsNobody(Bench):
    async def expire(self, ref: StreamRef) -> Settlement:
        return replace(await super().expire(ref), changed=False)


@breaks("test_expiring_what_is_settled_changes_nothing")
class ExpiresTheSettled(Bench):
    async def expire(self, ref: StreamRef) -> Settlement:
        answer = await super().expire(ref)
        return replace(answer, state=EXPIRED) if answer.state is COMMITTED else answer


@breaks("test_what_has_expired_is_not_held")
class ListsTheExpired(Bench):
    async def held(self, owner: str, *, limit: int = 100) -> list[Reservation]:
        found = await super().held(owner, limit=limit)
        ledger = self.ledger(owner)
        if ledger is not None:
            found += [ledger._shown(name, one) for name, one in ledger._records.items() if one.state is EXPIRED]
        return found


@breaks("test_what_nobody_renews_is_pending_release")
class CountsTheRenewed(Bench):
    async def status(self, owner: str, quotas: Sequence[Quota]) -> OwnerStatus:
        status = await super().status(owner, quotas)
        held = len(await self.held(owner))
        return replace(status, pending_release=held if status.pending_release else 0)


@breaks("test_counters_agree_with_the_reservations")
class DriftsOnLateCommits(Bench):
    async def commit(self, ref: StreamRef, amounts: Mapping[str, int] | None = None) -> Settlement:
        answer = await super().commit(ref, amounts)
        window = self.window(ref.key.owner, TOKENS)
        if answer.late and answer.changed and answer.charged.get("requests") and window is not None:
            window.used += 1
        return answer
