"""`Idempotency-Key`: requests of one owner that carry the same key are one request, whichever workers they reach.

The first of them claims the key in the stream store for a stream that it then registers; before its endpoint runs it
marks the claim as begun. The others view that stream, from its start. Both steps compare and set one record, so that of
a slow first request and another that has given it up, one runs the endpoint:

```
(no claim) → claimed by a request → begun by the same request
                 ↳ its stream is not there in time: claimed by another    ↳ it said nothing, or is forgotten: likewise
                 ↳ it was refused: no claim                               ↳ it said nothing, and its worker says so:
                                                                            no claim
```

A request that is refused leaves nothing, so that a repetition of it is a fresh attempt. Should the store not hear of
the refusal, a claim that has not begun lasts `finished_ttl_seconds` at most.

Departures from draft-ietf-httpapi-idempotency-key-header-07: the value is taken as it is, quoted or not, and a second
request does not get 409 while the first is under way but shares its answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from functools import partial
from typing import Final, TypeVar

from ...deadlines import Deadline
from ...errors import FaultError, NotStartedError, StoreError, StoreFormatError, StoreUnavailableError
from ...faults import REGISTRY, Fault, FaultCode
from ...observations import Observation, Signal
from ...stores.budget import Budget
from ...stores.records import ClaimState, RequestClaim, StreamMeta
from ...values import Outcome, Persisted, StreamRef, StreamState, new_stream_id
from ...wire import knows_protocol
from .. import LiveStream, Runtime, StreamRequest
from ..versions import RETRY_AFTER_SECONDS, UNKNOWN_PROTOCOL, unreadable_reason
from ..viewing.resume import refused
from .request_key import RequestKey, abandon, forget

__all__ = ["open_idempotently"]

T = TypeVar("T")

POLL_SECONDS: Final = 0.05
"""How often a claim that has not begun is looked at: nothing tells of a registration."""
LOOK_SECONDS: Final = 0.25
"""How often the stream of another request is looked at while it says nothing."""
END_SECONDS: Final = 0.25
"""How long a request waits for the end of the stream that it could not keep, so that a retry at once does not meet it.
"""
ROUNDS: Final = 8
"""How many other requests' claims one request follows before it calls the key contended."""


async def open_idempotently(
    runtime: Runtime, request: StreamRequest, key: RequestKey | None
) -> LiveStream | StreamMeta:
    """`Runtime.open` for requests that may carry a key: a new stream, or the one that answers the key already.

    Without an answer from the store the request goes on as one without a key, or is refused, as its
    `on_store_failure` says; but one that has found another request's claim is refused rather than run beside it.

    Raises:
        FaultError: `idempotency_conflict`; `resume_failed` when the key's answer cannot be shown any more;
            `conflict_active`, `store_unavailable`, and whatever `Runtime.open` raises.

    Cancelled, it takes back in the background whatever it may have claimed and registered.
    """
    budget = runtime.admission.budget()
    if key is None or runtime.breaker.open:
        return await runtime.open(request, budget)
    return await IdempotentOpen(runtime, request, key, budget).open()


