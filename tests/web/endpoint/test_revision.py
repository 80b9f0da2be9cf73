"""What the bodies of AI SDK's transport say of a conversation's history; the real clients are in `tests/clients`."""

from __future__ import annotations

import json

import pytest
from starlette.requests import Request
from starlette.types import Message

from streamguard.errors import FaultError
from streamguard.runtime import Revision
from streamguard.web.endpoint.revision import revision_in, revision_of

Q1 = {"id": "q1", "role": "user", "parts": []}
A1 = {"id": "a1", "role": "assistant", "parts": []}
Q2 = {"id": "q2", "role": "user", "parts": []}


def said(**body: object) -> Revision | None:
    return revision_in(json.dumps({"id": "chat", **body}).encode())


@pytest.mark.parametrize(
    ("body", "revision"),
    [
        # A new question, and results of a tool or an approval.
        ({"trigger": "submit-message", "messages": [Q1, A1, Q2]}, None),
        ({"trigger": "submit-message", "messages": [Q1, A1], "messageId": "a1"}, None),
        ({"trigger": "submit-message", "messages": [Q1, A1, Q2], "messageId": "a1"}, None),
        # An edit; of the first question, in the middle, and by clients that leave things out.
        ({"trigger": "submit-message", "messages": [Q1], "messageId": "q1"}, Revision("q1", ())),
        ({"trigger": "submit-message", "messages": [Q1, A1, Q2], "messageId": "q2"}, Revision("q2", ("q1", "a1"))),
        ({"messages": [Q1, A1, Q2], "messageId": "q2"}, Revision("q2", ("q1", "a1"))),
        ({"trigger": "submit-message", "message": Q2, "messageId": "q2"}, Revision("q2", None)),
        ({"trigger": "submit-message", "messages": [Q1, A1, Q2], "messageId": "q1"}, None),
        # An answer that is to be written again: the last, a named one, one that a question names, the first message.
        ({"trigger": "regenerate-message", "messages": [Q1]}, Revision(None, ("q1",))),
        ({"trigger": "regenerate-message", "messages": [Q1], "messageId": None}, Revision(None, ("q1",))),
        ({"trigger": "regenerate-message", "messages": [Q1], "messageId": "a1"}, Revision("a1", ("q1",))),
        ({"trigger": "regenerate-message", "messages": [Q1], "messageId": "q1"}, Revision(None, ("q1",))),
        ({"trigger": "regenerate-message", "messages": [], "messageId": "a0"}, Revision("a0", ())),
        ({"trigger": "regenerate-message", "message": Q1}, Revision(None, ("q1",))),
        ({"trigger": "regenerate-message", "messageId": "a1"}, Revision("a1", None)),
        # What AI SDK never sends.
        ({"trigger": "resume-stream", "messages": [Q1], "messageId": "q1"}, None),
        ({"trigger": ["regenerate-message"], "messages": [Q1]}, None),
        ({"messages": "regenerate-message messageId", "messageId": "q1"}, None),
        ({"trigger": "regenerate-message", "messages": [Q1, "messageId", {"id": 7}]}, Revision(None, ("q1",))),
    ],
)
def test_what_a_body_supersedes(body: dict[str, object], revision: Revision | None) -> None:
    assert said(**body) == revision


@pytest.mark.parametrize("text", [b"[]", b"7", b'{"trigger":', b"\xff", b"[" * 100_000])
def test_what_is_no_body_of_a_chat_supersedes_nothing(text: bytes) -> None:
    assert revision_in(text) is None


@pytest.mark.parametrize("message_id", ["", "a\nb", "x" * 257, 7, {}])
@pytest.mark.parametrize("trigger", ["regenerate-message", "submit-message"])
def test_an_id_that_is_none_is_refused(message_id: object, trigger: str) -> None:
    messages = [] if trigger == "regenerate-message" else [{**Q1, "id": message_id}]
    with pytest.raises(FaultError) as refused:
        said(trigger=trigger, messages=messages, messageId=message_id)
    assert (refused.value.fault.code, refused.value.fault.reason) == ("request_invalid", "message_id")


@pytest.mark.anyio
async def test_only_json_is_read() -> None:
    body = json.dumps({"trigger": "regenerate-message", "messages": [Q1]}).encode()

    async def receive() -> Message:
        return {"type": "http.request", "body": body}

    def request(content_type: str) -> Request:
        headers = [(b"content-type", content_type.encode())]
        return Request({"type": "http", "method": "POST", "headers": headers}, receive)

    assert await revision_of(request("application/json; charset=utf-8")) == Revision(None, ("q1",))
    assert await revision_of(request("text/plain")) is None
    consumed = request("application/json")
    async for _ in consumed.stream():
        pass
    assert await revision_of(consumed) is None
