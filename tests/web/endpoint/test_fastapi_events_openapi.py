"""What FastAPI's OpenAPI document says of an endpoint with `response_class=EventSourceResponse`."""

from __future__ import annotations

from contextlib import suppress

import pytest
from fastapi import FastAPI

from streamguard.contrib.fastapi import install
from streamguard.testing import GuardedApp

from .test_fastapi_events import make_guard, of_tokens, pytestmark

with suppress(ImportError):  # earlier versions
    from fastapi.sse import EventSourceResponse

__all__ = ["pytestmark"]


@pytest.mark.parametrize("started", [False, True])
async def test_openapi_promises_no_other_protocol(started: bool) -> None:
    """Also where the document is made by a script, and no guard ever starts."""
    guard = make_guard()
    app = FastAPI(lifespan=guard.lifespan)
    install(guard, app, "/api/chat")
    app.post("/chat", response_class=EventSourceResponse)(guard.stream()(of_tokens))
    if started:
        async with GuardedApp(app, guard):
            pass
    answer = app.openapi()["paths"]["/chat"]["post"]["responses"]["200"]
    assert list(answer["content"]) == ["text/event-stream"]
    assert not [name for name in answer["headers"] if "vercel" in name]
