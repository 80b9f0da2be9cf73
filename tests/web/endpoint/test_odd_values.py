"""Whatever a host puts into a part or a question: the answer completes, is saved, and reads back in its normal form."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, cast

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from streamguard import Run, Settings, StreamGuard
from streamguard.faults import FaultCode
from streamguard.messages import MemoryMessageStore, MessageStore, RedisMessageStore
from streamguard.messages.sql import SQLMessageStore
from streamguard.stores import RedisClient
from streamguard.testing import GuardedApp
from streamguard.wire.sse import encode_text
from streamguard.wire.values import MAX_DEPTH, encode_json, normal, valid_text
from tests.messages.sql.places import PATIENT_SECONDS, fresh_tables
from tests.wire.odd_values import odd_texts, odd_values

from ..serving import USER, user_of

# The application runs beside the test, in a thread of its own: what it draws is not the strategies'.
pytestmark = [pytest.mark.filterwarnings("ignore:Do not use the `random` module"), pytest.mark.repeats]

LIMIT: Final = 20_000
"""Some of the values are larger."""

EXAMPLES: Final = {"memory": 200, "redis": 100, "sqlite": 60, "postgresql": 25, "mariadb": 25}


@dataclass
class Case:
    """One conversation: what its endpoint yields and saves."""

    items: Sequence[object]
    question: object = "?"


class Body(BaseModel):
    id: str


@dataclass
class Rig:
    """An application on one kind of store, run in a thread of its own."""

    portal: BlockingPortal
    chat: GuardedApp
    cases: dict[str, Case] = field(default_factory=dict)

    def tell(self, protocol: str, case: Case) -> tuple[list[Any], list[dict[str, Any]]]:
        """The faults that a visitor hears of, and the messages that are saved."""
        faults, saved = self.portal.call(self._tell, protocol, case)
        return faults, saved

    async def _tell(self, protocol: str, case: Case) -> tuple[list[Any], list[dict[str, Any]]]:
        session = f"s{len(self.cases)}"
        self.cases[session] = case
        answer = await self.chat.post({"id": session}, path=f"/{protocol}")
        await answer.rest()
        end = await self.chat.ended(answer)
        assert (str(end.fields["outcome"]), str(end.fields["persisted"])) == ("completed", "yes")
        saved = json.loads((await self.chat.request("GET", f"/api/chat/{session}/messages")).body)["messages"]
        faults = answer.faults if protocol == "ui-message" else []
        assert {fault.code for fault in faults} <= {FaultCode.VALUE_REPLACED}
        again = await self.chat.resume(session)
        await again.rest()
        assert [event.data for event in again.events] == [event.data for event in answer.events]
        return faults, saved


async def _app(url: str, messages: MessageStore, cases: dict[str, Case]) -> GuardedApp:
    given = Settings(
        max_event_bytes=LIMIT, max_resumes_per_minute=100_000, drain_seconds=0.2, registration_seconds=PATIENT_SECONDS
    )
    patient = {"append_deadline_seconds": PATIENT_SECONDS, "command_seconds": PATIENT_SECONDS}
    patient |= {"save_visible_seconds": PATIENT_SECONDS, "replay_after_finish_seconds": 600.0}
    guard = StreamGuard(url, authenticate=user_of, messages=messages, settings=given.model_copy(update=patient))
    app = FastAPI(lifespan=guard.lifespan)

    def endpoint(protocol: str) -> None:
        @app.post(f"/{protocol}")
        @guard.stream(session="body.id", protocol=protocol, ids=True, binding=protocol)
        async def chat(body: Body, run: Run) -> AsyncIterator[object]:
            case = cases[body.id]
            await run.save(cast("Mapping[str, object]", case.question))
            for item in case.items:
                yield item

    for protocol in ("ui-message", "plain", "opaque"):
        endpoint(protocol)
    guard.install(app, "/api/chat")
    if isinstance(messages, SQLMessageStore):
        await messages.create_tables()
    return GuardedApp(app, guard, headers=USER, wait_seconds=60)


def _stores(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Callable[[], MessageStore]]:
    """The stream store's URL, and what makes the message store, in the application's own loop."""
    if kind == "memory":
        return "memory://", MemoryMessageStore
    url = str(request.getfixturevalue("redis_url"))
    if kind == "redis":
        return url, lambda: RedisMessageStore(RedisClient(url), ttl_seconds=600)
    if kind == "sqlite":
        database = f"sqlite+aiosqlite:///{tmp_path / 'chats.db'}"
    else:
        server = request.getfixturevalue("postgres_server" if kind == "postgresql" else "mariadb_server")
        database = str(server.url())
    return url, lambda: SQLMessageStore(database, tables=fresh_tables(), timeout_seconds=PATIENT_SECONDS)


@contextmanager
def _rig(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rig]:
    url, make = _stores(kind, request, tmp_path)
    cases: dict[str, Case] = {}
    with start_blocking_portal() as portal:
        chat = portal.call(_app, url, make(), cases)
        with portal.wrap_async_context_manager(chat):
            yield Rig(portal, chat, cases)


@pytest.fixture(params=list(EXAMPLES))
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rig]:
    with _rig(str(request.param), request, tmp_path) as rig:
        yield rig


@pytest.fixture
def one_rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rig]:
    with _rig("memory", request, tmp_path) as rig:
        yield rig


def examples(request: pytest.FixtureRequest) -> settings:
    count = EXAMPLES[str(request.node.callspec.params["rig"])]
    return settings(max_examples=count, deadline=None, suppress_health_check=list(HealthCheck))


CALL: Final = {"type": "tool-input-available", "toolCallId": "c", "toolName": "t", "input": {}}
META: Final = "messageMetadata"
PLACES: Final[dict[str, Callable[[object], dict[str, object]]]] = {
    "tool input": lambda value: {**CALL, "input": value},
    "tool output": lambda value: {"type": "tool-output-available", "toolCallId": "c", "output": value},
    "tool error": lambda value: {"type": "tool-output-error", "toolCallId": "c", "errorText": value},
    "data": lambda value: {"type": "data-x", "data": value},
    "metadata": lambda value: {"type": "message-metadata", META: {"v": value}},
    "finish metadata": lambda value: {"type": "finish", META: {"v": value}},
    "title": lambda value: {"type": "source-url", "sourceId": "s", "url": "u", "title": value},
    "file": lambda value: {"type": "file", "url": value, "mediaType": "m"},
    "provider metadata": lambda value: {"type": "file", "url": "u", "mediaType": "m", "providerMetadata": {"v": value}},
}
SAVED: Final = {
    "tool input": "input",
    "tool output": "output",
    "tool error": "errorText",
    "data": "data",
    "title": "title",
    "file": "url",
    "provider metadata": "providerMetadata",
}


def _expected(part: dict[str, object], name: str) -> tuple[object, bool]:
    """The normal form of a field of a part, and whether something in it was replaced."""
    found, replaced = normal(part)
    return cast("dict[str, object]", found)[name], bool(replaced)


def _is_text_place(place: str) -> bool:
    return place in ("tool error", "title", "file")


def _check(place: str, value: object, faults: list[Any], saved: dict[str, Any]) -> None:
    part = PLACES[place](value)
    is_metadata = place in ("metadata", "finish metadata")
    name = META if is_metadata else SAVED[place]
    expected, replaced = _expected(part, name)
    size = len(encode_json(part).data)
    if size > LIMIT - 200:  # a place in the message, a title say, makes it a little larger or smaller
        assert faults or size < LIMIT + 200
        return
    if is_metadata:
        assert saved["metadata"] == expected
    else:
        found = next(one for one in saved["parts"] if one["type"] not in ("text", "step-start"))
        if _is_text_place(place):
            if value is None and place == "title":
                assert "title" not in found
            elif isinstance(expected, str):
                assert found[name] == expected
            else:
                assert isinstance(found[name], str)
                replaced = not isinstance(expected, (bool, int, float))
        else:
            assert found.get(name) == expected
    assert [fault.severity for fault in faults] == ["warning"] * replaced


@pytest.mark.long
def test_any_value_in_any_part(rig: Rig, request: pytest.FixtureRequest) -> None:
    @examples(request)
    @given(st.sampled_from(list(PLACES)), odd_values)
    def run(place: str, value: object) -> None:
        needs_call = place in ("tool output", "tool error")
        items = ["before", *([CALL] if needs_call else []), PLACES[place](value)]
        if place != "finish metadata":
            items.append("after")
        faults, saved = rig.tell("ui-message", Case(items))
        question, reply = saved
        assert "".join(part["text"] for part in reply["parts"] if part["type"] == "text") == (
            "before" if place == "finish metadata" else "beforeafter"
        )
        assert question["parts"] == [{"type": "text", "text": "?"}]
        _check(place, value, faults, reply)

    run()


@pytest.mark.long
def test_any_value_in_the_question(rig: Rig, request: pytest.FixtureRequest) -> None:
    @examples(request)
    @given(odd_values, odd_texts)
    def run(value: object, text: str) -> None:
        parts = [{"type": "text", "text": text}, {"type": "data-q", "data": value}]
        asked = {"id": "m1", "role": "user", "parts": parts, "metadata": {"v": value}}
        faults, (question, reply) = rig.tell("ui-message", Case(["yes"], asked))
        found, replaced = normal([parts, {"v": value}], max_depth=MAX_DEPTH + 2)
        assert [question["parts"], question["metadata"]] == found
        assert [fault.user_message_id for fault in faults] == ["m1"] * bool(replaced)
        assert [part["text"] for part in reply["parts"]] == ["yes"]

    run()


@pytest.mark.long
def test_any_text_in_pieces(rig: Rig, request: pytest.FixtureRequest) -> None:
    """In every protocol, halves of surrogate pairs and CRLFs cut apart."""

    @examples(request)
    @given(st.sampled_from(["ui-message", "plain", "opaque"]), st.lists(odd_texts, min_size=1, max_size=6))
    def run(protocol: str, pieces: list[str]) -> None:
        faults, (_, *replies) = rig.tell(protocol, Case(["> ", *pieces, "."]))
        text = "> " + "".join(pieces) + "."
        if protocol == "opaque":  # bytes are the host's own: each chunk is text by itself
            expected = b"".join(map(encode_text, ["> ", *pieces, "."])).decode()
        elif protocol == "plain":
            expected = valid_text(text).replace("\r\n", "\n").replace("\r", "\n")
        else:
            expected = valid_text(text)
        (part,) = replies[0]["parts"]
        assert part["data" if protocol == "opaque" else "text"] == expected
        assert faults == []

    run()


@pytest.mark.parametrize("depth", [MAX_DEPTH - 1, MAX_DEPTH, 400, 5_000])
@pytest.mark.parametrize("place", ["tool output", "metadata", "question"])
def test_deep_values_read_back_however_deep(one_rig: Rig, place: str, depth: int) -> None:
    value: object = None
    for _ in range(depth):
        value = [value]
    if place == "question":
        parts = [{"type": "data-q", "data": value}]
        _, (question, _) = one_rig.tell("ui-message", Case(["yes"], {"id": "m", "role": "user", "parts": parts}))
        assert question["parts"] == [normal(part).value for part in parts]
        return
    faults, (_, reply) = one_rig.tell("ui-message", Case([CALL, PLACES[place](value)]))
    _check(place, value, faults, reply)


def test_a_tools_error_and_a_usage_from_other_libraries(one_rig: Rig) -> None:
    """What a library gives where a number or a text is due."""

    class Count(int):
        pass

    items: list[object] = [
        CALL,
        {"type": "tool-output-error", "toolCallId": "c", "errorText": LookupError("secret")},
        {"type": "finish", META: {"usage": {"inputTokens": Count(7), "outputTokens": float("nan")}}},
    ]
    faults, (_, reply) = one_rig.tell("ui-message", Case(items))
    assert [fault.reason for fault in faults] == ["unencodable"]
    assert reply["parts"][0]["errorText"] == "[left out by streamguard: unencodable]"
    assert reply["metadata"] == {"usage": {"inputTokens": 7, "outputTokens": None}}
    assert "secret" not in json.dumps(reply)
