"""Stores that have some of the roles, given to a guard."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route

from streamguard import ConfigurationError, Observation, Settings, StreamGuard
from streamguard.messages import MemoryMessageStore
from streamguard.quota import MemoryQuotaStore, Quota
from streamguard.stores import (
    Hint,
    Inspection,
    Outbox,
    RequestClaims,
    SessionRecord,
    StreamLog,
    StreamMeta,
    StreamRegistry,
    StreamWrites,
    ViewerReports,
    WorkerReports,
    WorkSharing,
)
from streamguard.stores.memory import MemoryStore
from streamguard.stores.partial import complete, lacking_roles
from streamguard.testing import GuardedApp
from streamguard.values import Event, Position, SessionKey, StreamRef
from tests.web.serving import USER, user_of

pytestmark = pytest.mark.anyio

SETTINGS = Settings(drain_seconds=0.5)
ROLES = (StreamRegistry, StreamWrites, Outbox, RequestClaims, WorkSharing, ViewerReports, WorkerReports, Inspection)


class ReadOnly(StreamLog):
    """The streams of another store, to be read."""

    shared = False

    def __init__(self, streams: MemoryStore) -> None:
        self._streams = streams

    async def session(self, key: SessionKey) -> SessionRecord:
        return await self._streams.session(key)

    async def meta(self, ref: StreamRef) -> StreamMeta | None:
        return await self._streams.meta(ref)

    async def check_position(self, ref: StreamRef, at: Position) -> tuple[StreamMeta | None, bool]:
        return await self._streams.check_position(ref, at)

    async def read(self, ref: StreamRef, after: Position, *, max_bytes: int) -> list[Event]:
        return await self._streams.read(ref, after, max_bytes=max_bytes)

    def subscribe(
        self, ref: StreamRef, on_hint: Callable[[Hint], None], *, data: bool = True
    ) -> AbstractAsyncContextManager[None]:
        return self._streams.subscribe(ref, on_hint, data=data)


def store_with(*roles: type, streams: MemoryStore | None = None) -> StreamLog:
    """A store that has these roles beside the log, and no other."""
    inner = streams or MemoryStore()
    made = type("Partial", (ReadOnly, *roles), {name: _passed(name) for role in roles for name in _steps(role)})
    store: StreamLog = made(inner)
    return store


def _steps(role: type) -> list[str]:
    return [name for name, value in vars(role).items() if callable(value) and not name.startswith("_")]


def _passed(name: str) -> Callable[..., object]:
    def call(self: ReadOnly, *args: object, **named: object) -> object:
        return getattr(self._streams, name)(*args, **named)

    return call


class Site:
    """A guard on a store, with an endpoint unless it only reads."""

    def __init__(self, store: StreamLog, *, endpoint: bool = True, quota: bool = False, messages: bool = False) -> None:
        self.seen: list[Observation] = []
        self.go = asyncio.Event()
        self.go.set()
        self.guard = StreamGuard(
            store,
            authenticate=user_of,
            settings=SETTINGS,
            messages=MemoryMessageStore() if messages else None,
            quota=MemoryQuotaStore() if quota else None,
            observers=(self.seen.append,),
        )
        routes: Sequence[Route] = ()
        if endpoint:

            @self.guard.stream("request.query_params.id", quota=Quota(9, "day", "requests") if quota else None)
            async def chat(request: Request) -> AsyncIterator[str]:
                yield "one "
                await self.go.wait()
                yield "two"

            routes = [Route("/api/chat", chat, methods=["POST"])]
        app = Starlette(routes=routes, lifespan=self.guard.lifespan)
        self.guard.install(app, "/api/chat")
        self.chat = GuardedApp(app, self.guard, headers=USER)


async def test_a_guard_whose_store_only_reads_replays_and_follows_what_others_write() -> None:
    streams = MemoryStore()
    writing, reading = Site(streams), Site(ReadOnly(streams), endpoint=False)
    async with writing.chat as writer, reading.chat as reader:
        writing.go.clear()
        answer = await writer.post({}, path="/api/chat?id=s")
        await answer.read(2)
        live = await reader.resume("s")
        writing.go.set()
        await live.rest()
        await answer.rest()
        assert live.text == answer.text == "one two"
        replay = await reader.resume("s")
        await replay.rest()
        assert replay.text == "one two"
        assert (await reader.status("s")).last is not None
        assert (await reader.resume("unknown")).status == 204


async def test_such_a_guard_says_that_it_cannot_change_anything() -> None:
    streams = MemoryStore()
    writing, reading = Site(streams), Site(ReadOnly(streams), endpoint=False)
    async with writing.chat as writer, reading.chat as reader:
        writing.go.clear()
        answer = await writer.post({}, path="/api/chat?id=s")
        await answer.read(2)
        for refused in (await reader.stop("s"), await reader.delete("s")):
            assert refused.status == 503
            assert [fault.code for fault in refused.faults] == ["store_unavailable"]
        writing.go.set()
        await answer.rest()
        assert answer.text == "one two"


@pytest.mark.parametrize(
    ("roles", "site", "said"),
    [
        (
            (),
            {},
            "needs .* the roles StreamRegistry and StreamWrites and RequestClaims, which Partial lacks",
        ),
        ((StreamWrites, RequestClaims), {}, "a guarded endpoint needs .* the role StreamRegistry, which Partial lacks"),
        (
            (StreamRegistry, StreamWrites, RequestClaims),
            {"messages": True},
            "needs a stream store with the role Outbox, which Partial lacks",
        ),
        (
            (StreamRegistry, StreamWrites, RequestClaims),
            {"quota": True},
            "needs a stream store with the role Outbox, which Partial lacks",
        ),
    ],
)
def test_a_role_that_a_guard_needs_is_named(roles: tuple[type, ...], site: dict[str, bool], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        Site(store_with(*roles), **site)


@pytest.mark.parametrize("left_out", [Outbox, WorkSharing, ViewerReports, WorkerReports, Inspection])
async def test_a_guard_does_without_each_of_the_other_roles(left_out: type) -> None:
    site = Site(store_with(*(role for role in ROLES if role is not left_out)), messages=left_out is not Outbox)
    async with site.chat as chat:
        for _ in range(2):
            answer = await chat.post({}, path="/api/chat?id=s", headers={"Idempotency-Key": '"k"'})
            await answer.rest()
            assert answer.text == "one two"
            await chat.ended(answer)
        assert (await chat.delete("s")).status == 204
    assert (await site.guard.reconcile(patience=False)).treated == ()


async def test_a_store_that_has_each_role_by_itself_is_whole() -> None:
    store = store_with(*ROLES)
    assert lacking_roles(store) == ()
    site = Site(store, messages=True, quota=True)
    async with site.chat as chat:
        answer = await chat.post({}, path="/api/chat?id=s")
        await answer.rest()
        await chat.ended(answer)


async def test_what_is_given_is_used_as_it_is_if_it_has_all_roles() -> None:
    store = MemoryStore()
    assert complete(store) is store
    assert lacking_roles(store) == ()


async def test_a_store_tells_of_records_that_it_cannot_read() -> None:
    store = ReadOnly(MemoryStore())
    whole = complete(store)
    told: list[object] = []
    whole.on_unreadable = told.append
    assert store.on_unreadable is whole.on_unreadable is not None
    assert (whole.shared, whole.server) == (False, None)
