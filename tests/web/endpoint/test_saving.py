"""`messages=`, `save=` and `run.save`: where things are saved, what is saved once, and what the client is told."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route

from streamguard import ConfigurationError, Run, StreamGuard
from streamguard.errors import MessageConflictError, MessageForbiddenError, MessageInvalidError, MessageStoreError
from streamguard.messages import Message, MessageToSave, Role
from streamguard.web.endpoint.user_message import MAX_MESSAGES, MAX_PARTS, read_message
from tests.harness.sse import EventReader, ui_text
from tests.runtime.savers import Messages, stored_in

from ..serving import calling, user_of
from .keeping import KEY, app_of, ids_of, keeping

pytestmark = pytest.mark.anyio


QUESTION = {"id": "u1", "role": "user", "parts": [{"type": "text", "text": "why?"}]}


def text_of(answer: httpx.Response) -> str:
    return ui_text(EventReader().feed(answer.content))


# -- where ---------------------------------------------------------------------------------------------------------


async def test_a_guard_starts_and_closes_its_message_stores() -> None:
    default, own = Messages(), Messages()
    guard = keeping(default)

    @guard.stream("request.query_params.id", save=own)
    async def chat(request: Request) -> AsyncIterator[str]:
        yield "word"

    async with calling(app_of(chat), guard) as client:
        assert (default.started, own.started) == (1, 1)
        assert text_of(await client.post("/chat?id=s")) == "word"
        assert (len(await stored_in(own, KEY)), len(await stored_in(default, KEY))) == (1, 0)
    assert (default.closed, own.closed) == (1, 1)


async def test_a_function_is_called_with_each_message() -> None:
    saved: list[MessageToSave] = []

    async def save(message: MessageToSave) -> None:
        saved.append(message)

    guard = StreamGuard(authenticate=user_of, messages=save)

    @guard.stream("request.query_params.id")
    async def chat(request: Request, run: Run) -> AsyncIterator[str]:
        run.save("why?")
        yield "because"

    async with calling(app_of(chat), guard) as client:
        await client.post("/chat?id=s")
    assert [(message.message.role, message.text, message.key) for message in saved] == [
        (Role.USER, "why?", KEY),
        (Role.ASSISTANT, "because", KEY),
    ]


async def test_save_false_saves_nothing() -> None:
    messages = Messages()
    guard = keeping(messages)

    @guard.stream("request.query_params.id", save=False)
    async def chat(request: Request, run: Run) -> AsyncIterator[str]:
        with pytest.raises(ConfigurationError, match="messages="):
            run.save("why?")
        yield "word"

    async with calling(app_of(chat), guard) as client:
        assert text_of(await client.post("/chat?id=s")) == "word"
    assert messages.calls.total() == 0


def test_one_binding_saves_to_one_place() -> None:
    guard = keeping(Messages())

    async def chat(request: Request) -> AsyncIterator[str]:
        yield "word"

    guard.stream(binding="chat")(chat)
    guard.stream(binding="chat")(chat)
    with pytest.raises(ConfigurationError, match="binding"):
        guard.stream(binding="chat", save=Messages())(chat)
    with pytest.raises(ConfigurationError, match="binding"):
        guard.stream(binding="chat", save=False)(chat)


@pytest.mark.parametrize("wrong", [42, lambda message: None, "sqlite://"], ids=["number", "sync", "url"])
def test_what_cannot_save_is_refused(wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match="async def save"):
        StreamGuard(authenticate=user_of, messages=wrong)


# -- run.save ------------------------------------------------------------------------------------------------------


class UIMessage(BaseModel):
    id: str
    role: str
    parts: list[dict[str, object]]
    metadata: dict[str, object] | None = None


@pytest.mark.parametrize(
    "given",
    [QUESTION, UIMessage.model_validate(QUESTION), Message("u1", Role.USER, ({"type": "text", "text": "why?"},))],
    ids=["mapping", "model", "message"],
)
async def test_the_users_message_is_saved_before_the_model_is_called(given: Any) -> None:
    messages = Messages()
    guard = keeping(messages)
    before_the_model: list[list[str]] = []

    @guard.stream("request.query_params.id")
    async def chat(request: Request, run: Run) -> AsyncIterator[str]:
        save = run.save(given)
        assert save.message_id == "u1"
        await save
        before_the_model.append(await ids_of(messages))
        yield "because"

    async with calling(app_of(chat), guard) as client:
        answer = await client.post("/chat?id=s")
        again = await client.post("/chat?id=s")
    assert before_the_model[0] == ["u1"]
    assert await ids_of(messages) == ["u1", answer.headers["x-message-id"], again.headers["x-message-id"]]
    (question, *_) = await stored_in(messages, KEY)
    assert question.message.parts == ({"type": "text", "text": "why?"},)


async def test_a_text_gets_an_id_that_a_retry_shares() -> None:
    messages, failures = Messages(), [RuntimeError("not yet")]
    guard = keeping(messages)

    @guard.stream("request.query_params.id")
    async def chat(request: Request, run: Run) -> AsyncIterator[str]:
        run.save("one")
        await run.save("two")
        if failures:
            raise failures.pop()
        yield "because"

    async with calling(app_of(chat), guard) as client:
        first = await client.post("/chat?id=s", headers={"Idempotency-Key": "k1"})
        second = await client.post("/chat?id=s", headers={"Idempotency-Key": "k1"})
    one, two, *rest = await ids_of(messages)
    assert (first.status_code, second.status_code) == (500, 200)
    assert one.startswith("usr_")
    assert one != two
    assert rest[-1:] == [second.headers["x-message-id"]]
    assert not [message_id for message_id in rest if message_id.startswith("usr_")]


@pytest.mark.parametrize("header", ["X-Request-Id", "Idempotency-Key"])
async def test_what_a_client_calls_its_request_is_no_key_of_what_it_says(header: str) -> None:
    """A proxy's request id may well come twice; and on a GET the other header means nothing."""
    messages = Messages()
    guard = keeping(messages)

    @guard.stream("request.query_params.id")
    async def chat(request: Request, run: Run) -> AsyncIterator[str]:
        await run.save("yes")
        yield "because"

    app = Starlette(routes=[Route("/chat", chat, methods=["POST", "GET"])])
    method = "POST" if header == "X-Request-Id" else "GET"
    async with calling(app, guard) as client:
        for _ in range(2):
            assert (await client.request(method, "/chat?id=s", headers={header: "r1"})).status_code == 200
    assert len([message_id for message_id in await ids_of(messages) if message_id.startswith("usr_")]) == 2


