"""The contract of the stream store: the log of every stream, the registry of sessions, the outbox.

Every method is one atomic step, safe to repeat: a caller whose reply was lost asks again and gets the same answer.
`MemoryStore` is the executable specification; `streamguard.testing.StreamStoreSuite` checks any other store against it.

Who may write is decided by *epochs*: a stream's meta holds one, every write names the one it believes in, and a
write under an older epoch is refused (`FENCED`). Leases only choose who acts; they protect nothing.

`register` and `take_over` issue epochs: the larger of one past the stream's last and the store's clock in
microseconds. So none is issued twice, not even after the store lost its newest changes and with them an epoch that it
had issued; and so the epoch that wrote an event and the event's number name that one event for ever.

When a stream began, and when a session was erased, is said by the store's clock alone: no worker's is compared with
it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager

from ..values import Event, Persisted, Position, QuotaState, SessionKey, StreamRef, Usage
from .damage import Unreadable
from .records import (
    NOTHING_CONSUMED,
    UNTOLD,
    Append,
    AppendReply,
    ClaimState,
    Close,
    Erasure,
    Hint,
    LostLog,
    NewStream,
    OutboxEntry,
    Partition,
    RequestClaim,
    Seal,
    SessionRecord,
    Status,
    StreamMeta,
    TakeoverReply,
    Terminal,
)
from .registrations import ENDED_UNCOUNTED, Full, Occupied, Registered, StopReply, Withdrawn

__all__ = [
    "ENDED_UNCOUNTED",
    "NOTHING_CONSUMED",
    "UNTOLD",
    "Append",
    "AppendReply",
    "ClaimState",
    "Close",
    "Erasure",
    "Full",
    "Hint",
    "LostLog",
    "NewStream",
    "Occupied",
    "OutboxEntry",
    "Partition",
    "Registered",
    "RequestClaim",
    "Seal",
    "SessionRecord",
    "Status",
    "StopReply",
    "StreamMeta",
    "StreamStore",
    "TakeoverReply",
    "Terminal",
    "Unreadable",
    "Withdrawn",
]


class StreamStore(ABC):
    """The log and registry of streams.

    Every method raises `StoreUnavailableError` when the store does not answer within its command timeout or
    refuses (then the step may or may not have happened: ask again), and `StoreCorruptError` for a record it cannot
    read. Cancelling a call leaves the same doubt. None retries by itself.
    """

    shared: bool
    """Whether other processes see the same streams."""

    server: str | None = None
    """What answers for it outside this process: stores with the same are down together, and a request that waits for
    several of them waits once. None for nothing outside, or for who would not say."""

    on_unreadable: Callable[[Unreadable], None] | None = None
    """Told of what the store comes upon and cannot read where no caller asked for it: entries of indexes. Called on the
    event loop; must not raise or block. The runtime sets it."""

    @abstractmethod
    async def start(self) -> list[str]:
        """Connect. Returns warnings for the operator (an eviction policy that drops live streams, say).

        Must not raise for an unreachable store: the guard starts degraded and recovers.
        """

    @abstractmethod
    async def aclose(self) -> None:
        """Release what this object opened. Nothing stored is touched."""

    @abstractmethod
    async def ping(self) -> None:
        """Prove that the store answers and accepts writes."""

    # -- the registry ---------------------------------------------------------------------------------------------

    @abstractmethod
    async def register(
        self,
        new: NewStream,
        *,
        lease_seconds: float,
        ttl_seconds: float,
        limit: int | None,
        arrived_seconds: float = 0.0,
    ) -> Registered | Occupied | Full | Withdrawn:
        """Make `new` the session's active stream, and count it among its owner's running ones while its lease lasts.

        `Occupied` when the session has an unsealed stream, whatever its lease; that is looked at first, since what may
        be joined or replaced takes no other slot. `Full` when `limit` others of the owner's are running; None allows
        any number. Of this session's, those that are sealed and still being closed do not count, since the new one
        takes their place, but for more than `ENDED_UNCOUNTED`. A stream that is registered already keeps what it has,
        whatever the limit.

        Writes the lease index before and the session pointers, the ordinal, the meta and the owner's slot in one step.
        The stream begins now, and so later than any erasure of its session.

        `arrived_seconds`: how long ago its request arrived. If `stop_pending_requests` stopped the session's pending
        requests after that, the stream is registered with its stop requested. If it did so before, that stop is taken
        back: a user who asks again after a stop means it.
        """

    @abstractmethod
    async def withdraw(self, ref: StreamRef, *, refuse_seconds: float) -> Status:
        """Take back a registration that nobody acted on: its reply was lost, or its caller was cancelled.

        Nothing is left of the stream: its session has no active one, its last one is that of before, and its owner's
        slot is free. `register` answers `Withdrawn` for it during the next `refuse_seconds`, should the registration
        arrive only now. Subscribers get a hint.

        `OK`; `GONE` when there is no such stream, whose registration is refused all the same; `FENCED` when it has
        events, ended, lost its log or was taken by another worker: then nothing changes.
        """

    @abstractmethod
    async def release_slot(self, owner: str, stream_id: str) -> None:
        """Take `stream_id` out of its owner's running streams; unknown ones are ignored."""

    @abstractmethod
    async def session(self, key: SessionKey) -> SessionRecord:
        """The session's pointers and what they point to. An unknown session has neither."""

    @abstractmethod
    async def meta(self, ref: StreamRef) -> StreamMeta | None:
        """The stream's record, or None."""

    @abstractmethod
    async def check_position(self, ref: StreamRef, at: Position) -> tuple[StreamMeta | None, bool]:
        """The stream's record, and whether its log holds exactly the event `at` names, in one step. `START` is held by
        every stream there is.
        """

    # -- the log ----------------------------------------------------------------------------------------------------

    @abstractmethod
    async def append(self, batch: Sequence[Append]) -> list[AppendReply]:
        """Append to many streams in one round trip; replies in the order asked.

        Each checks epoch and open state, refuses a missing meta, appends what is not there yet, and hands subscribers
        a hint. An event already present under the same epoch is a success; under another it is `FENCED`. What arrives
        past its `within_seconds`, on the store's clock, is `LATE`: its writer has given it up.
        """

    @abstractmethod
    async def read(self, ref: StreamRef, after: Position, *, max_bytes: int) -> list[Event]:
        """Events after the one `after` names, numbered on from it without a gap, at least one if there is any, else
        about `max_bytes` of payload.

        Raises:
            LogBrokenError: the log does not hold that event, or does not go on from it: it was trimmed, or lost it.
        """

    @abstractmethod
    def subscribe(
        self, ref: StreamRef, on_hint: Callable[[Hint], None], *, data: bool = True
    ) -> AbstractAsyncContextManager[None]:
        """While entered, `on_hint` is called (on the event loop, never concurrently) for appends, stop requests, seals,
        takeovers and closes of the stream made after entering, by any process.

        With `data=False` appends are left out: what a stream's own writer listens to. After a lost connection every
        subscriber gets an empty hint. `on_hint` must not raise or block.
        """

    # -- the writer's claim -----------------------------------------------------------------------------------------

    @abstractmethod
    async def heartbeat(
        self,
        claims: Sequence[tuple[StreamRef, int]],
        *,
        lease_seconds: float,
        ttl_seconds: float,
        consumed: Mapping[StreamRef, Usage] = NOTHING_CONSUMED,
    ) -> list[AppendReply]:
        """Renew leases (and owners' slots) of (stream, epoch) claims, and the TTLs of their keys, in one round trip.

        What a stream `consumed` so far replaces what its record says of it, until its seal does: should its writer die,
        that is what is known.

        Answers `OK` (also for a sealed stream that is not closed), `FENCED`, `GONE`, or `SEALED` for a closed one.
        """

    @abstractmethod
    async def take_over(
        self, ref: StreamRef, *, lease_seconds: float, expected_epoch: int | None = None, force: bool = False
    ) -> TakeoverReply:
        """Raise the epoch and take the lease, if the lease ran out, or `force`.

        With `expected_epoch`, only from that epoch (else `FENCED`): of two that race, one wins. The old writer is
        told by a hint.
        """

    @abstractmethod
    async def request_stop(self, ref: StreamRef) -> StopReply:
        """Ask the stream's writer to stop: sets the flag and hands subscribers a hint."""

    @abstractmethod
    async def stop_pending_requests(self, key: SessionKey, *, seconds: float, limit: int) -> bool:
        """Stop those answers of the session whose requests have arrived by now, and that are registered within
        `seconds`: for a stop that finds nothing to stop. See `register`.

        Of one owner's sessions, the `limit` that were marked so last stay so. False, and nothing is changed, when the
        session has an unsealed stream: that is what a stop means then.
        """

    @abstractmethod
    async def expired_leases(self, *, limit: int, partition: Partition | None = None) -> list[StreamRef]:
        """Streams whose lease ran out on the store's clock and that are not closed, oldest first; of all, or of one
        `partition`: those of as many places as there are make up all, and no two have one in common.

        Entries of streams that no longer exist are removed on the way, and their sessions' active pointers to them.
        """

    async def defer(  # noqa: B027 -- not every store can hold what it cannot read
        self, ref: StreamRef, *, seconds: float, readable: bool = False
    ) -> None:
        """Make `expired_leases` leave the stream out for so long: one whose record cannot be read, and its session
        takes another stream; or a `readable` one that this version cannot end, of which nothing is changed.

        A store of which neither can be true has nothing to do.
        """

    @abstractmethod
    async def partition(self, worker: str, *, lease_seconds: float) -> Partition:
        """Count `worker` among those that share out what is due, for `lease_seconds` from now, or with 0 no longer.

        Tells its place among those that count at present. Two may be told one place while somebody comes or goes: a
        partition says where to look, and protects nothing.
        """

    # -- the end ----------------------------------------------------------------------------------------------------

    @abstractmethod
    async def seal(self, ref: StreamRef, epoch: int, seal: Seal) -> tuple[Status, Seal | None]:
        """Decide how the stream ended; the first seal stands and is returned, whoever asks.

        `OK`: sealed by this call. `SEALED`: it was before (under this epoch or another). `FENCED`, `GONE`,
        `LOST`, and `GAP` when the log does not end at `seal.last_seq`.
        """

    @abstractmethod
    async def close(self, close: Close) -> AppendReply:
        """Append notices, closing parts and the terminal record; close the log; compare-and-clear the session's
        active pointer; set retention; drop the lease and give the owner's slot back.

        `OK`, `DUPLICATE` (closed before under this epoch), `FENCED`, `NOT_SEALED`, `GONE`.
        """

    async def seal_and_close(self, close: Close, seal: Seal) -> tuple[Status, Seal | None, AppendReply | None]:
        """`seal`, then `close` if the seal that stands is this one: for a stream with nothing to do in between.

        Gives what both answer, None for a close that was not tried. A store may do both in one round trip.
        """
        status, standing = await self.seal(close.ref, close.epoch, seal)
        if standing != seal:
            return status, standing, None
        return status, standing, await self.close(close)

    @abstractmethod
    async def declare_lost(self, lost: LostLog) -> AppendReply:
        """Declare a log lost; see `LostLog`.

        Creates the record under `lost.epoch` if it is missing (unless the session was erased since the stream began:
        `GONE`), adopts an applied registration, takes the session's pointers only if no newer stream has them.
        `FENCED` under another epoch, `SEALED` when the stream is sealed or closed otherwise, `DUPLICATE` when this
        tombstone stands already.
        """

    @abstractmethod
    async def update_meta(
        self,
        ref: StreamRef,
        *,
        persisted: Persisted | None = None,
        quota: QuotaState | None = None,
        revised: bool = False,
    ) -> Status:
        """Set the mutable fields of a stream's record, `revised` for good: `OK` or `GONE`."""

    @abstractmethod
    async def erase(self, key: SessionKey, *, mark_seconds: float, unknown_seconds: float | None = None) -> None:
        """Delete every stream of the session, and a stop of its coming answers, and leave an erasure mark that refuses
        what began before it.

        The mark lasts `mark_seconds`; that of a session of which the store knows nothing, `unknown_seconds` if given:
        anybody can name sessions that never were.
        """

    @abstractmethod
    async def erasure(self, key: SessionKey) -> Erasure | None:
        """The session's last erasure, while it is marked.

        Asked before a late write elsewhere, such as a save: what began before the erasure must not come back.
        """

    # -- the outbox -------------------------------------------------------------------------------------------------

    @abstractmethod
    async def enqueue(self, ref: StreamRef, *, due_seconds: float) -> None:
        """Enter the stream into the outbox, due `due_seconds` from now; *before* the close that has the payload.

        An entry without a closed stream and its payload is nobody's work yet. A repeat moves the due time, but never
        to an earlier one, since a worker may hold a claim by then; it does not revive a dead letter.
        """

    @abstractmethod
    async def claim_due(self, *, limit: int, claim_seconds: float) -> list[OutboxEntry]:
        """At most `limit` due entries, oldest first, each moved `claim_seconds` ahead in the step that picks it.

        Until then nobody else is given them; a worker that dies leaves them to the next, and one that takes longer may
        find somebody else at it. Entries of streams that are not closed yet are moved ahead too, and not given; those
        without a record or a payload are removed. One that cannot be read is left for later and holds up no other.
        Cancelled, or with its reply lost, this may have claimed entries: they come up again when the claim runs out.
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
        """Leave it to a worker that knows more, and look again in `due_seconds`, which ends a claim. That is no
        attempt, and the stream is kept no longer for it.

        Returns for how many seconds, on the store's clock, everybody has left it so, since it was entered, tried or
        revived last; None when there is nothing to leave: no such stream, nothing owed, or a dead letter.
        """

    @abstractmethod
    async def dead_letter(self, ref: StreamRef, *, reason: str, ttl_seconds: float) -> Status:
        """Give up: the entry becomes a dead letter, its payload kept for `ttl_seconds` from now.

        The last attempt counts as failed; burying a dead letter again counts nothing. A save that was pending is on
        record as not made in the same step: `persisted` is `NO`. `OK`, or `GONE` when nothing is owed.
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

    @abstractmethod
    async def peek_due(self, *, limit: int) -> list[OutboxEntry]:
        """For a dry run: at most `limit` entries that `claim_due` would give now, oldest first. Changes nothing.

        Only what the streams' records confirm: there may be more although fewer are given, but entries in a number
        that depends on `limit` alone are looked at.
        """

    @abstractmethod
    async def outbox_entries(self, *, dead: bool, limit: int, after: StreamRef | None = None) -> list[OutboxEntry]:
        """For operators: what is owed, or the dead letters, ordered by stream id, beginning after that of `after`.

        Only what the streams' records confirm. Fewer than `limit` means that there are no more. It reads the whole
        outbox, unlike everything else here.
        """

    @abstractmethod
    async def previous(self, ref: StreamRef, message_id: str) -> StreamMeta | None:
        """The latest earlier stream of the same session with this message id, by ordinal.

        Streams that were never registered have no ordinal: they are never the previous one, and every other is earlier
        than they are.
        """

    # -- for operators ----------------------------------------------------------------------------------------------

    @abstractmethod
    async def active_streams(self, *, limit: int) -> list[StreamMeta]:
        """At most `limit` streams that are not closed, those whose lease ends first, or ended, at the head.

        Only what the streams' records confirm, and without those this version cannot read. Changes nothing.
        """

    @abstractmethod
    async def session_streams(self, key: SessionKey, *, limit: int) -> list[StreamMeta]:
        """At most `limit` of a session's streams, as far as their records are still there: the latest first, by
        ordinal, those that were never registered at the end. Changes nothing."""

    @abstractmethod
    async def report_viewers(self, worker: str, viewers: Mapping[str, int], *, seconds: float) -> None:
        """Note how many view each stream, by its id, in `worker`: in place of what it said before, for `seconds`.

        With none, what it said before stands no longer.
        """

    @abstractmethod
    async def viewer_counts(self) -> Mapping[str, int]:
        """How many view each stream, by its id, in all workers together, as they last said."""

    @abstractmethod
    async def note_viewed(self, refs: Sequence[StreamRef]) -> None:
        """Note that these streams are viewed now, outside their writers' processes. Others than open ones are ignored.

        A writer that ends what nobody watches learns it from `StreamMeta.viewed_seconds`.
        """

    # -- idempotency ------------------------------------------------------------------------------------------------

    @abstractmethod
    async def claim_request(
        self,
        owner: str,
        request_key: str,
        claim: RequestClaim,
        *,
        ttl_seconds: float,
        expected: RequestClaim | None = None,
    ) -> RequestClaim:
        """Say which stream answers the owner's requests with this key, unless another claim stands; returns that one.

        With `expected`, a claim equal to it is replaced: of two that race, one wins. The caller's own is kept for at
        least `ttl_seconds` from now, also when it stood before.
        """

    @abstractmethod
    async def release_request(self, owner: str, request_key: str, claim: RequestClaim) -> bool:
        """Take back a claim, if it stands exactly so: nothing is left of it, and the next request finds the key free.

        Any other claim stays. Returns whether it stood so.
        """
