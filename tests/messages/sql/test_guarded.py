"""A guarded endpoint and real databases: what the client is told when a commit's reply is lost, or the server away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route

from streamguard import Run, Settings, StreamGuard
from streamguard.messages import StoredMessage
from streamguard.messages.sql import SQLMessageStore
from streamguard.testing._message_store.steps import everything
from streamguard.values import SessionKey

from ...harness.database import DatabaseServer
from ...harness.proxy import FaultProxy
from ...harness.sse import EventReader, ui_text
from ...harness.waiting import wait_until_async
from ...web.serving import Gate, calling, user_of
from .places import PATIENT_SECONDS, Place
from .test_loss import commits, place, proxy, server

pytestmark = pytest.mark.anyio

__all__ = ["place", "proxy", "server"]

KEY = SessionKey("ann", "s")
QUESTION = {"id": "u1", "role": "user", "parts": [{"type": "text", "text": "why?"}]}


async def answered(store: SQLMessageStore, proxy: FaultProxy, *, lose: str, **settings: object) -> httpx.Response:
    """The answer to a question whose own save goes well; then the reply's commit meets the proxy."""
    guard = StreamGuard(authenticate=user_of, messages=store, settings=Settings.model_validate(settings))
    gate = Gate()

    @guard.stream("request.query_params.id")
    async def chat(request: Request, run: Run) -> AsyncIterator[str]:
        await run.save(QUESTION)
        await gate.wait()
        yield "because"

    async with calling(Starlette(routes=[Route("/chat", chat, methods=["POST"])]), guard) as client:
        asking = asyncio.create_task(client.post("/chat?id=s"))
        await gate.reached.wait()
        if lose == "reply":
            proxy.lose_reply(commits)
        elif lose == "request":
            proxy.lose_request(commits)
        else:
            proxy.refuse()
        gate.open()
        answer = await asking
        proxy.forward()
        if b'"persistence_failed"' in answer.content:

            async def saved() -> bool:
                status = await guard._running().sessions.status(KEY)
                return status.last is not None and status.last.persisted == "yes"

            def asked() -> object:
                return saved()

            await wait_until_async(asked, description="the outbox saved it")
        return answer


def told(answer: httpx.Response) -> tuple[bool, bool]:
    """Whether the client was told that its reply is saved, and that it is not."""
    return b"data-streamguard-persisted" in answer.content, b"data-streamguard-error" in answer.content


def rows(stored: list[StoredMessage]) -> list[str]:
    return ["".join(str(part.get("text", "")) for part in found.message.parts) for found in stored]


@pytest.mark.parametrize("lose", ["reply", "request"])
async def test_a_commit_that_is_in_doubt_makes_one_row_and_a_success(
    server: DatabaseServer, proxy: FaultProxy, place: Place, lose: str
) -> None:
    store = await place.store(server.url(proxy.port), timeout_seconds=PATIENT_SECONDS)
    answer = await answered(store, proxy, lose=lose)
    assert (proxy.replies_lost, proxy.requests_lost) == ((1, 0) if lose == "reply" else (0, 1))
    assert ui_text(EventReader().feed(answer.content)) == "because"
    assert told(answer) == (True, False)
    assert rows(await everything(place.main_store, KEY)) == ["why?", "because"]


async def test_a_database_that_is_away_is_told_and_recovered_from(
    server: DatabaseServer, proxy: FaultProxy, place: Place
) -> None:
    store = await place.store(server.url(proxy.port), timeout_seconds=PATIENT_SECONDS)
    answer = await answered(
        store, proxy, lose="everything", save_total_seconds=0.5, outbox_seconds=0.1, outbox_retry_seconds=0.1
    )
    assert told(answer) == (False, True)
    assert rows(await everything(place.main_store, KEY)) == ["why?", "because"]
