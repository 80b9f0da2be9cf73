"""One request that carries an `Idempotency-Key`, on its way to the key's stream. See `idempotent_opening`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from typing import Final, NamedTuple

from ...deadlines import Deadline
from ...errors import FaultError, StoreError, StoreFormatError
from ...faults import FaultCode
from ...settings import Settings
from ...stores.breaker import Breaker
from ...stores.budget import Budget
from ...stores.records import ClaimState, RequestClaim, StreamMeta
from ...stores.roles.stream_log import StreamLog
from ...values import Outcome, Persisted, StreamRef, StreamState, new_stream_id
from ...wire import knows_protocol
from ..producing.stream import LiveStream
from ..request import StreamRequest
from ..versions import UNKNOWN_PROTOCOL, unreadable_reason
from .key_claims import KeyClaims
from .key_refusals import KeyRefusals
from .request_key import RequestKey

__all__ = ["Contest", "KeyedRequest", "OpenStream", "RejectStream"]

OpenStream = Callable[[StreamRequest, Budget], Awaitable[LiveStream | StreamMeta]]
RejectStream = Callable[[LiveStream, BaseException], Awaitable[None]]

CLAIM_POLL_SECONDS: Final = 0.05
"""How often a claim that has not begun is looked at: nothing tells of a registration."""
FIRST_EVENT_POLL_SECONDS: Final = 0.25
"""How often another request's stream is looked at while it has no event."""
END_SECONDS: Final = 0.25
"""How long a request waits for the end of the stream that it could not keep, so that a retry at once does not meet it.
"""
ROUNDS: Final = 8
"""How many other requests' claims one request follows before it calls the key contended."""


class Contest(NamedTuple):
    """What came of claiming the key: a stream to share, or the key is ours. Neither when another request was quicker:
    then the request begins again."""

    shared: StreamMeta | None = None
    won: bool = False


