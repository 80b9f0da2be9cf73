"""A guard that is given a store object, or observers."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route

from streamguard import ConfigurationError, Observation, Settings, Signal, StoreUnavailableError, StreamGuard
from streamguard.messages import MemoryMessageStore
from streamguard.quota import MemoryQuotaStore, Quota, RedisQuotaStore
from streamguard.stores import NewStream, RedisClient
from streamguard.stores.memory import MemoryStore
from streamguard.stores.redis import RedisStore
from streamguard.stores.store import StreamStore
from streamguard.testing import FaultyStore, GuardedApp
from streamguard.values import SessionKey, StreamRef, new_message_id, new_stream_id
from tests.harness.sse import EventReader, ui_text
from tests.harness.waiting import wait_until_async
from tests.web.serving import calling, user_of

pytestmark = pytest.mark.anyio

SETTINGS = Settings(drain_seconds=0.5, command_seconds=5, registration_seconds=5)
LIMIT = Quota(10, "day", "requests")


@pytest.fixture(params=["memory", "redis"])
def store(request: pytest.FixtureRequest) -> Iterator[StreamStore]:
    if request.param == "memory":
        yield MemoryStore()
    else:
        yield RedisStore(request.getfixturevalue("redis_url"), namespace="given", command_seconds=5)


def chat_of(guard: StreamGuard, quota: Quota | None = None) -> Starlette:
    @guard.stream("request.query_params.id", quota=quota)
    async def chat(request: Request) -> AsyncIterator[str]:
        yield "one "
        yield "two"

    app = Starlette(routes=[Route("/chat", chat, methods=["POST"])], lifespan=guard.lifespan)
    guard.install(app, "/api/chat")
    return app


async def test_its_streams_are_in_that_store_whenever_the_guard_is_started(store: StreamStore) -> None:
    guard = StreamGuard(store, authenticate=user_of, settings=SETTINGS)
    app = chat_of(guard)
    async with calling(app, guard) as client:
        stream_id = (await client.post("/chat?id=s")).headers["x-stream-id"]
    async with calling(app, guard) as client:
        again = await client.get("/api/chat/s/stream")
        assert again.headers["x-stream-id"] == stream_id
        assert ui_text(EventReader().feed(again.content)) == "one two"
        assert (await store.session(SessionKey("ann", "s"))).last_id == stream_id


async def test_it_is_closed_with_the_last_guard_that_has_it(redis_url: str) -> None:
    store = RedisStore(redis_url, command_seconds=5)
    first, second = (StreamGuard(store, authenticate=user_of, settings=SETTINGS) for _ in range(2))
    app = chat_of(second)
    async with calling(app, second) as client:
        async with first:
            pass
        assert ui_text(EventReader().feed((await client.post("/chat?id=s")).content)) == "one two"
    with pytest.raises(StoreUnavailableError, match="closed"):
        await store.ping()


async def test_guards_of_one_url_have_a_store_each(redis_url: str) -> None:
    first, second = (StreamGuard(redis_url, authenticate=user_of, settings=SETTINGS) for _ in range(2))
    async with second:
        async with first:
            store = first._running().store
            assert store is not second._running().store
        with pytest.raises(StoreUnavailableError, match="closed"):
            await store.ping()
        await second._running().store.ping()


async def test_a_guard_that_does_not_start_does_not_keep_it(redis_url: str) -> None:
    store = RedisStore(redis_url, command_seconds=5)
    failing = StreamGuard(Foreign(), authenticate=user_of, settings=SETTINGS)
    chat_of(failing, LIMIT)
    with pytest.raises(ConfigurationError):
        await failing.__aenter__()
    async with StreamGuard(store, authenticate=user_of, settings=SETTINGS):
        pass
    with pytest.raises(StoreUnavailableError, match="closed"):
        await store.ping()


async def test_usage_is_counted_beside_it(store: StreamStore, redis_url: str) -> None:
    guard = StreamGuard(store, authenticate=user_of, settings=SETTINGS)
    app = chat_of(guard, Quota(1, "day", "requests"))
    async with calling(app, guard) as client:
        assert (await client.post("/chat?id=1")).status_code == 200
    async with calling(app, guard) as client:
        assert (await client.post("/chat?id=2")).status_code == 429
    if isinstance(store, RedisStore):
        async with RedisClient(redis_url, command_seconds=5) as client_:
            status = await RedisQuotaStore(client_, namespace="given").status("ann", [Quota(1, "day", "requests")])
        assert [standing.used for standing in status.standings] == [1]


async def test_beside_a_store_of_another_kind_nothing_is_counted_unless_said_where() -> None:
    guard = StreamGuard(Foreign(), authenticate=user_of, settings=SETTINGS)
    chat_of(guard, LIMIT)
    with pytest.raises(
        ConfigurationError, match=r"beside a Foreign: give the guard a quota store, StreamGuard\(…, quota=…\)"
    ):
        await guard.__aenter__()
    guard = StreamGuard(Foreign(), authenticate=user_of, settings=SETTINGS, quota=MemoryQuotaStore())
    app = chat_of(guard, LIMIT)
    async with calling(app, guard) as client:
        assert (await client.post("/chat?id=1")).status_code == 200


async def test_it_can_be_instrumented_and_reconciled(store: StreamStore) -> None:
    guard = StreamGuard(store, authenticate=user_of, settings=SETTINGS)
    chat = GuardedApp(chat_of(guard), guard, headers={"X-User": "ann"})
    for _ in range(2):
        async with chat:
            answer = await chat.post({}, path="/chat?id=s")
            await answer.rest()
            await chat.ended(answer)
    assert (await guard.reconcile(patience=False)).treated == ()
    async with guard.reconciling() as reconciler:
        assert reconciler.shared is store.shared


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (None, "not a NoneType"),
        (b"memory://", "not a bytes"),
        (MemoryStore, "not the class MemoryStore"),
        (MemoryMessageStore(), "not a MemoryMessageStore"),
        (SETTINGS, "not a Settings"),
    ],
)
def test_what_is_neither_a_url_nor_a_store_is_refused(given: object, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        StreamGuard(given, authenticate=user_of)  # type: ignore[arg-type]


# -- observers --------------------------------------------------------------------------------------------------------


async def test_every_observer_is_told_whatever_becomes_of_another() -> None:
    seen: list[list[Signal]] = [[], []]

    def failing(observation: Observation) -> None:
        raise RuntimeError(observation.name)

    class Second:
        def __call__(self, observation: Observation) -> None:
            seen[1].append(observation.name)

    guard = StreamGuard(
        authenticate=user_of,
        settings=SETTINGS,
        observers=(lambda observation: seen[0].append(observation.name), failing, Second()),
    )
    app = chat_of(guard)
    async with calling(app, guard) as client:
        assert (await client.post("/chat?id=s")).status_code == 200
        await guard.idle()
    assert seen[0] == seen[1]
    told = {Signal.STREAM_OPENED, Signal.STREAM_ENDED, Signal.DRAIN_STARTED, Signal.DRAIN_ENDED}
    assert told <= set(seen[0])
    async with guard.reconciling(failing):
        pass
    assert seen[0] == seen[1]


async def observe_later(observation: Observation) -> None:
    raise AssertionError(observation)


class Later:
    async def __call__(self, observation: Observation) -> None:
        raise AssertionError(observation)


class Now:
    def __call__(self, observation: Observation) -> None:
        raise AssertionError(observation)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (print, "observers is a tuple of observers, not print"),
        (None, "not a NoneType"),
        ("print", "not a str"),
        (["print"], "a str is not callable"),
        ([None], "a NoneType is not callable"),
        ([Now], "Now is a class"),
        ([observe_later], "observe_later is an async function"),
        ([Later()], "a Later is an async function"),
    ],
)
def test_observers_that_cannot_be_told_are_refused(given: object, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        StreamGuard(authenticate=user_of, observers=given)  # type: ignore[arg-type]


class Foreign(FaultyStore):
    """A stream store of which the library knows nothing."""

    def __init__(self) -> None:
        super().__init__(MemoryStore())


# -- a memory store outlives event loops ------------------------------------------------------------------------------


def test_a_subscriber_of_a_closed_loop_is_left_out() -> None:
    store, ref = MemoryStore(), StreamRef(SessionKey("ann", "s"), new_stream_id())
    hints: list[str] = []
    problems: list[object] = []
    subscription = store.subscribe(ref, lambda _: hints.append("closed"))  # held: a dropped one would end with its loop

    async def begin() -> None:
        new = NewStream(ref, new_message_id(), "plain", "chat", "")
        await store.register(new, lease_seconds=60, ttl_seconds=60, limit=None)
        await subscription.__aenter__()

    async def stop() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context))
        async with store.subscribe(ref, lambda _: hints.append("running")):
            await store.request_stop(ref)
            await wait_until_async(lambda: hints, description="a hint came")

    closed = asyncio.new_event_loop()
    closed.run_until_complete(begin())
    closed.close()
    asyncio.run(stop())
    assert (hints, problems) == (["running"], [])


async def test_a_subscriber_of_another_loop_is_told_there() -> None:
    store, ref = MemoryStore(), StreamRef(SessionKey("ann", "s"), new_stream_id())
    here, threads = threading.get_ident(), list[int]()
    new = NewStream(ref, new_message_id(), "plain", "chat", "")
    await store.register(new, lease_seconds=60, ttl_seconds=60, limit=None)
    async with store.subscribe(ref, lambda _: threads.append(threading.get_ident())):
        await asyncio.to_thread(lambda: asyncio.run(_stop(store, ref)))
        await wait_until_async(lambda: threads, description="a hint came")
    assert threads == [here]


async def _stop(store: StreamStore, ref: StreamRef) -> None:
    await store.request_stop(ref)
