"""The how-to pages on agents: every endpoint that they show answers, from stored messages on, and is resumed.

The provider of those that ask one is scripted; see `upstream`.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from streamguard import Outcome
from streamguard.testing import GuardedApp

from ..docs.samples import run_page
from .provider_chats import pointed_at
from .upstream import Upstream, provider

pytestmark = pytest.mark.anyio

Json = Any


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    """Of each test its own: LangChain keeps connections to an address, and so the event loop that they belong to."""
    with provider() as upstream:
        yield upstream


@pytest.fixture(params=["pydantic-ai", "langchain", "langgraph", "openai-agents"])
def pages(request: pytest.FixtureRequest, upstream: Upstream) -> Iterator[tuple[str, ModuleType]]:
    """Each page's name and program, run without a loop, as a module is imported."""
    with pointed_at(upstream), run_page(f"docs/how-to/{request.param}.md", redis_url="") as module:
        yield request.param, module


def body(text: str, **more: object) -> Json:
    question = {"id": f"question-{text}", "role": "user", "parts": [{"type": "text", "text": text}]}
    return {"id": "c1", "trigger": "submit-message", "messages": [question], **more}


PATHS = {
    "pydantic-ai": ["/api/chat", "/api/adapter"],
    "langchain": ["/api/chat"],
    "langgraph": ["/api/chat"],
    "openai-agents": ["/api/chat", "/api/guarded"],
}


async def test_endpoints_answer_from_stored_messages_and_are_resumed(
    pages: tuple[str, ModuleType], upstream: Upstream
) -> None:
    name, module = pages
    async with GuardedApp(module.app, module.guard) as visitor:
        for path in PATHS[name]:
            session = path.rpartition("/")[2]
            answer = await visitor.post(body("!tools", id=session), path=path)
            await answer.rest()
            assert (answer.status, answer.faults) == (200, []), answer.body
            assert answer.text
            calls_tools = any(part["type"] == "tool-output-available" for part in answer.parts)
            assert calls_tools is (name != "langchain")
            again = await visitor.resume(session)
            await again.rest()
            assert again.text == answer.text
            await visitor.idle()
            last = (await visitor.status(session)).last
            assert last is not None
            assert last.outcome is Outcome.COMPLETED
        upstream.take()
        second = await visitor.post(body("And now?", id="chat"))
        await second.rest()
        assert (second.status, second.faults) == (200, [])
        if name != "pydantic-ai":  # whose scripted model asks nobody
            (asked,) = upstream.take()
            history = str(asked["messages"] if "messages" in asked else asked["input"])
            for said in ("!tools", "Let me look.", "And now?"):
                assert said in history


@pytest.mark.parametrize("pages", ["langgraph"], indirect=True)
async def test_an_interrupt_is_resumed_by_the_next_request(pages: tuple[str, ModuleType]) -> None:
    async with GuardedApp(pages[1].app, pages[1].guard) as visitor:
        first = await visitor.post(body("Book it"), path="/api/booking")
        await first.rest()
        (asked,) = (part for part in first.parts if part["type"] == "data-interrupt")
        assert asked["data"] == {"id": asked["id"], "value": {"question": "Shall I book it?"}}
        second = await visitor.post(body("yes", answer="yes"), path="/api/booking")
        await second.rest()
        assert second.text == "It is booked."
