"""Spans of the OpenTelemetry SDK, kept in memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastapi import FastAPI
    from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

__all__ = ["Recorded", "id_of", "instrumented", "recording"]


class Recorded:
    """The spans that have ended."""

    def __init__(self, exporter: InMemorySpanExporter) -> None:
        self._exporter = exporter

    @property
    def all(self) -> tuple[ReadableSpan, ...]:
        return self._exporter.get_finished_spans()

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.all if span.name == name]

    def one(self, name: str) -> ReadableSpan:
        (span,) = self.named(name)
        return span

    def below(self, parent: ReadableSpan) -> list[ReadableSpan]:
        """Its children, by name."""
        found = [span for span in self.all if span.parent is not None and span.parent.span_id == id_of(parent)]
        return sorted(found, key=lambda span: span.name)

    @property
    def traces(self) -> set[str]:
        """The ids of all traces, 32 hex digits each."""
        return {f"{span.get_span_context().trace_id:032x}" for span in self.all}  # type: ignore[union-attr] # it has one

    def text(self) -> str:
        return "".join(span.to_json() for span in self.all)


def id_of(span: ReadableSpan) -> int:
    return span.get_span_context().span_id  # type: ignore[union-attr] # it has one


def recording() -> tuple[TracerProvider, Recorded]:
    """A provider of tracers, and what becomes of their spans."""
    sdk = import_module("opentelemetry.sdk.trace")
    export = import_module("opentelemetry.sdk.trace.export")
    exporter = import_module("opentelemetry.sdk.trace.export.in_memory_span_exporter").InMemorySpanExporter()
    provider: TracerProvider = sdk.TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(export.SimpleSpanProcessor(exporter))
    return provider, Recorded(exporter)


@contextmanager
def instrumented(app: FastAPI, provider: TracerProvider) -> Iterator[None]:
    """Instrument one application. Afterwards take back what that changed, in Starlette's classes too."""
    instrumentor = import_module("opentelemetry.instrumentation.fastapi").FastAPIInstrumentor
    instrumentor.instrument_app(app, tracer_provider=provider, exclude_spans=["send", "receive"])
    try:
        yield
    finally:
        instrumentor.uninstrument_app(app)
