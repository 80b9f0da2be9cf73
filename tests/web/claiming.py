"""Requests with one key, below the web: a store whose claims fail, and what becomes of each request."""

from __future__ import annotations

import asyncio
from collections import defaultdict

import pytest

from streamguard.errors import FaultError, StoreError, StoreUnavailableError
from streamguard.faults import FaultCode
from streamguard.model import Signal, StreamRef, new_stream_id
from streamguard.runtime import LiveStream, OnConflict, OnStoreFailure
from streamguard.stores.base import Full, NewStream, Occupied, Registered, RequestClaim, StreamMeta, StreamStore
from streamguard.stores.memory import MemoryStore
from streamguard.web.idempotency import RequestKey, open_once
from tests.runtime.stage import KEY, Model, Worker, saying

__all__ = ["THE_KEY", "Faulty", "ask", "away", "claimed", "refused", "told"]

THE_KEY = RequestKey("a key", "print", 60.0)


class Faulty(MemoryStore):
    """Claims fail as the test says: each call of an operation takes the next of its `errors`, None for none."""

    def __init__(self) -> None:
        super().__init__()
        self.errors: dict[str, list[StoreError | None]] = defaultdict(list)
        self.calls = 0
        self.standing: list[RequestClaim] = []
        """What the next claims are answered, whatever stands."""
        self.held: list[asyncio.Event] = []
        """What the next registrations wait for."""

    async def register(
        self, new: NewStream, *, lease_seconds: float, ttl_seconds: float, limit: int | None
    ) -> Registered | Occupied | Full:
        self._fail("register")
        if self.held:
            await self.held.pop(0).wait()
        return await super().register(new, lease_seconds=lease_seconds, ttl_seconds=ttl_seconds, limit=limit)

    async def claim_request(
        self,
        owner: str,
        request_key: str,
        claim: RequestClaim,
        *,
        ttl_seconds: float,
        expected: RequestClaim | None = None,
    ) -> RequestClaim:
        self.calls += 1
        self._fail("claim_request")
        if self.standing:
            return self.standing.pop(0)
        return await super().claim_request(owner, request_key, claim, ttl_seconds=ttl_seconds, expected=expected)

    async def meta(self, ref: StreamRef) -> StreamMeta | None:
        self._fail("meta")
        return await super().meta(ref)

    def _fail(self, operation: str) -> None:
        error = self.errors[operation].pop(0) if self.errors[operation] else None
        if error is not None:
            raise error


def away(operation: str = "claim_request") -> StoreUnavailableError:
    return StoreUnavailableError("away", operation=operation)


async def ask(
    worker: Worker,
    *,
    on_conflict: OnConflict = "reject",
    on_store_failure: OnStoreFailure = "continue",
    fingerprint: str = "",
    key: RequestKey = THE_KEY,
) -> LiveStream | StreamMeta:
    request = worker.request(on_conflict=on_conflict, on_store_failure=on_store_failure, fingerprint=fingerprint)
    return await open_once(worker.runtime, request, key)


async def refused(worker: Worker, **options: OnStoreFailure) -> tuple[FaultCode, str | None]:
    """How a request is refused; the refusal was observed once."""
    before = len(worker.faults())
    with pytest.raises(FaultError) as caught:
        await ask(worker, on_store_failure=options.get("on_store_failure", "continue"))
    fault = caught.value.fault
    assert fault.fault_id in [seen.fault.fault_id for seen in worker.signals(Signal.FAULT)[before:] if seen.fault]
    assert fault.session_id == KEY.session_id
    assert fault.request_id == "req-1"
    return fault.code, fault.reason


async def claimed(store: StreamStore, claim: RequestClaim | None = None) -> RequestClaim:
    """The claim that stands; `claim` if there was none."""
    probe = claim or RequestClaim(StreamRef(KEY, new_stream_id()), "probe")
    return await store.claim_request(KEY.owner, THE_KEY.name, probe, ttl_seconds=60.0)


async def told(worker: Worker, model: Model | None = None) -> LiveStream:
    """A request with the key that was answered to its end."""
    stream = await ask(worker)
    assert isinstance(stream, LiveStream)
    worker.runtime.launch(stream, model or saying("hello"))
    await stream.ended()
    return stream
