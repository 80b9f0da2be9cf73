"""The poison matrix: each kind of stored record, of another type, full of junk, of a later version, or missing.

Whoever it belongs to gets a typed answer on every route and can delete everything; nobody else notices; the reconciler
goes on; `streamguard doctor` names it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import pytest
from fastapi import FastAPI
from pydantic import BaseModel
from redis import Redis
from starlette.requests import HTTPConnection

from streamguard import FaultCode, FaultError, Settings, StreamGuard
from streamguard.messages import RedisMessageStore
from streamguard.observations import Signal
from streamguard.quota import Quota
from streamguard.stores import RedisClient
from streamguard.stores.records import NewStream
from streamguard.stores.redis import RedisStore
from streamguard.stores.redis.keys import Keys
from streamguard.stores.redis.server_facts import RedisInspector
from streamguard.stores.store import StreamStore
from streamguard.testing import Answer, GuardedApp
from streamguard.testing.visitors import Visitor
from streamguard.values import SessionKey, StreamRef, new_stream_id

from ..harness.waiting import wait_until_async

pytestmark = pytest.mark.anyio

SESSION: Final = "c"
LASTING: Final = 60
KEYS: Final = Keys("streamguard")
TYPED: Final = {200, 202, 204, 404, 409, 410, 503}
DAMAGES: Final = ("wrong_type", "garbage", "later_version", "missing")


class Body(BaseModel):
    id: str
    wait: bool = False


async def owner(connection: HTTPConnection) -> str | None:
    return connection.headers.get("x-user")


@dataclass
class Site:
    """An application of its own on one Redis, with a chat of ann's to be damaged and one of bob's that is not."""

    chat: GuardedApp
    guard: StreamGuard
    client: Redis
    store: RedisStore
    gates: dict[str, asyncio.Event] = field(default_factory=dict)

    @property
    def bob(self) -> Visitor:
        return self.chat.visitor({"X-User": "bob"})

    def gate(self, session: str) -> asyncio.Event:
        return self.gates.setdefault(session, asyncio.Event())


@asynccontextmanager
async def site_on(url: str) -> AsyncIterator[Site]:
    gates: dict[str, asyncio.Event] = {}
    async with RedisClient(url, command_seconds=5) as client:
        guard = StreamGuard(
            url,
            authenticate=owner,
            messages=RedisMessageStore(client, ttl_seconds=LASTING),
            settings=Settings(
                drain_seconds=0.2,
                heartbeat_seconds=0.2,
                lease_seconds=1,
                sweep_seconds=0.2,
                outbox_seconds=0.2,
                registration_seconds=5,  # this machine may be busy
                command_seconds=5,
                save_total_seconds=2,
                live_ttl_seconds=LASTING,
                finished_ttl_seconds=LASTING,
                outbox_retention_seconds=LASTING,
            ),
        )
        app = FastAPI(lifespan=guard.lifespan)

        @app.post("/api/chat")
        @guard.stream(session="body.id", quota=Quota(limit=1000, per="day", unit="requests"))
        async def chat(body: Body) -> AsyncIterator[str]:
            yield "a"
            if body.wait:
                await gates.setdefault(body.id, asyncio.Event()).wait()
            yield "b"
            yield "c"

        guard.install(app, "/api/chat")
        store = RedisStore(url, command_seconds=5)
        await store.start()
        redis = Redis.from_url(url)
        try:
            async with GuardedApp(app, guard, headers={"X-User": "ann"}, wait_seconds=30) as entered:
                yield Site(entered, guard, redis, store, gates)
        finally:
            redis.close()
            await store.aclose()


# -- what is damaged --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Kind:
    """A kind of stored record: where it is, and what junk in it looks like."""

    key: Callable[[StreamRef], bytes]
    garbage: Callable[[Redis, bytes], None]
    version: str | None = None
    """The field that holds its version, if it has one."""
    named: str = ""
    """What `doctor` calls it."""


def fields(**junk: str | bytes) -> Callable[[Redis, bytes], None]:
    def damage(client: Redis, key: bytes) -> None:
        for name, value in junk.items():
            client.hset(key, name, value)

    return damage


def member(junk: str) -> Callable[[Redis, bytes], None]:
    return lambda client, key: client.zadd(key, {junk: 1})  # type: ignore[return-value] # what it answers is no matter


def text(junk: str | bytes) -> Callable[[Redis, bytes], None]:
    return lambda client, key: client.set(key, junk, ex=LASTING)  # type: ignore[return-value]


def foreign_entry(client: Redis, key: bytes) -> None:
    client.xadd(key, {"foreign": b"\xff"}, id=f"{2**63}-1")


def only(client: Redis, pattern: bytes) -> bytes:
    (found,) = client.scan_iter(match=pattern, count=1000)
    return bytes(found)


def stored(pattern: str) -> Callable[[StreamRef], bytes]:
    """A key whose name no function here makes: there is one of ann's alone, since bob's is made later."""
    return lambda _: pattern.encode()


KINDS: Final[dict[str, Kind]] = {
    "session": Kind(
        lambda ref: KEYS.session(ref.key).session, fields(v="junk", ordinal="many", active=b"\xff"), "v", "session"
    ),
    "streams": Kind(lambda ref: KEYS.session(ref.key).streams, member("\x00no id"), None, "session streams"),
    "stream": Kind(
        lambda ref: KEYS.stream(ref).meta, fields(n="many", e=b"\xff", d="soon", g="[" * 5000), "v", "stream"
    ),
    "stream's enums": Kind(lambda ref: KEYS.stream(ref).meta, fields(s="?", y=b"\xff"), None, "stream"),
    "log": Kind(lambda ref: KEYS.stream(ref).log, foreign_entry, None, "log"),
    "lease index": Kind(KEYS.lease_shard, member("!"), None, "lease index"),
    "outbox": Kind(KEYS.outbox_shard, member("bm8gbGlzdA=="), None, "outbox"),
    "owner's slots": Kind(lambda ref: KEYS.owner(ref.key.owner), member("no stream"), None, "owner slots"),
    "workers": Kind(lambda _: KEYS.workers(), member("no worker"), None, "workers"),
    "viewers": Kind(lambda _: KEYS.viewers()[0], member("no worker"), None, "viewers"),
    "claim": Kind(stored("streamguard:{r.*}"), text("[" * 5000), None, "idempotency claim"),
    "quota ledger": Kind(stored("streamguard:{q.*}:l"), fields(v="junk"), "v", "quota ledger"),
    "quota records": Kind(stored("streamguard:{q.*}:r"), fields(junk="[" * 5000), None, "quota ledger"),
    "messages": Kind(stored("streamguard:{c.*}"), fields(v="junk", n="many", **{"b:1": "]"}), "v", "messages"),
}
LEFT_TO_LATER: Final = {"session", "stream", "messages"}
"""What a later version wrote of these is deleted by a worker of that version alone."""
HARMLESS: Final = {("streams", "garbage"), ("owner's slots", "garbage"), ("workers", "garbage"), ("viewers", "garbage")}
"""A member of a set that names nothing: nobody takes it for anything, so nothing is to be told of it."""


def damage(client: Redis, ref: StreamRef, kind: Kind, how: str) -> None:
    key = kind.key(ref)
    if b"*" in key:
        key = only(client, key)
    if how == "missing":
        client.delete(key)
    elif how == "wrong_type":
        is_text = client.type(key) == b"string"
        client.delete(key)
        if is_text:
            client.rpush(key, "x")
        else:
            client.set(key, "x")
        client.expire(key, LASTING)
    elif how == "later_version":
        if kind.version is not None:
            client.hset(key, kind.version, "2")
        else:
            client.set(key, '[2,"","",""]', ex=LASTING)
    else:
        kind.garbage(client, key)
        client.expire(key, LASTING)


def cells() -> list[tuple[str, str]]:
    versioned = {name for name, kind in KINDS.items() if kind.version is not None} | {"claim"}
    return [(name, how) for name in KINDS for how in DAMAGES if how != "later_version" or name in versioned]


# -- the matrix -------------------------------------------------------------------------------------------------------


async def orphan(store: StreamStore) -> StreamRef:
    """A stream whose writer is gone."""
    ref = StreamRef(SessionKey("carl", "orphan"), new_stream_id())
    new = NewStream(ref, "m", "ui-message", "elsewhere", "", 0.0)
    await store.register(new, lease_seconds=0.01, ttl_seconds=LASTING, limit=None)
    return ref


def typed(answer: Answer) -> None:
    """An answer of ours: what cannot be read is said to be, and never an exception."""
    assert answer.error is None
    assert answer.status in TYPED, (answer.status, answer.body[:500])
    if answer.status == 503:
        (fault,) = answer.faults
        assert fault.code in (FaultCode.STORE_UNAVAILABLE, FaultCode.QUOTA_UNAVAILABLE)
        assert fault.reason in ("record_unreadable", "newer_format", None)


async def every_route(site: Site, ref: StreamRef) -> None:
    chat = site.chat
    typed(await chat.resume(SESSION))
    typed(await chat.resume(SESSION, errors_in_stream=True))
    base = f"{chat.prefix}/{SESSION}"
    for path in (base, f"{base}/messages", f"{base}/streams/{ref.stream_id}/raw"):
        typed(await chat.request("GET", path))
    for key in ("k", "new"):
        answer = await chat.post({"id": SESSION}, headers={"idempotency-key": key})
        typed(answer)
        if answer.status == 200:
            await answer.whole()
    typed(await chat.stop(SESSION))


def reported(site: Site) -> set[str]:
    """What kinds of records the worker said that it cannot read."""
    told = [one for one in site.chat.observations if one.name is Signal.RECORD_UNREADABLE]
    return {str(one.fields.get("record", "")).replace("_", " ") for one in told}


async def names_it(url: str, kind: Kind) -> list[str]:
    survey = RedisInspector(url, command_seconds=5)
    try:
        scan = await survey.records(1000)
    finally:
        await survey.aclose()
    assert scan.complete
    return [f"{one.record.replace('_', ' ')} {one.why}" for one in scan.named()]


@pytest.mark.parametrize(("name", "how"), cells())
@pytest.mark.parametrize("running", [True, False], ids=["running", "ended"])
async def test_a_damaged_record_concerns_nobody_else(redis_url: str, name: str, how: str, running: bool) -> None:
    kind = KINDS[name]
    async with site_on(redis_url) as site:
        first = await site.chat.post({"id": SESSION, "wait": running}, headers={"idempotency-key": "k"})
        await first.next_event()
        ref = StreamRef(SessionKey("ann", SESSION), first.stream_id or "")
        if not running:
            await first.whole()
            await site.chat.ended(first)
        if name in ("outbox", "workers", "viewers", "messages"):
            await asyncio.to_thread(_make_sure_of, site.client, kind.key(ref))
        damage(site.client, ref, kind, how)
        told = await names_it(redis_url, kind)
        if how in ("wrong_type", "garbage", "later_version") and (name, how) not in HARMLESS:
            # Or a worker came upon it first, mended it or gave the stream's log up, and said so.
            given_up = any(one.name is Signal.STREAM_DEGRADED and one.ref == ref for one in site.chat.observations)
            assert any(kind.named in one for one in told) or kind.named in reported(site) or given_up, told

        bystander = await site.bob.post({"id": "b", "wait": True})
        await bystander.next_event()
        lost = await orphan(site.store)
        if running:
            site.gate(SESSION).set()
            await first.whole()  # its own reader has its end, whatever became of its log
        await every_route(site, ref)
        await site.guard.reconcile(patience=False)
        ended: Callable[[], Awaitable[bool] | bool] = partial(_is_closed, site.store, lost)
        await wait_until_async(ended, description="another's orphan is ended")

        site.gate("b").set()
        await bystander.whole()
        assert bystander.text == "abc"
        another = await site.bob.post({"id": "b2"})
        await another.whole()
        for answer in (bystander, another):
            assert (answer.status, answer.headers.get("x-streamguard-notice")) == (200, None)
            assert (await site.bob.resume(answer.session_id or "")).status == 200
        runtime = site.guard._running()
        assert not runtime.breaker.open
        assert not [one for one in site.chat.observations if one.name is Signal.BREAKER_OPENED]
        assert not [one for one in site.chat.observations if one.name is Signal.TASK_RESTARTED]

        deleted = await site.chat.delete(SESSION)
        if how == "later_version" and name in LEFT_TO_LATER and _still_later(site.client, ref, kind):
            assert deleted.status == 503
            return
        assert deleted.status == 204, deleted.body
        left = set(site.client.scan_iter(match=KEYS.session(ref.key).session[:-1].decode() + "*", count=1000))
        assert left == {KEYS.session(ref.key).erased}
        with pytest.raises(FaultError, match="not_found"):
            await site.chat.raw(SESSION, ref.stream_id)


def _make_sure_of(client: Redis, key: bytes) -> None:
    """A key that comes with what happens later than the test would wait for."""
    if b"*" not in key and not client.exists(key):
        client.zadd(key, {"another": 2**52})
        client.expire(key, LASTING)


async def _is_closed(store: StreamStore, ref: StreamRef) -> bool:
    meta = await store.meta(ref)
    return meta is None or meta.state == "closed"


def _still_later(client: Redis, ref: StreamRef, kind: Kind) -> bool:
    key = kind.key(ref)
    if b"*" in key:
        return True
    return client.type(key) == b"hash" and client.hget(key, "v") in (b"2", "2")
