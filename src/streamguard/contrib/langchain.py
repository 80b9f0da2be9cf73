"""LangChain: a model's or a runnable's stream as UI message parts, and stored messages as LangChain's.

```python
@app.post("/api/chat")
@guard.stream(session="body.id")
async def chat(body: ChatBody) -> AsyncIterator[object]:
    return langchain.stream_parts(model.astream(langchain.messages(body.messages)))
```

Tested with langchain-core 1.0.0 and 1.8.3. A graph of LangGraph, which `create_agent` makes too, is read by
`streamguard.contrib.langgraph`.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from typing import TYPE_CHECKING, Final

from ._langchain_events import StreamReader, parts_of
from ._libraries import library
from ._ui_messages import Call, Content, File, HistoryMessage, Text, read_history, turns_of
from ._ui_parts import Item

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage

__all__ = ["messages", "stream_parts"]

_EXTRA: Final = "langchain"


def stream_parts(source: AsyncIterable[object]) -> AsyncIterator[Item]:
    """The parts of a stream, and what was consumed, once for each message.

    Closing them closes the stream, and so ends what it runs. Its exceptions are raised as they are.

    Args:
        source: what `astream(…)` of a chat model or a runnable returned, with messages or text; or
            `astream_events(…, version="v2")`.

    Raises:
        InvalidPartError: the stream has something that is no text, message or event.
        FaultError: a provider's stream ended without its end, which LangChain takes for a whole answer.
    """
    return parts_of(source, StreamReader())


def messages(ui_messages: Iterable[object]) -> list[BaseMessage]:
    """Stored UI messages as messages for a model of LangChain's, or for the state of a graph.

    A call without a result gets an error as its result, because models refuse a history with an open call. Reasoning,
    data parts, sources, files that a model made, and calls that the provider carried out are left out.

    Args:
        ui_messages: as the client sends them, or as the guard's message store gives them back.

    Raises:
        ConfigurationError: langchain-core is not installed.
        ValueError: something among them is no UI message.
    """
    return [made for message in read_history(ui_messages) for made in _messages_of(message)]


def _messages_of(message: HistoryMessage) -> Iterator[BaseMessage]:
    made = library("langchain_core.messages", extra=_EXTRA)
    if message.role == "system":
        yield made.SystemMessage(content=message.text)
    elif message.role == "user":
        blocks = [block for content in message.contents for block in _blocks_of(content)]
        only_text = all(block["type"] == "text" for block in blocks)
        if blocks:
            yield made.HumanMessage(content=message.text if only_text else blocks)
    else:
        for step in turns_of(message):
            yield from _turn(*step)


def _turn(said: tuple[Content, ...], calls: tuple[Call, ...]) -> Iterator[BaseMessage]:
    made = library("langchain_core.messages", extra=_EXTRA)
    text = "\n".join(content.text for content in said if isinstance(content, Text))
    tool_calls = [{"name": call.name, "args": dict(call.input_object), "id": call.call_id} for call in calls]
    if text or tool_calls:
        yield made.AIMessage(content=text, tool_calls=tool_calls)
    for call in calls:
        status = "success" if call.error is None else "error"
        yield made.ToolMessage(content=call.result, tool_call_id=call.call_id, name=call.name, status=status)


def _blocks_of(content: Content) -> list[dict[str, object]]:
    match content:
        case Text():
            return [{"type": "text", "text": content.text}]
        case File():
            kind = content.media_type.partition("/")[0]
            block: dict[str, object] = {"type": kind if kind in ("image", "audio", "video") else "file"}
            if content.base64 is not None:
                block |= {"base64": content.base64, "mime_type": content.media_type}
            elif content.url.lower().startswith("data:"):
                return []
            else:
                block |= {"url": content.url} | ({"mime_type": content.media_type} if content.media_type else {})
            if block["type"] == "file":  # OpenAI refuses one without a name
                block["filename"] = content.filename or f"file.{content.media_type.rpartition('/')[2]}"
            return [block]
        case _:
            return []
