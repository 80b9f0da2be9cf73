"""Work that a closed stream still owes, a save or a settlement, kept until a worker has done it."""

from __future__ import annotations

from abc import ABC, abstractmethod

from ...values import Persisted, QuotaState, StreamRef
from ..records import OutboxEntry, Status

__all__ = ["Outbox"]


class Outbox(ABC):
    """A queue with one entry per stream. An entry is due, claimed for a while, or a dead letter.

    The payload comes with the stream's close (`Close.outbox_payload`); an entry says when to look at it.
    """

    @abstractmethod
    async def enqueue(self, ref: StreamRef, *, due_seconds: float) -> None:
        """Enter the stream into the outbox, due `due_seconds` from now; *before* the close that has the payload.

        An entry without a closed stream and its payload is no work yet. A repeat moves the due time, but never
        to an earlier one, since a worker may hold a claim by then; it does not requeue a dead letter.
        """

    @abstractmethod
    async def claim_due(self, *, limit: int, claim_seconds: float) -> list[OutboxEntry]:
        """At most `limit` due entries, oldest first, each moved `claim_seconds` ahead in the step that picks it.

        Until then no other worker is given them; a worker that dies leaves them to the next, and one that takes longer
        may find another worker at it. Entries of streams that are not closed yet are moved ahead too, and not given;
        those without a record or a payload are removed. An entry that cannot be read is left for later and holds up no
        other. A cancelled call, or one whose reply was lost, may have claimed entries: they come up again when the
        claim runs out.
        """

    @abstractmethod
    async def retry_later(
        self, ref: StreamRef, *, due_seconds: float, reason: str, ttl_seconds: float, count: bool = True
    ) -> Status:
        """Try again in `due_seconds`, which ends a claim; the stream is kept for `ttl_seconds` from now.

        With `count` the attempt counts as failed; a repeat counts again. `OK`, or `GONE` when there is nothing to try
        again: no such stream, nothing owed, or a dead letter.
        """

    @abstractmethod
    async def release_claim(self, ref: StreamRef, *, due_seconds: float, reason: str) -> float | None:
        """Leave the entry to a worker that knows more (its endpoint, say), due again in `due_seconds`, which ends a
        claim. That is no attempt, and the stream is kept no longer for it.

        Returns for how many seconds, on the store's clock, every worker has released it, since it was enqueued, tried
        or requeued last; None when there is nothing to release: no such stream, nothing owed, or a dead letter.
        """

    @abstractmethod
    async def dead_letter(self, ref: StreamRef, *, reason: str, ttl_seconds: float) -> Status:
        """Give up: the entry becomes a dead letter, its payload kept for `ttl_seconds` from now.

        The last attempt counts as failed; a repeat counts nothing. A save that was pending is on record as not made in
        the same step: `persisted` is `NO`. `OK`, or `GONE` when nothing is owed.
        """

    @abstractmethod
    async def requeue(self, ref: StreamRef, *, saves: bool = True) -> Status:
        """Make a dead letter due at once, with no attempts behind it; its last reason stays.

        With `saves`, a save is among what it owes: one on record as not made (`NO`) is pending again, in the same step.
        `OK`, also for an entry that is no dead letter, which is left as it is; `GONE` when nothing is owed.
        """

    @abstractmethod
    async def complete(
        self,
        ref: StreamRef,
        *,
        persisted: Persisted | None = None,
        quota: QuotaState | None = None,
        retention_seconds: float,
    ) -> Status:
        """Nothing is owed any more: payload and entry are removed, the mutable fields set, and the stream is kept for
        `retention_seconds` from now.

        `OK`, also when nothing was owed; `GONE`. Of a stream that is not closed only the fields are set: its close
        decides what is owed and for how long it is kept.
        """
