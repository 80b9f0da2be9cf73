"""OpenTelemetry's instrumentation of the `openai` client, on for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from .tools import missing

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

__all__ = ["instrumented_openai"]

_INSTALL: Final = "pip install opentelemetry-instrumentation-openai-v2 'opentelemetry-util-genai<1.1'"
"""Release 2.4b0 of the one asks for any release of the other, but imports a module that 1.1b0 has no more."""


@contextmanager
def instrumented_openai(provider: TracerProvider, **options: Any) -> Iterator[None]:
    """Instrument all clients; afterwards none."""
    try:
        instrumentor = import_module("opentelemetry.instrumentation.openai_v2").OpenAIInstrumentor()
    except ModuleNotFoundError:
        missing(_INSTALL)
    instrumentor.instrument(tracer_provider=provider, **options)
    try:
        yield
    finally:
        instrumentor.uninstrument()
