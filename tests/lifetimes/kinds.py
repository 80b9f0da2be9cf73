"""Every public object that holds something between calls: how one is made, and one whole use of it."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final

import httpx
from sqlalchemy.ext.asyncio import create_async_engine
from starlette.applications import Starlette
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.routing import Route

from streamguard import Anonymous, Run, Settings, StreamGuard
from streamguard.messages import CallableSaver, MemoryMessageStore, Message, MessageStore, RedisMessageStore, Role
from streamguard.messages.sql import MessageTables, SQLMessageStore
from streamguard.quota import Admitted, CallableQuota, MemoryQuotaStore, Quota, QuotaService, RedisQuotaStore
from streamguard.stores import RedisClient
from streamguard.stores.appends import Append
from streamguard.stores.memory import MemoryStore
from streamguard.stores.records import Close, Hint, NewStream, Seal, Status, Terminal
from streamguard.stores.redis import RedisStore
from streamguard.stores.registrations import Registered
from streamguard.stores.store import StreamStore
from streamguard.stores.worker_hints import WorkerHint
from streamguard.testing import FaultyMessageStore, FaultyStore, GuardedApp
from streamguard.values import (
    START,
    EventKind,
    Outcome,
    Persisted,
    QuotaState,
    SessionKey,
    StreamRef,
    new_message_id,
    new_stream_id,
)

__all__ = ["KINDS", "Kind", "Places", "chat_app", "saving_app", "used_app"]

SETTINGS: Final = Settings(drain_seconds=0.5, command_seconds=5, registration_seconds=5)
AT_ONCE: Final = 8


@dataclass(frozen=True, slots=True)
class Places:
    """Where things are kept."""

    redis: str
    postgres: str
    sqlite: str


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of object."""

    make: Callable[[Places], Any]
    use: Callable[[Any], Coroutine[Any, Any, None]]
    """Uses one wholly, several calls at once among it; raises if anything is wrong."""
    option: str | None = None
    """What a guard takes one as."""
    alone: bool = False
    """Entered once at a time: who else would enter it meanwhile is refused."""
    one_loop: bool = False
    """Of two loops at once, one is refused."""


# -- uses ------------------------------------------------------------------------------------------------------------


async def use_messages(store: MessageStore) -> None:
    if isinstance(store, SQLMessageStore):
        await store.create_tables()
    assert await store.start() == []
    key = SessionKey("ann", secrets.token_hex(8))
    await store.open_session(key)
    texts = [f"text {n}" for n in range(AT_ONCE)]
    await asyncio.gather(
        *(store.append(key, Message(text, Role.USER, ({"type": "text", "text": text},))) for text in texts)
    )
    assert sorted(found.message.message_id for found in await store.list(key)) == texts


async def use_saver(saver: CallableSaver) -> None:
    await saver.append(SessionKey("ann", "s"), Message("m", Role.USER, ({"type": "text", "text": "hi"},)))


async def use_quota(quota: QuotaService) -> None:
    limits = [Quota(1_000_000, "day", "requests")]
    key = SessionKey("ann", secrets.token_hex(8))
    refs = [StreamRef(key, new_stream_id()) for _ in range(AT_ONCE)]
    for answer in await asyncio.gather(*(quota.reserve(ref, {"requests": 1}, limits) for ref in refs)):
        assert isinstance(answer, Admitted)
    await asyncio.gather(*(quota.release(ref) for ref in refs))


async def use_client(client: RedisClient) -> None:
    replies = await asyncio.gather(*(client.call("use", "return ARGV[1]", [b"k"], [n]) for n in range(AT_ONCE)))
    assert replies == [str(n).encode() for n in range(AT_ONCE)]


async def use_streams(store: StreamStore) -> None:
    assert await store.start() == []
    await asyncio.gather(*(store.ping() for _ in range(AT_ONCE)))
    told: list[WorkerHint] = []
    async with store.subscribe_worker(new_stream_id(), told.append):
        await asyncio.gather(*(use_stream(store) for _ in range(AT_ONCE)))
    assert await store.meta(StreamRef(SessionKey("ann", "none"), new_stream_id())) is None


