"""A session that is occupied: how a request for it is refused, and who occupies it."""

from __future__ import annotations

import pytest

from streamguard.errors import FaultError
from streamguard.faults import FaultCode
from streamguard.stores.records import StreamMeta
from streamguard.stores.store import StreamStore
from streamguard.values import SessionKey

from .stage import Worker

__all__ = ["conflict", "meta_of"]


async def conflict(worker: Worker, **request: object) -> None:
    with pytest.raises(FaultError) as refused:
        await worker.open(worker.request(**request))  # type: ignore[arg-type]
    fault = refused.value.fault
    assert (fault.status, fault.code) == (409, FaultCode.CONFLICT_ACTIVE)
    assert fault.retry_after_seconds


async def meta_of(store: StreamStore, key: SessionKey) -> StreamMeta:
    active = (await store.session(key)).active
    assert active is not None
    return active
