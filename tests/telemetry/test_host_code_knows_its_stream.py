"""Wherever a guard runs the host's code about a stream, `current_stream` says which stream and which request it is, and
the spans that the code makes are in that request's trace."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any, Final

import pytest
from fastapi import FastAPI, Request
from starlette.background import BackgroundTask
from starlette.requests import HTTPConnection
from starlette.responses import StreamingResponse

from streamguard import Observation, Settings, Signal, StreamGuard, StreamGuardMiddleware, StreamRule
from streamguard.errors import MessageUnavailableError, QuotaUnavailableError
from streamguard.messages import Appended, MemoryMessageStore, Message, Opened
from streamguard.quota import CallableQuota, Quota, QuotaCall
from streamguard.scopes import StreamContext, current_stream
from streamguard.telemetry.tracing import OpenTelemetryTracing
from streamguard.values import SessionKey, trace_id_of
from tests.harness.waiting import wait_until_async
from tests.web.serving import calling

from .observed import QUICK
from .spans import Recorded, instrumented, recording

pytestmark = [pytest.mark.anyio, pytest.mark.long]

TRACE_ID: Final = "ab" * 16
REQUEST_ID: Final = "req-of-this-test"
HEADERS: Final = {"x-request-id": REQUEST_ID, "traceparent": f"00-{TRACE_ID}-{'cd' * 8}-01"}

BEFORE: Final = frozenset({"authenticate", "session", "message_id", "estimate", "rule's session"})
"""The host's code that runs before there is a stream: it knows the request alone."""
WITH_STREAM: Final = frozenset(
    {
        *("reserve", "commit", "release", "open_session", "append", "save"),
        *("async generator", "sync generator", "response body", "response background"),
        *("rule's application", "rule's body"),
    }
)
PARAMETERS: Final[Mapping[str, frozenset[str]]] = {
    "authenticate": frozenset({"authenticate"}),
    "messages": frozenset({"open_session", "append", "save"}),
    "quota": frozenset({"reserve", "commit", "release"}),
    "session": frozenset({"session"}),
    "message_id": frozenset({"message_id"}),
    "estimate": frozenset({"estimate"}),
    "save": frozenset({"save"}),
    "observers": frozenset(),  # told in the scope of whatever they are told of
    "store": frozenset(),  # about many streams at once
    "when": frozenset(),  # decides whether the guard has to do with a request at all
    "app": frozenset({"rule's application", "rule's body"}),
}
"""The arguments of guards, endpoints and rules that may be code of the host's, and what of it is called."""
NO_CODE: Final = frozenset(
    {
        *("self", "settings", "debug", "protocol", "on_conflict", "on_store_failure", "ids", "first_item_seconds"),
        *("stall_seconds", "max_stream_seconds", "abandon_after_seconds", "binding", "charge_partial"),
        *("on_quota_failure", "keep_alive", "client_version", "path", "methods", "media_types", "guard", "rules"),
    }
)


class Notes:
    """What each piece of the host's code saw."""

    def __init__(self, tracing: OpenTelemetryTracing) -> None:
        self.seen: list[tuple[str, StreamContext | None, str | None]] = []
        """Which code, what it knew, and the trace it was in."""
        self._tracing = tracing

    def note(self, code: str) -> None:
        self.seen.append((code, current_stream.get(), trace_id_of(self._tracing.traceparent())))

    @property
    def codes(self) -> set[str]:
        return {code for code, _, _ in self.seen}


class NotedStore(MemoryMessageStore):
    may_forbid = True

    def __init__(self, notes: Notes) -> None:
        super().__init__()
        self._notes = notes
        self.away = 0

    async def open_session(self, key: SessionKey) -> Opened:
        self._notes.note("open_session")
        return await super().open_session(key)

    async def append(self, key: SessionKey, message: Message) -> Appended:
        self._notes.note("append")
        if self.away:
            self.away -= 1
            raise MessageUnavailableError("away", operation="append")
        return await super().append(key, message)


class Host:
    """An application whose every function notes what it sees."""

    def __init__(self) -> None:
        self.provider, self.spans = recording()
        tracing = OpenTelemetryTracing(self.provider)
        notes = self.notes = Notes(tracing)
        self.messages = NotedStore(notes)
        self.observations: list[Observation] = []
        self.quota_away = 0

        async def authenticate(connection: HTTPConnection) -> str:
            notes.note("authenticate")
            return "ann"

        async def reserve(call: QuotaCall) -> None:
            notes.note("reserve")

        async def commit(call: QuotaCall) -> None:
            notes.note("commit")
            if self.quota_away:
                self.quota_away -= 1
                raise QuotaUnavailableError("away", operation="commit")

        async def release(call: QuotaCall) -> None:
            notes.note("release")

        async def save(message: Any) -> None:
            notes.note("save")

        def noted(code: str, value: Any) -> Any:
            def select(request: Request) -> Any:
                notes.note(code)
                return request.query_params["id"] if value is None else value

            return select

        self.guard = guard = StreamGuard(
            authenticate=authenticate,
            messages=self.messages,
            quota=CallableQuota(reserve, commit, release),
            observers=(tracing, self.observations.append),
            settings=Settings.model_validate(QUICK),
        )
        app = self.app = FastAPI(lifespan=guard.lifespan)
        tokens = Quota(limit=1_000, per="day", unit="tokens")

        @app.post("/chat")
        @guard.stream(
            noted("session", None),
            message_id=noted("message_id", "msg_1"),
            quota=tokens,
            estimate=noted("estimate", 5),
            binding="chat",
        )
        async def chat(request: Request) -> AsyncIterator[str]:
            notes.note("async generator")
            if request.query_params["id"] == "silent":
                raise KeyError
            yield "hello"

        @app.post("/sync")
        @guard.stream("request.query_params.id", save=save, binding="sync")
        def sync(request: Request) -> Iterator[str]:
            notes.note("sync generator")
            yield "hello"

        @app.post("/response")
        @guard.stream("request.query_params.id", binding="response")
        async def response(request: Request) -> StreamingResponse:
            async def body() -> AsyncIterator[bytes]:
                notes.note("response body")
                yield b'data: {"type":"start"}\n\n'

            background = BackgroundTask(notes.note, "response background")
            return StreamingResponse(body(), media_type="text/event-stream", background=background)

        @app.post("/inner")
        async def inner(request: Request) -> StreamingResponse:
            notes.note("rule's application")

            async def body() -> AsyncIterator[bytes]:
                notes.note("rule's body")
                yield b"data: one\n\n"

            return StreamingResponse(body(), media_type="text/event-stream")

        guard.install(app, "/chat")
        rule = StreamRule("/inner", session=noted("rule's session", None), binding="inner")
        app.add_middleware(StreamGuardMiddleware, guard=guard, rules=[rule])


