"""The chats of the how-to pages on providers, asked as a page asks them, against the scripted provider."""

from __future__ import annotations

import gc
import json
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, Final

import httpx
import pytest

from ..docs.samples import run_page, serving
from ..harness.waiting import wait_until
from .upstream import Upstream

__all__ = ["CHATS", "KEYS", "NOISE_OF_LIBRARIES", "WITH_TOOLS", "Answer", "Chat", "chats", "pointed_at"]

Json = Any
"""Read from an answer."""

CHATS: Final = {
    "chat": ("openai", "/api/chat"),
    "chat with tools": ("openai", "/api/tools"),
    "responses": ("openai", "/api/responses"),
    "anthropic": ("anthropic", "/api/chat"),
    "anthropic with tools": ("anthropic", "/api/tools"),
    "litellm": ("litellm", "/api/chat"),
    "litellm with tools": ("litellm", "/api/tools"),
}
"""The how-to page and the path of each chat."""

WITH_TOOLS: Final = ("chat with tools", "responses", "anthropic with tools", "litellm with tools")
"""Those whose endpoint runs tools."""

NOISE_OF_LIBRARIES: Final = (
    "ignore::UserWarning:pydantic",
    "ignore::pydantic.warnings.PydanticDeprecationWarning",
    "ignore:unclosed:ResourceWarning",
    "ignore::pytest.PytestUnraisableExceptionWarning",
)
"""LiteLLM uses pydantic in ways that pydantic warns of, and leaves connections open."""

KEYS: Final = ("OPENAI_API_KEY", "ANTHROPIC_API_KEY")


@dataclass
class Answer:
    """What a page got, and what became of it."""

    status: int
    headers: Mapping[str, str]
    body: str
    parts: list[dict[str, Json]] = field(default_factory=list)
    reply: dict[str, Json] = field(default_factory=dict)
    """The saved reply; empty without one."""
    used: int = 0
    """The tokens that its owner is charged."""

    @property
    def kinds(self) -> list[str]:
        """The types of the parts."""
        return [part["type"] for part in self.parts]

    @property
    def text(self) -> str:
        """The texts of the saved reply, by line."""
        return "\n".join(part["text"] for part in self.reply["parts"] if part["type"] == "text")

    @property
    def calls(self) -> dict[str, dict[str, Json]]:
        """The tool calls of the saved reply, by id."""
        return {part["toolCallId"]: part for part in self.reply["parts"] if part["type"] == "tool-weather"}


class Chat:
    """One endpoint of a page that is served, and the browser of one visitor."""

    def __init__(self, name: str, module: ModuleType, path: str, client: httpx.Client) -> None:
        self.name = name
        self.module = module
        self._path = path
        self._client = client
        self._count = 0
        self.session = ""

    def ask(
        self,
        prompt: str,
        *,
        stop_at: str = "",
        history: list[dict[str, Json]] | None = None,
        version: str = "",
    ) -> Answer:
        """Ask in a session of its own, read the whole answer, and look at what was saved and charged.

        `stop_at` names a type of part: when the first one arrives, the visitor stops the answer.
        """
        self._client.cookies.clear()  # a new visitor: nothing has been charged yet
        self._count += 1
        self.session = f"s{self._count}"
        question = {"id": "u1", "role": "user", "parts": [{"type": "text", "text": prompt}]}
        asked = {"id": self.session, "messages": [*(history or []), question]}
        headers = {"x-ai-sdk-version": version} if version else {}
        with self._client.stream("POST", self._path, json=asked, headers=headers) as response:
            lines: list[str] = []
            parts: list[dict[str, Json]] = []
            for line in response.iter_lines():
                lines.append(line)
                if not line.startswith("data: {"):
                    continue
                parts.append(json.loads(line.removeprefix("data: ")))
                if stop_at and parts[-1]["type"] == stop_at:
                    stop_at = ""
                    assert self._client.post(f"/api/chat/{self.session}/stop").status_code == 202
            answer = Answer(response.status_code, response.headers, "\n".join(lines), parts)
        wait_until(lambda: self._status()["active"] is None, description="the answer has ended")
        (limit,) = self._status()["quota"]["limits"]
        answer.used = limit["used"]
        saved = self._client.get(f"/api/chat/{self.session}/messages")
        if saved.status_code == 200:
            answer.reply = next((m for m in saved.json()["messages"] if m["role"] == "assistant"), {})
        return answer

    def _status(self) -> dict[str, Json]:
        found: dict[str, Json] = self._client.get(f"/api/chat/{self.session}").json()
        return found


@contextmanager
def chats(page: str, upstream: Upstream, redis_url: str = "") -> Iterator[dict[str, Chat]]:
    """The chats of a page, by name, served while entered."""
    with (
        pointed_at(upstream),
        run_page(f"docs/how-to/{page}.md", redis_url=redis_url) as module,
        serving(module.app) as port,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client,
    ):
        yield {name: Chat(name, module, path, client) for name, (of, path) in CHATS.items() if of == page}


def _forget_clients() -> None:
    """Let go of the connections that libraries keep for an event loop that is gone. Nobody can close them any more."""
    litellm = sys.modules.get("litellm")
    if litellm is not None:
        litellm.in_memory_llm_clients_cache.flush_cache()
    agents = sys.modules.get("agents.models.openai_provider")
    if agents is not None:
        vars(agents)["_http_client"] = None
    with warnings.catch_warnings(action="ignore"):
        gc.collect()


@contextmanager
def pointed_at(upstream: Upstream) -> Iterator[None]:
    """The libraries' clients that are made meanwhile ask the scripted provider."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("OPENAI_BASE_URL", f"{upstream.url}/v1")
        environment.setenv("ANTHROPIC_BASE_URL", upstream.url)
        environment.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # it would fetch one
        for name in KEYS:
            environment.setenv(name, "none")
        yield
    _forget_clients()
