"""Registering a new stream in the store, and clearing the way for it."""

from __future__ import annotations

from functools import partial
from typing import Final

from ...errors import StoreError, StoreFormatError, StoreUnavailableError
from ...faults import FaultCode, Phase
from ...settings import Settings
from ...stores.breaker import Breaker
from ...stores.budget import Budget
from ...stores.records import StreamMeta
from ...stores.registrations import Full, Occupied, Registered
from ...stores.store import StreamStore
from ...values import StreamState
from ..producing.live_streams import LiveStreams
from ..producing.stream import LiveStream
from ..producing.stream_records import new_stream_of, ttl_seconds_of
from ..request import StreamRequest
from ..versions import NEWER_FORMAT
from .end_wait import EndWait
from .eviction import Eviction
from .refusals import Refusals
from .steps_in_doubt import StepsInDoubt

__all__ = ["Registration", "joins"]

ATTEMPTS: Final = 8
"""Rounds of registering and clearing the way before a session counts as contended."""


def joins(request: StreamRequest, meta: StreamMeta) -> bool:
    """Whether a running stream answers the request."""
    equal = request.fingerprint == meta.fingerprint != ""
    running = meta.state is StreamState.OPEN and not (meta.lost or meta.stop_requested)
    return request.on_conflict == "join" and equal and running


class Registration:
    """Registers streams; without a store, lets them run without a log or refuses them, as their policy says."""

    def __init__(
        self,
        store: StreamStore,
        breaker: Breaker,
        settings: Settings,
        *,
        streams: LiveStreams,
        end_wait: EndWait,
        eviction: Eviction,
        steps_in_doubt: StepsInDoubt,
        refusals: Refusals,
    ) -> None:
        self._store = store
        self._breaker = breaker
        self._settings = settings
        self._streams = streams
        self._end_wait = end_wait
        self._eviction = eviction
        self._steps_in_doubt = steps_in_doubt
        self._refusals = refusals

    async def register(self, stream: LiveStream, budget: Budget) -> LiveStream | StreamMeta:
        """The stream, registered or degraded; or, under `join`, the running stream of an equal request.

        Raises:
            FaultError: `limit_streams`, `conflict_active`, or `store_unavailable`.

        However it fails, and when it is cancelled, a registration that may have happened is withdrawn in the
        background, so that the next request does not meet it.
        """
        if self._breaker.open:
            return self._degrade(stream)
        try:
            try:
                joined = await self._register(stream, budget)
            except StoreUnavailableError as exc:
                self._breaker.exhausted(exc)
                return self._degrade(stream, exc)
            except StoreFormatError as exc:  # a later version's session: an unlogged stream would run beside its own
                raise self._refusals.newer_version(stream.request, NEWER_FORMAT) from exc
            except StoreError as exc:  # this session's record cannot be read; other sessions' can
                return self._degrade(stream, exc)
        except BaseException:
            if stream.log.in_doubt:
                self._steps_in_doubt.withdraw(stream.ref)
            raise
        return stream if joined is None else joined

    async def _register(self, stream: LiveStream, budget: Budget) -> StreamMeta | None:
        """Register, clearing the way as the policy says. Returns the stream to join instead, if any."""
        request, settings = stream.request, self._settings
        new = new_stream_of(stream)
        for _ in range(ATTEMPTS):
            stream.log.registering()
            result = await budget.ask(
                lambda: self._store.register(
                    new,
                    lease_seconds=settings.lease_seconds,
                    ttl_seconds=ttl_seconds_of(stream),
                    limit=settings.max_streams_per_owner,
                    arrived_seconds=request.arrived_seconds,
                )
            )
            if isinstance(result, Registered):
                stream.enter(result)
                return None
            stream.log.not_registered()
            if isinstance(result, Full):
                raise self._refusals.refusal(request, FaultCode.LIMIT_STREAMS, retry_after_seconds=5)
            if not isinstance(result, Occupied):  # withdrawn, which only happens to streams without a request
                break
            meta = result.meta
            if self._steps_in_doubt.concerns(meta.ref):
                await budget.ask_once(partial(self._steps_in_doubt.wait_until_resolved, meta.ref))
            elif meta.lease_seconds <= 0 and not self._streams.owns(meta.ref):
                self._refusals.check_protocol(request, meta)
                await self._eviction.take_over(meta, stopped=meta.stop_requested, budget=budget)
            elif joins(request, meta):
                self._refusals.check_protocol(request, meta)
                return meta
            elif request.replaces(meta.message_id):
                await self._eviction.replace(request, meta, budget)
            elif not meta.stop_requested:
                break
            elif not await self._end_wait.until_sealed(meta.ref, settings.replace_wait_seconds, budget=budget):
                break  # it was stopped, but its endpoint does not end
        raise self._refusals.refusal(request, FaultCode.CONFLICT_ACTIVE, retry_after_seconds=2)

    def _degrade(self, stream: LiveStream, error: StoreError | None = None) -> LiveStream:
        """Let the stream run without a log, or refuse it, as its policy says. The owner's limit is checked against the
        streams of this process."""
        request = stream.request
        if request.on_store_failure == "fail":
            raise self._refusals.refusal(
                request, FaultCode.STORE_UNAVAILABLE, retry_after_seconds=5, phase=Phase.REGISTRATION
            ) from error
        if self._streams.running_of(request.key.owner) >= self._settings.max_streams_per_owner:
            raise self._refusals.refusal(request, FaultCode.LIMIT_STREAMS, retry_after_seconds=5)
        stream.degrade("registration", error)
        return stream
