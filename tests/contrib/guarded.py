"""One answer of a guarded endpoint whose items an adapter makes: what its client is sent, what is saved, what it costs.

Every adapter plays the same story (`Case`), with its library's own objects and a scripted model.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, Protocol

from fastapi import FastAPI
from pydantic import BaseModel
from starlette.requests import HTTPConnection

from streamguard import Outcome, Settings, StreamGuard
from streamguard.messages import MemoryMessageStore
from streamguard.quota import Quota
from streamguard.testing import GuardedApp

__all__ = ["ANSWER", "BROKEN", "LOOK", "THOUGHT", "UNITS", "Adapter", "Case", "Held", "Told", "answered"]

THOUGHT: Final = "Let me think."
LOOK: Final = "Let me look."
ANSWER: Final = "It is sunny."
BROKEN: Final = "there is no such place"
"""What the second tool fails with."""

UNITS: Final = ("input_tokens", "output_tokens", "total_tokens")

Json = Any
"""Read from an answer."""


class Case(StrEnum):
    """What happens."""

    TEXT = "text"
    """The model answers with a text."""
    TOOLS = "tools"
    """It thinks, calls two tools, of which one fails, and answers."""
    STOPPED = "stopped"
    """The same, and a user stops it while a tool is at work."""
    FAILS_FIRST = "fails first"
    """The provider refuses the first request: too many of them."""
    FAILS_LATER = "fails later"
    """The provider breaks off in the middle of the answer, after the tools."""


class Held:
    """Where a tool waits, and what became of it."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.cancelled = False

    async def wait(self) -> None:
        """Wait until the tool is cancelled."""
        self.reached.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise


class Adapter(Protocol):
    """A module that plays the cases with one library."""

    def items(self, case: Case, way: str, held: Held) -> AsyncIterator[object]:
        """What the endpoint returns: an adapter's items of the library's own stream."""


@dataclass
class Told:
    """What became of one answer."""

    status: int
    body: bytes
    """What the client was sent."""
    parts: list[dict[str, Json]]
    used: Mapping[str, int]
    """What the owner was charged, by unit; only what is not 0."""
    outcome: Outcome | None
    fault: str | None
    """The code of the failure that the client was told of."""
    retryable: bool | None = None
    """Whether the client was told that asking again may help."""
    retry_after: int | None = None
    """After how many seconds, if it was told so."""
    saved: list[Mapping[str, Json]] = field(default_factory=list)
    """The parts of the saved reply."""
    message: Mapping[str, Json] | None = None
    """Id, role and parts of the saved reply."""

    @property
    def text(self) -> str:
        """The saved reply's texts."""
        return "".join(part["text"] for part in self.saved if part["type"] == "text")

    @property
    def reasoning(self) -> str:
        """The saved reply's reasoning."""
        return "".join(part["text"] for part in self.saved if part["type"] == "reasoning")

    def call(self, name: str) -> Mapping[str, Json]:
        """The saved part of a tool's call."""
        (found,) = (
            part
            for part in self.saved
            if part["type"] == f"tool-{name}" or (part["type"] == "dynamic-tool" and part["toolName"] == name)
        )
        return found


class Body(BaseModel):
    """A request of `useChat`'s."""

    id: str
    messages: list[dict[str, object]]


async def answered(
    items: Callable[[], AsyncIterator[object]], *, stop_at: asyncio.Event | None = None, question: str = "The weather?"
) -> Told:
    """What becomes of an answer with these items. The user stops it at `stop_at`."""

    async def owner(_: HTTPConnection) -> str | None:
        return "ann"

    guard = StreamGuard(
        authenticate=owner, messages=MemoryMessageStore(), settings=Settings.model_validate({"drain_seconds": 1.0})
    )
    app = FastAPI(lifespan=guard.lifespan)
    quotas = [Quota(limit=10**6, per="day", unit=unit) for unit in UNITS]

    @app.post("/api/chat")
    @guard.stream(session="body.id", quota=quotas, estimate=dict.fromkeys(UNITS, 1))
    async def chat(body: Body) -> AsyncIterator[object]:
        return items()

    guard.install(app, "/api/chat")
    message = {"id": "m1", "role": "user", "parts": [{"type": "text", "text": question}]}
    async with GuardedApp(app, guard) as visitor:
        answer = await visitor.post({"id": "c1", "messages": [message]})
        if stop_at is not None:
            await asyncio.wait_for(stop_at.wait(), 10)
            assert (await visitor.stop("c1")).status < 300
        if answer.is_stream:
            await answer.rest()
        await visitor.idle()
        status = json.loads((await visitor.request("GET", "/api/chat/c1")).body)
        used = {limit["unit"]: limit["used"] for limit in status["quota"]["limits"] if limit["used"]}
        last = (await visitor.status("c1")).last
        told = Told(
            status=answer.status,
            body=answer.body,
            parts=answer.parts if answer.is_stream else [],
            used=used,
            outcome=None if last is None else last.outcome,
            fault=answer.faults[0].code if answer.faults else None,
        )
        if answer.faults:
            told.retryable, told.retry_after = answer.faults[0].retryable, answer.faults[0].retry_after_seconds
        for saved in await visitor.messages("c1"):
            if saved.role == "assistant":
                told.saved = list(saved.parts)
                told.message = {"id": saved.id, "role": saved.role, "parts": list(saved.parts)}
        return told
