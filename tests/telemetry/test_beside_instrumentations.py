"""Beside OpenTelemetry's instrumentations and Sentry's integrations: one trace, and no span twice."""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager, nullcontext
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

import httpx
import pytest
from fastapi import FastAPI, Request
from sentry_sdk.integrations.fastapi import FastApiIntegration
from sentry_sdk.integrations.httpx import HttpxIntegration
from sentry_sdk.integrations.starlette import StarletteIntegration
from starlette.types import Receive, Scope, Send

from streamguard import StreamGuard
from streamguard.telemetry.tracing import OpenTelemetryTracing
from streamguard.testing import GuardedApp
from tests.harness.instrumented_openai import instrumented_openai
from tests.harness.waiting import wait_until_async
from tests.web.serving import USER, calling, serving, user_of

from .receiver import Receiver, receiving, sent_to
from .spans import Recorded, instrumented, recording

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

pytestmark = [pytest.mark.anyio, pytest.mark.long]

CANARY: Final = "canary-of-a-prompt"
TRACE_ID: Final = "ab" * 16
HEADERS: Final = {
    "traceparent": f"00-{TRACE_ID}-{'cd' * 8}-01",
    "sentry-trace": f"{TRACE_ID}-{'cd' * 8}-1",
    "authorization": f"Bearer {CANARY}",
}


@pytest.mark.parametrize("first", ["instrumented", "installed"])
async def test_fastapi_may_be_instrumented_before_the_guard_is_installed_or_after(
    first: str, caplog: pytest.LogCaptureFixture
) -> None:
    provider, spans = recording()
    guard = StreamGuard(authenticate=user_of, observers=(OpenTelemetryTracing(provider),))
    app = FastAPI()

    @app.post("/chat")
    @guard.stream("request.query_params.id", protocol="plain")
    async def chat(request: Request) -> AsyncIterator[str]:
        yield "hello"

    @app.get("/broken")
    async def broken() -> None:
        raise KeyError

    if first == "installed":
        guard.install(app, "/chat")
    with instrumented(app, provider), caplog.at_level(logging.ERROR):
        if first == "instrumented":
            guard.install(app, "/chat")
        async with calling(app, guard) as client:
            answer = await client.post("/chat?id=s")
            assert (answer.status_code, "x-request-id" in answer.headers) == (200, True)
            await guard.idle()
            with pytest.raises(KeyError):
                await client.get("/broken")
    assert "Skipping" not in caplog.text
    request = spans.one("POST /chat")
    assert [span.name for span in spans.below(request)] == ["streamguard.admit", "streamguard.stream"]
    assert len(spans.named("GET /broken")) == 1


@pytest.mark.skipif(
    "telemetry" not in inspect.signature(FastAPI).parameters, reason="this FastAPI makes no spans by itself"
)
@pytest.mark.parametrize("both", [False, True], ids=["alone", "beside-the-instrumentation"])
async def test_fastapi_may_trace_by_itself(both: bool) -> None:
    """Where it is instrumented too, it leaves the spans to the instrumentation, which it finds through our layer."""
    provider, spans = recording()
    guard = StreamGuard(authenticate=user_of, observers=(OpenTelemetryTracing(provider),))
    app = FastAPI(telemetry={"tracer_provider": provider})

    @app.post("/chat")
    @guard.stream("request.query_params.id", protocol="plain")
    async def chat(request: Request) -> AsyncIterator[str]:
        yield "hello"

    guard.install(app, "/chat")
    with instrumented(app, provider) if both else nullcontext():
        async with calling(app, guard) as client:
            assert (await client.post("/chat?id=s", headers=HEADERS)).status_code == 200
            await guard.idle()
    assert spans.traces == {TRACE_ID}
    names = Counter(span.name for span in spans.all)
    own = {} if both else {"fastapi.endpoint": 1, "fastapi.dependencies": 1}
    assert names == {**OURS, "POST /chat": 1, **own}
    parent = spans.one("POST /chat" if both else "fastapi.endpoint")
    assert [span.name for span in spans.below(parent)] == ["streamguard.admit", "streamguard.stream"]


async def test_all_applications_may_be_instrumented_at_once() -> None:
    """As `opentelemetry-instrument` does it: `fastapi.FastAPI` is another class from then on."""
    provider, spans = recording()
    fastapi = import_module("fastapi")
    instrumentor = import_module("opentelemetry.instrumentation.fastapi").FastAPIInstrumentor()
    instrumentor.instrument(tracer_provider=provider, exclude_spans=["send", "receive"])
    try:
        guard = StreamGuard(authenticate=user_of, observers=(OpenTelemetryTracing(provider),))
        app = fastapi.FastAPI()

        @guard.stream("request.query_params.id", protocol="plain")
        async def chat(request: Request) -> AsyncIterator[str]:
            yield "hello"

        app.post("/chat")(chat)
        guard.install(app, "/chat")
        async with calling(app, guard) as client:
            assert (await client.post("/chat?id=s", headers=HEADERS)).status_code == 200
            await guard.idle()
    finally:
        instrumentor.uninstrument()
    assert Counter(span.name for span in spans.all) == {**OURS, "POST /chat": 1}
    assert spans.traces == {TRACE_ID}