class IdempotentOpen:
    """One request on its way to its key's stream. Every fault it raises has been observed."""

    def __init__(self, runtime: Runtime, request: StreamRequest, key: RequestKey, budget: Budget) -> None:
        self._runtime = runtime
        self._store = runtime.store
        self._request = request
        self._key = key
        self._budget = budget
        self._claimed_before = False
        """Another request's claim was found."""
        self._mine: StreamRef | None = None
        """The stream that the key was last claimed for, as far as is known."""
        self._opened: LiveStream | None = None
        """That stream, once it is registered."""

    async def open(self) -> LiveStream | StreamMeta:
        """The stream that answers the key."""
        try:
            return await self._open()
        except asyncio.CancelledError:
            self._abandon()
            raise

    def _abandon(self) -> None:
        """Leave nothing that would be in the way of the request's repetition."""
        runtime, mine = self._runtime, self._mine
        if self._opened is not None:
            abandon(runtime, self._opened, self._key, FaultError(self._fault(FaultCode.INTERRUPTED)))
        elif mine is not None:
            with suppress(NotStartedError):  # the runtime is over
                runtime.start(partial(forget, runtime, self._key, mine))

    async def _open(self) -> LiveStream | StreamMeta:
        for _ in range(ROUNDS):
            stream_id = new_stream_id()
            request = replace(self._request, stream_id=stream_id)
            mine = RequestClaim(StreamRef(request.key, stream_id), self._key.fingerprint)
            self._mine, self._opened = mine.ref, None
            try:
                meta, won = await self._contend(mine)
                if meta is not None:
                    return meta
                opened = await self._begin(request, mine) if won else None
            except StoreError as exc:
                foreign = isinstance(exc, StoreFormatError)  # a worker of that version can answer
                if self._claimed_before or foreign or self._request.on_store_failure == "fail":
                    raise self._refusal(FaultCode.STORE_UNAVAILABLE, unreadable_reason(exc)) from exc
                return await self._runtime.open(request, self._budget)
            if opened is not None:
                return opened
        raise self._refusal(FaultCode.CONFLICT_ACTIVE)

    async def _contend(self, mine: RequestClaim) -> tuple[StreamMeta | None, bool]:
        """The stream to share, or whether the key is ours now; neither when others were quicker: begin again."""
        found = await self._claim(mine)
        if found.ref == mine.ref:
            return None, True
        self._claimed_before = True
        if not self._key.is_of(found):
            raise self._refusal(FaultCode.IDEMPOTENCY_CONFLICT)
        standing = await self._patient(found, mine)
        if standing.ref != found.ref:
            return None, standing.ref == mine.ref
        meta = await self._answer(standing)
        if meta is not None:
            self._observe_shared(meta)
            return meta, False
        taken = await self._claim(mine, standing)
        return None, taken.ref == mine.ref

    async def _patient(self, standing: RequestClaim, mine: RequestClaim) -> RequestClaim:
        """The claim that stands once `standing` has begun, was taken back, or had its time."""
        settings = self._runtime.settings
        patience = settings.registration_seconds
        if (
            self._request.on_conflict == "replace" or self._request.revision is not None
        ):  # it may be waiting for the end of what it replaces
            patience += settings.replace_wait_seconds
        deadline = Deadline.after(patience)
        other = standing.ref
        while standing.ref == other and standing.state is ClaimState.CLAIMED and not deadline.expired:
            await asyncio.sleep(POLL_SECONDS)
            standing = await self._claim(mine)
        return standing

    async def _answer(self, standing: RequestClaim) -> StreamMeta | None:
        """The stream that answers a claim; None when nothing does, and another request may take the claim.

        Raises:
            FaultError: `resume_failed`: it was answered, but that cannot be shown any more.
            StoreError: the store failed.
        """
        begun = standing.state is ClaimState.BEGUN
        meta = await (self._spoken(standing.ref) if begun else self._meta(standing.ref))
        if meta is None:
            return None
        if meta.lost:  # nobody else can view it; saved, it is in the session's messages
            if meta.persisted is Persisted.YES:
                raise self._gone(meta, "not_registered")
            return None
        if not begun or _said_nothing(meta):
            return None
        if not knows_protocol(meta.protocol):
            raise self._refusal(FaultCode.STORE_UNAVAILABLE, UNKNOWN_PROTOCOL)
        if meta.first_seq > 1:
            raise self._gone(meta, "trimmed" if meta.first_seq <= meta.last_seq else "stream_gone")
        return meta

    async def _spoken(self, ref: StreamRef) -> StreamMeta | None:
        """A stream's record once it has an event or has ended, for at most `headers_after_seconds`. It is looked at now
        and then by itself: a store that falls silent tells nobody."""
        patience = self._runtime.settings.headers_after_seconds
        meta = await self._meta(ref)
        changed = asyncio.Event()
        watching = self._store.subscribe(ref, lambda _: changed.set())
        with suppress(TimeoutError):
            async with Deadline.after(patience).limit(), AsyncExitStack() as entered:
                if meta is None or not _undecided(meta):
                    return meta
                await self._waited(self._budget.once(lambda: entered.enter_async_context(watching)))
                while True:
                    changed.clear()
                    meta = await self._meta(ref)
                    if meta is None or not _undecided(meta):
                        break
                    with suppress(TimeoutError):
                        async with asyncio.timeout(LOOK_SECONDS):  # noqa: TID251 -- a period
                            await changed.wait()
        return meta

    async def _begin(self, request: StreamRequest, mine: RequestClaim) -> LiveStream | StreamMeta | None:
        """The stream of a claim that is ours, which may run; None when another request has taken the claim meanwhile.

        Raises:
            FaultError: whatever `Runtime.open` raises; the claim is taken back then.
            StoreError: under `on_store_failure="fail"`, whether the claim still stands is not known; ours is ended.
        """
        try:
            opened = await self._runtime.open(request, self._budget)
        except FaultError:
            with suppress(StoreError):  # else the next request has to wait a moment
                if not await self._asked(lambda: self._release(mine)):
                    return None  # another has taken it, whose stream may well be what was in the way
            raise
        self._opened = opened if isinstance(opened, LiveStream) else None
        begun = replace(mine, state=ClaimState.BEGUN)
        if isinstance(opened, StreamMeta):  # `join`: the key stands for the stream that was found
            with suppress(StoreError):
                await self._claim(replace(begun, ref=opened.ref), mine, begins=True)
            return opened
        if opened.degraded:
            if not self._runtime.breaker.open:  # should its reply be saved, no repetition is to run beside it
                with suppress(StoreError):
                    await self._claim(mine, mine, begins=True)
            return opened
        try:
            standing = await self._claim(begun, mine, begins=True)
        except StoreError:
            if request.on_store_failure == "fail":
                with suppress(TimeoutError):  # the store is silent, and the client has waited for it already
                    async with Deadline.after(END_SECONDS).limit():
                        await self._runtime.reject(opened, FaultError(self._fault(FaultCode.STORE_UNAVAILABLE)))
                raise
            return opened
        if standing.ref == mine.ref:
            return opened
        await self._runtime.reject(opened, FaultError(self._fault(FaultCode.SUPERSEDED)))
        return None

    # -- asking the store ---------------------------------------------------------------------------------------------

    async def _claim(
        self, claim: RequestClaim, expected: RequestClaim | None = None, *, begins: bool = False
    ) -> RequestClaim:
        return await self._asked(lambda: self._claim_once(claim, expected, begins=begins))

    async def _claim_once(
        self, claim: RequestClaim, expected: RequestClaim | None, *, begins: bool = False
    ) -> RequestClaim:
        key = self._key
        seconds = key.ttl_seconds if begins else min(key.ttl_seconds, key.attempt_seconds)
        return await self._store.claim_request(
            self._request.key.owner, key.name, claim, ttl_seconds=seconds, expected=expected
        )

    async def _release(self, mine: RequestClaim) -> bool:
        return await self._store.release_request(self._request.key.owner, self._key.name, mine)

    async def _meta(self, ref: StreamRef) -> StreamMeta | None:
        return await self._asked(lambda: self._store.meta(ref))

    async def _asked(self, step: Callable[[], Awaitable[T]]) -> T:
        """Repeat a step within what is left of the request's budget. A lost reply is no matter: every step here may
        repeat."""
        return await self._waited(self._budget.asked(step))

    async def _waited(self, answer: Awaitable[T]) -> T:
        """What the store says within the request's budget; a budget that is spent opens the breaker."""
        try:
            return await answer
        except StoreUnavailableError as exc:
            self._runtime.breaker.exhausted(exc)
            raise

    # -- refusing -----------------------------------------------------------------------------------------------------

    def _fault(self, code: FaultCode, reason: str | None = None) -> Fault:
        return Fault.of(
            code,
            reason=reason,
            retry_after_seconds=RETRY_AFTER_SECONDS if REGISTRY[code].retryable else None,
            session_id=self._request.key.session_id,
            request_id=self._request.request_id,
        )

    def _refusal(self, code: FaultCode, reason: str | None = None) -> FaultError:
        return self._observed(FaultError(self._fault(code, reason)))

    def _gone(self, meta: StreamMeta, reason: str) -> FaultError:
        error = refused(meta.ref.key, meta.ref.stream_id, reason)
        error.fault = replace(error.fault, message_id=meta.message_id, request_id=self._request.request_id)
        return self._observed(error)

    def _observe_shared(self, meta: StreamMeta) -> None:
        self._runtime.observe(
            Observation(
                Signal.STREAM_RESUMED,
                ref=meta.ref,
                message_id=meta.message_id,
                request_id=self._request.request_id,
                fields={"after_seq": 0, "state": meta.state, "protocol": meta.protocol},
            )
        )

    def _observed(self, error: FaultError) -> FaultError:
        fault = error.fault
        self._runtime.observe(
            Observation(Signal.FAULT, message_id=fault.message_id, request_id=fault.request_id, fault=fault)
        )
        return error


def _undecided(meta: StreamMeta) -> bool:
    """Whether the stream may still fail before its first event."""
    return meta.state is StreamState.OPEN and meta.last_seq == 0 and not meta.lost and meta.lease_seconds > 0


def _said_nothing(meta: StreamMeta) -> bool:
    """Whether the stream ended before its first event, or its writer died there."""
    if meta.seal is None:
        return meta.last_seq == 0 and meta.lease_seconds <= 0
    return meta.seal.last_seq == 0 and meta.seal.outcome in (Outcome.FAILED, Outcome.INTERRUPTED)
