"""Conversations whose last answer ended early: in every place of an answer, and in every way."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Final

from streamguard.messages import Message, Role
from streamguard.reconcile.orphans import OrphanSweep
from streamguard.runtime import LiveStream
from streamguard.stores.memory import MemoryStore

from ..harness.waiting import wait_until_async
from .lines import Line
from .savers import Messages, saving_to, stored_in
from .stage import KEY, Model, Reading, Worker, dying, expired, quick, read, working

__all__ = ["PLACES", "WAYS", "History", "histories"]

UI: Final = "ui-message"
MESSAGE_ID: Final = "m1"

Part = Mapping[str, object]


def _start(call_id: str = "c1", **more: object) -> Part:
    return {"type": "tool-input-start", "toolCallId": call_id, "toolName": "shell", **more}


def _delta(text: str, call_id: str = "c1") -> Part:
    return {"type": "tool-input-delta", "toolCallId": call_id, "inputTextDelta": text}


def _whole(call_id: str = "c1", **more: object) -> Part:
    return {"type": "tool-input-available", "toolCallId": call_id, "toolName": "shell", "input": {"cmd": "ls"}, **more}


def _done(call_id: str = "c1") -> Part:
    return {"type": "tool-output-available", "toolCallId": call_id, "output": "done"}


_ASKED: Final[Part] = {"type": "tool-approval-request", "toolCallId": "c1", "approvalId": "a1"}
_THOUGHT: Final = (
    {"type": "reasoning-start", "id": "r"},
    {"type": "reasoning-delta", "id": "r", "delta": "Let me think"},
)
_PROVIDERS: Final = {"toolName": "web_search", "providerExecuted": True}
_STEP: Final[Part] = {"type": "start-step"}
_STEP_OVER: Final[Part] = {"type": "finish-step"}

PLACES: Final[Mapping[str, Sequence[object]]] = {
    "in a text": ["Let me"],
    "in a reasoning": [_STEP, *_THOUGHT],
    "in a reasoning after a text": ["Let me see. ", *_THOUGHT],
    "before an input": [_STEP, _start()],
    "in an input": [_STEP, "Let me look. ", _start(), _delta('{"cmd": "sl')],
    "in an input that is no object": [_STEP, _start(), _delta('"sl')],
    "in a tool": [_STEP, "Let me look. ", _start(), _delta('{"cmd": "ls"}'), _whole()],
    "in the second of two tools": [_STEP, _whole(), _start("c2"), _done()],
    "in the tool of a second step": [_STEP, _whole(), _done(), _STEP_OVER, _STEP, _whole("c2"), _start("c3")],
    "in a dynamic tool": [_STEP, _start(dynamic=True), _delta("["), _whole("c2", dynamic=True)],
    "in an approval": [_STEP, _whole(), _ASKED],
    "in a tool of the provider's": [_STEP, "Let me look. ", {**_whole(), **_PROVIDERS}],
    "in the input of a tool of the provider's": [
        _STEP,
        "Let me look. ",
        {**_start(), **_PROVIDERS},
        _delta('{"query": "x'),
    ],
    "in a reasoning of a second step": [_STEP, _whole(), _done(), _STEP_OVER, _STEP, *_THOUGHT],
    "in a text of spaces": [_STEP, "\n", " "],
    "after data": [_STEP, {"type": "data-progress", "data": {"percent": 3}}],
    "between two steps": [_STEP, _whole(), _done(), _STEP_OVER, _STEP],
}
"""What was said by then."""

_APPROVED: Final = Message(
    MESSAGE_ID,
    Role.ASSISTANT,
    (
        {"type": "step-start"},
        {
            "type": "tool-shell",
            "toolCallId": "c1",
            "state": "approval-responded",
            "input": {"cmd": "ls"},
            "approval": {"id": "a1", "approved": True},
        },
    ),
)

AFTER_AN_APPROVAL: Final = "in a tool after its approval"


@dataclass(frozen=True)
class History:
    """A user's question and an answer that ended early."""

    name: str
    messages: list[dict[str, object]]
    """As they are stored, in AI SDK's form."""
    wire: str
    """What a client was sent of the answer's last stream."""
    before: dict[str, object] | None
    """The answer as its client had it before that stream, if that went on with it."""

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


async def _stopped(worker: Worker, stream: LiveStream, model: Model) -> str:
    reading = asyncio.create_task(worker.watch(stream))
    await worker.runtime.sessions.stop(KEY)
    return _wire(await reading)


async def _failed(worker: Worker, stream: LiveStream, model: Model) -> str:
    reading = asyncio.create_task(worker.watch(stream))
    model.fail(RuntimeError("the tool broke"))
    return _wire(await reading)


def _wire(reading: Reading) -> str:
    return "".join(f"data: {event.data}\n\n" for event in reading.events)


WAYS: Final[Mapping[str, Callable[[Worker, LiveStream, Model], Awaitable[str]] | None]] = {
    "stopped": _stopped,
    "failed": _failed,
    "killed": None,
}


async def histories() -> list[History]:
    """One of each."""
    return [await _history(place, way) for place in (*PLACES, AFTER_AN_APPROVAL) for way in WAYS]


async def _history(place: str, way: str) -> History:
    store, messages = MemoryStore(), Messages()
    line = Line(store)
    async with working(line, dying() if way == "killed" else None, clean=False, bindings=saving_to(messages)) as worker:
        before = await _asked(worker, place)
        model = Model()
        stream = await worker.start(model, worker.request(protocol=UI, message_id=MESSAGE_ID))
        assert stream.user_messages is not None
        if place in PLACES:
            question = Message("u1", Role.USER, ({"type": "text", "text": "What is here?"},))
            await stream.user_messages.add(question).attempted()
            items = PLACES[place]
        else:
            await stream.user_messages.add(_APPROVED).attempted()
            items = ["I am at it."]
        model.say(*items)
        await wait_until_async(
            lambda: stream.activity.items == len(items) and stream.acked == stream.feed.emitted,
            description="it is logged",
        )
        end = WAYS[way]
        if end is not None:
            wire = await end(worker, stream, model)
        else:
            line.down = True
            await expired(store, stream.ref)
            async with working(store, quick(lease_seconds=5.0), bindings=saving_to(messages)) as other:
                reading = asyncio.create_task(read(await other.resume()))
                assert await OrphanSweep(other.runtime).sweep() == 1
                wire = _wire(await reading)
            line.down = False
    stored = [
        {
            "id": one.message.message_id,
            "role": str(one.message.role),
            "parts": [dict(part) for part in one.message.parts],
        }
        for one in await stored_in(messages)
    ]
    return History(f"{way} {place}", json.loads(json.dumps(stored)), wire, before)


async def _asked(worker: Worker, place: str) -> dict[str, object] | None:
    """The completed stream before, in which the model asked for an approval, which its client then gave."""
    if place in PLACES:
        return None
    model = Model()
    stream = await worker.start(model, worker.request(protocol=UI, message_id=MESSAGE_ID))
    assert stream.user_messages is not None
    question = Message("u1", Role.USER, ({"type": "text", "text": "What is here?"},))
    await stream.user_messages.add(question).attempted()
    model.say(_STEP, _whole(), _ASKED)
    model.end()
    await worker.watch(stream)
    return {"id": MESSAGE_ID, "role": "assistant", "parts": [dict(part) for part in _APPROVED.parts]}
