"""Stores that are wrong about what is due."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from streamguard.quota import Admitted, Quota, Refused, Reservation, ReservationState, Settlement
from streamguard.values import StreamRef

from .bench import Bench, breaks

RESERVED, EXPIRED = ReservationState.RESERVED, ReservationState.EXPIRED


class Listing(Bench):
    """Lists what `lists` says, once, as due too."""

    def __init__(self) -> None:
        super().__init__()
        self.made: list[StreamRef] = []
        self.listed: set[StreamRef] = set()

    async def reserve(self, ref: StreamRef, amounts: Mapping[str, int], quotas: Sequence[Quota]) -> Admitted | Refused:
        answer = await super().reserve(ref, amounts, quotas)
        self.made.append(ref)
        return answer

    def lists(self, found: Reservation) -> bool:
        return False

    async def due(self, *, limit: int, claim_seconds: float) -> list[Reservation]:
        found = await super().due(limit=limit, claim_seconds=claim_seconds)
        if not claim_seconds:
            return found
        for ref in self.made:
            one = await self.find(ref)
            if one is not None and ref not in self.listed and self.lists(one):
                self.listed.add(ref)
                found.append(one)
        return found


@breaks("test_what_is_held_is_not_due", "test_what_is_renewed_is_not_due")
class ListsTheHeld(Listing):
    def lists(self, found: Reservation) -> bool:
        return found.state is RESERVED and found.expires_in_seconds == self.hold_seconds


@breaks("test_what_is_renewed_is_not_due")
class GoesByAge(Listing):
    def __init__(self) -> None:
        super().__init__()
        self.made_at: dict[StreamRef, float] = {}

    async def reserve(self, ref: StreamRef, amounts: Mapping[str, int], quotas: Sequence[Quota]) -> Admitted | Refused:
        self.made_at[ref] = self.clock()
        return await super().reserve(ref, amounts, quotas)

    def lists(self, found: Reservation) -> bool:
        return found.state is RESERVED and self.clock() - self.made_at[found.ref] > self.hold_seconds


class Hiding(Bench):
    """Does not list what `hides` says."""

    def hides(self, found: Reservation) -> bool:
        return False

    async def due(self, *, limit: int, claim_seconds: float) -> list[Reservation]:
        found = await super().due(limit=limit, claim_seconds=claim_seconds)
        return [one for one in found if not self.hides(one)]


@breaks("test_what_has_expired_is_due")
class DoesNotSayWhatWasReserved(Bench):
    async def due(self, *, limit: int, claim_seconds: float) -> list[Reservation]:
        found = await super().due(limit=limit, claim_seconds=claim_seconds)
        return [Reservation(one.ref, one.state, {}) for one in found]


@breaks("test_what_expired_under_anothers_eyes_is_due")
class ListsOnlyWhatItSeesExpire(Hiding):
    def __init__(self) -> None:
        super().__init__()
        self.looked: set[StreamRef] = set()

    async def release(self, ref: StreamRef) -> Settlement:
        self.looked.add(ref)
        return await super().release(ref)

    def hides(self, found: Reservation) -> bool:
        return found.ref in self.looked


@breaks(
    "test_what_is_claimed_is_not_listed_to_others",
    "test_a_claim_runs_out",
    "test_a_list_of_what_is_due_is_bounded",
    "test_what_is_renewed_is_not_due",
)
class ListsTheClaimedTwice(Listing):
    def lists(self, found: Reservation) -> bool:
        self.calls = getattr(self, "calls", 0) + 1
        return found.state is EXPIRED and self.calls == 4


@breaks("test_a_claim_runs_out")
class ListsOnce(Hiding):
    def __init__(self) -> None:
        super().__init__()
        self.seen: set[StreamRef] = set()

    async def due(self, *, limit: int, claim_seconds: float) -> list[Reservation]:
        found = await super().due(limit=limit, claim_seconds=claim_seconds)
        if claim_seconds == self.hold_seconds:
            self.seen |= {one.ref for one in found}
        return found

    def hides(self, found: Reservation) -> bool:
        return found.ref in self.seen


@breaks("test_what_is_only_looked_at_is_claimed_by_nobody")
class ClaimsWhatIsOnlyLookedAt(Bench):
    async def due(self, *, limit: int, claim_seconds: float) -> list[Reservation]:
        return await super().due(limit=limit, claim_seconds=claim_seconds or 1_000)


@breaks("test_what_was_attended_to_is_not_due")
class ListsWhatWasAttendedTo(Bench):
    async def expire(self, ref: StreamRef) -> Settlement:
        answer = await super().expire(ref)
        if answer.state is EXPIRED:
            self._due.put((ref.key.owner, ref.key.session_id, ref.stream_id), 0)
        return answer


@breaks("test_what_was_settled_is_never_due")
class ListsTheSettled(Listing):
    def lists(self, found: Reservation) -> bool:
        return found.state is ReservationState.RELEASED


@breaks("test_a_list_of_what_is_due_is_bounded")
class ListsEverything(Bench):
    async def due(self, *, limit: int, claim_seconds: float) -> list[Reservation]:
        return await super().due(limit=1_000, claim_seconds=claim_seconds)
