"""Stored chats of the kinds that models refuse when they are passed on as they are."""

from __future__ import annotations

from typing import Any, Final

__all__ = ["HISTORIES", "PIXEL"]

Message = dict[str, Any]

PIXEL: Final = (
    "data:image/png;base64,"
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


def _said(role: str, *parts: Message, name: str = "m") -> Message:
    return {"id": f"{name}-{role}", "role": role, "parts": list(parts)}


def _text(text: str) -> Message:
    return {"type": "text", "text": text, "state": "done"}


def _call(state: str, name: str = "weather", **fields: object) -> Message:
    return {"type": f"tool-{name}", "toolCallId": f"call-{state}", "state": state, **fields}


STEP: Final[Message] = {"type": "step-start"}
ROME: Final = {"city": "Rome"}
ANOTHER: Final = _said("user", _text("And now?"), name="next")

HISTORIES: Final[dict[str, list[Message]]] = {
    "a chat with a picture and a file": [
        _said("system", _text("Be brief.")),
        _said(
            "user",
            _text("What is this?"),
            {"type": "file", "mediaType": "image/png", "url": PIXEL, "filename": "pixel.png"},
            {"type": "file", "mediaType": "image/png", "url": "https://example.org/pixel.png"},
            {"type": "file", "mediaType": "application/pdf", "url": "data:application/pdf;base64,JVBERi0x"},
        ),
        _said("assistant", STEP, {"type": "reasoning", "text": "A pixel?", "state": "done"}, _text("A pixel.")),
        ANOTHER,
    ],
    "tools, of which one failed": [
        _said("user", _text("The weather?")),
        _said(
            "assistant",
            STEP,
            {"type": "reasoning", "text": "Let me think."},
            _text("Let me look."),
            _call("output-available", input=ROME, output={"degrees": 20, "wind": None}),
            _call("output-error", "broken", input=ROME, errorText="no such place"),
            STEP,
            _text("It is sunny."),
        ),
        ANOTHER,
    ],
    "calls that were never finished": [
        _said("user", _text("The weather?")),
        _said(
            "assistant",
            STEP,
            _text("Let me look."),
            _call("input-streaming", input={"city": "Ro"}),
            _call("input-available", input=ROME),
            _call("approval-requested", input=ROME, approval={"id": "a1"}),
            _call("output-denied", input=ROME, approval={"id": "a2", "approved": False, "reason": "no"}),
            _call("output-available", input="no object", output="text"),
        ),
        ANOTHER,
    ],
    "text after a call in the same step": [
        _said("user", _text("The weather?")),
        _said("assistant", _text("Look."), _call("output-available", input=ROME, output="sunny"), _text("Sunny.")),
        ANOTHER,
    ],
    "an answer with nothing that a model reads": [
        _said("user", _text("The weather?")),
        _said(
            "assistant",
            STEP,
            {"type": "reasoning", "text": "Hm", "state": "streaming"},
            {"type": "data-agent", "data": {"name": "Weather"}},
            {"type": "source-url", "sourceId": "s1", "url": "https://example.org"},
            {"type": "custom", "kind": "x.y"},
            _text("  "),
        ),
        ANOTHER,
    ],
    "what the provider did itself, and a file that the model made": [
        _said("user", _text("Search, and draw.")),
        _said(
            "assistant",
            STEP,
            _call("output-available", "web_search", input={}, output=[], providerExecuted=True),
            {"type": "dynamic-tool", "toolName": "draw", "toolCallId": "d1", "state": "output-available", "input": {}}
            | {"output": {"ok": True}},
            {"type": "file", "mediaType": "image/png", "url": PIXEL},
            {"type": "file", "mediaType": "image/png", "url": "https://example.org/made.png"},
            _text("Here it is."),
        ),
        ANOTHER,
    ],
}
