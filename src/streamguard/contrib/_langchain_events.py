"""Reads the streams of LangChain's runnables.

Source: `Runnable.astream` and `Runnable.astream_events` (version 2), langchain-core 1.0.0 to 1.8.3.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterator, Mapping
from functools import partial
from traceback import walk_tb
from typing import Final, cast

from ..errors import FaultError, InvalidPartError
from ..faults import Fault, FaultCode
from ._langchain_messages import MessageParts, is_message
from ._model_streams import EventReader, ModelItems, close_stream, field_of, items_of, text_in
from ._ui_parts import Item

__all__ = ["StreamReader", "messages_in", "parts_of"]

_RAISING: Final = "_convert_responses_chunk_to_generation_chunk"
"""The function of langchain-openai that raises a `ValueError` where OpenAI's stream tells of a failure."""


def parts_of(source: AsyncIterable[object], reader: StreamReader) -> AsyncIterator[Item]:
    """The items of a stream of LangChain's or LangGraph's. Closing them closes the stream.

    Raises:
        FaultError: the provider told of a failure, or broke off.
        Exception: what the stream raises, unchanged.
    """
    return ModelItems(_parts_of(source, reader), partial(close_stream, source))


async def _parts_of(source: AsyncIterable[object], reader: StreamReader) -> AsyncIterator[Item]:
    items = items_of(source, reader)
    try:
        async for item in items:
            yield item
    except ValueError as exc:
        if _told_by_provider(exc):
            raise FaultError(Fault.of(FaultCode.PROVIDER_ERROR)) from exc
        raise
    finally:
        await cast("AsyncGenerator[Item]", items).aclose()


def _told_by_provider(error: ValueError) -> bool:
    frames = [frame for frame, _ in walk_tb(error.__traceback__)]
    return bool(frames) and frames[-1].f_code.co_name == _RAISING


class StreamReader(EventReader):
    """Reads a stream of `astream` or `astream_events`."""

    def __init__(self) -> None:
        self.parts: MessageParts = MessageParts()

    def read(self, event: object) -> Iterator[Item]:
        if isinstance(event, str):
            yield from self.parts.text(event)
        elif is_message(event):
            yield from self.parts.add(event)
        elif isinstance(event, Mapping) and "event" in event and "data" in event:
            yield from self._event(event)
        else:
            raise InvalidPartError(
                f"{type(event).__module__}.{type(event).__qualname__} is no text, message or event of LangChain's; "
                "a graph's stream is read by streamguard.contrib.langgraph",
                protocol="ui-message",
            )

    def end(self) -> Iterator[Item]:
        yield from self.parts.end()

    def _event(self, event: Mapping[str, object]) -> Iterator[Item]:
        """The parts of an event of `astream_events`."""
        kind, name, data = text_in(event, "event"), text_in(event, "name"), event.get("data")
        run = text_in(event, "run_id")
        tags = event.get("tags")
        if isinstance(tags, list) and "nostream" in tags:
            return
        match kind:
            case "on_chat_model_stream":
                yield from self.parts.add(field_of(data, "chunk"), key=run)
            case "on_chat_model_end":
                yield from self.parts.add(field_of(data, "output"), key=run)
            case "on_llm_stream":
                chunk = field_of(data, "chunk")
                yield from self.parts.text(chunk if isinstance(chunk, str) else text_in(chunk, "text"))
            case "on_tool_start":
                if not self.parts.awaits_any(name):  # not called by a model
                    yield from self.parts.call(run, name, field_of(data, "input"))
            case "on_tool_end":
                output = field_of(data, "output")
                if self.parts.awaits(run):
                    yield from self.parts.output(run, field_of(output, "content") if is_message(output) else output)
                else:
                    yield from self._results_in(output)
            case "on_tool_error":
                yield from self._tool_error(run, data)
            case "on_chain_end":
                yield from self._results_in(field_of(data, "output"))
            case "on_custom_event":
                yield {"type": f"data-{name}", "data": data}

    def _tool_error(self, run: str, data: object) -> Iterator[Item]:
        """The failure of a tool. What the model is told of it, if anything, is a message that follows."""
        if self.parts.awaits(run):
            yield from self.parts.error(run, str(field_of(data, "error")))

    def _results_in(self, output: object) -> Iterator[Item]:
        """The results of calls that a tool, or a node of a graph, gave back."""
        for message in messages_in(output):
            if self.parts.awaits(text_in(message, "tool_call_id")):
                yield from self.parts.add(message)


def messages_in(value: object) -> Iterator[object]:
    """The messages of a state, an update, a `Command` with one, or a list of these."""
    if is_message(value):
        yield value
        return
    if not isinstance(value, (Mapping, list, tuple)):
        value = getattr(value, "update", None)  # of a `Command`
    if isinstance(value, (list, tuple)):
        for one in value:
            yield from messages_in(one)
    elif isinstance(value, Mapping):
        for one in value.values():
            if isinstance(one, (list, tuple)):
                yield from (item for item in one if is_message(item))
            elif is_message(one):
                yield one
