"""Conversations whose last answer ended early are accepted as the next turn: by AI SDK 5, 6 and 7, by pydantic-ai, and
in what they send by OpenAI and Anthropic."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import ClassVar

import pytest
from anthropic import AsyncAnthropic
from openai import AsyncOpenAI
from pydantic_ai import Agent
from pydantic_ai.models import Model
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.models.test import TestModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.ui.vercel_ai import VercelAIAdapter

from ..runtime.early_ends import AFTER_AN_APPROVAL, PLACES, WAYS, History, histories
from .pairing import REFUSALS
from .test_clients import node, run_script

__all__ = ["node"]

NEXT = {"id": "u2", "role": "user", "parts": [{"type": "text", "text": "And now?"}]}


@pytest.fixture(scope="module")
def ended_early() -> dict[str, History]:
    """Each of them, made once: by a stop, by an endpoint that raises, and by a worker that takes the stream over."""
    return {history.name: history for history in asyncio.run(histories())}


@pytest.mark.slow
def test_ai_sdk_goes_on(node: str, ended_early: dict[str, History], tmp_path: Path) -> None:
    given, sent = tmp_path / "histories.json", tmp_path / "sent.json"
    given.write_text(json.dumps([history.as_dict() for history in ended_early.values()]))
    run_script(node, "histories.test.mjs", {"HISTORIES": str(given), "SENT": str(sent)})
    requests = json.loads(sent.read_text())
    assert len(requests) > 6 * len(ended_early)
    wrong = {
        f"{request['name']}, {request['provider']}": (refused, request["body"])
        for request in requests
        if (refused := REFUSALS[request["provider"]](request["body"]))
    }
    assert wrong == {}


async def went_on(model: Model, history: History) -> list[str]:
    """What pydantic-ai's adapter answers to the history and the next question: the types of the parts."""
    question = {"id": "s", "trigger": "submit-message", "messages": [*history.messages, NEXT]}
    adapter = VercelAIAdapter(
        Agent(model), VercelAIAdapter.build_run_input(json.dumps(question).encode()), sdk_version=6
    )
    return [str(vars(chunk)["type"]) async for chunk in adapter.run_stream()]


NAMES = [f"{way} {place}" for place in (*PLACES, AFTER_AN_APPROVAL) for way in WAYS]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.anyio
async def test_pydantic_ai_goes_on(name: str, ended_early: dict[str, History]) -> None:
    types = await went_on(TestModel(custom_output_text="Well."), ended_early[name])
    assert "error" not in types
    assert "text-delta" in types


class Refusing(BaseHTTPRequestHandler):
    """A provider that refuses everything, and keeps what it was sent."""

    sent: ClassVar[list[dict[str, object]]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.sent.append(json.loads(body))
        answer = b'{"error":{"type":"invalid_request_error","message":"no"}}'
        self.send_response(400)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def url() -> Iterator[str]:
    """Where the provider is."""
    Refusing.sent.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/v1"
        server.shutdown()
        thread.join()


@asynccontextmanager
async def real_model(provider: str, url: str) -> AsyncIterator[Model]:
    if provider == "anthropic":
        async with AsyncAnthropic(api_key="k", max_retries=0, base_url=url) as claude:
            yield AnthropicModel("claude-sonnet-5", provider=AnthropicProvider(anthropic_client=claude))
        return
    async with AsyncOpenAI(api_key="k", max_retries=0, base_url=url) as client:
        openai = OpenAIProvider(openai_client=client)
        kind = OpenAIChatModel if provider == "chat" else OpenAIResponsesModel
        yield kind("gpt-5", provider=openai)


@pytest.mark.parametrize("provider", REFUSALS)
@pytest.mark.anyio
async def test_what_pydantic_ai_sends_is_paired(provider: str, ended_early: dict[str, History], url: str) -> None:
    wrong = {}
    async with real_model(provider, url) as model:
        for name, history in ended_early.items():
            await went_on(model, history)
            (body,) = Refusing.sent
            Refusing.sent.clear()
            if refused := REFUSALS[provider](body):
                wrong[name] = refused, body
    assert wrong == {}


def test_a_history_with_a_call_that_is_open_would_be_refused(ended_early: dict[str, History]) -> None:
    """The rules see what they are there for."""
    call = {"id": "c1", "type": "function", "function": {"name": "shell", "arguments": "[]"}}
    user = {"role": "user", "content": "?"}
    assert len(REFUSALS["chat"]({"messages": [{"role": "assistant", "tool_calls": [call]}, user]})) == 2
    assert REFUSALS["responses"]({"input": [{"type": "function_call", "call_id": "c1", "arguments": "{}"}]})
    use = {"type": "tool_use", "id": "c1", "input": {}}
    assert REFUSALS["anthropic"]({"messages": [{"role": "assistant", "content": [use]}, user]})
    assert REFUSALS["anthropic"]({"messages": [{"role": "assistant", "content": []}, user]})