@pytest.mark.parametrize("first", ["guard", "opentelemetry"])
async def test_litestar_may_be_traced_by_its_own_plugin(first: str) -> None:
    provider, spans = recording()
    litestar = import_module("litestar")
    tracing = import_module("litestar.plugins.opentelemetry")
    guard = StreamGuard(authenticate=user_of, observers=(OpenTelemetryTracing(provider),))
    streams = import_module("streamguard.contrib.litestar").StreamGuardPlugin(guard, "/chat")

    async def chat(request: Any) -> AsyncIterator[str]:
        yield "hello"

    chat.__annotations__["request"] = litestar.Request  # Litestar reads it
    endpoint = litestar.post("/chat")(streams.stream("request.query_params.id", protocol="plain")(chat))
    plugins = [streams, tracing.OpenTelemetryPlugin(tracing.OpenTelemetryConfig(tracer_provider=provider))]
    app = litestar.Litestar([endpoint], plugins=plugins if first == "guard" else plugins[::-1], logging_config=None)
    async with (
        app.lifespan(),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://chat.example") as client,
    ):
        answer = await client.post("/chat?id=s", headers=USER | HEADERS)
        assert answer.status_code < 300
        await guard.idle()
    names = Counter(span.name for span in spans.all if not span.name.endswith((" send", " receive")))
    assert names == {**OURS, "POST /chat": 1}
    assert spans.traces == {TRACE_ID}
    below = [span.name for span in spans.below(spans.one("POST /chat")) if span.name.startswith("streamguard")]
    assert below == ["streamguard.admit", "streamguard.stream"]


class Provider:
    """A model's server: chat completions as OpenAI streams them, and facts at any other path."""

    def __init__(self) -> None:
        self.traces: list[str] = []
        """The trace id in the `traceparent` of each request; empty without one."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            for _ in range(2):
                await send({"type": (await receive())["type"] + ".complete"})
            return
        headers = dict(scope["headers"])
        self.traces.append(headers.get(b"traceparent", b"").decode()[3:35])
        streams = scope["path"].endswith("/completions")
        kind = b"text/event-stream" if streams else b"text/plain"
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind)]})
        for word in ("one ", "two ") if streams else ():
            choice = {"index": 0, "delta": {"content": word}, "finish_reason": None}
            chunk = {"id": "c", "object": "chat.completion.chunk", "created": 0, "model": "gpt-x", "choices": [choice]}
            data = b"data: " + json.dumps(chunk).encode() + b"\n\n"
            await send({"type": "http.response.body", "body": data, "more_body": True})
        await send({"type": "http.response.body", "body": b"data: [DONE]\n\n" if streams else b"fact"})


@contextmanager
def everything(app: FastAPI, provider: TracerProvider, *, openai: bool) -> Iterator[None]:
    """OpenTelemetry's instrumentations of FastAPI, httpx and, if asked for, openai; afterwards none is left."""
    of_httpx = import_module("opentelemetry.instrumentation.httpx").HTTPXClientInstrumentor()
    with ExitStack() as stack:
        stack.enter_context(instrumented(app, provider))
        of_httpx.instrument(tracer_provider=provider)
        stack.callback(of_httpx.uninstrument)
        if openai:
            stack.enter_context(instrumented_openai(provider))
        yield


class Host:
    """An application whose endpoint asks for a fact with httpx, then a model with openai."""

    def __init__(self, provider: TracerProvider, model: int) -> None:
        self.go = asyncio.Event()
        self.go.set()
        self.guard = StreamGuard(authenticate=user_of, observers=(OpenTelemetryTracing(provider),))
        self.app = FastAPI(lifespan=self.guard.lifespan)
        self.client = import_module("openai").AsyncOpenAI(base_url=f"http://127.0.0.1:{model}/v1", api_key=CANARY)

        @self.app.post("/chat")
        @self.guard.stream("request.query_params.id")
        async def chat(request: Request) -> AsyncIterator[str]:
            yield "zero "
            await self.go.wait()
            async with httpx.AsyncClient(trust_env=False) as client:
                await client.get(f"http://127.0.0.1:{model}/facts")
            answer = await self.client.chat.completions.create(
                model="gpt-x", stream=True, messages=[{"role": "user", "content": CANARY}]
            )
            async for chunk in answer:
                yield chunk.choices[0].delta.content

        self.guard.install(self.app, "/chat")


