"""Owed work whose record is damaged: a dead letter with its reason, found once, while everything else is done."""

from __future__ import annotations

import pytest

from streamguard.observations import Signal
from streamguard.reconcile.orphans import OrphanSweep
from streamguard.reconcile.outbox import OutboxWorker
from streamguard.stores.redis import RedisStore
from streamguard.stores.redis.keys import Keys
from streamguard.stores.store import StreamStore
from streamguard.values import Persisted, SessionKey

from ..harness.redis import RedisServer
from ..runtime.savers import Messages, meta_of, saving_to
from ..runtime.stage import quick, working
from .test_outbox import FAST, due, owing

pytestmark = pytest.mark.anyio

KEYS = Keys("streamguard")


async def test_each_damage_becomes_a_dead_letter_and_the_others_are_saved(
    redis_server: RedisServer, redis_database: int, redis_url: str
) -> None:
    messages = Messages()
    client = redis_server.client(redis_database)
    look: StreamStore = RedisStore(redis_url, command_seconds=5)
    async with working(RedisStore(redis_url, command_seconds=5), quick(**FAST), bindings=saving_to(messages)) as gone:
        names = ("wrong type", "epoch", "seal", "payload", "fine")
        streams = {name: await owing(gone, messages, SessionKey("ana", name)) for name in names}
    refs = {name: stream.ref for name, stream in streams.items()}
    await due(look, *refs.values())
    metas = {name: KEYS.stream(ref).meta for name, ref in refs.items()}
    client.delete(metas["wrong type"])
    client.set(metas["wrong type"], "x", ex=60)
    client.hset(metas["epoch"], "e", b"\xff")
    client.hset(metas["seal"], "g", "[" * 10_000)
    client.hset(metas["payload"], "j", "[" * 10_000)
    async with working(RedisStore(redis_url, command_seconds=5), quick(**FAST), bindings=saving_to(messages)) as worker:
        outbox = OutboxWorker(worker.runtime)
        treated = {one.ref: one.reason for one in await outbox.run_once()}
        assert treated[refs["fine"]] == "saved"
        assert treated[refs["epoch"]] == treated[refs["seal"]] == "record_unreadable"
        assert treated[refs["payload"]] == "payload_unreadable"
        assert not worker.runtime.breaker.open
        buried = {one.ref for one in worker.signals(Signal.SAVE_BURIED)}
        assert buried == {refs["epoch"], refs["seal"], refs["payload"]}
        (told,) = worker.signals(Signal.RECORD_UNREADABLE)
        assert (told.ref, told.fields["action"]) == (refs["wrong type"], "dead_letter")
        dead = {one.ref: one.reason for one in await look.outbox_entries(dead=True, limit=10)}
        assert dead == {
            refs["wrong type"]: "record_unreadable",
            refs["epoch"]: "record_unreadable",
            refs["seal"]: "record_unreadable",
            refs["payload"]: "payload_unreadable",
        }
        assert await outbox.sweep() == 0, "each is come upon once"
        assert await OrphanSweep(worker.runtime).sweep() == 0
        assert (await meta_of(look, refs["fine"])).persisted is Persisted.YES
        for ref in refs.values():
            await look.complete(ref, retention_seconds=60)
        assert await look.outbox_entries(dead=True, limit=10) == []
    await look.aclose()
