"""A request whose endpoint answers with no stream leaves nothing behind: its registration is withdrawn."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import httpx
import pytest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from streamguard import FaultCode, Observation, Run, Settings, Signal, StreamGuard, StreamGuardMiddleware, StreamRule
from streamguard.messages import MemoryMessageStore
from streamguard.quota import MemoryQuotaStore, Quota
from streamguard.stores import NewStream, StreamStore
from streamguard.stores.memory import MemoryStore
from streamguard.stores.records import Status
from streamguard.testing import FaultyMessageStore, GuardedApp
from streamguard.testing._passing import PassingStore
from streamguard.values import SessionKey, StreamRef, new_message_id, new_stream_id
from tests.harness.waiting import wait_until_async
from tests.telemetry.observed import QUICK
from tests.web.serving import USER, Gate, user_of

pytestmark = pytest.mark.anyio

T = TypeVar("T")

ONE: Final = Quota(1, "day", "requests")
ANSWERS: Final[dict[str, Callable[[], Response]]] = {
    "json": lambda: JSONResponse({"cached": True}),
    "refused": lambda: JSONResponse({"detail": "no"}, 422),
    "failed": lambda: JSONResponse({"detail": "down"}, 503),
    "empty": lambda: Response(status_code=204),
    "moved": lambda: RedirectResponse("/elsewhere"),
    "failed-stream": lambda: StreamingResponse(_events(), 500, media_type="text/event-stream"),
}
RAISED: Final = {
    "not-found": HTTPException(404, "no such chat"),
    "unavailable": HTTPException(503, "later", {"Retry-After": "7"}),
}


async def _events() -> AsyncIterator[bytes]:
    yield b"data: one\n\n"


@dataclass
class Chat:
    """`POST /api/chat?id=` answers with `says`, or streams; `POST /rule?id=` likewise, behind a rule."""

    store: StreamStore = field(default_factory=MemoryStore)
    says: Callable[[], Response] | Exception | None = None
    before: Callable[[Run], object] | None = None
    quota: Quota | None = ONE
    counted: MemoryQuotaStore | None = None
    messages: FaultyMessageStore | None = None
    gate: Gate | None = None
    seen: list[Observation] = field(default_factory=list)
    runs: int = 0

    def __post_init__(self) -> None:
        self.guard = StreamGuard(
            self.store,
            authenticate=user_of,
            messages=self.messages,
            quota=self.counted,
            observers=(self.seen.append,),
            settings=Settings.model_validate(QUICK),
        )

        @self.guard.stream("request.query_params.id", binding="chat", quota=self.quota, on_conflict="join")
        async def chat(request: Request, run: Run) -> Response:
            if self.before is not None:
                self.before(run)
            return await self.answer(request)

        rule = StreamRule("/rule", session="query.id", binding="rule", quota=self.quota)
        self.app = Starlette(
            routes=[Route("/api/chat", chat, methods=["POST"]), Route("/rule", self.answer, methods=["POST"])],
            lifespan=self.guard.lifespan,
            middleware=[Middleware(StreamGuardMiddleware, guard=self.guard, rules=[rule])],
        )
        self.guard.install(self.app, "/api/chat")

    async def answer(self, _: Request) -> Response:
        self.runs += 1
        if self.gate is not None:
            await self.gate.wait()
        if isinstance(self.says, Exception):
            raise self.says
        return self.says() if self.says is not None else StreamingResponse(_events(), media_type="text/event-stream")

    @property
    def names(self) -> list[Signal]:
        return [one.name for one in self.seen if one.name not in (Signal.RESUME_EMPTY, Signal.STORE_WARNING)]

    def running(self) -> GuardedApp:
        return GuardedApp(self.app, self.guard, headers=USER)


@pytest.fixture(params=["memory", "redis"])
def chat(request: pytest.FixtureRequest) -> Chat:
    if request.param == "memory":
        return Chat()
    from streamguard.stores.redis import RedisStore  # noqa: PLC0415

    return Chat(RedisStore(request.getfixturevalue("redis_url")))


async def left_of(app: GuardedApp, session: str = "s") -> tuple[object, object, object, int, str | None]:
    """What clients are told of a session: its active stream, its last one, what is used, and how a resume goes."""
    status = json.loads((await app.request("GET", f"/api/chat/{session}")).body)
    again = await app.resume(session)
    used = status["quota"]["limits"][0]["used"] if status["quota"] else 0
    return status["active"], status["last"], used, again.status, again.headers.get("x-resume-reason")


NOTHING: Final = (None, None, 0, 204, "none")


@pytest.mark.promise("I8")
@pytest.mark.parametrize("path", ["/api/chat", "/rule"])
@pytest.mark.parametrize("answer", [*ANSWERS, *RAISED])
async def test_nothing_is_left_of_it(chat: Chat, answer: str, path: str) -> None:
    chat.says = RAISED.get(answer) or ANSWERS[answer]
    bare = Starlette(routes=[Route(path, chat.answer, methods=["POST"])])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(bare), base_url="http://x") as client:
        expected = await client.post(path)
    async with chat.running() as app:
        for _ in range(3):  # of a quota of one
            got = await app.post({}, path=f"{path}?id=s")
            assert (got.status, await got.whole()) == (expected.status_code, expected.content)
            assert "x-stream-id" not in got.headers
            assert {name: got.headers[name] for name in expected.headers} == dict(expected.headers)
            await app.idle()
            assert await left_of(app) == NOTHING
    assert chat.names.count(Signal.STREAM_WITHDRAWN) == chat.names.count(Signal.STREAM_OPENED) == 3
    assert not {Signal.FAULT, Signal.STREAM_ENDED, Signal.STREAM_DEGRADED} & set(chat.names)
    (withdrawn, *_) = [one for one in chat.seen if one.name is Signal.STREAM_WITHDRAWN]
    assert withdrawn.ref is not None
    assert withdrawn.message_id
    assert withdrawn.request_id
    assert withdrawn.fields["status"] == expected.status_code
    settled = [one.fields["outcome"] for one in chat.seen if one.name is Signal.QUOTA_SETTLED]
    assert settled == ["released"] * 3


async def test_an_endpoint_that_yields_may_refuse_too() -> None:
    guard, seen = StreamGuard(authenticate=user_of, settings=Settings.model_validate(QUICK)), list[Observation]()

    @guard.stream("request.query_params.id")
    async def chat(request: Request) -> AsyncIterator[str]:
        if request.query_params["id"] == "s":
            raise HTTPException(403, "not yours")
        yield "one"

    app = Starlette(routes=[Route("/api/chat", chat, methods=["POST"])], lifespan=guard.lifespan)
    guard.install(app, "/api/chat")
    async with GuardedApp(app, guard, headers=USER) as client:
        assert (await client.post({}, path="/api/chat?id=s")).status == 403
        await client.idle()
        assert await left_of(client) == NOTHING
        seen = client.observations
    assert Signal.STREAM_WITHDRAWN in [one.name for one in seen]
    assert Signal.FAULT not in [one.name for one in seen]


async def test_the_streams_before_it_are_as_they_were(chat: Chat) -> None:
    chat = Chat(chat.store, quota=None)
    async with chat.running() as app:
        first = await app.post({}, path="/rule?id=s")
        await first.whole()
        await app.ended(first)
        before = (await app.request("GET", "/api/chat/s")).json()
        chat.says = ANSWERS["refused"]
        await app.post({}, path="/rule?id=s")
        await app.idle()
        assert (await app.request("GET", "/api/chat/s")).json() == before


async def test_a_retry_with_the_same_key_runs_the_endpoint_again(chat: Chat) -> None:
    key = {"Idempotency-Key": "k"}
    async with chat.running() as app:
        chat.says = ANSWERS["refused"]
        assert [(await app.post({}, path="/api/chat?id=s", headers=key)).status for _ in range(2)] == [422, 422]
        chat.says = None
        streamed = await app.post({}, path="/api/chat?id=s", headers=key)
        whole = await streamed.whole()
        repeated = await app.post({}, path="/api/chat?id=s", headers=key)
        assert await repeated.whole() == whole
    assert chat.runs == 3


async def test_requests_that_wait_for_it() -> None:
    """One that joined is told of a failure; one with the same key runs by itself."""
    gate = Gate()
    chat = Chat(gate=gate, says=ANSWERS["refused"], quota=None)
    key = {"Idempotency-Key": "k"}
    async with chat.running() as app:
        running = asyncio.create_task(app.post({}, path="/api/chat?id=s", headers=key))
        await gate.reached.wait()
        joined = await app.post({}, path="/api/chat?id=s")
        resumed = await app.resume("s")
        keyed = asyncio.create_task(app.post({}, path="/api/chat?id=s", headers=key))
        gate.open()
        assert (await running).status == 422
        assert joined.status == resumed.status == 200
        assert b"error" in await joined.whole()
        assert b"error" in await resumed.whole()
        assert (await keyed).status == 422
        await app.idle()
        assert await left_of(app) == NOTHING
    assert chat.runs == 2


class TakenOver(PassingStore):
    """Another worker takes a stream over right before it is withdrawn."""

    async def _pass(self, step: str, call: Callable[[], Awaitable[T]]) -> T:
        return await call()

    async def withdraw(self, ref: StreamRef, *, refuse_seconds: float) -> Status:
        await self.inner.take_over(ref, lease_seconds=0.001, force=True)
        return await super().withdraw(ref, refuse_seconds=refuse_seconds)


@pytest.mark.promise("I5")
@pytest.mark.long
async def test_what_another_worker_owns_is_not_withdrawn() -> None:
    chat = Chat(TakenOver(MemoryStore()), counted=MemoryQuotaStore(), says=ANSWERS["refused"])
    async with chat.running() as app:
        assert (await app.post({}, path="/api/chat?id=s")).status == 422
        await app.seen(Signal.ORPHAN_SETTLED)
        active, last, used, *_ = await left_of(app)
        assert (active, used) == (None, 0)
        assert last is not None
    assert Signal.STREAM_WITHDRAWN not in chat.names


@pytest.mark.promise("I10")
@pytest.mark.long
async def test_a_worker_that_died_before_the_withdrawal_left_an_orphan_that_is_ended() -> None:
    store, quotas = MemoryStore(), MemoryQuotaStore()
    new = NewStream(StreamRef(SessionKey("ann", "s"), new_stream_id()), new_message_id(), "auto", "chat", "")
    await quotas.reserve(new.ref, {"requests": 1}, [ONE])
    await store.register(new, lease_seconds=0.001, ttl_seconds=60.0, limit=None)
    chat = Chat(store, counted=quotas, says=ANSWERS["refused"])
    async with chat.running() as app:
        await app.seen(Signal.ORPHAN_SETTLED)
        active, _, used, *_ = await left_of(app)
        assert (active, used) == (None, 0)
        assert (await app.post({}, path="/api/chat?id=s")).status == 422


async def test_a_store_that_is_away_is_told_when_it_is_back() -> None:
    gate = Gate()
    chat = Chat(gate=gate, says=ANSWERS["refused"])
    async with chat.running() as app:
        running = asyncio.create_task(app.post({}, path="/api/chat?id=s"))
        await gate.reached.wait()
        app.store.fail()
        gate.open()
        assert (await running).status == 422
        await app.seen(Signal.STREAM_WITHDRAWN)
        app.store.heal()
        await app.seen(Signal.BREAKER_CLOSED)
        await app.idle()
        assert await left_of(app) == NOTHING


async def test_without_a_store_there_was_nothing_to_withdraw() -> None:
    chat = Chat(says=ANSWERS["refused"], quota=None)
    async with chat.running() as app:
        app.store.fail()
        assert (await app.post({}, path="/api/chat?id=s")).status == 422
        await app.seen(Signal.STREAM_WITHDRAWN)
        app.store.heal()
        await app.seen(Signal.BREAKER_CLOSED)
        await app.idle()
        assert await left_of(app) == NOTHING
    assert Signal.STREAM_ENDED not in chat.names


@pytest.mark.promise("I7")
@pytest.mark.parametrize("saved", [True, False])
async def test_a_message_that_was_given_to_be_saved_is_not_forgotten(saved: bool) -> None:
    """What is not yet written is owed, and only a stream's record can owe it."""
    messages = FaultyMessageStore(MemoryMessageStore())
    chat = Chat(says=ANSWERS["refused"], messages=messages, quota=None)
    chat.before = lambda run: run.save({"id": "m1", "role": "user", "parts": [{"type": "text", "text": "hi"}]})
    async with chat.running() as app:
        if not saved:
            messages.faults.fail()
        assert (await app.post({}, path="/api/chat?id=s")).status == 422
        if not saved:
            await app.seen(Signal.STREAM_ENDED)
            messages.faults.heal()

        stored = messages.inner

        async def kept() -> Any:
            return await stored.last(SessionKey("ann", "s"))

        await wait_until_async(kept, description="the message is saved")
    assert (Signal.STREAM_WITHDRAWN in chat.names) is saved


