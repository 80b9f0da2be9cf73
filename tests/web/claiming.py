"""Requests with one key, below the web, and what becomes of each."""

from __future__ import annotations

import pytest

from streamguard.errors import FaultError, StoreUnavailableError
from streamguard.faults import FaultCode
from streamguard.observations import Signal
from streamguard.runtime import LiveStream, OnConflict, OnStoreFailure
from streamguard.runtime.opening.request_key import RequestKey
from streamguard.stores.records import RequestClaim, StreamMeta
from streamguard.stores.store import StreamStore
from streamguard.values import StreamRef, new_stream_id
from tests.runtime.stage import KEY, Model, Worker, saying

__all__ = ["THE_KEY", "answering", "ask", "away", "claimed", "refused", "told"]

THE_KEY = RequestKey("a key", "print", 60.0)


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
    return await worker.runtime.idempotent_opening.open(request, key)


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


async def answering(worker: Worker, model: Model) -> LiveStream:
    """A request with the key whose model runs."""
    stream = await ask(worker)
    assert isinstance(stream, LiveStream)
    worker.runtime.launch(stream, model)
    return stream


async def told(worker: Worker) -> LiveStream:
    """A request with the key that was answered to its end."""
    stream = await answering(worker, saying("hello"))
    await stream.ended()
    return stream
