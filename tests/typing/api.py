"""How users write. Type checkers read this file; nothing runs it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from typing import assert_type

from anthropic import AsyncAnthropic
from fastapi import FastAPI
from litestar import Litestar, post
from litestar.params import JSONBody
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.requests import HTTPConnection, Request
from starlette.responses import StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from streamguard import (
    Anonymous,
    Endpoint,
    Fault,
    FaultCode,
    Identity,
    Observation,
    Observer,
    Outcome,
    Run,
    Settings,
    StartedRun,
    StreamEnd,
    StreamGuard,
    StreamGuardMiddleware,
    StreamRule,
    anonymous,
)
from streamguard.client import EventStream, NoStream, StreamClient, StreamEvent
from streamguard.contrib import anthropic, openai
from streamguard.contrib.litestar import StreamGuardPlugin
from streamguard.messages import MemoryMessageStore, Message, MessageToSave, Role
from streamguard.quota import MemoryQuotaStore, OffersQuotaStore, QuotaStore
from streamguard.stores import (
    Hint,
    Inspection,
    OutboxEntry,
    OutboxPage,
    SessionRecord,
    StoreFactory,
    StreamLog,
    StreamMeta,
    StreamStore,
    make_store,
)
from streamguard.stores.memory import MemoryStore
from streamguard.stores.redis import RedisStore
from streamguard.testing import Answer, FaultyStore, GuardedApp, SavedMessage, Visitor
from streamguard.values import Event, Position, SessionKey, StreamRef
from streamguard.wire import SseEvent


class Body(BaseModel):
    id: str
    question: dict[str, object] = {}


async def owner(connection: HTTPConnection) -> str | None:
    return connection.headers.get("x-user") or await anonymous(connection)


def owner_now(connection: HTTPConnection) -> str | None:
    return Identity("ann", set_cookie=None) if connection.user else None


guard = StreamGuard("redis://localhost:6379/0", authenticate=owner, settings=Settings(drain_seconds=5))
StreamGuard(authenticate=owner_now)
StreamGuard(authenticate=anonymous)
StreamGuard(authenticate=Anonymous("a secret of some length"))

app = FastAPI(lifespan=guard.lifespan)
guard.install(app, "/api/chat")
assert_type(guard.wrap(app), ASGIApp)


@app.post("/api/chat")
@guard.stream(session="body.id")
async def chat(body: Body, run: Run) -> AsyncIterator[str]:
    run.notice(FaultCode.QUOTA_PENDING, reason="near")
    run.notice("quota_pending", actions=("upgrade",))
    run.notice(Fault.of(FaultCode.QUOTA_PENDING))
    run.usage(input_tokens=3)
    assert_type(run.stopped, bool)
    assert_type(run.session_id, str)
    yield body.id


async def save(message: MessageToSave) -> None:
    assert_type(message.text, str)


StreamGuard(authenticate=anonymous, messages=save)
StreamGuard(authenticate=anonymous, messages=MemoryMessageStore())


@app.post("/api/kept")
@guard.stream(session="body.id", save=MemoryMessageStore(), binding="kept")
async def kept(body: Body, run: Run) -> AsyncIterator[str]:
    saved = run.save(body.question)
    assert_type(saved.message_id, str)
    await saved
    run.save(body)
    run.save("text")
    run.save(Message("m", Role.USER, ({"type": "text", "text": "x"},)))
    yield body.id


@guard.stream(session="body.id", save=False, client_version="6.0.12")
def not_kept(body: Body, run: Run) -> Iterator[str]:
    run.save("text").result(5)
    yield body.id


@app.post("/api/sync")
@guard.stream(lambda body: body.id, on_conflict="replace", on_store_failure="fail", ids=False, keep_alive="block")
def in_a_thread(body: Body) -> Iterator[dict[str, object]]:
    yield {"type": "text-delta", "id": "1", "delta": body.id}


async def session_of(request: Request) -> str | None:
    return request.path_params.get("id")


@guard.stream(session_of, protocol="plain", message_id="request.query_params.message", stall_seconds=30)
async def upstream(request: Request) -> StreamingResponse:
    return StreamingResponse(iter([b"data: x\n\n"]), media_type="text/event-stream")


assert_type(upstream, Endpoint)
starlette_app = Starlette(routes=[Route("/{id}", upstream, methods=["POST"])], lifespan=guard.lifespan)
guard.install(starlette_app, "/chat")


async def own_lifespan() -> None:
    async with guard as entered:
        assert_type(entered, StreamGuard)
        await guard.drain()


async def own_tests() -> None:
    async with GuardedApp(app, guard, headers={"X-User": "ann"}) as ann:
        answer = await ann.post({"id": "c1"})
        assert_type(answer, Answer)
        assert_type(await answer.read(3), list[SseEvent])
        assert_type((await ann.resume("c1", after=answer.cursor)).faults, list[Fault])
        assert_type(await ann.messages("c1"), list[SavedMessage])
        assert_type(ann.visitor({"X-User": "bob"}), Visitor)
        ann.store.fail("append", times=1)
        await ann.idle()


def watch(observation: Observation) -> None:
    print(observation.name)


observer: Observer = watch


class Counter:
    def __init__(self) -> None:
        self.count = 0

    def __call__(self, observation: Observation, /) -> None:
        self.count += 1


StreamGuard(authenticate=anonymous, observers=(watch, Counter(), observer))
StreamGuard(authenticate=anonymous, observers=[lambda observation: print(observation.name)])
with guard.instrumented(observer=watch, store=FaultyStore):
    pass


# -- stores of one's own ----------------------------------------------------------------------------------------------

StreamGuard(MemoryStore(), authenticate=anonymous)
StreamGuard(RedisStore("redis://localhost"), authenticate=owner, quota=MemoryQuotaStore())


class Archive(StreamLog, Inspection):
    """Reads what was written elsewhere, and lists it."""

    async def session(self, key: SessionKey) -> SessionRecord:
        raise NotImplementedError

    async def meta(self, ref: StreamRef) -> StreamMeta | None:
        return None

    async def check_position(self, ref: StreamRef, at: Position) -> tuple[StreamMeta | None, bool]:
        return None, False

    async def read(self, ref: StreamRef, after: Position, *, max_bytes: int) -> list[Event]:
        return []

    def subscribe(
        self, ref: StreamRef, on_hint: Callable[[Hint], None], *, data: bool = True
    ) -> AbstractAsyncContextManager[None]:
        raise NotImplementedError

    async def active_streams(self, *, limit: int) -> list[StreamMeta]:
        return []

    async def peek_due(self, *, limit: int) -> list[OutboxEntry]:
        return []

    async def outbox_page(self, *, dead: bool, limit: int, after: str | None = None) -> OutboxPage:
        return OutboxPage([], None, 0)

    async def outbox_entry(self, stream_id: str, *, key: SessionKey | None = None) -> OutboxEntry | None:
        return None

    def new_quota_store(self) -> QuotaStore:
        return MemoryQuotaStore()


def archive(url: str, settings: Settings, /) -> Archive:
    print(url, settings.namespace, settings.command_seconds)
    return Archive()


def made_by(factory: StoreFactory) -> None:
    assert_type(factory("archive://shelf", Settings()), StreamLog)


made_by(archive)
offering: OffersQuotaStore = Archive()
StreamGuard(Archive(), authenticate=owner)
assert_type(make_store("archive://shelf", Settings()), StreamStore)
whole: StreamStore = MemoryStore()


async def job(guard: StreamGuard) -> str | None:
    async with guard.start("ann", "c1", binding="reports", estimate=100, idempotency_key="evt_1") as run:
        assert_type(run, StartedRun)
        await run.send("text")
        run.usage(tokens=1)
    assert_type(run.end, StreamEnd | None)
    return None if run.end is None else run.end.outcome


def litestar(guard: StreamGuard) -> Litestar:
    streams = StreamGuardPlugin(guard, "/api/chat", opt={"exclude_from_csrf": True})

    @post("/api/chat")
    @streams.stream(session="data.id", on_conflict="join", stall_seconds=5.0)
    async def chat(data: JSONBody[Body], run: Run) -> AsyncIterator[str]:
        yield run.session_id

    return Litestar([chat], plugins=[streams])


async def is_long(request: Request) -> bool:
    return bool(await request.body())


def guarded_elsewhere(app: Starlette, guard: StreamGuard) -> ASGIApp:
    rules = [
        StreamRule("/v1/chat/completions", session="header.x-session", when="body.stream", protocol="openai"),
        StreamRule("/threads/{thread}/runs", methods=["POST"], session="path.thread", when=is_long, save=False),
        StreamRule("/v1/*", session=lambda request: request.headers.get("x-session"), estimate={"tokens": 5}),
    ]
    app.add_middleware(StreamGuardMiddleware, guard=guard, rules=rules)
    return StreamGuardMiddleware(app, guard=guard, rules=rules)


class UIChat(BaseModel):
    id: str
    messages: list[dict[str, object]]


async def completed(client: AsyncOpenAI, body: UIChat) -> AsyncIterator[object]:
    messages = openai.chat_messages(body.messages)
    turn = openai.ChatTurn()
    stream = await client.chat.completions.create(model="m", messages=messages, stream=True)
    async for part in openai.chat_parts(stream, turn):
        yield part
    for call in turn.calls:
        yield turn.returned(call, {"name": call.name, **call.input})
        yield turn.failed(call, "no")
    messages += turn.messages
    async for part in openai.chat_parts(client.chat.completions.stream(model="m", messages=messages)):
        yield part


async def responded(client: AsyncOpenAI, body: UIChat) -> AsyncIterator[object]:
    history = openai.responses_input(body.messages)
    turn = openai.ResponsesTurn()
    async for part in openai.responses_parts(client.responses.create(model="m", input=history, stream=True), turn):
        yield part
    history += turn.input
    async for part in openai.responses_parts(client.responses.stream(model="m", input=history)):
        yield part


def completed_in_a_thread(client: OpenAI, body: UIChat) -> Iterator[object]:
    messages = openai.chat_messages(body.messages)
    return openai.iter_chat_parts(client.chat.completions.create(model="m", messages=messages, stream=True))


async def answered_by_claude(client: AsyncAnthropic, body: UIChat) -> AsyncIterator[object]:
    messages = anthropic.messages(body.messages)
    turn = anthropic.MessageTurn()
    stream = await client.messages.create(
        model="m", max_tokens=9, messages=messages, system=anthropic.system(body.messages), stream=True
    )
    async for part in anthropic.message_parts(stream, turn):
        yield part
    messages += turn.messages
    async for part in anthropic.message_parts(client.messages.stream(model="m", max_tokens=9, messages=messages)):
        yield part


async def a_service(chat: StreamClient) -> str:
    async with chat.ask({"id": "c1"}, idempotency_key="k1") as stream:
        assert_type(stream, EventStream)
        async for event in stream:
            assert_type(event, StreamEvent)
            assert_type(event.fault, Fault | None)
    assert_type(stream.outcome, Outcome | None)
    async with chat.resume("c1", after=stream.cursor) as again:
        assert_type(again, EventStream | NoStream)
    async for message in chat.messages("c1"):
        assert_type(message, SavedMessage)
    return "" if isinstance(again, NoStream) else await again.text()
