"""OpenTelemetry's metrics of model calls, as the SDK reads them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from importlib import import_module
from typing import Any, Final

import pytest
from fastapi import FastAPI, Request

from streamguard import Run, StreamGuard, Usage
from streamguard.errors import ConfigurationError
from streamguard.telemetry.genai import Model, OpenTelemetryMetrics
from tests.web.serving import calling, user_of

pytestmark = [pytest.mark.anyio, pytest.mark.long]

CHAT: Final = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "anthropic",
    "gen_ai.request.model": "claude-x",
}


class Reading:
    """A meter provider, and what it was told."""

    def __init__(self) -> None:
        sdk = import_module("opentelemetry.sdk.metrics")
        self._reader = import_module("opentelemetry.sdk.metrics.export").InMemoryMetricReader()
        self.provider = sdk.MeterProvider(metric_readers=[self._reader], shutdown_on_exit=False)
        self._read: dict[str, Any] | None = None

    def read(self) -> dict[str, Any]:
        """All metrics, by name."""
        if self._read is None:
            data = self._reader.get_metrics_data()
            self._read = {
                metric.name: metric
                for of_resource in ([] if data is None else data.resource_metrics)
                for of_scope in of_resource.scope_metrics
                for metric in of_scope.metrics
            }
            self.provider.shutdown()
        return self._read

    def points(self, name: str) -> list[tuple[dict[str, str], int, float]]:
        """Attributes, count and sum of each series of a histogram."""
        return [(dict(point.attributes), point.count, point.sum) for point in self.read()[name].data.data_points]


async def test_a_named_endpoint_is_recorded() -> None:
    reading = Reading()
    guard = StreamGuard(
        authenticate=user_of,
        observers=(OpenTelemetryMetrics({"chat": Model("anthropic", "claude-x")}, meter_provider=reading.provider),),
    )
    app = FastAPI()

    @app.post("/chat")
    @guard.stream("request.query_params.id", protocol="plain", binding="chat")
    async def chat(request: Request, run: Run) -> AsyncIterator[str | Usage]:
        yield "hello"
        yield Usage({"input_tokens": 812})
        run.usage(output_tokens=7)
        if request.query_params["id"] == "broken":
            raise KeyError("canary")

    @app.post("/other")
    @guard.stream("request.query_params.id", protocol="plain", binding="other")
    async def other(request: Request) -> AsyncIterator[str]:
        yield "hello"

    async with calling(app, guard) as client:
        for path in ("/chat?id=one", "/chat?id=two", "/chat?id=broken", "/other?id=three"):
            assert (await client.post(path)).status_code == 200
        await guard.idle()
    durations = reading.points("gen_ai.client.operation.duration")
    assert sorted((attributes.get("error.type", ""), count) for attributes, count, _ in durations) == [
        ("", 2),
        ("internal", 1),
    ]
    assert all(attributes | {"error.type": ""} == CHAT | {"error.type": ""} for attributes, _, _ in durations)
    assert all(0 < seconds < 60 for _, _, seconds in durations)
    ((attributes, count, _),) = reading.points("gen_ai.client.operation.time_to_first_chunk")
    assert (attributes, count) == (CHAT, 3)
    assert sorted(
        (attributes["gen_ai.token.type"], count, total)
        for attributes, count, total in reading.points("gen_ai.client.token.usage")
    ) == [("input", 3, 3 * 812), ("output", 3, 3 * 7)]
    assert {name: metric.unit for name, metric in reading.read().items()} == {
        "gen_ai.client.operation.duration": "s",
        "gen_ai.client.operation.time_to_first_chunk": "s",
        "gen_ai.client.token.usage": "{token}",
    }
    assert "canary" not in repr(reading.read())


async def test_without_tokens_no_usage_is_made_up() -> None:
    """Usage in other units says nothing of what went in and what came out."""
    reading = Reading()
    metrics = OpenTelemetryMetrics(
        {"chat": Model("openai", operation="text_completion")}, meter_provider=reading.provider
    )
    guard = StreamGuard(authenticate=user_of, observers=(metrics,))
    app = FastAPI()

    @app.post("/chat")
    @guard.stream("request.query_params.id", protocol="plain", binding="chat")
    async def chat(request: Request) -> AsyncIterator[str | Usage]:
        yield Usage({"tokens": 5, "credits": 2})
        yield "hello"

    async with calling(app, guard) as client:
        await client.post("/chat?id=one")
        await guard.idle()
    assert "gen_ai.client.token.usage" not in reading.read()
    ((attributes, _, _),) = reading.points("gen_ai.client.operation.duration")
    assert attributes == {"gen_ai.operation.name": "text_completion", "gen_ai.provider.name": "openai"}


def test_models_are_models() -> None:
    with pytest.raises(ConfigurationError, match="by binding"):
        OpenTelemetryMetrics({"chat": "openai"})  # type: ignore[dict-item]
