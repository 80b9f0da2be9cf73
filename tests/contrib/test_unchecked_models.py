"""Clients of providers make models without a check. Pydantic warns when it writes one in which a field has another type
than declared, and shows the value: nobody is to be warned, since a model or a user wrote it."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterator

import pytest
from pydantic import BaseModel

from streamguard.contrib._ui_messages import read_history
from streamguard.contrib.anthropic import iter_message_parts
from streamguard.contrib.openai import ResponsesTurn

from .provider_chats import NOISE_OF_LIBRARIES

pytestmark = pytest.mark.filterwarnings(*NOISE_OF_LIBRARIES)

WRITTEN = "what a user wrote"


class Part(BaseModel):
    type: str = "text"
    text: int = 0


class Message(BaseModel):
    id: str = "m1"
    role: str = "user"
    parts: list[Part] = []


@pytest.fixture
def part() -> Part:
    return Part.model_construct(_fields_set={"type", "text"}, type="text", text=WRITTEN)


@pytest.fixture
def _no_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def test_it_would_be_shown(part: Part) -> None:
    with pytest.warns(UserWarning, match=WRITTEN):
        part.model_dump(mode="json")


@pytest.mark.usefixtures("_no_warnings")
def test_openai(part: Part) -> None:
    turn = ResponsesTurn()
    turn.put_out(part)
    assert turn.history == [{"type": "text", "text": WRITTEN}]


@pytest.mark.usefixtures("_no_warnings")
def test_anthropic(part: Part) -> None:
    events = [
        {"type": "message_start", "message": {"usage": {}}},
        {"type": "content_block_start", "index": 0, "content_block": part},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {}},
        {"type": "message_stop"},
    ]
    assert WRITTEN in repr(list(iter_message_parts(events)))


@pytest.mark.usefixtures("_no_warnings")
def test_a_history(part: Part) -> None:
    (message,) = read_history([Message.model_construct(parts=[part])])
    assert WRITTEN in str(dataclasses.asdict(message))
