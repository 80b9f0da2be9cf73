"""Beside OpenTelemetry's instrumentations and Sentry's integrations: one trace, and no span twice."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator

import pytest
from fastapi import FastAPI, Request

from streamguard import StreamGuard
from streamguard.telemetry.tracing import OpenTelemetryTracing
from tests.web.serving import calling, user_of

from .spans import instrumented, recording

pytestmark = [pytest.mark.anyio, pytest.mark.long]


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