async def use_stream(store: StreamStore) -> None:
    """A whole life of one, which a viewer hears of."""
    key = SessionKey("ann", secrets.token_hex(8))
    new = NewStream(StreamRef(key, new_stream_id()), new_message_id(), "plain", "scene", "")
    heard = asyncio.Event()

    def hear(_: Hint) -> None:
        heard.set()

    answer = await store.register(new, lease_seconds=60, ttl_seconds=60, limit=None)
    assert isinstance(answer, Registered)
    epoch, texts = answer.meta.epoch, [b"%d" % n for n in range(AT_ONCE)]
    async with store.subscribe(new.ref, hear):
        for seq, text in enumerate(texts, 1):
            (reply,) = await store.append([Append(new.ref, epoch, seq, [(EventKind.DATA, text)], refresh=False)])
            assert (reply.status, reply.last_seq) == (Status.OK, seq)
        await heard.wait()
    (beat,) = await store.heartbeat([(new.ref, epoch)], lease_seconds=60, ttl_seconds=60)
    assert beat.status is Status.OK
    assert [event.data for event in await store.read(new.ref, START, max_bytes=1_000)] == texts
    terminal = Terminal(Outcome.COMPLETED, Persisted.NO, QuotaState.SETTLED, new.message_id)
    status, _, closed = await store.seal_and_close(
        Close(new.ref, epoch, [], terminal, 60), Seal(Outcome.COMPLETED, AT_ONCE)
    )
    assert (status, closed and closed.status) == (Status.OK, Status.OK)
    assert (await store.session(key)).active_id is None


async def use_anonymous(authenticate: Anonymous) -> None:
    scope = {"type": "http", "scheme": "http", "server": ("x", 80), "path": "/", "query_string": b"", "headers": []}
    first = await authenticate(HTTPConnection(scope))
    assert first.set_cookie is not None
    cookie = first.set_cookie.partition(";")[0].encode()
    assert await authenticate(HTTPConnection({**scope, "headers": [(b"cookie", cookie)]})) == first


def chat_app(places: Places, store: str | StreamStore, **options: Any) -> tuple[StreamGuard, Starlette]:
    async def user_of(connection: HTTPConnection) -> str | None:
        return connection.headers.get("x-user")

    guard = StreamGuard(store, authenticate=user_of, settings=SETTINGS, **options)
    limit = Quota(1_000_000, "day", "requests") if "quota" in options else None

    @guard.stream("request.query_params.id", protocol="plain", quota=limit)
    async def chat(request: Request) -> AsyncIterator[str]:
        yield "one "
        await asyncio.sleep(0)
        yield "two"

    app = Starlette(routes=[Route("/api/chat", chat, methods=["POST"])], lifespan=guard.lifespan)
    guard.install(app, "/api/chat")
    return guard, app


async def use_guard(made: tuple[StreamGuard, Starlette]) -> None:
    guard, app = made
    async with guard, httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as client:
        session = secrets.token_hex(8)
        answers = await asyncio.gather(
            *(client.post(f"/api/chat?id={session}-{n}", headers={"X-User": "ann"}) for n in range(4))
        )
        for answer in answers:
            assert answer.status_code == 200
            assert "data: two" in answer.text


async def use_guarded_app(chat: GuardedApp) -> None:
    async with chat:
        answer = await chat.post({}, path=f"/api/chat?id={secrets.token_hex(8)}")
        await answer.rest()
        await chat.ended(answer)


async def ignore(_: object) -> None:
    """A host's function."""


