"""Admitting a request for a stream: its quota reserved, then its stream registered."""

from __future__ import annotations

from collections.abc import Callable

from ...charging.reservations import Reservations
from ...charging.terms import Demand
from ...errors import StoreError
from ...stores.breaker import Breaker
from ...stores.budget import Budget
from ...stores.records import SessionRecord, StreamMeta
from ...stores.store import StreamStore
from ...values import QuotaState, SessionKey, StreamRef, StreamState, new_stream_id
from ..producing.live_streams import LiveStreams
from ..producing.stream import LiveStream
from ..request import StreamRequest
from .refusals import Refusals
from .registration import Registration, joins

__all__ = ["Admission"]


class Admission:
    """Admits requests. `make` builds the local stream; `correct_record` corrects what an earlier reply's record
    says of its settlement."""

    def __init__(
        self,
        store: StreamStore,
        breaker: Breaker,
        *,
        streams: LiveStreams,
        registration: Registration,
        reservations: Reservations,
        refusals: Refusals,
        make: Callable[[StreamRequest, StreamRef, Budget], LiveStream],
        correct_record: Callable[[StreamMeta], None],
    ) -> None:
        self._store = store
        self._breaker = breaker
        self._streams = streams
        self._registration = registration
        self._reservations = reservations
        self._refusals = refusals
        self._make = make
        self._correct_record = correct_record

    async def open(self, request: StreamRequest, budget: Budget) -> LiveStream | StreamMeta:
        """A new stream, registered or degraded; or, under `join`, the running stream of an equal request.

        Raises:
            FaultError: `limit_streams`, `conflict_active`, or `store_unavailable` under `on_store_failure="fail"`;
                `quota_exceeded` or `quota_unavailable`.

        However it fails, and when it is cancelled, nothing stays reserved or registered.
        """
        ref = StreamRef(request.key, request.stream_id or new_stream_id())
        stream = self._make(request, ref, budget)
        self._streams.expect(stream)
        try:
            if request.demand is None:
                return await self._registration.register(stream, budget)
            return await self._open_with_quota(stream, request.demand, budget)
        finally:
            self._streams.expect_no_longer(stream)

    async def _open_with_quota(self, stream: LiveStream, demand: Demand, budget: Budget) -> LiveStream | StreamMeta:
        request = stream.request
        record = await self._record(request.key, budget)
        if record is not None and record.active is not None and joins(request, record.active):
            self._refusals.check_protocol(request, record.active)
            return record.active  # its quota is reserved already
        held = await self._reservations.reserve(
            stream, demand, binding=request.binding, budget=budget if self._shares_server else None
        )
        try:
            opened = await self._registration.register(stream, budget)
        except BaseException:
            self._reservations.drop(stream)
            raise
        if opened is not stream:
            self._reservations.drop(stream)
        elif record is not None and record.last is not None and record.last.quota is QuotaState.PENDING:
            held.owing = True
            self._correct_record(record.last)
            if not stream.degraded:  # the viewers of a degraded stream are told of that instead
                stream.notices.announce(self._refusals.owed(record.last))
        return opened

    async def needs_no_capacity(self, request: StreamRequest, budget: Budget) -> bool:
        """Whether a running stream answers the request, or the request replaces a stream of this process: then this
        process needs no capacity for it."""
        if request.on_conflict == "reject" and request.revision is None:
            return False
        record = await self._record(request.key, budget)
        active = None if record is None else record.active
        if active is None or active.state is not StreamState.OPEN:
            return False
        return joins(request, active) or (request.replaces(active.message_id) and self._streams.owns(active.ref))

    @property
    def _shares_server(self) -> bool:
        """Whether one server keeps streams and quotas, so that waiting for either is waiting for both."""
        service = self._reservations.service
        return service is not None and service.server is not None and service.server == self._store.server

    async def _record(self, key: SessionKey, budget: Budget) -> SessionRecord | None:
        """The session's record; None where the store does not answer at once."""
        if self._breaker.open:
            return None
        try:
            return await budget.ask_once(lambda: self._store.session(key))
        except StoreError:  # the registration finds out what that means
            return None
