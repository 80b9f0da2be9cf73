"""Stored UI messages as the messages of the chat completions API.

Source: `ChatCompletionMessageParam` of the Python package `openai`, 1.80 to 3.57.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, cast

from .._ui_messages import Call, Content, File, HistoryMessage, Reasoning, Text, read_history, turns_of, unreadable

if TYPE_CHECKING:
    from openai.types.chat import ChatCompletionMessageParam

__all__ = ["assistant_message", "chat_history", "chat_messages"]

_AUDIO: Final = {"audio/wav": "wav", "audio/x-wav": "wav", "audio/mpeg": "mp3", "audio/mp3": "mp3"}


def chat_messages(ui_messages: Iterable[object]) -> list[ChatCompletionMessageParam]:
    """The messages to send: `client.chat.completions.create(messages=chat_messages(body.messages), …)`.

    Texts, images, audio, PDFs and other texts that users attached, and tool calls with their results. A call that has
    no result gets one that says so: the API refuses a history with a call that has none. Reasoning is left out,
    because the API takes none; so are data parts, sources and files that the model made.

    Args:
        ui_messages: UI messages as dicts or pydantic models, or what a message store gives back. A message that a
            client sends with the role `system` counts as yours: take the history from your store, or check the roles.

    Raises:
        ValueError: something among them is no UI message.
    """
    return cast("list[ChatCompletionMessageParam]", chat_history(read_history(ui_messages)))


def chat_history(
    messages: Iterable[HistoryMessage], more: Callable[[Sequence[Content]], dict[str, object]] = lambda _: {}
) -> list[dict[str, object]]:
    """`chat_messages` of messages that have been read, as plain dicts.

    `more` gives further fields of an assistant's message, from its contents.
    """
    out: list[dict[str, object]] = []
    for message in messages:
        if message.role == "assistant":
            for contents, calls in turns_of(message):
                out += _turn(contents, calls, more)
        elif message.role == "user":
            out += _user(message)
        elif message.text:
            out.append({"role": "system", "content": message.text})
    return out


def assistant_message(
    text: str, calls: Sequence[tuple[str, str, str]], more: Mapping[str, object]
) -> dict[str, object]:
    """What the model said. `calls` have an id, a name, and arguments as JSON text."""
    called = [
        {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}
        for call_id, name, arguments in calls
    ]
    return {"role": "assistant", "content": text or None, **more} | ({"tool_calls": called} if called else {})


def _turn(
    contents: Sequence[Content], calls: Sequence[Call], more: Callable[[Sequence[Content]], dict[str, object]]
) -> list[dict[str, object]]:
    text = "".join(content.text for content in contents if isinstance(content, Text))
    if not text and not calls:
        return []
    said = assistant_message(text, [(call.call_id, call.name, call.arguments) for call in calls], more(contents))
    results: list[dict[str, object]] = [
        {"role": "tool", "tool_call_id": call.call_id, "content": call.result} for call in calls
    ]
    return [said, *results]


def _user(message: HistoryMessage) -> list[dict[str, object]]:
    contents = [content for content in message.contents if not isinstance(content, (Call, Reasoning))]
    if not contents:
        return []
    if all(isinstance(content, Text) for content in contents):
        return [{"role": "user", "content": message.text}]
    return [{"role": "user", "content": [_user_part(content) for content in contents]}]


def _user_part(content: Text | File) -> dict[str, object]:
    if isinstance(content, Text):
        return {"type": "text", "text": content.text}
    data = content.base64
    if content.is_image:
        return {"type": "image_url", "image_url": {"url": content.url}}
    if content.media_type in _AUDIO and data is not None:
        return {"type": "input_audio", "input_audio": {"data": data, "format": _AUDIO[content.media_type]}}
    if content.media_type == "application/pdf" and data is not None:
        url = f"data:application/pdf;base64,{data}"
        return {"type": "file", "file": {"filename": content.filename or "document.pdf", "file_data": url}}
    return {"type": "text", "text": content.as_text or unreadable(content)}
