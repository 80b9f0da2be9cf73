"""Stores that are wrong about reserving."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace

from streamguard.errors import QuotaConflictError
from streamguard.quota import Admitted, OwnerStatus, Quota, RefusalReason, Refused, ReservationState
from streamguard.values import StreamRef

from .bench import Bench, breaks


class Rewriting(Bench):
    """Gives other answers than it should."""

    async def reserve(self, ref: StreamRef, amounts: Mapping[str, int], quotas: Sequence[Quota]) -> Admitted | Refused:
        known = self.record(ref) is not None
        answer = await super().reserve(ref, amounts, quotas)
        return self.admitted(answer, known) if isinstance(answer, Admitted) else self.refused(answer, quotas)

    def admitted(self, answer: Admitted, known: bool) -> Admitted | Refused:
        return answer

    def refused(self, answer: Refused, quotas: Sequence[Quota]) -> Refused:
        return answer


@breaks("test_starting_gives_texts_for_the_operator")
class WarnsOfNothing(Bench):
    async def start(self) -> list[str]:
        return [" "]


@breaks("test_amounts_that_fit_are_reserved")
class SaysWhatItWillNeverKeep(Rewriting):
    def admitted(self, answer: Admitted, known: bool) -> Admitted | Refused:
        return replace(answer, reservation=replace(answer.reservation, expires_in_seconds=1e9))


@breaks("test_an_admission_says_how_the_owner_stands")
class TellsHowItWasBefore(Bench):
    async def reserve(self, ref: StreamRef, amounts: Mapping[str, int], quotas: Sequence[Quota]) -> Admitted | Refused:
        try:
            before = (await self.status(ref.key.owner, quotas)).standings
        except Exception:  # noqa: BLE001 -- of a wrong question, as the answer below will say
            before = ()
        answer = await super().reserve(ref, amounts, quotas)
        return replace(answer, standings=before) if isinstance(answer, Admitted) else answer


@breaks("test_what_is_reserved_counts_at_once")
class HidesTheSecond(Bench):
    async def status(self, owner: str, quotas: Sequence[Quota]) -> OwnerStatus:
        status = await super().status(owner, quotas)
        (first, *rest) = status.standings
        if (first.quota.limit, first.used, first.reserved, *rest) == (100, 0, 70):
            first = replace(first, reserved=30)
        return replace(status, standings=(first, *rest))


@breaks("test_the_last_bit_may_be_reserved")
class KeepsTheLastBit(Bench):
    async def reserve(self, ref: StreamRef, amounts: Mapping[str, int], quotas: Sequence[Quota]) -> Admitted | Refused:
        window = self.window(ref.key.owner, quotas[0]) if quotas else None
        if window is not None and (window.used, window.held, dict(amounts)) == (0, 60, {"tokens": 40}):
            return Refused(RefusalReason.HELD, 1)
        return await super().reserve(ref, amounts, quotas)


class Looser(Bench):
    """Admits too much: to each limit it adds what `adds` says."""

    def adds(self, ref: StreamRef, amounts: Mapping[str, int], quota: Quota) -> int:
        return 0

    async def reserve(self, ref: StreamRef, amounts: Mapping[str, int], quotas: Sequence[Quota]) -> Admitted | Refused:
        looser = [
            replace(quota, limit=min(quota.limit + self.adds(ref, amounts, quota), 2**53 - 1)) for quota in quotas
        ]
        answer = await super().reserve(ref, amounts, looser)
        if isinstance(answer, Refused):
            return await super().reserve(ref, amounts, quotas)
        back = zip(answer.standings, quotas, strict=True)
        return replace(answer, standings=tuple(replace(standing, quota=quota) for standing, quota in back))


@breaks("test_nothing_over_the_limit_is_admitted", "test_a_refusal_says_when_to_ask_again")
class ForgetsWhatWasUsed(Looser):
    def adds(self, ref: StreamRef, amounts: Mapping[str, int], quota: Quota) -> int:
        window = self.window(ref.key.owner, quota)
        return window.used if window is not None and window.held == 40 else 0


@breaks("test_a_refusal_reserves_nothing")
class ReservesUpToTheRefusal(Bench):
    async def reserve(self, ref: StreamRef, amounts: Mapping[str, int], quotas: Sequence[Quota]) -> Admitted | Refused:
        answer = await super().reserve(ref, amounts, quotas)
        if isinstance(answer, Refused) and len(quotas) == 2 and answer.quota == quotas[1]:
            window = self.window(ref.key.owner, quotas[0])
            if window is not None and not window.held:
                window.held += amounts[quotas[0].unit]
        return answer


@breaks("test_a_refused_stream_may_ask_again")
class RemembersRefusals(Bench):
    def __init__(self) -> None:
        super().__init__()
        self.refusals: dict[StreamRef, Refused] = {}

    async def reserve(self, ref: StreamRef, amounts: Mapping[str, int], quotas: Sequence[Quota]) -> Admitted | Refused:
        if ref in self.refusals:
            return self.refusals[ref]
        answer = await super().reserve(ref, amounts, quotas)
        if isinstance(answer, Refused):
            self.refusals[ref] = answer
        return answer


@breaks("test_every_quota_must_have_room")
class LooksAtTheFirstUntilItIsFull(Looser):
    def adds(self, ref: StreamRef, amounts: Mapping[str, int], quota: Quota) -> int:
        return 100 if quota.unit == "requests" and amounts["requests"] == 1 and quota.limit == 2 else 0


@breaks("test_a_refusal_names_the_quota_in_the_way")
class NamesTheFirst(Rewriting):
    def refused(self, answer: Refused, quotas: Sequence[Quota]) -> Refused:
        return replace(answer, quota=quotas[0])


@breaks("test_a_refusal_says_when_to_ask_again")
class AlwaysSaysTheReset(Rewriting):
    def refused(self, answer: Refused, quotas: Sequence[Quota]) -> Refused:
        return replace(answer, retry_after_seconds=answer.standings[0].resets_in_seconds)


@breaks(
    "test_a_repeated_reservation_is_one",
    "test_a_reservation_that_was_broken_off_can_be_repeated",
    "test_of_the_same_reservation_at_once_one_is_made",
)
class HoldsAgain(Bench):
    async def reserve(self, ref: StreamRef, amounts: Mapping[str, int], quotas: Sequence[Quota]) -> Admitted | Refused:
        known = self.record(ref)
        answer = await super().reserve(ref, amounts, quotas)
        window = self.window(ref.key.owner, quotas[0])
        if known is not None and known.state is ReservationState.RESERVED and window is not None:
            window.held += amounts[quotas[0].unit]
        return answer


@breaks("test_a_repeated_reservation_needs_no_room")
class ChecksAgain(Bench):
    async def reserve(self, ref: StreamRef, amounts: Mapping[str, int], quotas: Sequence[Quota]) -> Admitted | Refused:
        known = self.record(ref)
        answer = await super().reserve(ref, amounts, quotas)
        full = isinstance(answer, Admitted) and answer.standings[0].quota.limit < answer.standings[0].reserved
        return Refused(RefusalReason.HELD, 1) if known is not None and full else answer


@breaks("test_a_repeated_reservation_gets_its_outcome")
class AlwaysSaysReserved(Rewriting):
    def admitted(self, answer: Admitted, known: bool) -> Admitted | Refused:
        return replace(answer, reservation=replace(answer.reservation, state=ReservationState.RESERVED))


@breaks("test_a_reservation_of_other_amounts_is_a_conflict")
class CountsNoConflicts(Bench):
    async def reserve(self, ref: StreamRef, amounts: Mapping[str, int], quotas: Sequence[Quota]) -> Admitted | Refused:
        try:
            return await super().reserve(ref, amounts, quotas)
        except QuotaConflictError:
            ledger = self.ledger(ref.key.owner)
            assert ledger is not None
            ledger._conflicts = 0
            raise


@breaks("test_nothing_can_be_reserved_of_nothing", "test_bad_amounts_are_never_reserved")
class RefusesNothing(Bench):
    async def reserve(self, ref: StreamRef, amounts: Mapping[str, int], quotas: Sequence[Quota]) -> Admitted | Refused:
        if list(amounts.values()) == [0] and len(quotas) == 1:
            return Refused(RefusalReason.SPENT, 1)
        return await super().reserve(ref, amounts, quotas)


@breaks("test_a_limit_may_change")
class KeepsTheFirstLimit(Bench):
    def __init__(self) -> None:
        super().__init__()
        self.limits: dict[tuple[str, Quota], Quota] = {}

    async def reserve(self, ref: StreamRef, amounts: Mapping[str, int], quotas: Sequence[Quota]) -> Admitted | Refused:
        kept = [
            self.limits.setdefault((ref.key.owner, replace(quota, limit=0)), quota) if quota.limit == 200 else quota
            for quota in quotas
        ]
        for quota in quotas:
            self.limits.setdefault((ref.key.owner, replace(quota, limit=0)), quota)
        return await super().reserve(ref, amounts, kept)


@breaks("test_reservations_at_once_fill_the_limit_exactly")
class ChecksThenAdds(Looser):
    """Between the look at the counters and their change, others get in."""

    async def reserve(self, ref: StreamRef, amounts: Mapping[str, int], quotas: Sequence[Quota]) -> Admitted | Refused:
        window = self.window(ref.key.owner, quotas[0]) if len(quotas) == 1 else None
        before = 0 if window is None else window.held
        if len(quotas) == 1 and quotas[0].limit == 37:
            await asyncio.sleep(0)
            window = self.window(ref.key.owner, quotas[0])
            after = 0 if window is None else window.held
            quotas = [replace(quotas[0], limit=37 + after - before)]
        return await super().reserve(ref, amounts, quotas)


@breaks("test_of_the_same_reservation_at_once_one_is_made")
class MakesItTwice(Bench):
    async def reserve(self, ref: StreamRef, amounts: Mapping[str, int], quotas: Sequence[Quota]) -> Admitted | Refused:
        known = self.record(ref)
        await asyncio.sleep(0)
        again = self.record(ref)
        answer = await super().reserve(ref, amounts, quotas)
        window = self.window(ref.key.owner, quotas[0])
        if known is None and again is not None and window is not None:
            window.held += amounts[quotas[0].unit]
        return answer
