"""What a dry run says of reservations, and that it leaves them to the round that ends them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from streamguard.errors import QuotaTimeoutError, QuotaUnavailableError
from streamguard.observations import Signal
from streamguard.quota import MemoryQuotaStore
from streamguard.reconcile.reconciler import Reconciler
from streamguard.reconcile.results import Duty, Planned, Result, Step, Treated
from streamguard.stores.memory import MemoryStore
from streamguard.values import SessionKey, StreamRef, new_stream_id

from ..harness.waiting import wait_until_async
from ..runtime.conftest import memory
from ..runtime.counting import TOKENS, QuotaLine, asking, counting, used
from ..runtime.savers import eventually
from ..runtime.stage import KEY, Model, quick, saying

pytestmark = pytest.mark.anyio

__all__ = ["memory"]


def brief() -> QuotaLine:
    """A quota whose reservations soon expire when nobody renews them."""
    return QuotaLine(MemoryQuotaStore(hold_seconds=0.2, stale_seconds=0.1))


async def test_a_dry_run_lists_what_a_round_would_end_and_ends_nothing(memory: MemoryStore) -> None:
    quota = brief()
    ref = StreamRef(SessionKey(KEY.owner, "never-began"), new_stream_id())
    await quota.reserve(ref, {"tokens": 40}, (TOKENS,))
    async with counting(memory, quota) as worker:
        reconciler = Reconciler(worker.runtime)
        stale = Planned(ref, Step.EXPIRE, "", None, reserved={"tokens": 40})

        async def is_stale() -> bool:
            return (await reconciler.rehearse(limit=10)).planned == (stale,)

        await eventually(is_stale, "it is stale")
        assert (await reconciler.rehearse(limit=10)).planned == (stale,), "a dry run claims nothing"
        assert worker.signals(Signal.RESERVATION_EXPIRED) == []
        assert quota.calls["expire"] == 0
        report = await reconciler.once(patience=False)
        assert report.treated == (Treated(ref, Duty.RESERVATIONS, Result.DONE, "expired"),)
        assert len(worker.signals(Signal.RESERVATION_EXPIRED)) == 1
        assert (await reconciler.rehearse(limit=10)).found == 0
    assert await used(quota) == (0, 0)


async def test_it_lists_neither_what_lives_nor_what_is_owed(memory: MemoryStore) -> None:
    """Both have expired: their worker could not renew. (Fails where it lists whatever is due.)"""
    quota = brief()
    settings = quick(settle_visible_seconds=0.1, quota_seconds=0.3, outbox_retry_seconds=60.0)
    async with counting(memory, quota, settings) as worker:
        quota.down.add("renew")
        live_model = Model("a")
        live = await worker.start(live_model, asking(worker))
        quota.down.add("commit")
        elsewhere = replace(asking(worker), key=replace(KEY, session_id="chat-2"))
        owed = await worker.tell(saying("a"), elsewhere)
        assert owed.named("streamguard.end")[0]["quota"] == "pending"

        async def both_expired() -> bool:
            return len(await quota.inner.due(limit=10, claim_seconds=0)) == 2

        await eventually(both_expired, "nobody renewed them")
        assert (await Reconciler(worker.runtime).rehearse(limit=10)).found == 0
        quota.down.clear()
        live_model.end()
        await worker.watch(live)


async def test_a_quota_that_does_not_answer_is_told_of(memory: MemoryStore) -> None:
    """An empty list would be a lie."""
    quota = QuotaLine()
    async with counting(memory, quota, quick(quota_seconds=0.1)) as worker:
        reconciler = Reconciler(worker.runtime)
        quota.down.add("due")
        with pytest.raises(QuotaUnavailableError):
            await reconciler.rehearse(limit=10)
        quota.down.clear()
        quota.hold("due")
        with pytest.raises(QuotaTimeoutError):
            await reconciler.rehearse(limit=10)
        quota.let_go("due")
        await wait_until_async(lambda: quota.calls["due"] == 2, description="it was asked twice")
