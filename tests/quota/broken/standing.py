"""Stores that are wrong about owners, windows and how they stand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from streamguard.quota import Admitted, OwnerStatus, Quota, Refused, Reservation, Settlement
from streamguard.testing._quota_store.steps import LONG
from streamguard.values import SessionKey, StreamRef

from .bench import Bench, breaks


@breaks("test_owners_are_counted_apart")
class IgnoresCase(Bench):
    @staticmethod
    def alike(owner: str) -> str:
        return owner.replace("ID", "id")

    async def reserve(self, ref: StreamRef, amounts: Mapping[str, int], quotas: Sequence[Quota]) -> Admitted | Refused:
        key = SessionKey(self.alike(ref.key.owner), ref.key.session_id)
        return await super().reserve(StreamRef(key, ref.stream_id), amounts, quotas)

    async def status(self, owner: str, quotas: Sequence[Quota]) -> OwnerStatus:
        return await super().status(self.alike(owner), quotas)


@breaks("test_streams_are_told_apart_by_session_too")
class RunsIdsTogether(Bench):
    def __init__(self) -> None:
        super().__init__()
        self.names: dict[tuple[str, str], StreamRef] = {}

    async def reserve(self, ref: StreamRef, amounts: Mapping[str, int], quotas: Sequence[Quota]) -> Admitted | Refused:
        ref = self.names.setdefault((ref.key.owner, ref.key.session_id + ref.stream_id), ref)
        return await super().reserve(ref, amounts, quotas)


@breaks("test_an_unknown_owner_has_used_nothing", "test_amounts_are_of_the_units_that_are_counted")
class StandsStrangersBadly(Bench):
    async def status(self, owner: str, quotas: Sequence[Quota]) -> OwnerStatus:
        status = await super().status(owner, quotas)
        if owner not in self._ledgers and len(quotas) == 2:
            standings = tuple(replace(standing, used=1) for standing in status.standings)
            return replace(status, standings=standings)
        return status


@breaks("test_units_are_counted_apart")
class CountsInTheFirstUnit(Bench):
    async def status(self, owner: str, quotas: Sequence[Quota]) -> OwnerStatus:
        status = await super().status(owner, quotas)
        if [quota.unit for quota in quotas] != ["requests", "tokens"]:
            return status
        first = status.standings[0]
        standings = [replace(one, used=first.used, reserved=first.reserved) for one in status.standings]
        return replace(status, standings=tuple(standings))


@breaks("test_windows_of_one_unit_are_counted_apart")
class CountsInTheFirstWindow(Bench):
    async def status(self, owner: str, quotas: Sequence[Quota]) -> OwnerStatus:
        status = await super().status(owner, quotas)
        if len(quotas) != 2 or len({quota.unit for quota in quotas}) == 2:
            return status
        first, second = status.standings
        return replace(status, standings=(first, replace(second, reserved=first.reserved)))


@breaks("test_a_window_ends_within_its_period", "test_a_refusal_says_when_to_ask_again")
class StopsTheClock(Bench):
    async def status(self, owner: str, quotas: Sequence[Quota]) -> OwnerStatus:
        status = await super().status(owner, quotas)
        standings = [
            replace(one, resets_in_seconds=one.quota.period_seconds) if one.quota.limit == 100 else one
            for one in status.standings
        ]
        return replace(status, standings=tuple(standings))


class Lingering(Bench):
    """Takes something of a window along into the next."""

    takes_used = False
    takes_held = False

    def __init__(self) -> None:
        super().__init__()
        self.before: dict[tuple[str, int, str], tuple[int, int, int]] = {}

    async def status(self, owner: str, quotas: Sequence[Quota]) -> OwnerStatus:
        for quota in quotas if quotas and len(quotas) < 9 and len(owner) < 99 else ():
            window = self.window(owner, quota)
            if window is None or quota.per == LONG:
                continue
            name = (owner, quota.period_ms, quota.unit)
            index, used, held = self.before.get(name, (window.index, 0, 0))
            if index != window.index:
                window.used += used if self.takes_used else 0
                window.held += held if self.takes_held else 0
            self.before[name] = (window.index, window.used, window.held)
        return await super().status(owner, quotas)


@breaks("test_a_new_window_begins_with_nothing_used")
class CountsOn(Lingering):
    takes_used = True


@breaks("test_a_new_window_begins_with_nothing_reserved", "test_a_reply_counts_in_the_window_it_began_in")
class HoldsOn(Lingering):
    takes_held = True


@breaks("test_a_reply_counts_in_the_window_it_began_in")
class ChargesTheWindowItEndsIn(Bench):
    async def commit(self, ref: StreamRef, amounts: Mapping[str, int] | None = None) -> Settlement:
        record = self.record(ref)
        answer = await super().commit(ref, amounts)
        for unit, period_ms, index in record.windows if record is not None and answer.changed else ():
            ledger = self.ledger(ref.key.owner)
            assert ledger is not None
            window = ledger._window(unit, period_ms)
            if window.index != index:
                window.used += answer.charged[unit]
        return answer


@breaks("test_what_is_held_is_listed_soonest_to_expire_first")
class ListsTheOldestFirst(Bench):
    async def held(self, owner: str, *, limit: int = 100) -> list[Reservation]:
        found = await super().held(owner, limit=limit)
        ledger = self.ledger(owner)
        names = [] if ledger is None else list(ledger._records)
        return sorted(found, key=lambda one: names.index((one.ref.key.session_id, one.ref.stream_id)))
