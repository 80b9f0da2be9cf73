"""Edited questions and answers written again, at the edge: what an endpoint may do, and what its clients get."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
from fastapi import FastAPI, HTTPException
from pydantic import BaseModel

from streamguard import ConfigurationError, Run, StreamGuard
from streamguard.errors import MessageInvalidError
from streamguard.messages import MemoryMessageStore
from tests.harness.sse import EventReader, ui_text

from ..saved import guard_with
from ..serving import calling

pytestmark = pytest.mark.anyio


class Body(BaseModel):
    id: str = "s"
    messages: list[dict[str, object]]
    refuse: bool = False
    edited: bool = False
    awaited: bool = True


def reply_id(body: Body) -> str | None:
    last = body.messages[-1]
    return str(last["id"]) if last["role"] == "assistant" else None


def app_of(guard: StreamGuard) -> FastAPI:
    app = FastAPI()

    @app.post("/api/chat")
    @guard.stream(session="body.id", message_id=reply_id)
    async def chat(body: Body, run: Run) -> AsyncIterator[object]:
        if body.refuse:
            raise HTTPException(403, "not today")
        saving = run.save(body.messages[-1], supersede=body.edited)
        if body.awaited:
            await saving
        if body.messages[-1].get("id") == "call":
            yield {"type": "tool-input-available", "toolCallId": "c1", "toolName": "where", "input": {}}
        yield f"answer {run.stream_id}"

    @app.post("/api/sync")
    @guard.stream(session="body.id")
    def sync(body: Body, run: Run) -> Iterator[str]:
        run.save(body.messages[-1], supersede=body.edited).result()
        yield f"answer {run.stream_id}"

    @app.post("/api/wrong")
    @guard.stream(session="body.id")
    async def wrong(body: Body, run: Run) -> AsyncIterator[str]:
        with pytest.raises(MessageInvalidError, match="supersedes nothing"):
            run.save({"id": "a1", "role": "assistant", "parts": []}, supersede=True)
        run.save(body.messages[-1], supersede=True)
        with pytest.raises(ConfigurationError, match="once"):
            run.save(body.messages[-1], supersede=True)
        yield "answer"

    guard.install(app, "/api/chat")
    return app


def said(message_id: str, text: str, role: str = "user") -> dict[str, object]:
    return {"id": message_id, "role": role, "parts": [{"type": "text", "text": text}]}


async def ask(client: httpx.AsyncClient, *messages: dict[str, object], **body: object) -> httpx.Response:
    path = str(body.pop("path", "/api/chat"))
    return await client.post(path, json={"id": "s", "messages": messages, **body})


async def page(client: httpx.AsyncClient, query: str = "") -> list[dict[str, object]]:
    listed: list[dict[str, object]] = (await client.get(f"/api/chat/s/messages{query}")).json()["messages"]
    return listed


async def questions(client: httpx.AsyncClient) -> list[object]:
    return [message["parts"][0]["text"] for message in await page(client) if message["role"] == "user"]  # type: ignore[index]


async def test_old_branches_are_read_by_whoever_asks() -> None:
    guard = guard_with(MemoryMessageStore())
    async with calling(app_of(guard), guard) as client:
        await ask(client, said("q1", "one"))
        edited = await ask(client, said("q1", "one!"), trigger="submit-message", messageId="q1")
        answer = ui_text(EventReader().feed(edited.content))
        shown = await page(client)
        assert [(one["id"], one["position"]) for one in shown] == [("q1", 3), (edited.headers["x-message-id"], 4)]
        assert shown[1]["parts"] == [{"type": "text", "text": answer, "state": "done"}]
        assert all("branch" not in message and "superseded_by" not in message for message in shown)
        everything = await page(client, "?branches=1")
        assert [(one["position"], one["branch"], one["superseded_by"]) for one in everything] == [
            (1, 0, 1),
            (2, 0, 1),
            (3, 1, None),
            (4, 1, None),
        ]
        assert everything[2:] == [{**message, "branch": 1, "superseded_by": None} for message in shown]
        assert [one["position"] for one in await page(client, "?branches=1&after=1&limit=2")] == [2, 3]
        for query in ("?branches=2", "?branches=yes", "?branches="):
            refused = await client.get(f"/api/chat/s/messages{query}")
            assert (refused.status_code, refused.json()["error"]["reason"]) == (400, "branches_invalid")


async def test_what_an_endpoint_refuses_changes_nothing() -> None:
    guard = guard_with(MemoryMessageStore())
    async with calling(app_of(guard), guard) as client:
        await ask(client, said("q1", "one"))
        before = await page(client)
        for body in ({"trigger": "regenerate-message"}, {"trigger": "submit-message", "messageId": "q1"}):
            refused = await ask(client, said("q1", "one!"), refuse=True, **body)
            assert refused.status_code == 403
        assert await page(client, "?branches=1") == [
            {**message, "branch": 0, "superseded_by": None} for message in before
        ]


@pytest.mark.parametrize("path", ["/api/chat", "/api/sync"])
async def test_an_endpoint_says_itself_that_a_question_was_edited(path: str) -> None:
    guard = guard_with(MemoryMessageStore())
    async with calling(app_of(guard), guard) as client:
        for text in ("one", "two"):
            await ask(client, said(f"q-{text}", text), path=path)
        answer = await ask(client, said("q-one", "one!"), edited=True, path=path)
        assert answer.status_code == 200
        assert await questions(client) == ["one!"]
        repeated = await ask(client, said("q-one", "one"), path=path)  # late, with the old text
        assert (repeated.status_code, repeated.json()["error"]["code"]) == (409, "save_conflict")
        assert await questions(client) == ["one!"]


async def test_what_can_never_supersede_is_refused_where_it_is_asked_for() -> None:
    guard = guard_with(MemoryMessageStore())
    async with calling(app_of(guard), guard) as client:
        assert (await ask(client, said("q1", "one"), path="/api/wrong")).status_code == 200
        assert await questions(client) == ["one"]


@pytest.mark.parametrize("awaited", [True, False])
async def test_results_for_what_was_superseded_are_refused(*, awaited: bool) -> None:
    guard = guard_with(MemoryMessageStore())
    async with calling(app_of(guard), guard) as client:
        asked = await ask(client, said("call", "where?"))
        await ask(client, said("call", "where am I?"), trigger="submit-message", messageId="call")
        before = await page(client)
        call = {"type": "tool-where", "toolCallId": "c1", "state": "output-available", "input": {}, "output": "here"}
        result: dict[str, object] = {"id": asked.headers["x-message-id"], "role": "assistant", "parts": [call]}
        refused = await ask(client, said("call", "where?"), result, messageId=result["id"], awaited=awaited)
        if awaited:
            fault = refused.json()["error"]
            assert (refused.status_code, fault["code"], fault["reason"]) == (409, "save_conflict", "superseded")
        else:
            assert '"code":"save_conflict"' in refused.text
            assert '"reason":"superseded"' in refused.text
        assert await page(client) == before


async def test_an_id_that_can_be_none_is_refused_before_anything_runs() -> None:
    guard = guard_with(MemoryMessageStore())
    async with calling(app_of(guard), guard) as client:
        refused = await ask(client, said("q1", "one"), trigger="regenerate-message", messageId="a\nb")
        assert (refused.status_code, refused.json()["error"]["reason"]) == (400, "message_id")
        assert await page(client) == []