def saving_app(option: str, used: Any) -> Starlette:
    """An application whose guard was given one as `messages`, as `quota`, or as its store."""
    if option == "quota":
        return chat_app(Places("", "", ""), "memory://", quota=used)[1]
    if option == "store":
        return chat_app(Places("", "", ""), used)[1]

    async def user_of(connection: HTTPConnection) -> str | None:
        return connection.headers.get("x-user")

    guard = StreamGuard("memory://", authenticate=user_of, settings=SETTINGS, messages=used)

    @guard.stream("request.query_params.id", protocol="ui-message")
    async def chat(request: Request, run: Run) -> AsyncIterator[str]:
        await run.save("a question")
        yield "one "
        yield "two"

    app = Starlette(routes=[Route("/api/chat", chat, methods=["POST"])], lifespan=guard.lifespan)
    guard.install(app, "/api/chat")
    return app


def used_app(kind: Kind, used: Any) -> Starlette:
    """An application that uses one itself."""

    async def chat(_: Request) -> Response:
        await kind.use(used)
        return Response("two")

    return Starlette(routes=[Route("/api/chat", chat, methods=["POST"])])


def sql_on_hosts_engine(places: Places) -> SQLMessageStore:
    return SQLMessageStore(create_async_engine(places.postgres), tables=MessageTables(prefix="hosts_"))


def guarded_app(places: Places) -> GuardedApp:
    guard, app = chat_app(places, "memory://")
    return GuardedApp(app, guard, headers={"X-User": "ann"})


KINDS: Final[dict[str, Kind]] = {
    "StreamGuard(memory)": Kind(lambda places: chat_app(places, "memory://"), use_guard, alone=True, one_loop=True),
    "StreamGuard(redis)": Kind(lambda places: chat_app(places, places.redis), use_guard, alone=True, one_loop=True),
    "GuardedApp": Kind(guarded_app, use_guarded_app, alone=True, one_loop=True),
    "Anonymous": Kind(lambda _: Anonymous(secret="s" * 32), use_anonymous),
    "RedisClient": Kind(lambda places: RedisClient(places.redis, command_seconds=5), use_client),
    "RedisStore": Kind(lambda places: RedisStore(places.redis, command_seconds=5), use_streams),
    "MemoryStore": Kind(lambda _: MemoryStore(), use_streams),
    "RedisStore(of a guard)": Kind(lambda places: RedisStore(places.redis, command_seconds=5), use_streams, "store"),
    "MemoryStore(of a guard)": Kind(lambda _: MemoryStore(), use_streams, "store"),
    "StreamGuard(RedisStore)": Kind(
        lambda places: chat_app(places, RedisStore(places.redis, command_seconds=5)),
        use_guard,
        alone=True,
        one_loop=True,
    ),
    "StreamGuard(MemoryStore)": Kind(
        lambda places: chat_app(places, MemoryStore()), use_guard, alone=True, one_loop=True
    ),
    "FaultyStore": Kind(lambda places: FaultyStore(RedisStore(places.redis, command_seconds=5)), use_streams),
    "MemoryMessageStore": Kind(lambda _: MemoryMessageStore(), use_messages, "messages"),
    "RedisMessageStore": Kind(
        lambda places: RedisMessageStore(RedisClient(places.redis, command_seconds=5), ttl_seconds=600),
        use_messages,
        "messages",
    ),
    "SQLMessageStore(sqlite)": Kind(lambda places: SQLMessageStore(places.sqlite), use_messages, "messages"),
    "SQLMessageStore(postgresql)": Kind(lambda places: SQLMessageStore(places.postgres), use_messages, "messages"),
    "SQLMessageStore(a host's engine)": Kind(sql_on_hosts_engine, use_messages, "messages", one_loop=True),
    "FaultyMessageStore": Kind(
        lambda places: FaultyMessageStore(SQLMessageStore(places.postgres)), use_messages, "messages"
    ),
    "CallableSaver": Kind(lambda _: CallableSaver(ignore), use_saver),
    "MemoryQuotaStore": Kind(lambda _: MemoryQuotaStore(), use_quota, "quota"),
    "RedisQuotaStore": Kind(
        lambda places: RedisQuotaStore(RedisClient(places.redis, command_seconds=5)), use_quota, "quota"
    ),
    "CallableQuota": Kind(lambda _: CallableQuota(ignore, ignore, ignore), use_quota, "quota"),
}
