"""A request with an `Idempotency-Key` that is cancelled on its way leaves nothing that its retry would meet."""

from __future__ import annotations

import asyncio

import pytest

from streamguard.runtime import LiveStream
from streamguard.stores.memory import MemoryStore
from streamguard.values import Outcome
from tests.harness.waiting import wait_until_async
from tests.runtime.lines import Line
from tests.runtime.stage import KEY, closed, quick, working

from ..claiming import ask, told

pytestmark = pytest.mark.anyio

PATIENT = 3600.0
"""A lease, and a limit of the first item, that no test waits for."""


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(("operation", "earlier"), [("claim_request", 0), ("register", 0), ("claim_request", 1)])
async def test_its_retry_is_answered_afresh(operation: str, earlier: int, after: bool) -> None:
    """Cancelled before or after the store has carried out the first claim, the registration, or the second claim."""
    store = Line(MemoryStore())
    settings = quick(
        registration_seconds=5.0, lease_seconds=PATIENT, live_ttl_seconds=4 * PATIENT, first_item_seconds=PATIENT
    )
    async with working(store, settings) as worker:

        async def hold() -> None:
            store.hold(operation, after=after)

        if earlier:
            store.before["register"] = hold
        else:
            await hold()
        asking = asyncio.create_task(ask(worker))
        await wait_until_async(lambda: store.waiting[operation], description=f"{operation} is under way")
        asking.cancel()
        await asyncio.wait([asking])
        assert asking.cancelled()
        store.let_go(operation)
        await worker.runtime.idle()
        assert (await store.session(KEY)).active_id is None
        claims = store.calls["claim_request"]
        stream = await told(worker)
        assert not stream.degraded
        assert store.calls["claim_request"] - claims == 2, "it found the key free"


async def test_its_stream_is_sealed_as_one_that_said_nothing() -> None:
    store = Line(MemoryStore())
    async with working(store, quick(registration_seconds=5.0)) as worker:

        async def hold() -> None:
            store.hold("claim_request")

        store.before["register"] = hold
        asking = asyncio.create_task(ask(worker))
        await wait_until_async(lambda: store.waiting["claim_request"], description="it is being marked as begun")
        registered = (await store.session(KEY)).active
        assert registered is not None
        asking.cancel()
        await asyncio.wait([asking])
        meta = await closed(store, registered.ref)
        assert meta.seal is not None
        assert (meta.seal.outcome, meta.seal.last_seq, meta.seal.silent) == (Outcome.FAILED, 0, True)
        store.let_go("claim_request")
        assert isinstance(await ask(worker), LiveStream)
        await worker.runtime.drain()
