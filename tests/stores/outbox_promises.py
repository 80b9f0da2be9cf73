"""What a store promises about work owed and idempotency keys, checked on what it shows and answers."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from streamguard.stores.records import OutboxEntry, RequestClaim, Status
from streamguard.values import StreamRef

__all__ = ["OutboxPromises", "PromiseBrokenError"]


class PromiseBrokenError(AssertionError):
    """A store broke what it promised. `promise` is the promise's number or name."""

    def __init__(self, promise: str, detail: str) -> None:
        super().__init__(f"{promise}: {detail}")
        self.promise = promise


@dataclass
class OutboxPromises:
    """The history of one store's outbox so far."""

    _enqueued: set[StreamRef] = field(default_factory=set)
    """Streams with an entry, whether they owe anything or not."""
    _owed: set[StreamRef] = field(default_factory=set)
    """Closed streams with work owed and an entry."""
    _completed: set[StreamRef] = field(default_factory=set)
    _held: set[StreamRef] = field(default_factory=set)
    """Claimed, by a claim that outlasts the example."""
    _dead: set[StreamRef] = field(default_factory=set)
    _recorded: set[StreamRef] = field(default_factory=set)
    """Streams that had a record after the last step."""
    _requests: dict[tuple[str, str], RequestClaim] = field(default_factory=dict)

    def enqueued(self, ref: StreamRef) -> None:
        """`enqueue` was answered."""
        if ref in self._recorded:
            self._enqueued.add(ref)

    def closed(self, ref: StreamRef, status: Status, owed: bytes | None) -> None:
        """A close with that payload was answered."""
        if status is Status.OK and owed is not None and ref in self._enqueued:
            self._owed.add(ref)

    def claimed(self, claims: Collection[OutboxEntry], *, lasting: bool) -> None:
        """These were claimed, until after the example's end if `lasting`."""
        refs = [owed.ref for owed in claims]
        if len(set(refs)) < len(refs) or self._held & set(refs):
            raise PromiseBrokenError("claim", "somebody else holds the claim on an entry given")
        if self._completed & set(refs):
            raise PromiseBrokenError("completed", "an entry that was completed was given again")
        if self._dead & set(refs):
            raise PromiseBrokenError("dead_letter", "a dead letter was given")
        if lasting:
            self._held |= set(refs)

    def retried_later(self, ref: StreamRef, status: Status) -> None:
        """`retry_later` was answered."""
        if status is Status.OK:
            self._held.discard(ref)

    def dead_lettered(self, ref: StreamRef, status: Status) -> None:
        """`dead_letter` was answered."""
        if status is Status.OK:
            self._held.discard(ref)
            self._dead.add(ref)

    def requeued(self, ref: StreamRef, status: Status) -> None:
        """`requeue` was answered."""
        if status is Status.OK:
            self._dead.discard(ref)

    def completed(self, ref: StreamRef, status: Status, *, closed: bool) -> None:
        """`complete` of a stream that was closed, or not, was answered."""
        if status is Status.OK and closed:
            for refs in (self._owed, self._held, self._dead):
                refs.discard(ref)
            self._completed.add(ref)

    def requested(self, owner: str, request_key: str, standing: RequestClaim, *, expected: RequestClaim | None) -> None:
        """A request was claimed, and this claim stands. None expires within an example."""
        known = self._requests.get((owner, request_key))
        if known not in (None, expected, standing):
            raise PromiseBrokenError("request", f"{known} was replaced by {standing}, though it was not expected")
        self._requests[owner, request_key] = standing

    def released(self, owner: str, request_key: str, claim: RequestClaim, *, released: bool) -> None:
        """A claim was to be taken back, and was or was not."""
        known = self._requests.get((owner, request_key))
        if released is not (known == claim):
            raise PromiseBrokenError("request", f"{known} stood, and {claim} was taken back: {released}")
        if released:
            del self._requests[owner, request_key]

    def observed(self, owed: Mapping[StreamRef, OutboxEntry], recorded: Collection[StreamRef]) -> None:
        """This is what is owed, and which streams have a record, after a step."""
        self._recorded = set(recorded)
        for refs in (self._enqueued, self._owed, self._completed, self._held, self._dead):
            refs &= self._recorded
        if not owed.keys() <= self._recorded:
            raise PromiseBrokenError("gone", "something is owed for a stream without a record")
        if self._completed & owed.keys():
            raise PromiseBrokenError("completed", "an entry that was completed is listed again")
        if not owed.keys() >= self._owed:
            raise PromiseBrokenError("owed", f"{self._owed - owed.keys()} owe work that is not listed")
        if any(owed[ref].dead is not (ref in self._dead) for ref in self._owed):
            raise PromiseBrokenError("dead_letter", "an entry is listed among the wrong ones")
