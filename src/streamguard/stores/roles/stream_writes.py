"""What the worker that owns a stream does with it: append, renew its lease, end it; and how another takes it over."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager

from ...values import Persisted, QuotaState, StreamRef, Usage
from ..appends import AppendReply, AppendRequest, Placement
from ..records import NOTHING_CONSUMED, Close, LostLog, Seal, Status, TakeoverReply
from ..worker_hints import WorkerHint

__all__ = ["StreamWrites"]


class StreamWrites(ABC):
    """Every write names the epoch that its writer believes in; a write under an older epoch is refused (`FENCED`).

    Leases only choose who acts; they protect nothing. Every method is one atomic step, safe to repeat: a caller whose
    reply was lost asks again and gets the same answer.
    """

    def placement(self) -> Placement | None:
        """Which streams' appends may be slow together; None: all may. A batch of one server never waits for another."""
        return None

    # -- while the stream runs --------------------------------------------------------------------------------------

    @abstractmethod
    async def append(self, batch: Sequence[AppendRequest]) -> Sequence[AppendReply]:
        """Append to many streams in one round trip; replies in the order asked. `AllAppended` may stand for them all.

        Each append checks epoch and open state, refuses a missing record, adds the events that are not there yet, and
        hands subscribers a hint. An event already present under the same epoch is a success; under another it is
        `FENCED`. An append that arrives past its `within_seconds`, on the store's clock, is `LATE`: its writer has
        given it up. The append of event 1 may say what the stream speaks (`AppendRequest.decided`): the record takes
        it in, in the same step, and the stream is found under that message's id from then on.
        """

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

        A store may leave a TTL as it is for a minute after it was renewed, or for an eighth of it, if that is less. One
        that differs from the stream's so far is given at once, and by appends that are to `refresh` from then on.

        What a stream `consumed` so far replaces what its record says of it, until its seal does: should its writer die,
        that is what is known.

        Answers `OK` (also for a sealed stream that is not closed), `FENCED`, `GONE`, or `SEALED` for a closed one.
        """

    @abstractmethod
    def subscribe_worker(self, worker: str, on_hint: Callable[[WorkerHint], None]) -> AbstractAsyncContextManager[None]:
        """While entered, `on_hint` is called (on the event loop, never concurrently) for every stop request, takeover
        and erasure that concerns a stream of this worker, by any process.

        A stream is of the worker that `NewStream.worker` or `take_over` named last. `worker` is an id that its process
        made at random and nobody else uses: a worker has one such subscription for all of its streams. After a lost
        connection comes `MISSED_HINTS`. `on_hint` must not raise or block.
        """

    @abstractmethod
    async def take_over(
        self,
        ref: StreamRef,
        *,
        lease_seconds: float,
        expected_epoch: int | None = None,
        force: bool = False,
        worker: str = "",
    ) -> TakeoverReply:
        """Raise the epoch and take the lease, if the lease ran out, or `force`.

        With `expected_epoch`, only from that epoch (else `FENCED`): of two workers that race, one wins. A hint tells
        the worker that wrote the stream until now (`subscribe_worker`); from here on it is `worker`.
        """

    # -- the end ----------------------------------------------------------------------------------------------------

    @abstractmethod
    async def seal(self, ref: StreamRef, epoch: int, seal: Seal) -> tuple[Status, Seal | None]:
        """Decide how the stream ended; the first seal stands and is returned to every caller.

        `OK`: sealed by this call. `SEALED`: it was before (under this epoch or another). `FENCED`, `GONE`,
        `LOST`, and `GAP` when the log does not end at `seal.last_seq`.
        """

    @abstractmethod
    async def close(self, close: Close) -> AppendReply:
        """Append notices, closing parts and the terminal record; close the log; compare-and-clear the session's
        active pointer; set retention; drop the lease and give the owner's slot back.

        `OK`, `DUPLICATE` (closed before under this epoch), `FENCED`, `NOT_SEALED`, `GONE`.
        """

    async def seal_and_close(
        self, close: Close, seal: Seal, last: AppendRequest | None = None
    ) -> tuple[Status, Seal | None, AppendReply | None]:
        """`seal`, then `close` if the seal that stands is this one: for a stream with nothing to do in between.

        Returns what both answer, None for a close that was not tried. A store may do both in one round trip.

        A store that can append, seal and close in one atomic step may be given the `last` events too, those up to
        `seal.last_seq`. It carries out all of it, or answers `NOT_SEALED` and has changed nothing: where anything but
        `OK` would be answered to that append, where the log has some of the events already, and where the append has to
        do more (`refresh`, `decided`). As this one does, which cannot: the caller then appends them, and ends the
        stream without them. Asked again after it closed the stream, it answers as without `last`.
        """
        if last is not None:
            return Status.NOT_SEALED, None, None
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