@asynccontextmanager
async def hosting(*, openai: bool) -> AsyncIterator[tuple[Host, GuardedApp, TracerProvider, Recorded, Provider]]:
    provider, spans = recording()
    model = Provider()
    async with serving(model) as port:
        host = Host(provider, port)
        with everything(host.app, provider, openai=openai):
            async with GuardedApp(host.app, host.guard, headers=USER | HEADERS) as chat:
                yield host, chat, provider, spans, model
        await host.client.close()


OURS: Final = {"streamguard.admit": 1, "streamguard.stream": 1, "streamguard.first_event": 1, "streamguard.append": 1}


@pytest.fixture(params=[False, True], ids=["httpx", "httpx-and-openai"])
def openai(request: pytest.FixtureRequest) -> bool:
    """Whether openai is instrumented too."""
    return bool(request.param)


def of_host(*, openai: bool) -> dict[str, int]:
    """How often there is each span of the host's own."""
    return {"POST /chat": 1, "GET": 1, **({"chat gpt-x": 1} if openai else {})}


async def test_the_models_spans_are_below_the_streams(openai: bool) -> None:
    async with hosting(openai=openai) as (_, chat, _, spans, model):
        answer = await chat.post({}, path="/chat?id=s")
        await answer.whole()
        await chat.ended(answer)
        await chat.idle()
    assert Counter(span.name for span in spans.all) == {**OURS, **of_host(openai=openai)}
    assert spans.traces == {TRACE_ID}
    below = [span.name for span in spans.below(spans.one("streamguard.stream"))]
    own = ["GET", "chat gpt-x"] if openai else ["GET"]
    assert below == [*own, "streamguard.append", "streamguard.first_event"]
    assert model.traces[0] == TRACE_ID
    assert CANARY not in spans.text()


async def test_they_are_so_when_the_client_has_gone(openai: bool) -> None:
    """The endpoint goes on in its own task, after the request's span has ended."""
    async with hosting(openai=openai) as (host, chat, _, spans, _):
        host.go.clear()
        answer = await chat.post({}, path="/chat?id=s")
        await answer.next_event()
        answer.drop()
        await wait_until_async(lambda: spans.named("POST /chat"), description="the request's span has ended")
        host.go.set()
        await chat.ended(answer)
        await chat.idle()
    stream, request = spans.one("streamguard.stream"), spans.one("POST /chat")
    assert stream.end_time is not None
    assert request.end_time is not None
    assert stream.end_time > request.end_time
    assert {span.name for span in spans.below(stream)} >= {"GET", *(["chat gpt-x"] if openai else [])}
    assert spans.traces == {TRACE_ID}


def spans_of(receiver: Receiver) -> list[tuple[str, str]]:
    """The trace and the name of each span that Sentry got; of a request, which it calls by its URL, the method."""
    found = []
    for item in receiver.items("transaction"):
        trace = item.payload["contexts"]["trace"]
        found.append((trace["trace_id"], item.payload["transaction"]))
        for span in item.payload["spans"]:
            name = span["description"].split()[0] if span["op"] == "http.client" else span["op"]
            found.append((span["trace_id"], name))
    return found


async def _at_sentry(*, openai: bool = False, integrations: Sequence[Any], **options: Any) -> list[tuple[str, str]]:
    with receiving() as receiver, sent_to(receiver, integrations=integrations, traces_sample_rate=1.0, **options):
        async with hosting(openai=openai) as (_, chat, provider, _, _):
            if options:
                processor = import_module("sentry_sdk.integrations.opentelemetry.span_processor")
                provider.add_span_processor(processor.SentrySpanProcessor())
            answer = await chat.post({}, path="/chat?id=s")
            await answer.whole()
            await chat.ended(answer)
            await chat.idle()
        found = spans_of(receiver)
        assert CANARY not in repr([item.payload["spans"] for item in receiver.items("transaction")])
    return found


@pytest.mark.processes
async def test_sentry_gets_opentelemetrys_spans_once(openai: bool) -> None:
    """Sentry's own integration of OpenTelemetry, with its other integrations beside it, which then make no spans."""
    found = await _at_sentry(
        openai=openai,
        integrations=[StarletteIntegration(), FastApiIntegration(), HttpxIntegration()],
        instrumenter="otel",
    )
    # In an early SDK the integration of Starlette renames the transaction.
    names = Counter("POST /chat" if name == "/chat" else name for _, name in found)
    assert {trace for trace, _ in found} == {TRACE_ID}
    assert names == {**OURS, **of_host(openai=openai)}


@pytest.mark.processes
async def test_sentry_makes_no_spans_of_ours_where_opentelemetry_does() -> None:
    """Both trace, each on its own: a stream's spans are OpenTelemetry's."""
    found = await _at_sentry(integrations=[StarletteIntegration(), FastApiIntegration(), HttpxIntegration()])
    assert {trace for trace, _ in found} == {TRACE_ID}
    assert [name for _, name in found if "streamguard" in name] == []
    assert Counter(name for _, name in found)["/chat"] == 1
