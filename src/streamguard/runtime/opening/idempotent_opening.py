"""`Idempotency-Key`: requests of one owner that carry the same key are one request, whichever workers they reach.

The first request claims the key in the stream store for a stream that it then registers; before its endpoint runs it
marks the claim as begun. The other requests view that stream, from its start. Both steps compare and set one record,
so that of a slow first request and another that has given up waiting for it, only one runs the endpoint:

```
(no claim) → claimed by a request → begun by the same request
                 ↳ its stream is not there in time: claimed by another    ↳ it ended empty, or is forgotten: likewise
                 ↳ it was refused: no claim                               ↳ it ended empty, and its worker says so:
                                                                            no claim
```

A request that is refused leaves no claim, so that a retry of it is a fresh attempt. If the store does not hear of
the refusal, a claim that has not begun lasts `finished_ttl_seconds` at most.

Departures from draft-ietf-httpapi-idempotency-key-header-07: the value is taken as it is, quoted or not, and a second
request does not get 409 while the first is under way but shares its answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial

from ...deadlines import Deadline, LoopClock
from ...errors import FaultError, NotStartedError, StoreError
from ...faults import FaultCode
from ...observations import Observation
from ...settings import Settings
from ...stores.breaker import Breaker
from ...stores.budget import Budget
from ...stores.records import ClaimState, RequestClaim, StreamMeta
from ...stores.store import StreamStore
from ...values import StreamRef
from ..producing.stream import LiveStream
from ..request import StreamRequest
from .key_claims import KeyClaims
from .key_refusals import KeyRefusals
from .keyed_request import KeyedRequest, OpenStream, RejectStream
from .request_key import RequestKey

__all__ = ["IdempotentOpening"]


class IdempotentOpening:
    """Opens streams for requests that may carry a key. `start` runs a task of the runtime's."""

    def __init__(
        self,
        store: StreamStore,
        breaker: Breaker,
        settings: Settings,
        clock: LoopClock,
        *,
        open_stream: OpenStream,
        reject_stream: RejectStream,
        start: Callable[[Callable[[], Awaitable[None]]], None],
        observe: Callable[[Observation], None],
    ) -> None:
        self._store = store
        self._breaker = breaker
        self._settings = settings
        self._clock = clock
        self._open_stream = open_stream
        self._reject_stream = reject_stream
        self._start = start
        self._observe = observe

    def open(self, request: StreamRequest, key: RequestKey | None) -> Awaitable[LiveStream | StreamMeta]:
        """A new stream, or the one that answers the key already.

        Without an answer from the store the request goes on as one without a key, or is refused, as its
        `on_store_failure` says; but one that has found another request's claim is refused rather than run beside it.

        Raises:
            FaultError: `idempotency_conflict`; `resume_failed` when the key's answer cannot be shown any more;
                `conflict_active`, `store_unavailable`, and whatever opening a stream without a key raises.

        Cancelled, it takes back in the background whatever it may have claimed and registered.
        """
        budget = Budget(self._breaker, self._settings.registration_seconds, self._clock)
        if key is None or self._breaker.open:
            return self._open_stream(request, budget)
        return self._open_keyed(request, key, budget)

    async def _open_keyed(self, request: StreamRequest, key: RequestKey, budget: Budget) -> LiveStream | StreamMeta:
        refusals = KeyRefusals(request, self._observe)
        keyed = KeyedRequest(
            self._store,
            self._breaker,
            self._settings,
            request,
            key,
            budget,
            claims=KeyClaims(self._store, self._breaker, budget, request.key.owner, key),
            refusals=refusals,
            open_stream=self._open_stream,
            reject_stream=self._reject_stream,
        )
        try:
            return await keyed.open()
        except asyncio.CancelledError:  # leave nothing that would be in the way of the request's retry
            if keyed.opened is not None:
                self.abandon(keyed.opened, key, FaultError(refusals.fault(FaultCode.INTERRUPTED)))
            elif keyed.claimed is not None:
                self._start_if_running(partial(self._forget, key, keyed.claimed))
            raise

    async def give_back(self, key: RequestKey | None, stream: LiveStream) -> None:
        """Take back the claim of a stream that ended before its first event: a retry is a fresh attempt.

        If the store does not hear of it the claim stays, and a retry sees that the stream ended empty.
        """
        if key is not None:
            await self._forget(key, stream.ref)

    def abandon(self, stream: LiveStream, key: RequestKey | None, error: FaultError) -> None:
        """End a stream that has no producer, since its request was cancelled, and take back its claim. Returns at once:
        both happen in the background."""

        async def end() -> None:
            await self._reject_stream(stream, error)
            await self.give_back(key, stream)

        self._start_if_running(end)

    async def _forget(self, key: RequestKey, ref: StreamRef) -> None:
        """Take back the claim for a stream, whether it has begun or not."""
        if self._breaker.open:
            return
        with suppress(StoreError, TimeoutError):
            async with Deadline.after(self._settings.registration_seconds).limit():
                for state in (ClaimState.BEGUN, ClaimState.CLAIMED):
                    claim = RequestClaim(ref, key.fingerprint, state)
                    if await self._store.release_request(ref.key.owner, key.name, claim):
                        return

    def _start_if_running(self, run: Callable[[], Awaitable[None]]) -> None:
        with suppress(NotStartedError):  # the runtime is over
            self._start(run)
