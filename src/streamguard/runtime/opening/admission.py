"""How a stream comes to be: the owner's limit, registration, and what happens when the session already has one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from typing import Final, TypeVar

from ...charging.reservations import Reservations
from ...deadlines import Deadline
from ...errors import FaultError, StoreError, StoreFormatError, StoreUnavailableError
from ...faults import Fault, FaultCode, Phase
from ...observations import Observation, Signal
from ...settings import Settings
from ...stores.breaker import Breaker
from ...stores.budget import Budget
from ...stores.records import SessionRecord, Status, StreamMeta
from ...stores.registrations import Full, Occupied, Registered, StopReply
from ...stores.store import StreamStore
from ...values import Outcome, QuotaState, SessionKey, StreamRef, StreamState, new_stream_id
from ...wire import knows_protocol
from ..producing.stream import LiveStream
from ..producing.stream_records import new_stream_of
from ..request import StreamRequest
from ..versions import NEWER_FORMAT, RETRY_AFTER_SECONDS, UNKNOWN_PROTOCOL
from .steps_in_doubt import Withdrawals

__all__ = ["Admission"]

T = TypeVar("T")

ATTEMPTS: Final = 8
"""Rounds of register-and-clear-the-way before a session counts as contended."""
POLL_SECONDS: Final = 0.25


class Admission:
    """Registers new streams and clears the way for them.

    `make` builds the local stream; `count` says how many an owner has in this process, `owns` whether a stream is one
    of them; `end_orphan` runs an orphan's end, its seal included, in the runtime's own task. `carry` does something in
    such a task and gives what came of it: cancelling the caller leaves it to go on.
    """

    def __init__(
        self,
        store: StreamStore,
        breaker: Breaker,
        settings: Settings,
        *,
        make: Callable[[StreamRequest, StreamRef, Budget], LiveStream],
        count: Callable[[str], int],
        owns: Callable[[StreamRef], bool],
        end_orphan: Callable[[StreamMeta, Outcome], None],
        carry: Callable[[Callable[[], Awaitable[bool]]], Awaitable[bool]],
        withdrawing: Withdrawals,
        reservations: Reservations,
        correct_record: Callable[[StreamMeta], None],
        observe: Callable[[Observation], None],
    ) -> None:
        self._store = store
        self._breaker = breaker
        self._settings = settings
        self._make = make
        self._count = count
        self._owns = owns
        self._end_orphan = end_orphan
        self._carry = carry
        self._withdrawing = withdrawing
        self._reservations = reservations
        self._correct_record = correct_record
        self._observe = observe

    def budget(self) -> Budget:
        """What a request that begins now may wait for the store."""
        return Budget(self._breaker, self._settings.registration_seconds)

    async def open(self, request: StreamRequest, budget: Budget | None = None) -> LiveStream | StreamMeta:
        """A new stream, registered or degraded; or, under `join`, the running stream of an equal request. `budget` is
        what is left of the request's, if it has asked the store before.

        Raises:
            FaultError: `limit_streams`, `conflict_active`, or `store_unavailable` under `on_store_failure="fail"`;
                `quota_exceeded` or `quota_unavailable`.

        However it fails, and when it is cancelled, a registration that may have happened is taken back in the
        background, so that the next request does not meet it.
        """
        ref = StreamRef(request.key, request.stream_id or new_stream_id())
        budget = budget or self.budget()
        stream = self._make(request, ref, budget)
        if request.demand is None:
            return await self._open(stream, budget)
        record = await self._record(request.key, budget)
        if record is not None and record.active is not None and _joins(request, record.active):
            self._check_protocol(request, record.active)
            return record.active  # it is counted already
        held = await self._reservations.reserve(
            ref,
            request.demand,
            request_id=request.request_id,
            budget=budget if self._shares_server else None,
        )
        try:
            opened = await self._open(stream, budget)
        except BaseException:
            self._reservations.drop(ref)
            raise
        if opened is not stream:
            self._reservations.drop(ref)
        elif record is not None and record.last is not None and record.last.quota is QuotaState.PENDING:
            held.owing = True
            self._correct_record(record.last)
            if not stream.degraded:  # its viewers are told of that
                stream.notices.announce(quota_pending(record.last))
        return opened

    async def needs_no_place(self, request: StreamRequest, budget: Budget) -> bool:
        """Whether the request will be answered by a stream that runs, or will replace one that this process runs: then
        it needs no place of its own here."""
        if request.on_conflict == "reject" and request.revision is None:
            return False
        record = await self._record(request.key, budget)
        active = None if record is None else record.active
        if active is None or active.state is not StreamState.OPEN:
            return False
        return _joins(request, active) or (request.replaces(active.message_id) and self._owns(active.ref))

    @property
    def _shares_server(self) -> bool:
        """Whether streams and quotas are kept by one server, so that waiting for either is waiting for both."""
        service = self._reservations.service
        return service is not None and service.server is not None and service.server == self._store.server

    async def _record(self, key: SessionKey, budget: Budget) -> SessionRecord | None:
        """The session, for what its earlier reply may still owe; None where the store does not say at once."""
        if self._breaker.open:
            return None
        try:
            return await budget.once(lambda: self._store.session(key))
        except StoreError:  # the registration finds out what that means
            return None

    async def _open(self, stream: LiveStream, budget: Budget) -> LiveStream | StreamMeta:
        try:
            return await self._registered_or_not(stream, budget)
        except BaseException:
            if stream.log.in_doubt:
                self._withdrawing.begin(stream.ref)
            raise

    async def _registered_or_not(self, stream: LiveStream, budget: Budget) -> LiveStream | StreamMeta:
        request = stream.request
        if self._breaker.open:
            return self._without_store(stream)
        try:
            joined = await self._register(stream, budget)
        except StoreUnavailableError as exc:
            self._breaker.exhausted(exc)
            return self._without_store(stream)
        except StoreFormatError as exc:  # the session is a later version's: an unlogged stream would run beside its own
            raise self._foreign(request, NEWER_FORMAT) from exc
        except StoreError:  # this session's record cannot be read; other sessions' can
            return self._without_store(stream)
        return stream if joined is None else joined

    async def _register(self, stream: LiveStream, budget: Budget) -> StreamMeta | None:
        """Register, clearing the way as the policy says. Returns the stream to join instead, if any."""
        request = stream.request
        new = new_stream_of(stream)
        settings = self._settings
        for _ in range(ATTEMPTS):
            stream.log.registering()
            result = await budget.asked(
                lambda: self._store.register(
                    new,
                    lease_seconds=settings.lease_seconds,
                    ttl_seconds=stream.ttl_seconds,
                    limit=settings.max_streams_per_owner,
                    arrived_seconds=request.arrived_seconds,
                )
            )
            if isinstance(result, Registered):
                stream.enter(result.meta)
                return None
            stream.log.not_registered()
            if isinstance(result, Full):
                raise self._fault(request, FaultCode.LIMIT_STREAMS, retry_after_seconds=5)
            if not isinstance(result, Occupied):  # withdrawn, which only happens to streams that nobody asks for
                break
            meta = result.meta
            if self._withdrawing.concerns(meta.ref):
                await budget.once(partial(self._withdrawing.through, meta.ref))
            elif meta.lease_seconds <= 0 and not self._owns(meta.ref):
                self._check_protocol(request, meta)
                await self.take_over(meta, stopped=meta.stop_requested, budget=budget)
            elif _joins(request, meta):
                self._check_protocol(request, meta)
                return meta
            elif request.replaces(meta.message_id):
                await self._replace(request, meta, budget)
            elif not meta.stop_requested:
                break
            elif not await self.wait_sealed(meta.ref, settings.replace_wait_seconds, budget=budget):
                break  # it was stopped, but its endpoint does not end
        raise self._fault(request, FaultCode.CONFLICT_ACTIVE, retry_after_seconds=2)

    async def take_over(
        self, meta: StreamMeta, *, stopped: bool, force: bool = False, budget: Budget | None = None
    ) -> bool:
        """Become the owner of an expired stream (or any, with `force`), have its end run, and wait for its seal.
        `budget` is that of the request which it is in the way of.

        Returns whether it is sealed now, by this worker or another. Cancelling it leaves it to go on: a stream that is
        taken and not ended would block its session for another lease.

        Raises:
            StoreError: the store failed.
        """
        return await self._carry(partial(self._taken_over, meta, stopped=stopped, force=force, budget=budget))

    async def _taken_over(self, meta: StreamMeta, *, stopped: bool, force: bool, budget: Budget | None) -> bool:
        outcome = Outcome.STOPPED if stopped else Outcome.INTERRUPTED
        ask = _directly if budget is None else budget.once
        try:
            reply = await ask(
                lambda: self._store.take_over(
                    meta.ref, lease_seconds=self._settings.lease_seconds, expected_epoch=meta.epoch, force=force
                )
            )
        except StoreUnavailableError:
            self._withdrawing.decide(meta.ref, partial(self._take_in_doubt, meta, outcome))
            raise
        if reply.status is not Status.OK or reply.meta is None:
            return reply.status in (Status.SEALED, Status.GONE)
        taken = reply.meta
        self._end_orphan(taken, outcome)
        if taken.state is not StreamState.OPEN:
            return True
        # One that lost its log cannot be sealed: only its tombstone frees the session.
        return await self.wait_sealed(taken.ref, self._settings.append_deadline_seconds, budget=budget)

    async def _take_in_doubt(self, meta: StreamMeta, outcome: Outcome) -> None:
        """End a stream that this worker may have taken without hearing so. Should it have been another that took it,
        that one loses it to this, which then ends it just as well."""
        current = await self._store.meta(meta.ref)
        if current is None or current.state is not StreamState.OPEN or current.epoch == meta.epoch:
            return  # gone, ended by another, or not taken: the next request finds it as it was
        reply = await self._store.take_over(
            meta.ref, lease_seconds=self._settings.lease_seconds, expected_epoch=current.epoch, force=True
        )
        if reply.status is Status.OK and reply.meta is not None:
            self._end_orphan(reply.meta, outcome)

    async def _replace(self, request: StreamRequest, meta: StreamMeta, budget: Budget) -> None:
        """End the session's stream by a stop, and by force if its writer does not end it in time."""
        reply = await budget.asked(lambda: self._store.request_stop(meta.ref))
        if reply is StopReply.ENDED:
            return
        if reply is StopReply.REQUESTED and await self.wait_sealed(
            meta.ref, self._settings.replace_wait_seconds, budget=budget
        ):
            return
        current = await budget.asked(lambda: self._store.meta(meta.ref))
        if current is not None and current.state is StreamState.OPEN:
            self._check_protocol(request, current)
            await self.take_over(current, stopped=True, force=True, budget=budget)

    async def wait_sealed(
        self, ref: StreamRef, timeout_seconds: float, *, closed: bool = False, budget: Budget | None = None
    ) -> bool:
        """Wait until a stream of any worker is sealed (or closed). False when the time was up."""
        changed = asyncio.Event()
        ask = _directly if budget is None else budget.once
        watching = self._store.subscribe(ref, lambda _: changed.set(), data=False)
        try:
            async with Deadline.after(timeout_seconds).limit(), AsyncExitStack() as entered:
                await ask(lambda: entered.enter_async_context(watching))
                while True:
                    meta = await ask(lambda: self._store.meta(ref))
                    if meta is None or meta.state is StreamState.CLOSED:
                        return True
                    if meta.state is StreamState.SEALED and not closed:
                        return True
                    try:
                        async with asyncio.timeout(POLL_SECONDS):  # noqa: TID251 -- a period
                            await changed.wait()
                    except TimeoutError:
                        continue
                    changed.clear()
        except TimeoutError:
            return False

    def _without_store(self, stream: LiveStream) -> LiveStream:
        """Run unlogged, or refuse, as the stream's policy says. The owner's limit is what this process knows."""
        request = stream.request
        if request.on_store_failure == "fail":
            raise self._fault(request, FaultCode.STORE_UNAVAILABLE, retry_after_seconds=5, phase=Phase.REGISTRATION)
        if self._count(request.key.owner) >= self._settings.max_streams_per_owner:
            raise self._fault(request, FaultCode.LIMIT_STREAMS, retry_after_seconds=5)
        stream.degrade("registration")
        return stream

    def _check_protocol(self, request: StreamRequest, meta: StreamMeta) -> None:
        """Refuse before a stream whose protocol only a later version knows is taken over or joined: a worker of that
        version can end it as it has to end."""
        if not knows_protocol(meta.protocol):
            raise self._foreign(request, UNKNOWN_PROTOCOL)

    def _foreign(self, request: StreamRequest, reason: str) -> FaultError:
        """What stands in the way belongs to a later version."""
        return self._fault(request, FaultCode.STORE_UNAVAILABLE, retry_after_seconds=RETRY_AFTER_SECONDS, reason=reason)

    def _fault(
        self,
        request: StreamRequest,
        code: FaultCode,
        *,
        retry_after_seconds: int,
        phase: Phase | None = None,
        reason: str | None = None,
    ) -> FaultError:
        fault = Fault.of(
            code,
            phase=phase,
            reason=reason,
            retry_after_seconds=retry_after_seconds,
            session_id=request.key.session_id,
            request_id=request.request_id,
        )
        self._observe(Observation(Signal.FAULT, request_id=request.request_id, fault=fault))
        return FaultError(fault)


async def _directly(step: Callable[[], Awaitable[T]]) -> T:
    """Ask the store within its own command timeout."""
    return await step()


def _joins(request: StreamRequest, meta: StreamMeta) -> bool:
    """Whether the request is answered by a stream that runs."""
    equal = request.fingerprint == meta.fingerprint != ""
    running = meta.state is StreamState.OPEN and not (meta.lost or meta.stop_requested)
    return request.on_conflict == "join" and equal and running


def quota_pending(meta: StreamMeta) -> Fault:
    """What a client is told with its next request, when an earlier reply is still to be settled."""
    return Fault.about(meta, FaultCode.QUOTA_RELEASE_FAILED, reason="earlier_reply")
