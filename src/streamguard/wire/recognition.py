"""Which protocol a stream speaks whose code is not the guard's, from its media type and its first bytes.

| stream | protocol |
|---|---|
| lines of JSON, by its media type | `ndjson` |
| `text/event-stream` with the header `x-vercel-ai-ui-message-stream` | `ui-message-raw` |
| the first block with data is a chunk with `choices`, an event of Responses, or an `error` of OpenAI | `openai` |
| … is an event of Anthropic's, or an `error` of theirs | `anthropic` |
| … is how a UI message stream begins, which lacks its header | `ui-message-raw` |
| any other | `opaque` |
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from .anthropic import AnthropicProtocol
from .base import WireProtocol
from .ndjson import NdjsonProtocol
from .opaque import OpaqueProtocol
from .openai import OpenAIProtocol
from .partial_json import Part
from .sse import BlockSplitter
from .ui_message_raw import UIMessageRawProtocol
from .upstream.json_events import JsonEvent, json_event

__all__ = ["LINES", "MOST_BYTES", "SSE", "recognise"]

SSE: Final = "text/event-stream"
LINES: Final = frozenset(
    {
        "application/x-ndjson",
        "application/ndjson",
        "application/jsonl",
        "application/x-jsonlines",
        "application/x-jsonl",
    }
)
"""Media types of lines of JSON."""

MOST_BYTES: Final = 1_048_576
"""The most bytes of a beginning without a decision. The first event of a response holds its whole configuration.
Every look reads the whole beginning again, so that a beginning in many small pieces costs time with its square."""

_ANTHROPIC: Final = frozenset(
    {
        "message_start",
        "message_delta",
        "message_stop",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
    }
)

_FIRST_PARTS: Final[Mapping[str, tuple[frozenset[str], frozenset[str]]]] = {
    "start": (frozenset(), frozenset({"messageId", "messageMetadata"})),
    "start-step": (frozenset(), frozenset()),
    "text-start": (frozenset({"id"}), frozenset({"providerMetadata"})),
    "reasoning-start": (frozenset({"id"}), frozenset({"providerMetadata"})),
    "tool-input-start": (
        frozenset({"toolCallId", "toolName"}),
        frozenset({"providerExecuted", "dynamic", "providerMetadata", "title", "toolMetadata", "inputEncoding"}),
    ),
}
"""The parts of AI SDK that a stream begins with: the fields that each must have, and those that it may have besides."""

_OPAQUE: Final = OpaqueProtocol()
_OPENAI: Final = OpenAIProtocol()
_ANTHROPIC_MESSAGES: Final = AnthropicProtocol()
_UI_MESSAGE_RAW: Final = UIMessageRawProtocol()
_NDJSON: Final = NdjsonProtocol()


def recognise(media_type: str, ui_message: bool, beginning: bytes) -> WireProtocol | None:
    """The protocol of a stream with this beginning; None while it is not decided.

    `media_type` is that of the response, with or without parameters; `ui_message` says whether it has the header
    `x-vercel-ai-ui-message-stream`. `beginning` is everything that the stream said so far, cut anywhere. A stream that
    ends undecided holds no event, or half a block: it is `opaque`.

    A decision needs the first block with data, also where the header alone would decide: that block may name the
    message (`WireProtocol.message_id_in`).
    """
    if media_type.partition(";")[0].strip().lower() in LINES:
        return _NDJSON
    for block in BlockSplitter(max_block_bytes=MOST_BYTES).feed(beginning):
        if not block.has_data:
            continue
        if ui_message:
            return _UI_MESSAGE_RAW
        event = json_event(block)
        if event is None:
            return _OPAQUE
        if event.type == "ping":  # of Anthropic's, or of anybody's
            continue
        return _of_event(event)
    if len(beginning) > MOST_BYTES:
        return _UI_MESSAGE_RAW if ui_message else _OPAQUE
    return None


def _of_event(event: JsonEvent) -> WireProtocol:
    kind, value = event.type, event.value
    if kind in _ANTHROPIC:
        return _ANTHROPIC_MESSAGES
    if kind.startswith("response."):
        return _OPENAI
    if kind == "error":
        return _ANTHROPIC_MESSAGES if isinstance(value.get("error"), dict) else _OPENAI
    if not kind and (isinstance(value.get("choices"), list) or _is_error(value)):
        return _OPENAI
    return _UI_MESSAGE_RAW if not event.name and _begins_ui_message(kind, value) else _OPAQUE


def _begins_ui_message(kind: str, value: Part) -> bool:
    """Whether this part begins a UI message stream: one of AI SDK's first parts, with its fields and no others.
    `useChat` does not ask for the header, so hosts forget it."""
    fields = _FIRST_PARTS.get(kind)
    if fields is None:
        return False
    required, optional = fields
    names = set(value) - {"type"}
    return required <= names <= required | optional and all(isinstance(value[name], str) for name in required)


def _is_error(value: Part) -> bool:
    """Whether this is an error in place of the first chunk."""
    error = value.get("error")
    return isinstance(error, dict) and isinstance(error.get("message"), str)
