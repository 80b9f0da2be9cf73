"""Spans of streams, with the OpenTelemetry SDK, its instrumentation of FastAPI and an exporter in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import nullcontext

import pytest
from fastapi import FastAPI, Request
from opentelemetry.sdk.trace import TracerProvider

from streamguard import StreamGuard
from streamguard.messages import MemoryMessageStore
from streamguard.quota import MemoryQuotaStore, Quota
from streamguard.scopes import current_stream
from streamguard.telemetry.tracing import OpenTelemetryTracing
from tests.web.serving import calling, user_of

from .spans import instrumented, recording

pytestmark = [pytest.mark.anyio, pytest.mark.long]

CANARY = "canary-of-a-prompt"
TRACE_ID = "ab" * 16
OTHER = f"00-{'ef' * 16}-{'12' * 8}-01"
HEADERS = {"traceparent": f"00-{TRACE_ID}-{'cd' * 8}-01", "authorization": f"Bearer {CANARY}"}


def traced(provider: TracerProvider) -> tuple[StreamGuard, FastAPI]:
    """A guard that saves and makes spans, and an application without routes."""
    observers = (OpenTelemetryTracing(provider),)
    return StreamGuard(authenticate=user_of, messages=MemoryMessageStore(), observers=observers), FastAPI()


async def test_an_answer_without_any_trace_begins_one() -> None:
    """Neither the host nor the client knows a trace: all spans are in one all the same."""
    provider, spans = recording()
    guard, app = traced(provider)

    @app.post("/chat")
    @guard.stream("request.query_params.id", protocol="ui-message")
    async def chat(request: Request) -> AsyncIterator[str]:
        yield "hello"

    guard.install(app, "/chat")
    async with calling(app, guard) as client:
        answer = await client.post("/chat?id=s")
        cursor = next(line[4:] for line in answer.text.splitlines() if line.startswith("id: "))
        assert (await client.get("/chat/s/stream", headers={"last-event-id": cursor})).status_code == 200
        await guard.idle()
    admit = spans.one("streamguard.admit")
    assert admit.parent is None
    assert [span.name for span in spans.below(admit)] == ["streamguard.resume", "streamguard.stream"]
    assert len(spans.traces) == 1


async def test_a_stream_and_its_resume_are_one_trace_without_content() -> None:
    provider, recorded = recording()
    guard, app = traced(provider)

    @app.post("/chat")
    @guard.stream("request.query_params.id", protocol="ui-message")
    async def chat(request: Request) -> AsyncIterator[str]:
        with provider.get_tracer("host").start_as_current_span("host.model"):
            yield CANARY
        if request.query_params["id"] == "broken":
            raise ValueError(CANARY)

    guard.install(app, "/chat")
    with instrumented(app, provider):
        async with calling(app, guard) as client:
            answer = await client.post("/chat?id=s1", headers=HEADERS)
            assert answer.status_code == 200
            stream_id = answer.headers["x-stream-id"]
            assert (await client.post("/chat?id=broken", headers=HEADERS)).status_code == 200
            cursor = next(line[4:] for line in answer.text.splitlines() if line.startswith("id: "))
            resumed = await client.get("/chat/s1/stream", headers={"last-event-id": cursor, "traceparent": OTHER})
            assert resumed.status_code == 200
    spans = recorded.all
    assert CANARY not in recorded.text()
    mine = [span for span in spans if (span.attributes or {}).get("streamguard.stream_id") == stream_id]
    names = sorted(span.name for span in mine)
    by_name = {span.name: span for span in mine}
    assert set(names) >= {"streamguard.stream", "streamguard.persist"}
    stream = by_name["streamguard.stream"]
    children = [span for span in spans if span.parent is not None and span.parent.span_id == stream.context.span_id]
    assert sorted({span.name for span in children} - {"streamguard.first_event"}) == [
        "host.model",
        "streamguard.append",
        "streamguard.persist",
    ]
    assert len([span for span in spans if span.name == "streamguard.stream"]) == 2
    assert len([span for span in spans if span.name == "streamguard.append"]) == 2
    ours = [span for span in spans if span.name.startswith("streamguard.")]
    assert {f"{span.context.trace_id:032x}" for span in ours} == {TRACE_ID}
    (resume,) = [span for span in ours if span.name == "streamguard.resume"]
    assert [f"{link.context.trace_id:032x}" for link in resume.links] == ["ef" * 16]
    (failed,) = [span for span in spans if span.name == "streamguard.stream" and span is not stream]
    assert failed.status.status_code.name == "ERROR"
    assert failed.status.description == (failed.attributes or {})["streamguard.code"] == "internal"
    assert stream.status.status_code.name == "UNSET"


async def test_a_refusal_is_on_the_span_that_it_concerns() -> None:
    """What the guard refuses while it admits is the fault of `streamguard.admit`; what it refuses before that is named
    on the request's span, whose status is the framework's to decide."""
    provider, spans = recording()
    guard = StreamGuard(authenticate=user_of, quota=MemoryQuotaStore(), observers=(OpenTelemetryTracing(provider),))
    app = FastAPI()

    @app.post("/chat")
    @guard.stream("request.query_params.id", quota=Quota(limit=1, per="day", unit="requests"))
    async def chat(request: Request) -> AsyncIterator[str]:
        yield "hello"

    guard.install(app, "/chat")
    with instrumented(app, provider):
        async with calling(app, guard) as client:
            for expected, headers in ((200, {}), (429, {}), (401, {"x-user": ""})):
                answer = await client.post(f"/chat?id=s{expected}", headers=headers)
                assert answer.status_code == expected
            await guard.idle()
    refused = next(span for span in spans.named("streamguard.admit") if span.status.status_code.name == "ERROR")
    assert refused.status.description == "quota_exceeded"
    assert (refused.attributes or {})["streamguard.phase"] == "quota"
    unauthenticated = next(span for span in spans.named("POST /chat") if "streamguard.code" in (span.attributes or {}))
    assert (unauthenticated.attributes or {})["streamguard.code"] == "unauthenticated"
    assert unauthenticated.status.status_code.name == "UNSET"


async def test_a_resume_in_the_same_trace_is_below_its_own_request() -> None:
    """A page that has one trace for all its requests."""
    provider, spans = recording()
    guard = StreamGuard(authenticate=user_of, observers=(OpenTelemetryTracing(provider),))
    app = FastAPI()

    @app.post("/chat")
    @guard.stream("request.query_params.id")
    async def chat(request: Request) -> AsyncIterator[str]:
        yield "hello"

    guard.install(app, "/chat")
    with instrumented(app, provider):
        async with calling(app, guard) as client:
            answer = await client.post("/chat?id=s", headers=HEADERS)
            cursor = next(line[4:] for line in answer.text.splitlines() if line.startswith("id: "))
            await client.get("/chat/s/stream", headers=HEADERS | {"last-event-id": cursor})
    resume = spans.one("streamguard.resume")
    (request,) = [span for span in spans.all if span.parent and span.name.startswith("GET ")]
    assert [span.name for span in spans.below(request)] == ["streamguard.resume"]
    assert not resume.links
    assert spans.traces == {TRACE_ID}


async def test_a_request_that_is_not_sampled_has_a_stream_that_is_not() -> None:
    """The flag is in the record, so that every worker follows it."""
    provider, spans = recording()
    guard = StreamGuard(authenticate=user_of, observers=(OpenTelemetryTracing(provider),))
    app = FastAPI()
    traces: list[str | None] = []

    @app.post("/chat")
    @guard.stream("request.query_params.id")
    async def chat(request: Request) -> AsyncIterator[str]:
        context = current_stream.get()
        traces.append(None if context is None else context.trace)
        yield "hello"

    guard.install(app, "/chat")
    unsampled = HEADERS["traceparent"].removesuffix("01") + "00"
    for with_spans in (True, False):
        with instrumented(app, provider) if with_spans else nullcontext():
            async with calling(app, guard) as client:
                answer = await client.post(f"/chat?id=s{with_spans}", headers={"traceparent": unsampled})
                cursor = next(line[4:] for line in answer.text.splitlines() if line.startswith("id: "))
                await client.get(f"/chat/s{with_spans}/stream", headers={"last-event-id": cursor})
                await guard.idle()
    assert [str(trace)[-2:] for trace in traces] == ["00", "00"]
    assert [span.name for span in spans.all if span.name.startswith("streamguard.")] == []


async def test_attributes_are_plain_values() -> None:
    provider, spans = recording()
    guard = StreamGuard(authenticate=user_of, observers=(OpenTelemetryTracing(provider),))
    app = FastAPI()

    @app.post("/chat")
    @guard.stream("request.query_params.id")
    async def chat(request: Request) -> AsyncIterator[str]:
        yield "hello"
        raise ValueError(CANARY)

    async with calling(app, guard) as client:
        await client.post("/chat?id=s")
        await guard.idle()
    values = [value for span in spans.all for value in (span.attributes or {}).values()]
    values += [value for span in spans.all for event in span.events for value in (event.attributes or {}).values()]
    names = [*(span.name for span in spans.all), *(event.name for span in spans.all for event in span.events)]
    assert {type(value) for value in (*values, *names)} <= {str, int, float, bool}
    assert len(values) > 20