async def test_sync_endpoints_wait_in_their_thread() -> None:
    messages = Messages()
    guard = keeping(messages)
    seen: list[str] = []

    @guard.stream("request.query_params.id")
    def chat(request: Request, run: Run) -> Iterator[str]:
        run.save(QUESTION).result(10)
        seen.extend(message.message_id for message in messages.appended)
        yield "because"

    async with calling(app_of(chat), guard) as client:
        assert text_of(await client.post("/chat?id=s")) == "because"
    assert seen == ["u1"]


async def test_result_would_stop_the_event_loop() -> None:
    guard = keeping(Messages())

    @guard.stream("request.query_params.id")
    async def chat(request: Request, run: Run) -> AsyncIterator[str]:
        with pytest.raises(ConfigurationError, match="await"):
            run.save(QUESTION).result()
        yield "word"

    async with calling(app_of(chat), guard) as client:
        assert text_of(await client.post("/chat?id=s")) == "word"


def deep(depth: int) -> object:
    value: object = "x"
    for _ in range(depth):
        value = {"a": value}
    return value


@pytest.mark.parametrize("what", ["messages", "parts"])
@pytest.mark.long
async def test_more_than_a_request_may_bring_is_the_clients_mistake(what: str) -> None:
    guard = keeping(Messages())

    @guard.stream("request.query_params.id")
    async def chat(request: Request, run: Run) -> AsyncIterator[str]:
        if what == "messages":
            for number in range(MAX_MESSAGES + 1):
                run.save({**QUESTION, "id": f"u{number}"})
        else:
            run.save({**QUESTION, "parts": [{"type": "text", "text": ""}] * (MAX_PARTS + 1)})
        yield "because"

    async with calling(app_of(chat), guard) as client:
        answer = await client.post("/chat?id=s")
        await guard.idle()
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "request_invalid")


