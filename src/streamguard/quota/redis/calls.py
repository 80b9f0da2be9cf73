"""The scripts on quotas, each with its keys, arguments and reply; see `streamguard.lua`.

The answer to each that works on a ledger may be `newer`: a later version wrote it.
"""

from __future__ import annotations

from typing import Final, NamedTuple, TypeVar

from ...lua import Call, Key, Rest

__all__ = [
    "CALLS",
    "Audit",
    "AuditAnswer",
    "ClaimDue",
    "Commit",
    "CountIndex",
    "CountIndexAnswer",
    "EnterIndex",
    "Expire",
    "Find",
    "FindAnswer",
    "Held",
    "HeldAnswer",
    "LedgerCall",
    "MoveEntries",
    "Release",
    "Renew",
    "RenewAnswer",
    "ReservationCall",
    "Reserve",
    "ReserveAnswer",
    "SettleAnswer",
    "Shown",
    "Status",
    "StatusAnswer",
]

R = TypeVar("R")


class LedgerCall(Call[R]):
    """About one owner's ledger."""

    ledger_key: Key
    records_key: Key
    open_key: Key
    done_key: Key
    late_ms: int
    """How long what expired is remembered."""
    ttl_ms: int


class ReservationCall(LedgerCall[R]):
    """About one reservation."""

    id: bytes


class Shown(NamedTuple):
    """A reservation, as `shown` in ledger.lua gives it."""

    state: bytes
    left_ms: int
    late: bytes
    """`1` when it was committed late."""
    amounts: list[bytes]
    """Unit, reserved and charged of each."""


class ReserveAnswer(NamedTuple):
    """See `Reserve`."""

    answer: bytes
    standings: list[int] | None = None
    """Used, held and milliseconds until it resets, of each quota."""
    reservation: Shown | None = None


class Reserve(ReservationCall[ReserveAnswer], script="reserve"):
    """Reserve amounts, if they fit under every quota."""

    owner: str
    hold_ms: int
    amount_count: int
    amounts_and_quotas: Rest


class SettleAnswer(NamedTuple):
    """See `Commit`, `Release` and `Expire`."""

    answer: bytes
    changed: int = 0
    conflict: int = 0
    reservation: Shown | None = None


class Commit(ReservationCall[SettleAnswer], script="commit"):
    """Charge what a stream consumed and free the rest."""

    remember_ms: int
    """How long it is remembered."""
    known: Rest
    """Unit and amount of each that is known."""


class Release(ReservationCall[SettleAnswer], script="release"):
    """Free what a stream has reserved and charge nothing."""

    remember_ms: int
    """How long it is remembered."""


class Expire(ReservationCall[SettleAnswer], script="expire"):
    """See whether a reservation has expired."""


class FindAnswer(NamedTuple):
    """See `Find`."""

    answer: bytes
    reservation: Shown | None = None


class Find(ReservationCall[FindAnswer], script="find"):
    """Read one reservation."""


class RenewAnswer(NamedTuple):
    """See `Renew`."""

    answer: bytes
    states: tuple[bytes, ...] = ()


class Renew(LedgerCall[RenewAnswer], script="renew"):
    """Keep reservations of one owner."""

    hold_ms: int
    ids: Rest


class HeldAnswer(NamedTuple):
    """See `Held`."""

    answer: bytes
    found: tuple[object, ...] = ()
    """Name and reservation in turn."""


class Held(LedgerCall[HeldAnswer], script="held"):
    """List what an owner has reserved."""

    limit: int


class StatusAnswer(NamedTuple):
    """See `Status`."""

    answer: bytes
    pending: int = 0
    standings: list[int] | None = None


class Status(LedgerCall[StatusAnswer], script="status"):
    """Tell how an owner stands."""

    stale_ms: int
    most_pending: int
    quotas: Rest
    """Unit and period of each."""


class AuditAnswer(NamedTuple):
    """See `Audit`."""

    answer: bytes
    conflicts: int = 0
    sums: list[int] | None = None
    """Used, what it should be, held, what it should be, of each quota; None for too many reservations."""


class Audit(LedgerCall[AuditAnswer], script="audit"):
    """Hold an owner's counters against its reservations."""

    repair: bool
    most: int
    """So many reservations are read; 0 for any number."""
    quotas: Rest
    """Unit and period of each."""


# -- the index of reservations ----------------------------------------------------------------------------------------


class EnterIndex(Call[int], script="enter_index"):
    """Enter a reservation; one that is there stays."""

    shard_key: Key
    look_in_ms: int
    ttl_ms: int
    member: bytes


class MoveEntries(Call[int], script="move_entries"):
    """Correct entries that are there."""

    shard_key: Key
    moves: Rest
    """Member of each, and in how many milliseconds to look at it, or nothing to remove it."""


class ClaimDue(Call[list[bytes]], script="claim_due"):
    """List what is due in a shard, and put it off."""

    shard_key: Key
    claim_ms: int
    ttl_ms: int
    count: int


class CountIndexAnswer(NamedTuple):
    """See `CountIndex`."""

    all: int
    due: int
    due_ms: int


class CountIndex(Call[CountIndexAnswer], script="count_index"):
    """Count a shard."""

    shard_key: Key


CALLS: Final = (
    Audit,
    ClaimDue,
    Commit,
    CountIndex,
    EnterIndex,
    Expire,
    Find,
    Held,
    MoveEntries,
    Release,
    Renew,
    Reserve,
    Status,
)
"""One for each script."""
