"""Stored UI messages as the messages of Anthropic's API.

Source: `MessageParam` of the Python package `anthropic`, 0.60 to 2.14, and what the API refuses: empty texts, spaces at
the end of the last one, calls without results, results that are not in the next message, thinking without a signature.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, cast

from .._ui_messages import Call, Content, File, Reasoning, Text, read_history, turns_of, unreadable

if TYPE_CHECKING:
    from anthropic.types import MessageParam

__all__ = ["messages", "system"]

_IMAGES: Final = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})


def messages(ui_messages: Iterable[object]) -> list[MessageParam]:
    """The messages to send: `client.messages.create(messages=messages(body.messages), system=system(…), …)`.

    Texts, images, PDFs and other texts that users attached, and tool calls with their results. A call that has no
    result gets one that says so: the API refuses a history with a call that has none. Thinking is passed where its
    signature is known, which `message_parts` keeps; other reasoning is left out, and so are data parts, sources and
    files that the model made. Messages in a row that have the same role become one.

    Args:
        ui_messages: UI messages as dicts or pydantic models, or what a message store gives back.

    Raises:
        ValueError: something among them is no UI message.
    """
    out: list[dict[str, object]] = []
    for message in read_history(ui_messages):
        if message.role == "user":
            _add(out, "user", [_user_block(c) for c in message.contents if isinstance(c, (Text, File))])
        elif message.role == "assistant":
            for contents, calls in turns_of(message):
                _add(out, "assistant", [*_said(contents, calls), *(_call(call) for call in calls)])
                _add(out, "user", [_result(call) for call in calls])
    if out and out[-1]["role"] == "assistant":
        last = cast("list[dict[str, object]]", out[-1]["content"])[-1]
        if last["type"] == "text":
            last["text"] = str(last["text"]).rstrip()
    return cast("list[MessageParam]", out)


def system(ui_messages: Iterable[object]) -> str:
    """The texts of the messages with the role `system`, which the API takes apart from the others; empty without any.

    What a client sends with that role counts as yours: take the history from your store, or check the roles.

    Args:
        ui_messages: UI messages of AI SDK, or stored messages, oldest first.

    Raises:
        ValueError: something among them is no UI message.
    """
    return "\n\n".join(message.text for message in read_history(ui_messages) if message.role == "system")


def _add(out: list[dict[str, object]], role: str, blocks: list[dict[str, object]]) -> None:
    if not blocks:
        return
    if out and out[-1]["role"] == role:
        cast("list[object]", out[-1]["content"]).extend(blocks)
    else:
        out.append({"role": role, "content": blocks})


def _said(contents: Sequence[Content], calls: Sequence[Call]) -> list[dict[str, object]]:
    blocks = [block for content in contents if (block := _assistant_block(content)) is not None]
    if not calls and not any(block["type"] == "text" for block in blocks):
        return []  # the API refuses thinking that nothing follows
    return blocks


def _assistant_block(content: Content) -> dict[str, object] | None:
    if isinstance(content, Text):
        return {"type": "text", "text": content.text}
    metadata = content.metadata.get("anthropic") if isinstance(content, Reasoning) else None
    if not isinstance(content, Reasoning) or not isinstance(metadata, Mapping):
        return None
    if isinstance(signature := metadata.get("signature"), str):
        return {"type": "thinking", "thinking": content.text, "signature": signature}
    if isinstance(data := metadata.get("redactedData"), str):
        return {"type": "redacted_thinking", "data": data}
    return None


def _call(call: Call) -> dict[str, object]:
    return {"type": "tool_use", "id": call.call_id, "name": call.name, "input": dict(call.input_object)}


def _result(call: Call) -> dict[str, object]:
    result: dict[str, object] = {"type": "tool_result", "tool_use_id": call.call_id, "content": call.result}
    return result | ({"is_error": True} if call.error is not None else {})


def _user_block(content: Text | File) -> dict[str, object]:
    if isinstance(content, Text):
        return {"type": "text", "text": content.text}
    data, remote = content.base64, content.url.startswith(("http://", "https://"))
    kind = {**dict.fromkeys(_IMAGES, "image"), "application/pdf": "document"}.get(content.media_type)
    if kind is not None and data is not None:
        source = {"type": "base64", "media_type": content.media_type, "data": data}
        return {"type": kind, "source": source}
    if kind is not None and remote:
        return {"type": kind, "source": {"type": "url", "url": content.url}}
    return {"type": "text", "text": content.as_text or unreadable(content)}
