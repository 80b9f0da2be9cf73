"""Pydantic AI's adapter, which takes one of Starlette's requests, in a handler of Litestar's."""

from __future__ import annotations

from typing import Any

import pytest
from litestar import Request, post
from starlette.responses import Response

from streamguard.contrib.litestar import StarletteRequest

from .litestar.apps import plugin, visiting

pytestmark = pytest.mark.anyio


@pytest.mark.long
async def test_a_library_that_wants_starlettes_request_gets_one() -> None:
    """And reads the body that the guard has read before it."""
    from pydantic_ai import Agent  # it takes seconds
    from pydantic_ai.ui.vercel_ai import VercelAIAdapter

    streams = plugin()

    @post("/api/agent")
    @streams.stream(protocol="ui-message")
    async def agent(request: Request[Any, Any, Any]) -> Response:
        return await VercelAIAdapter.dispatch_request(StarletteRequest(request), agent=Agent("test"))

    body = {
        "id": "c1",
        "trigger": "submit-message",
        "messages": [{"id": "q", "role": "user", "parts": [{"type": "text", "text": "hi"}]}],
    }
    async with visiting(streams, agent) as chat:
        answer = await chat.post(body, path="/api/agent")
        await answer.rest()
        assert answer.text == "success (no tool calls)"