def signals(host: Host) -> set[Signal]:
    return {observation.name for observation in host.observations}


async def test_all_code_of_the_hosts_knows_its_request_and_its_stream() -> None:
    host = Host()
    with instrumented(host.app, host.provider):
        await asked_everything(host)
    notes = host.notes
    assert notes.codes == BEFORE | WITH_STREAM
    for code, context, trace in notes.seen:
        assert context is not None, code
        assert context.request_id == REQUEST_ID, code
        assert trace == TRACE_ID, code
        assert trace_id_of(context.trace) == TRACE_ID, code
        assert code in BEFORE or context.stream_id is not None, code
    assert host.spans.traces == {TRACE_ID}


async def asked_everything(host: Host) -> None:
    """Requests to all endpoints, one of which leaves a save and a settlement owed until they are made."""
    async with calling(host.app, host.guard) as client:
        for path in ("/chat?id=a", "/chat?id=silent", "/sync?id=b", "/response?id=c", "/inner?id=d"):
            await client.post(path, headers=HEADERS)
        await host.guard.idle()
        host.messages.away = host.quota_away = 50
        await client.post("/chat?id=owed", headers=HEADERS)
        host.messages.away = host.quota_away = 0
        await wait_until_async(
            lambda: signals(host) >= {Signal.SAVE_RECOVERED, Signal.SETTLEMENT_RECOVERED},
            description="what is owed is made up for",
        )


def test_every_argument_that_may_be_code_is_in_the_test_above() -> None:
    found: set[str] = set()
    for taker in (StreamGuard, StreamGuard.stream, StreamGuardMiddleware, StreamRule):
        found |= set(inspect.signature(taker).parameters)
    assert found == PARAMETERS.keys() | NO_CODE
    assert frozenset().union(*PARAMETERS.values()) <= BEFORE | WITH_STREAM


async def test_the_body_of_a_job_knows_its_stream() -> None:
    """It is in its caller's trace, and so is the stream; afterwards nothing is left."""
    provider, spans = recording()
    tracing = OpenTelemetryTracing(provider)
    guard = StreamGuard(authenticate=lambda _: "ann", observers=(tracing,))
    async with guard:
        with provider.get_tracer("host").start_as_current_span("job"):
            async with guard.start("ann", "chat-1", request_id=REQUEST_ID) as run:
                inside = current_stream.get()
                with provider.get_tracer("host").start_as_current_span("model"):
                    await run.send("hello")
            assert current_stream.get() is None
        with pytest.raises(KeyError):
            async with guard.start("ann", "chat-2") as run:
                raise KeyError
        assert current_stream.get() is None
    assert inside is not None
    assert (inside.stream_id, inside.request_id, inside.session_id) == (run_id(spans), REQUEST_ID, "chat-1")
    job = spans.one("job")
    of_job = [span for span in spans.all if span.context.trace_id == job.context.trace_id]
    assert sorted(span.name for span in of_job) == [
        *("job", "model", "streamguard.admit", "streamguard.append", "streamguard.body", "streamguard.first_event"),
        "streamguard.stream",
    ]
    (body,) = [span for span in of_job if span.name == "streamguard.body"]
    assert [span.name for span in spans.below(body)] == ["model"]
    assert {span.name for span in spans.below(job)} == {"streamguard.admit", "streamguard.body", "streamguard.stream"}


def run_id(spans: Recorded) -> object:
    """The id of the first stream."""
    first = min(spans.named("streamguard.stream"), key=lambda span: span.start_time or 0)
    return (first.attributes or {})["streamguard.stream_id"]


async def test_a_body_that_is_cancelled_leaves_nothing() -> None:
    provider, spans = recording()
    guard = StreamGuard(authenticate=lambda _: "ann", observers=(OpenTelemetryTracing(provider),))
    begun = asyncio.Event()

    async def job() -> None:
        try:
            async with guard.start("ann", "chat-1"):
                begun.set()
                await asyncio.Event().wait()
        finally:
            assert current_stream.get() is None

    async with guard:
        task = asyncio.create_task(job())
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await guard.idle()
    names = sorted(span.name for span in spans.all)
    assert names == ["streamguard.admit", "streamguard.append", "streamguard.body", "streamguard.stream"]
    stream = spans.one("streamguard.stream")
    assert stream.status.description == "interrupted"
