"""What is said of an answer is bounded as the answer is, and never ends it."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest
from fastapi import FastAPI
from pydantic import BaseModel

from streamguard import Fault, FaultCode, Run, Settings, StreamGuard
from streamguard.errors import StreamLimitError
from streamguard.messages import MemoryMessageStore
from streamguard.testing import GuardedApp

from ..serving import USER, user_of

pytestmark = pytest.mark.anyio


class Body(BaseModel):
    id: str = "s"


def app_of(endpoint: Any, **settings: object) -> GuardedApp:
    given = {"drain_seconds": 0.2, **settings}
    guard = StreamGuard(authenticate=user_of, messages=MemoryMessageStore(), settings=Settings.model_validate(given))
    app = FastAPI(lifespan=guard.lifespan)

    @app.post("/api/chat")
    @guard.stream(session="body.id")
    async def chat(body: Body, run: Run) -> AsyncIterator[object]:
        async for item in endpoint(run):
            yield item

    guard.install(app, "/api/chat")
    return GuardedApp(app, guard, headers=USER)


async def test_notices_past_their_share_are_dropped_and_counted() -> None:
    async def endpoint(run: Run) -> AsyncIterator[object]:
        yield "a"
        for _ in range(5_000):
            run.notice("internal", message="x" * 400)
        yield "b"

    async with app_of(endpoint, max_stream_events=100) as chat:
        answer = await chat.post({"id": "s"})
        await answer.rest()
        assert (answer.text, len(answer.faults)) == ("ab", 10)
        end = await chat.ended(answer)
        assert (end.fields["outcome"], end.fields["notices_dropped"]) == ("completed", 4_990)


async def test_their_bytes_are_bounded_too() -> None:
    async def endpoint(run: Run) -> AsyncIterator[object]:
        yield "a"
        for _ in range(1_000):
            run.notice("internal", message="x" * 1_000)
        yield "b" * 80_000

    async with app_of(endpoint, max_stream_bytes=100_000, max_event_bytes=100_000) as chat:
        answer = await chat.post({"id": "s"})
        await answer.rest()
        assert answer.text == "a" + "b" * 80_000
        assert sum(len(fault.to_json()) for fault in answer.faults) <= 10_000
        assert (await chat.ended(answer)).fields["outcome"] == "completed"


async def test_notices_count_towards_the_streams_limit() -> None:
    async def endpoint(run: Run) -> AsyncIterator[object]:
        for _ in range(10):
            run.notice("internal")
        for _ in range(200):
            yield "a"

    async with app_of(endpoint, max_stream_events=100) as chat:
        answer = await chat.post({"id": "s"})
        await answer.rest()
        end = await chat.ended(answer)
        assert [fault.reason for fault in answer.faults][-1] == "max_stream_events"
        assert len(answer.text) < 90
        assert end.fields["outcome"] == "failed"


async def test_the_notices_of_what_is_left_out_are_bounded_as_any() -> None:
    async def endpoint(run: Run) -> AsyncIterator[object]:
        for _ in range(300):
            yield {"type": "data-x", "data": object()}

    async with app_of(endpoint, max_stream_events=1_000) as chat:
        answer = await chat.post({"id": "s"})
        await answer.rest()
        end = await chat.ended(answer)
        assert (end.fields["outcome"], end.fields["notices_dropped"]) == ("completed", 200)
        assert {fault.code for fault in answer.faults} == {FaultCode.VALUE_REPLACED}
        assert sum(part["type"] == "data-x" for part in answer.parts) == 300


async def test_messages_given_to_save_are_bounded() -> None:
    told: list[StreamLimitError] = []

    async def endpoint(run: Run) -> AsyncIterator[object]:
        try:
            for _ in range(1_000):
                run.save("x" * 1_000)
        except StreamLimitError as exc:
            told.append(exc)
            raise
        yield "never"

    async with app_of(endpoint, max_stream_bytes=100_000, max_event_bytes=100_000) as chat:
        answer = await chat.post({"id": "s"})
        assert [(fault.code, fault.reason) for fault in answer.faults] == [(FaultCode.TOO_LONG, "max_stream_bytes")]
        assert [error.limit for error in told] == ["max_stream_bytes"]
        await chat.idle()
        assert 40 <= len(await chat.messages("s")) <= 50


@pytest.mark.parametrize(
    ("given", "message", "reason", "actions"),
    [
        ({"message": "half \ud83e"}, "half \ufffd", None, ()),
        ({"message": ValueError("secret")}, "[left out by streamguard: unencodable]", None, ()),
        ({"message": "x" * 1_000_000}, "x" * 1_999 + "…", None, ()),
        ({"message": b"\xff", "reason": 7, "actions": ("\ud83e", 1)}, "\ufffd", "7", ("\ufffd", "1")),
    ],
    ids=["surrogate", "exception", "long", "bytes"],
)
async def test_whatever_a_notice_says_it_arrives(
    given: dict[str, Any], message: str, reason: str | None, actions: tuple[str, ...]
) -> None:
    async def endpoint(run: Run) -> AsyncIterator[object]:
        run.notice("internal", **given)
        yield "a"

    async with app_of(endpoint) as chat:
        answer = await chat.post({"id": "s"})
        await answer.rest()
        (fault,) = answer.faults
        assert (fault.message, fault.reason, fault.actions) == (message, reason, actions)
        assert "secret" not in fault.to_json().decode()


async def test_usage_may_be_any_integer_and_never_runs_over() -> None:
    class Count:
        def __index__(self) -> int:
            return 2**53 - 2

    async def endpoint(run: Run) -> AsyncIterator[object]:
        run.usage(tokens=Count())  # type: ignore[arg-type] # as NumPy's
        run.usage(tokens=7, **{"half \ud83e": 1})
        for bad in (float("nan"), 1.5, "1", None, -1, 2**53, True):
            with pytest.raises(ValueError, match="tokens"):
                run.usage(tokens=bad)  # type: ignore[arg-type]
        yield "a"

    async with app_of(endpoint) as chat:
        answer = await chat.post({"id": "s"})
        await answer.rest()
        await chat.ended(answer)
        page = json.loads((await chat.request("GET", "/api/chat/s/messages")).body)
        assert page["messages"][0]["usage"] == {"tokens": 2**53 - 1, "half \ufffd": 1}


async def test_a_thread_outside_the_generator_is_bounded_by_the_limits() -> None:
    async def endpoint(run: Run) -> AsyncIterator[object]:
        yield "a"

        def talk() -> None:
            for _ in range(2_000):
                run.notice(Fault.of(FaultCode.INTERNAL))

        threads = [threading.Thread(target=talk) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            await asyncio.to_thread(thread.join)
        yield "b"

    async with app_of(endpoint, max_stream_events=50) as chat:
        answer = await chat.post({"id": "s"})
        await answer.rest()
        assert (answer.text, len(answer.faults)) == ("ab", 5)
        assert (await chat.ended(answer)).fields["notices_dropped"] == 3_995
