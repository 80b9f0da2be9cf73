"""The chat of `tests.apps.chat`, with a quota and saves, traced with OpenTelemetry.

Each span is a line of JSON in a file of the directory `TRACED_SPANS`, one per process. While there is a file
`fail-<session>` in that directory, no reply of the session can be saved. `POST /gate/<name>` as there.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from fastapi import FastAPI
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult

from streamguard import StreamGuard
from streamguard.errors import MessageUnavailableError
from streamguard.messages import MessageToSave
from streamguard.quota import Quota
from streamguard.telemetry.tracing import OpenTelemetryTracing

from .chat import Script, model, steered
from .given import SETTINGS, URL, owner

__all__ = ["app", "application"]

SPANS = Path(os.environ.get("TRACED_SPANS", "/nonexistent"))


class LineExporter(SpanExporter):
    """Writes each span at once, so that it is there when the process is killed."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        with (SPANS / f"{os.getpid()}.jsonl").open("a") as file:
            file.writelines(span.to_json(indent=None) + "\n" for span in spans)
        return SpanExportResult.SUCCESS


async def save(message: MessageToSave) -> None:
    if (SPANS / f"fail-{message.key.session_id}").exists():
        raise MessageUnavailableError("the test says so", operation="append")


provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(LineExporter()))
guard = StreamGuard(
    URL, authenticate=owner, messages=save, observers=(OpenTelemetryTracing(provider),), settings=SETTINGS
)
app = FastAPI(lifespan=guard.lifespan)


@app.post("/api/chat")
@guard.stream(session="body.id", quota=Quota(limit=1_000, per="day", unit="requests"))
async def chat(body: Script) -> AsyncIterator[str]:
    async for piece in model(body):
        with provider.get_tracer("host").start_as_current_span("host.model"):
            yield piece


guard.install(app, "/api/chat")
FastAPIInstrumentor.instrument_app(app, tracer_provider=provider, exclude_spans=["send", "receive"])
application = steered(app)