@pytest.mark.parametrize("depth", [100, 5_000, 100_000])
@pytest.mark.long
async def test_a_question_that_is_nested_too_deeply_does_not_end_its_answer(depth: int) -> None:
    guard = keeping(Messages())
    nested = deep(depth)

    @guard.stream("request.query_params.id")
    async def chat(request: Request, run: Run) -> AsyncIterator[str]:
        await run.save({**QUESTION, "parts": [{"type": "data-x", "data": nested}]})
        yield "because"

    async with calling(app_of(chat), guard) as client:
        answer = await client.post("/chat?id=s")
    assert (answer.status_code, text_of(answer)) == (200, "because")


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (None, 503, "persistence_failed"),
        (MessageForbiddenError("no", operation="append"), 404, "not_found"),
        (MessageConflictError("no", operation="append"), 409, "save_conflict"),
        (MessageInvalidError("no", operation="append"), 400, "request_invalid"),
    ],
    ids=["unavailable", "forbidden", "conflict", "invalid"],
)
async def test_an_awaited_save_that_fails_is_the_answer(error: Exception | None, status: int, code: str) -> None:
    messages = Messages()
    guard = keeping(messages, save_total_seconds=0.3, lease_seconds=15)
    called = False

    @guard.stream("request.query_params.id")
    async def chat(request: Request, run: Run) -> AsyncIterator[str]:
        nonlocal called
        await run.save(QUESTION)
        called = True
        yield "because"

    if error is None:
        messages.down = True
    else:
        messages.errors["append"] = error
    async with calling(app_of(chat), guard) as client:
        answer = await client.post("/chat?id=s")
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert answer.json()["error"].get("user_message_id") == "u1"
    assert (status == 503) == ("retry-after" in answer.headers)
    assert not called


@pytest.mark.long
async def test_what_an_endpoint_asks_its_database_itself_is_its_own_failure() -> None:
    messages = Messages()
    guard = keeping(messages)

    @guard.stream("request.query_params.id")
    async def chat(request: Request, run: Run) -> AsyncIterator[str]:
        await run.save(QUESTION)
        messages.down = True
        await messages.list(KEY)
        yield "because"

    async with calling(app_of(chat), guard) as client:
        answer = await client.post("/chat?id=s")
        messages.down = False
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal")


async def test_an_endpoint_may_go_on_without_it() -> None:
    messages = Messages()
    messages.down = True
    guard = keeping(messages, save_total_seconds=0.2)

    @guard.stream("request.query_params.id")
    async def chat(request: Request, run: Run) -> AsyncIterator[str]:
        with pytest.raises(MessageStoreError):
            await run.save(QUESTION)
        yield "because"

    async with calling(app_of(chat), guard) as client:
        answer = await client.post("/chat?id=s")
    assert text_of(answer) == "because"
    assert b"persistence_failed" in answer.content


@pytest.mark.parametrize(
    "nonsense",
    [
        {},
        {"id": 5, "role": "user", "parts": []},
        {"id": "", "role": "user", "parts": []},
        {"id": "u", "role": "robot", "parts": []},
        {"id": "u", "role": "user", "parts": "x"},
        {"id": "u", "role": "user", "parts": [{"type": "text", "text": ""}] * (MAX_PARTS + 1)},
        {"id": "u", "role": "user", "parts": [{"text": "x"}]},
        5,
    ],
    ids=lambda nonsense: str(nonsense)[:60],
)
def test_what_is_no_message_is_refused(nonsense: Any) -> None:
    with pytest.raises(MessageInvalidError):
        read_message(nonsense, "fallback")


def test_metadata_of_any_kind_is_kept() -> None:
    assert read_message({**QUESTION, "metadata": {"a": 1}}, "f").message.metadata == {"a": 1}
    assert read_message({**QUESTION, "metadata": 1}, "f").message.metadata == {"value": 1}
    assert read_message({"role": "user", "parts": []}, "f").message.message_id == "f"


async def test_a_client_that_sends_nonsense_is_told(anyio_backend: object) -> None:
    guard = keeping(Messages())

    @guard.stream("request.query_params.id")
    async def chat(request: Request, run: Run) -> AsyncIterator[str]:
        run.save({"role": "user"})
        yield "because"

    async with calling(app_of(chat), guard) as client:
        answer = await client.post("/chat?id=s")
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "request_invalid")
