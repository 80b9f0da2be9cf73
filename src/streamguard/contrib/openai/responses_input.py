"""Stored UI messages as the input of the Responses API.

Source: `ResponseInputItemParam` of the Python package `openai`, 1.80 to 3.57.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, cast

from .._ui_messages import Call, Content, File, HistoryMessage, Reasoning, Text, read_history, turns_of, unreadable

if TYPE_CHECKING:
    from openai.types.responses import ResponseInputItemParam

__all__ = ["CUSTOM", "responses_input"]

CUSTOM: Final[Mapping[str, Mapping[str, object]]] = {"openai": {"custom": True}}
"""Metadata of a call of a custom tool, whose input is a text and not JSON."""


def responses_input(ui_messages: Iterable[object]) -> list[ResponseInputItemParam]:
    """The input to send: `client.responses.create(input=responses_input(body.messages), …)`.

    Texts, images and files that users attached, and tool calls with their results. A call that has no result gets one
    that says so: the API refuses a history with a call that has none. Reasoning is passed where its encrypted content
    is known, which `responses_parts` keeps if the request has `include=["reasoning.encrypted_content"]`; other
    reasoning is left out, and so are data parts, sources and files that the model made.

    Args:
        ui_messages: UI messages as dicts or pydantic models, or what a message store gives back. A message that a
            client sends with the role `system` counts as yours: take the history from your store, or check the roles.

    Raises:
        ValueError: something among them is no UI message.
    """
    out: list[dict[str, object]] = []
    for message in read_history(ui_messages):
        if message.role == "assistant":
            for contents, calls in turns_of(message):
                out += _turn(contents, calls)
        elif message.role == "user":
            out += _user(message)
        elif message.text:
            out.append({"role": "system", "content": message.text})
    return cast("list[ResponseInputItemParam]", out)


def _turn(contents: Sequence[Content], calls: Sequence[Call]) -> list[dict[str, object]]:
    text = "".join(content.text for content in contents if isinstance(content, Text))
    if not text and not calls:  # the API refuses reasoning that nothing follows
        return []
    out = _reasoning(content for content in contents if isinstance(content, Reasoning))
    if text:
        out.append({"role": "assistant", "content": text})
    for call in calls:
        named: dict[str, object] = {"call_id": call.call_id, "name": call.name}
        if _is_custom(call):
            out.append({"type": "custom_tool_call", **named, "input": str(call.input)})
        else:
            out.append({"type": "function_call", **named, "arguments": call.arguments})
    for call in calls:
        kind = "custom_tool_call_output" if _is_custom(call) else "function_call_output"
        out.append({"type": kind, "call_id": call.call_id, "output": call.result})
    return out


def _is_custom(call: Call) -> bool:
    return call.metadata.get("openai") == CUSTOM["openai"]


def _reasoning(parts: Iterable[Reasoning]) -> list[dict[str, object]]:
    """The reasoning items whose encrypted content is known. Each paragraph of one is a part of its own; the last one
    has the content."""
    summaries: dict[str, list[object]] = {}
    encrypted: dict[str, str] = {}
    for part in parts:
        metadata = part.metadata.get("openai")
        if not isinstance(metadata, Mapping) or not isinstance(item_id := metadata.get("itemId"), str):
            continue
        summary = summaries.setdefault(item_id, [])
        if part.text:
            summary.append({"type": "summary_text", "text": part.text})
        if isinstance(content := metadata.get("reasoningEncryptedContent"), str):
            encrypted[item_id] = content
    return [
        {"type": "reasoning", "id": item_id, "summary": summaries[item_id], "encrypted_content": content}
        for item_id, content in encrypted.items()
    ]


def _user(message: HistoryMessage) -> list[dict[str, object]]:
    contents = [content for content in message.contents if not isinstance(content, (Call, Reasoning))]
    if not contents:
        return []
    if all(isinstance(content, Text) for content in contents):
        return [{"role": "user", "content": message.text}]
    return [{"role": "user", "content": [_user_part(content) for content in contents]}]


def _user_part(content: Text | File) -> dict[str, object]:
    if isinstance(content, Text):
        return {"type": "input_text", "text": content.text}
    if content.is_image:
        return {"type": "input_image", "image_url": content.url, "detail": "auto"}
    data = content.base64
    if content.as_text is not None:
        return {"type": "input_text", "text": content.as_text}
    if data is not None:
        url = f"data:{content.media_type};base64,{data}"
        return {"type": "input_file", "filename": content.filename or "file", "file_data": url}
    if content.url.startswith(("http://", "https://")):
        return {"type": "input_file", "file_url": content.url}
    return {"type": "input_text", "text": unreadable(content)}
