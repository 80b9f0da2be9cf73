"""What is owed for an endpoint that no worker knows: left to one that does, for a day, and then a dead letter."""

from __future__ import annotations

import pytest

from streamguard.observations import Signal
from streamguard.reconcile.outbox import OutboxWorker
from streamguard.runtime import LiveStream
from streamguard.saving import save_outbox
from streamguard.stores.store import StreamStore
from streamguard.values import Persisted

from ..runtime.conftest import Stores, look, memory, stores
from ..runtime.savers import Messages, eventually, meta_of, saving_to
from ..runtime.stage import quick, working
from .test_outbox import FAST, due, owing

pytestmark = pytest.mark.anyio

__all__ = ["look", "memory", "stores"]


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Entries that are left come up again at once, for a test that will not wait for them."""
    monkeypatch.setattr(save_outbox, "ELSEWHERE_SECONDS", 0.001)


async def _left_owing(stores: Stores, look: StreamStore, messages: Messages) -> LiveStream:
    """One that is due, of a worker that is gone."""
    async with working(stores(), quick(**FAST), bindings=saving_to(messages)) as gone:
        stream = await owing(gone, messages)
    await due(look, stream.ref)
    return stream


async def test_it_becomes_a_dead_letter_when_nobody_has_known_it_for_long(stores: Stores, look: StreamStore) -> None:
    stream = await _left_owing(stores, look, Messages())
    settings = quick(**FAST, unknown_binding_seconds=0.2)
    async with working(stores(), settings, bindings=saving_to(Messages(), "renamed")) as worker:
        outbox = OutboxWorker(worker.runtime)

        async def buried() -> bool:
            await outbox.sweep()
            return bool(await look.outbox_entries(dead=True, limit=10))

        await eventually(buried, "it is given up")
        (dead,) = await look.outbox_entries(dead=True, limit=10)
        assert (dead.ref, dead.reason) == (stream.ref, "unknown_binding")
        assert (await meta_of(look, stream.ref)).persisted is Persisted.NO
        (told,) = worker.signals(Signal.SAVE_BURIED)
        assert told.ref == stream.ref


async def test_tries_of_workers_that_do_not_know_it_count_for_nothing(stores: Stores, look: StreamStore) -> None:
    """A rolling deployment: many looks by the old workers, then one that knows it."""
    messages = Messages()
    stream = await _left_owing(stores, look, messages)
    (before,) = await look.outbox_entries(dead=False, limit=10)
    async with working(stores(), quick(**FAST, max_outbox_attempts=2), bindings=saving_to(Messages(), "old")) as old:
        outbox = OutboxWorker(old.runtime)
        for _ in range(5):
            await due(look, stream.ref)
            assert [one.reason for one in await outbox.run_once()] == ["unknown_binding"]
    (owed,) = await look.outbox_entries(dead=False, limit=10)
    assert (owed.attempts, owed.reason) == (before.attempts, "unknown_binding")
    async with working(stores(), quick(**FAST), bindings=saving_to(messages)) as new:
        await due(look, stream.ref)
        await OutboxWorker(new.runtime).sweep()
    assert (await meta_of(look, stream.ref)).persisted is Persisted.YES


@pytest.mark.long
async def test_it_does_not_outlive_its_record_for_being_looked_at(stores: Stores, look: StreamStore) -> None:
    """Half of the time the record is kept is all that it waits for, however long the setting."""
    messages = Messages()
    settings = quick(**FAST, outbox_retention_seconds=4.0)
    async with working(stores(), settings, bindings=saving_to(messages)) as gone:
        await owing(gone, messages)
    async with working(stores(), settings, bindings=saving_to(Messages(), "renamed")) as worker:
        outbox = OutboxWorker(worker.runtime)

        async def buried() -> bool:
            await outbox.sweep()
            return bool(await look.outbox_entries(dead=True, limit=10))

        await eventually(buried, "it is given up while its record lasts")