async def test_a_stream_that_said_something_is_no_such_answer() -> None:
    chat = Chat(says=ANSWERS["refused"], quota=None)
    chat.before = lambda run: run.notice(FaultCode.QUOTA_PENDING)
    async with chat.running() as app:
        answer = await app.post({}, path="/api/chat?id=s")
        assert answer.status == 422
        await app.idle()


async def test_a_stream_in_this_state_is_left_alone_by_the_heartbeat() -> None:
    """Its record is gone, which for any other stream would mean that its log is lost."""
    chat = Chat(says=ANSWERS["refused"], quota=None)
    async with chat.running() as app:
        for _ in range(20):
            await app.post({}, path="/api/chat?id=s")
            await asyncio.sleep(0)
        await app.idle()
    assert Signal.STREAM_DEGRADED not in chat.names


async def test_the_store_has_no_record_of_it(chat: Chat) -> None:
    chat.says = ANSWERS["refused"]
    async with chat.running() as app:
        await app.post({}, path="/api/chat?id=s")
        await app.idle()
        key = SessionKey("ann", "s")
        record = await chat.store.session(key)
        assert record.active is record.last is None
        assert await chat.store.session_streams(key, limit=10) == []
        opened = next(one.ref for one in chat.seen if one.ref is not None)
        assert isinstance(opened, StreamRef)
        assert await chat.store.meta(opened) is None
        assert await chat.store.expired_leases(limit=10) == []