class KeyedRequest:
    """One request. Every fault it raises has been observed."""

    def __init__(
        self,
        store: StreamLog,
        breaker: Breaker,
        settings: Settings,
        request: StreamRequest,
        key: RequestKey,
        budget: Budget,
        *,
        claims: KeyClaims,
        refusals: KeyRefusals,
        open_stream: OpenStream,
        reject_stream: RejectStream,
    ) -> None:
        self._store = store
        self._breaker = breaker
        self._settings = settings
        self._request = request
        self._key = key
        self._budget = budget
        self._claims = claims
        self._refusals = refusals
        self._open_stream = open_stream
        self._reject_stream = reject_stream
        self._found_claim = False
        """Another request's claim was found."""
        self.claimed: StreamRef | None = None
        """The stream that the key was last claimed for, as far as is known."""
        self.opened: LiveStream | None = None
        """That stream, once it is registered."""

    async def open(self) -> LiveStream | StreamMeta:
        """The stream that answers the key.

        Raises:
            FaultError: see `IdempotentOpening.open`.
        """
        for _ in range(ROUNDS):
            stream_id = new_stream_id()
            request = replace(self._request, stream_id=stream_id)
            mine = self._claims.of(StreamRef(request.key, stream_id))
            self.claimed, self.opened = mine.ref, None
            try:
                contest = await self._contend(mine)
                if contest.shared is not None:
                    return contest.shared
                opened = await self._begin(request, mine) if contest.won else None
            except StoreError as exc:
                newer = isinstance(exc, StoreFormatError)  # a worker of that version can answer
                if self._found_claim or newer or self._request.on_store_failure == "fail":
                    raise self._refusals.refusal(FaultCode.STORE_UNAVAILABLE, unreadable_reason(exc)) from exc
                return await self._open_stream(request, self._budget)
            if opened is not None:
                return opened
        raise self._refusals.refusal(FaultCode.CONFLICT_ACTIVE)

    async def _contend(self, mine: RequestClaim) -> Contest:
        """Claim the key, or find the stream of the request that has."""
        found = await self._claims.claim(mine.ref)
        if found.ref == mine.ref:
            return Contest(won=True)
        self._found_claim = True
        if not self._key.is_of(found):
            raise self._refusals.refusal(FaultCode.IDEMPOTENCY_CONFLICT)
        standing = await self._wait_until_begun(found, mine)
        if standing.ref != found.ref:
            return Contest(won=standing.ref == mine.ref)
        meta = await self._answer_of(standing)
        if meta is not None:
            self._refusals.observe_shared(meta)
            return Contest(shared=meta)
        taken = await self._claims.claim(mine.ref, instead_of=standing)
        return Contest(won=taken.ref == mine.ref)

    async def _wait_until_begun(self, standing: RequestClaim, mine: RequestClaim) -> RequestClaim:
        """The claim that stands once `standing` has begun, was taken back, or had its time."""
        patience = self._settings.registration_seconds
        if self._request.on_conflict == "replace" or self._request.revision is not None:
            patience += self._settings.replace_wait_seconds  # it may wait for the end of the stream that it replaces
        deadline = Deadline.after(patience)
        other = standing.ref
        while standing.ref == other and standing.state is ClaimState.CLAIMED and not deadline.expired:
            await asyncio.sleep(CLAIM_POLL_SECONDS)
            standing = await self._claims.claim(mine.ref)
        return standing

    async def _answer_of(self, standing: RequestClaim) -> StreamMeta | None:
        """The stream that answers a claim; None when nothing does, and another request may take the claim.

        Raises:
            FaultError: `resume_failed`: the claim was answered, but the answer cannot be shown any more.
            StoreError: the store failed.
        """
        begun = standing.state is ClaimState.BEGUN
        meta = await (self._wait_for_first_event(standing.ref) if begun else self._claims.meta(standing.ref))
        if meta is None:
            return None
        if meta.lost:  # no other worker can show it; saved, it is in the session's messages
            if meta.persisted is Persisted.YES:
                raise self._refusals.gone(meta, "not_registered")
            return None
        if not begun or _ended_empty(meta):
            return None
        if not knows_protocol(meta.protocol):
            raise self._refusals.refusal(FaultCode.STORE_UNAVAILABLE, UNKNOWN_PROTOCOL)
        if meta.first_seq > 1:
            raise self._refusals.gone(meta, "trimmed" if meta.first_seq <= meta.last_seq else "stream_gone")
        return meta

    async def _wait_for_first_event(self, ref: StreamRef) -> StreamMeta | None:
        """A stream's record once it has an event or has ended, after `headers_after_seconds` at most. The record is
        read now and then without a hint too: a store that falls silent sends none."""
        meta = await self._claims.meta(ref)
        changed = asyncio.Event()
        watching = self._store.subscribe(ref, lambda _: changed.set())
        with suppress(TimeoutError):
            async with Deadline.after(self._settings.headers_after_seconds).limit(), AsyncExitStack() as entered:
                if meta is None or not _is_undecided(meta):
                    return meta
                await self._claims.ask_once(lambda: entered.enter_async_context(watching))
                while True:
                    changed.clear()
                    meta = await self._claims.meta(ref)
                    if meta is None or not _is_undecided(meta):
                        break
                    with suppress(TimeoutError):
                        async with asyncio.timeout(FIRST_EVENT_POLL_SECONDS):  # noqa: TID251 -- a period
                            await changed.wait()
        return meta

    async def _begin(self, request: StreamRequest, mine: RequestClaim) -> LiveStream | StreamMeta | None:
        """The stream of a claim that is ours, which may run; None when another request has taken the claim meanwhile.

        Raises:
            FaultError: whatever opening a stream raises; the claim is taken back then.
            StoreError: under `on_store_failure="fail"`, when it is not known whether the claim still stands; our stream
                is ended.
        """
        try:
            opened = await self._open_stream(request, self._budget)
        except FaultError:
            with suppress(StoreError):  # else the next request has to wait a moment
                if not await self._claims.release(mine):
                    return None  # another request has it, whose stream may well be the one that was in the way
            raise
        self.opened = opened if isinstance(opened, LiveStream) else None
        if isinstance(opened, StreamMeta):  # `join`: the key stands for the stream that was found
            with suppress(StoreError):
                await self._claims.begin(mine, opened.ref)
            return opened
        if opened.degraded:
            if not self._breaker.open:  # should its reply be saved, no retry is to run beside it
                with suppress(StoreError):
                    await self._claims.prolong(mine)
            return opened
        try:
            standing = await self._claims.begin(mine, mine.ref)
        except StoreError:
            if request.on_store_failure == "fail":
                error = FaultError(self._refusals.fault(FaultCode.STORE_UNAVAILABLE))
                with suppress(TimeoutError):  # the store is silent, and the client has waited for it already
                    async with Deadline.after(END_SECONDS).limit():
                        await self._reject_stream(opened, error)
                raise
            return opened
        if standing.ref == mine.ref:
            return opened
        await self._reject_stream(opened, FaultError(self._refusals.fault(FaultCode.SUPERSEDED)))
        return None


def _is_undecided(meta: StreamMeta) -> bool:
    """Whether the stream may still fail before its first event."""
    return meta.state is StreamState.OPEN and meta.last_seq == 0 and not meta.lost and meta.lease_seconds > 0


def _ended_empty(meta: StreamMeta) -> bool:
    """Whether the stream ended before its first event, or its writer died there."""
    if meta.seal is None:
        return meta.last_seq == 0 and meta.lease_seconds <= 0
    return meta.seal.last_seq == 0 and meta.seal.outcome in (Outcome.FAILED, Outcome.INTERRUPTED)
