"""Streams complete whatever becomes of their spans, and spans end whatever becomes of their streams."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

import pytest
from fastapi import FastAPI, Request

from streamguard import Settings, StreamGuard
from streamguard.quota import CallableQuota, Quota, QuotaCall
from streamguard.scopes import StreamContext, Work, current_stream, scope
from streamguard.telemetry.tracing import OpenTelemetryTracing
from streamguard.values import trace_id_of
from tests.web.serving import calling, user_of

from .observed import QUICK
from .spans import instrumented, recording

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

pytestmark = [pytest.mark.anyio, pytest.mark.long]

TRACE: Final = f"00-{'ab' * 16}-{'cd' * 8}-01"


class Site:
    """A guarded application whose endpoint notes what it knows, and waits where it is asked to."""

    def __init__(self, *observers: OpenTelemetryTracing, quotas: Any = None) -> None:
        self.contexts: list[StreamContext | None] = []
        self.begun = asyncio.Event()
        self.guard = StreamGuard(
            authenticate=user_of, observers=observers, quota=quotas, settings=Settings.model_validate(QUICK)
        )
        self.app = FastAPI(lifespan=self.guard.lifespan)
        quota = None if quotas is None else Quota(limit=100, per="day", unit="requests")

        @self.app.post("/chat")
        @self.guard.stream("request.query_params.id", protocol="plain", quota=quota)
        async def chat(request: Request) -> AsyncIterator[str]:
            self.contexts.append(current_stream.get())
            yield "one "
            self.begun.set()
            if request.query_params["id"] == "endless":
                await asyncio.Event().wait()
            yield "two"

        self.guard.install(self.app, "/chat")

    async def answered(self, *, headers: Any = None) -> None:
        """One whole answer."""
        async with calling(self.app, self.guard) as client:
            answer = await client.post("/chat?id=s", headers=headers)
            assert (answer.status_code, "two" in answer.text) == (200, True)
            await self.guard.idle()


def providing(processor: Any) -> TracerProvider:
    provider: TracerProvider = import_module("opentelemetry.sdk.trace").TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(processor)
    return provider


class Processor:
    """Counts spans, and fails where it is told to."""

    def __init__(self, fails_at: str = "") -> None:
        self.open: set[str] = set()
        self._fails_at = fails_at

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        self._fail("start")
        self.open.add(f"{span.context.span_id:x} {span.name}")

    def _on_ending(self, span: Any) -> None:
        """The SDK calls this before `on_end`."""

    def on_end(self, span: Any) -> None:
        self.open.discard(f"{span.context.span_id:x} {span.name}")
        self._fail("end")

    def shutdown(self) -> None:
        """Nothing to do."""

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return True

    def _fail(self, where: str) -> None:
        if where == self._fails_at:
            raise OSError("the collector is away")


@pytest.mark.parametrize("fails_at", ["start", "end"])
async def test_a_processor_that_fails_hurts_no_stream(fails_at: str) -> None:
    tracing = OpenTelemetryTracing(providing(Processor(fails_at)))
    await Site(tracing).answered()
    assert current_stream.get() is None
    assert tracing.traceparent() is None


async def test_an_exporter_that_fails_hurts_no_stream(caplog: pytest.LogCaptureFixture) -> None:
    export = import_module("opentelemetry.sdk.trace.export")

    class Failing(export.SpanExporter):  # type: ignore[misc,name-defined]
        def export(self, spans: object) -> object:
            raise OSError("the collector is away")

    await Site(OpenTelemetryTracing(providing(export.SimpleSpanProcessor(Failing())))).answered()


async def test_no_stream_waits_for_an_exporter_that_hangs() -> None:
    export = import_module("opentelemetry.sdk.trace.export")
    asked, go = threading.Event(), threading.Event()

    class Hanging(export.SpanExporter):  # type: ignore[misc,name-defined]
        def export(self, spans: object) -> object:
            asked.set()
            go.wait()
            return export.SpanExportResult.SUCCESS

    processor = export.BatchSpanProcessor(Hanging(), max_queue_size=4, max_export_batch_size=1, schedule_delay_millis=1)
    provider = providing(processor)
    try:
        site = Site(OpenTelemetryTracing(provider))
        await site.answered()
        assert await asyncio.to_thread(asked.wait, 20)
        await site.answered()
    finally:
        go.set()
        provider.shutdown()


async def test_without_an_sdk_there_is_next_to_nothing_to_do() -> None:
    """The API package alone makes no span: then a scope costs some microseconds, and knows the trace all the same."""
    tracing = OpenTelemetryTracing(import_module("opentelemetry.trace").NoOpTracerProvider())
    site = Site(tracing)
    await site.answered(headers={"traceparent": TRACE})
    (context,) = site.contexts
    assert context is not None
    assert context.trace == TRACE
    about = StreamContext(Work.SAVE, "ann", "s", "a" * 24, "m", "r", TRACE)
    begun = time.thread_time()
    for _ in range(1_000):
        with scope(about, tracing):
            pass
    assert time.thread_time() - begun < 1.0  # 0.02 s, of CPU


async def test_spans_end_when_the_request_is_cancelled() -> None:
    reserving = asyncio.Event()

    async def reserve(call: QuotaCall) -> None:
        reserving.set()
        await asyncio.Event().wait()

    async def settle(call: QuotaCall) -> None:
        """Nothing is counted."""

    processor = Processor()
    tracing = OpenTelemetryTracing(providing(processor))
    site = Site(tracing, quotas=CallableQuota(reserve, settle, settle))
    async with calling(site.app, site.guard) as client:
        asking = asyncio.create_task(client.post("/chat?id=s"))
        await reserving.wait()
        assert {name.split()[1] for name in processor.open} == {"streamguard.admit"}
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await site.guard.idle()
    assert processor.open == set()


async def test_spans_end_when_the_process_drains() -> None:
    processor = Processor()
    tracing = OpenTelemetryTracing(providing(processor))
    site = Site(tracing)
    async with calling(site.app, site.guard) as client:
        asking = asyncio.create_task(client.post("/chat?id=endless"))
        await site.begun.wait()
        await site.guard.drain()
        await asking
    assert processor.open == set()
    assert not tracing._streams
    assert not tracing._own


def later(text: str) -> str:
    return f"cc-{'ab' * 16}-{'cd' * 8}-01{text}"


HOSTILE: Final[dict[str, tuple[list[tuple[bytes, bytes]], str | None]]] = {
    "too long": ([(b"traceparent", TRACE.encode() + b"0" * 10_000)], None),
    "invalid": ([(b"traceparent", b"00-zz-zz-zz")], None),
    "empty": ([(b"traceparent", b"")], None),
    "not ascii": ([(b"traceparent", TRACE.encode() + b"\xff\xc3\xa9")], None),
    "zeros": ([(b"traceparent", f"00-{'0' * 32}-{'0' * 16}-01".encode())], None),
    "version ff": ([(b"traceparent", b"ff" + TRACE[2:].encode())], None),
    "version cc": ([(b"traceparent", later("").encode())], TRACE),
    "version cc with more": ([(b"traceparent", later("-" + "x" * 5_000).encode())], TRACE),
    "twice": ([(b"traceparent", TRACE.encode()), (b"traceparent", TRACE.replace("ab", "ef").encode())], None),
    "tracestate of 10 kB": ([(b"traceparent", TRACE.encode()), (b"tracestate", b"a=" + b"b" * 10_000)], TRACE),
    "tracestate that is none": ([(b"traceparent", TRACE.encode()), (b"tracestate", b"\xff,,=;\x01")], TRACE),
    "baggage of 10 kB": ([(b"traceparent", TRACE.encode()), (b"baggage", b"k=" + b"v" * 10_000)], TRACE),
    "baggage that is none": ([(b"traceparent", TRACE.encode()), (b"baggage", b"\xff=%ff,;=,")], TRACE),
}
"""Headers, and what of them is kept."""


@pytest.mark.parametrize(("headers", "kept"), HOSTILE.values(), ids=HOSTILE)
async def test_what_a_client_says_of_its_trace_is_never_an_error(
    headers: list[tuple[bytes, bytes]], kept: str | None
) -> None:
    site = Site()
    await site.answered(headers=[(b"x-user", b"ann"), *headers])
    (context,) = site.contexts
    assert context is not None
    assert context.trace == kept


@pytest.mark.parametrize("headers", [headers for headers, _ in HOSTILE.values()], ids=HOSTILE)
async def test_nor_is_it_where_the_host_is_instrumented(headers: list[tuple[bytes, bytes]]) -> None:
    """Then the record keeps the span of the request, of 55 characters, whatever came."""
    provider, spans = recording()
    site = Site(OpenTelemetryTracing(provider))
    with instrumented(site.app, provider):
        await site.answered(headers=[(b"x-user", b"ann"), *headers])
    (context,) = site.contexts
    assert context is not None
    assert context.trace is not None
    assert len(context.trace) == len(TRACE)
    assert spans.traces == {trace_id_of(context.trace)}
