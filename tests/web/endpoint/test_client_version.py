"""The version of its client that an answer is written for: who says it, and that everybody gets the same."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any, Final

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route

from streamguard import ConfigurationError, Run, StreamGuard
from streamguard.messages import MemoryMessageStore
from streamguard.observations import Observation, Signal
from streamguard.values import SessionKey
from tests.harness.waiting import wait_until_async

from ..serving import Gate, calling, make_guard, user_of

pytestmark = pytest.mark.anyio

CALL: Final = {"toolCallId": "c", "toolName": "t"}
PARTS: Final[list[object]] = [
    "Hello",
    {"type": "tool-input-start", **CALL, "title": "A tool"},
    {"type": "tool-input-error", **CALL, "input": "{", "errorText": "no JSON"},
    {"type": "custom", "kind": "a.b"},
    {"type": "custom", "kind": "c.d"},
    {"type": "of-the-future"},
    {"type": "finish", "finishReason": "stop", "messageMetadata": {"a": 1}},
    {"type": "done"},
]
LATE: Final = {"custom", "tool-input-error"}
"""What 5.0.0 does not take."""


def app_of(
    guard: StreamGuard, *, client_version: str | None = None, protocol: str = "ui-message", gate: Gate | None = None
) -> Starlette:
    async def chat(request: Request, run: Run) -> AsyncIterator[object]:
        for part in PARTS if protocol == "ui-message" else ["text"]:
            yield part
            if gate is not None and part is PARTS[0]:
                await gate.wait()

    decorate = guard.stream(
        "request.query_params.id", client_version=client_version, protocol=protocol, on_conflict="join"
    )
    app = Starlette(routes=[Route("/chat", decorate(chat), methods=["POST"])])
    guard.install(app, "/api/chat")
    return app


def parts_of(answer: httpx.Response) -> list[dict[str, Any]]:
    assert answer.status_code == 200, answer.text
    lines = [line for line in answer.text.split("\n") if line.startswith("data: {")]
    return [json.loads(line.removeprefix("data: ")) for line in lines]


def is_for_5_0_0(parts: list[dict[str, Any]]) -> bool:
    fields = {name for part in parts for name in part if not part["type"].startswith("data-")}
    found = not LATE & {part["type"] for part in parts}
    assert found is ("finishReason" not in fields) is ("title" not in fields)
    return found


async def test_the_request_that_begins_an_answer_says_which() -> None:
    guard = make_guard()
    async with calling(app_of(guard), guard) as client:
        early = await client.post("/chat?id=early", headers={"X-AI-SDK-Version": "5.0.0"})
        late = await client.post("/chat?id=late", headers={"X-AI-SDK-Version": "7.0.173"})
        silent = await client.post("/chat?id=silent")
    assert is_for_5_0_0(parts_of(early))
    assert not is_for_5_0_0(parts_of(late))
    assert not is_for_5_0_0(parts_of(silent))
    assert "tool-output-error" in {part["type"] for part in parts_of(early)}


@pytest.mark.parametrize("url", ["memory", "redis"])
async def test_whoever_comes_later_gets_the_same(url: str, request: pytest.FixtureRequest) -> None:
    """Its own version aside: on the same worker, and on another one."""
    url = "memory://" if url == "memory" else str(request.getfixturevalue("redis_url"))
    guards = [StreamGuard(url, authenticate=user_of) for _ in range(1 if url == "memory://" else 2)]
    other = {"X-AI-SDK-Version": "7.0.173"}
    async with AsyncExitStack() as entered:
        clients = [await entered.enter_async_context(calling(app_of(guard), guard)) for guard in guards]
        key = {"Idempotency-Key": "k"}
        first = await clients[0].post("/chat?id=s", headers={**key, "X-AI-SDK-Version": "5.0.0"})
        for client in clients:
            replays = [
                await client.get("/api/chat/s/stream"),
                await client.get("/api/chat/s/stream", headers=other),
                await client.post("/chat?id=s", headers={**key, **other}),
            ]
            assert [replay.text for replay in replays] == [first.text] * 3
            middle = first.text.split("\n\n")[2].partition("\n")[0].removeprefix("id: ")
            rest = await client.get("/api/chat/s/stream", headers={**other, "Last-Event-ID": middle})
            assert first.text.endswith(rest.text)
            assert rest.text.count("id: ") == first.text.count("id: ") - 3
        record = await guards[-1]._running().sessions.status(SessionKey("ann", "s"))
    assert is_for_5_0_0(parts_of(first))
    assert record.last is not None
    assert record.last.client_version == "5.0.0"


async def test_a_view_on_another_worker_is_live(redis_url: str) -> None:
    """What is withheld is so in what workers tell each other, too."""
    gate, guards = Gate(), [StreamGuard(redis_url, authenticate=user_of) for _ in range(2)]
    async with AsyncExitStack() as entered:
        apps = [app_of(guard, gate=gate) for guard in guards]
        clients = [
            await entered.enter_async_context(calling(app, guard)) for app, guard in zip(apps, guards, strict=True)
        ]
        first = asyncio.create_task(clients[0].post("/chat?id=s", headers={"X-AI-SDK-Version": "5.0.0"}))
        await gate.reached.wait()
        second = asyncio.create_task(clients[1].get("/api/chat/s/stream"))
        viewer_registry = guards[1]._running().viewer_registry
        await wait_until_async(
            lambda: any(v.listening for v in viewer_registry.viewers), description="it is viewed there"
        )
        gate.open()
        assert (await first).text == (await second).text
    assert is_for_5_0_0(parts_of(await first))


async def test_an_endpoint_may_say_it_for_all_its_pages() -> None:
    guard = make_guard()
    async with calling(app_of(guard, client_version="5"), guard) as client:
        silent = await client.post("/chat?id=silent")
        speaking = await client.post("/chat?id=speaking", headers={"X-AI-SDK-Version": "7.0.173"})
    assert is_for_5_0_0(parts_of(silent))
    assert not is_for_5_0_0(parts_of(speaking))


@pytest.mark.parametrize("version", ["5.0.0", "6.0.0", None])
async def test_what_is_saved_is_whole_for_every_version(version: str | None) -> None:
    messages = MemoryMessageStore()
    guard = StreamGuard(authenticate=user_of, messages=messages)
    async with calling(app_of(guard, client_version=version), guard) as client:
        await client.post("/chat?id=s")
        (saved,) = (await client.get("/api/chat/s/messages")).json()["messages"]
    assert saved["metadata"] == {"a": 1}
    assert [part["type"] for part in saved["parts"]] == ["text", "tool-t", "custom", "custom"]
    assert saved["parts"][1]["title"] == "A tool"
    assert (saved["parts"][1]["state"], saved["parts"][1]["input"]) == ("output-error", "{")


async def test_there_is_one_warning_for_each_type_that_is_not_sent() -> None:
    seen: list[Observation] = []
    guard = make_guard()
    with guard.instrumented(observer=seen.append):
        async with calling(app_of(guard), guard) as client:
            parts = parts_of(await client.post("/chat?id=s", headers={"X-AI-SDK-Version": "6.0.0"}))
    notices = [part["data"] for part in parts if part["type"] == "data-streamguard-error"]
    assert [(one["code"], one["reason"], one["severity"]) for one in notices] == [
        ("value_replaced", "unknown_part", "warning")
    ] * 2
    told = [one.fields["part"] for one in seen if one.name is Signal.FAULT]
    assert told == ["custom", "of-the-future"]


@pytest.mark.parametrize(
    ("version", "why"),
    [
        ("six", "no version of the npm package ai, which look like 6.0.12"),
        ("6.0.0\t", ""),
        ("", "no version of the npm package ai, which look like 6.0.12"),
        ("4.3.19", "a version of AI SDK that reads no UI message streams: they came with 5"),
    ],
)
async def test_what_is_no_version_is_refused_before_anything_begins(version: str, why: str) -> None:
    guard = make_guard()
    async with calling(app_of(guard), guard) as client:
        answer = await client.post("/chat?id=s", headers={"X-AI-SDK-Version": version})
        status = (await client.get("/api/chat/s")).json()
    if not why:
        assert answer.status_code == 200
        return
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["reason"]) == (400, "request_invalid", "client_version")
    assert error["message"] == f"X-AI-SDK-Version names {why}."
    assert status["last"] is None


@pytest.mark.parametrize("protocol", ["plain", "opaque"])
async def test_other_protocols_do_not_ask(protocol: str) -> None:
    guard = make_guard()
    async with calling(app_of(guard, protocol=protocol), guard) as client:
        assert (await client.post("/chat?id=s", headers={"X-AI-SDK-Version": "none"})).status_code == 200


@pytest.mark.parametrize(
    ("version", "protocol", "message"),
    [
        ("six", "ui-message", "client_version 'six' is no version of the npm package ai, which look like 6.0.12"),
        ("4", "ui-message", "client_version '4' is a version of AI SDK that reads no UI message streams"),
        (6, "ui-message", "client_version is a text such as '6.0.12', not int"),
        ("6.0.0", "plain", "client_version is for ui-message endpoints; this one speaks plain"),
        ("6.0.0", "opaque", "client_version is for ui-message endpoints; this one speaks opaque"),
    ],
)
def test_a_version_that_cannot_be_is_refused_when_decorating(version: Any, protocol: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        app_of(make_guard(), client_version=version, protocol=protocol)
    assert str(caught.value).startswith(message)
