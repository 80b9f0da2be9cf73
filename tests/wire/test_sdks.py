"""The SDKs of OpenAI and Anthropic read what is passed on: with ids, keep-alives and warnings as if these were not
there, and a failure as an error with its code."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any, Final

import anthropic
import openai
import pytest
from openai._streaming import SSEDecoder

from streamguard.faults import REGISTRY, Fault, FaultCode
from streamguard.values import Outcome
from streamguard.wire.sse import KEEP_ALIVE

from .test_opaque import CHAT as BLOCKS
from .test_opaque import logged as opaque_blocks
from .test_opaque import stream
from .transcripts import TRANSCRIPTS, Transcript, transcript
from .upstreams import Logged, cut, logged

CHAT: Final = [
    one
    for one in TRANSCRIPTS
    if one.name.startswith("openai-chat")
    and not one.failure
    and "bom" not in one.name  # the SDK loses that first chunk
]
RESPONSES: Final = [one for one in TRANSCRIPTS if one.name.startswith("openai-responses") and not one.failure]
MESSAGES: Final = [one for one in TRANSCRIPTS if one.name.startswith("anthropic") and not one.failure]
FAULT: Final = Fault.of(FaultCode.PROVIDER_ABORTED)


def transport(sdk: ModuleType, chunks: Sequence[bytes]) -> Any:
    """A client, of the HTTP library that this version of the SDK takes (httpx or httpx2), whose every answer is this
    body."""
    modules = [cls.__module__.partition(".")[0] for cls in sdk.DefaultHttpxClient.__mro__]
    http = importlib.import_module("httpx2" if "httpx2" in modules else "httpx")

    def body() -> Iterator[bytes]:
        yield from chunks

    headers = {"content-type": "text/event-stream; charset=utf-8"}
    return http.Client(transport=http.MockTransport(lambda _: http.Response(200, headers=headers, content=body())))


def chat(chunks: Sequence[bytes]) -> list[object]:
    """What the SDK yields of chat completions."""
    with openai.OpenAI(api_key="k", max_retries=0, http_client=transport(openai, chunks)) as client:
        stream = client.chat.completions.create(model="m", messages=[{"role": "user", "content": "x"}], stream=True)
        return [chunk.to_dict() for chunk in stream]


def responses(chunks: Sequence[bytes]) -> list[object]:
    """What the SDK yields of a response."""
    with openai.OpenAI(api_key="k", max_retries=0, http_client=transport(openai, chunks)) as client:
        return [event.to_dict() for event in client.responses.create(model="m", input="x", stream=True)]


def messages(chunks: Sequence[bytes]) -> list[object]:
    """What the SDK yields of a message, its own summary included."""
    with anthropic.Anthropic(api_key="k", max_retries=0, http_client=transport(anthropic, chunks)) as client:
        stream = client.messages.stream(model="m", max_tokens=9, messages=[{"role": "user", "content": "x"}])
        with stream as events:
            found: list[object] = [event.to_dict() for event in events]
            return [*found, events.get_final_message().to_dict()]


def read(one: Transcript, chunks: Sequence[bytes]) -> list[object]:
    if one.protocol_name == "anthropic":
        return messages(chunks)
    return responses(chunks) if "responses" in one.name else chat(chunks)


def whole(one: Transcript) -> Logged:
    return logged(one.protocol, [one.body])


every_answer: Final = pytest.mark.parametrize("one", [*CHAT, *RESPONSES, *MESSAGES], ids=lambda one: one.name)


@every_answer
def test_ids_change_nothing(one: Transcript) -> None:
    expected = read(one, [one.body])
    assert expected
    assert read(one, whole(one).frames(ids=True)) == expected


@every_answer
@pytest.mark.parametrize("ids", [True, False])
def test_keep_alives_and_warnings_change_nothing(one: Transcript, ids: bool) -> None:
    frames = whole(one).frames(ids=ids, warning=True)
    assert read(one, [part for frame in frames for part in (KEEP_ALIVE, KEEP_ALIVE, frame)]) == read(one, [one.body])


@every_answer
def test_an_answer_resumed_in_its_middle_goes_on(one: Transcript) -> None:
    """A client that hands the blocks before and after its cursor to the SDK gets the answer."""
    frames = whole(one).frames(ids=True)
    middle = len(frames) // 2
    again = whole(one).frames(ids=True)[middle:]
    assert read(one, [*frames[:middle], *again]) == read(one, [one.body])


@every_answer
@pytest.mark.parametrize("ids", [True, False])
def test_a_failure_is_raised_with_its_code(one: Transcript, ids: bool) -> None:
    half = one.body[: one.body.index(b"data:", len(one.body) // 2) + 20]
    frames = cut(one.protocol, half).frames(ids=ids, outcome=Outcome.FAILED, fault=FAULT)
    expected = anthropic.APIStatusError if one.protocol_name == "anthropic" else openai.APIError
    with pytest.raises(expected) as caught:
        read(one, [frame for frame in frames if frame])
    assert _error(caught.value) == {
        "type": "streamguard_error",
        "code": "provider_aborted",
        "message": REGISTRY[FaultCode.PROVIDER_ABORTED].message,
    }


def _error(error: Exception) -> object:
    body = getattr(error, "body", None)
    if isinstance(body, dict) and isinstance(body.get("error"), dict):
        return body["error"]
    return body


@pytest.mark.parametrize("outcome", [Outcome.STOPPED, Outcome.INTERRUPTED])
def test_every_early_end_is_raised(outcome: Outcome) -> None:
    """A clean end of the body would be taken for the end of the answer."""
    one = transcript("openai-chat-text")
    with pytest.raises(openai.APIError):
        chat(cut(one.protocol, one.body[:900]).frames(ids=True, outcome=outcome))


@pytest.mark.parametrize("code", [code for code in FaultCode if REGISTRY[code].severity == "fatal"])
def test_a_failure_outside_the_log_is_raised_too(code: FaultCode) -> None:
    one = transcript("openai-chat-text")
    with pytest.raises(openai.APIError) as caught:
        chat([*whole(one).frames(ids=True)[:3], one.protocol.fault_frame(Fault.of(code))])
    assert caught.value.code == code


def test_sequence_numbers_stay_the_upstreams() -> None:
    one = transcript("openai-responses-text")
    events = responses(whole(one).frames(ids=True))
    assert [event["sequence_number"] for event in events if isinstance(event, dict)] == list(range(len(events)))


def test_ids_comments_and_keep_alives_are_read_past() -> None:
    data, held = opaque_blocks(BLOCKS)
    body = stream(data, held, ids=True).replace(b"id: ", KEEP_ALIVE + b"id: ")
    events = list(SSEDecoder().iter_bytes(iter([body])))
    assert [event.id for event in events] == ["c2", "c4", "c6"]
    assert all(event.data for event in events)
