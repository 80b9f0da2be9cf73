"""From the chunks of a returned response to the items of its endpoint's protocol.

Text that is framed as server-sent events never becomes the text of an answer: such a body is read event by event.
"""

from __future__ import annotations

import codecs
from collections.abc import AsyncIterator, Callable
from typing import Final

from ..decoding import read_json
from ..errors import InvalidPartError
from ..wire import EventParser, SseEvent
from ..wire.server_sent import event_block, is_event
from ..wire.sse import encode_text
from .returned import SSE, ReturnedStream

__all__ = ["items_of"]

_DONE: Final = "[DONE]"


def items_of(stream: ReturnedStream, protocol: str) -> AsyncIterator[object]:
    """What the stream is in `protocol`: for `opaque` its chunks, for the others the parts or the text of its events,
    and of a body that is none of events, its text.

    Raises:
        InvalidPartError: while iterating: the events are not of the protocol.
    """
    if protocol == "opaque":
        return stream.chunks
    if protocol == "ui-message" and (stream.is_ui_message or stream.media_type == SSE):
        return _events(stream, _part_of)
    if protocol == "plain" and stream.media_type == SSE:
        return _events(stream, _text_of)
    return _text(stream)


async def _text(stream: ReturnedStream) -> AsyncIterator[object]:
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    async for chunk in stream.chunks:
        yield decoder.decode(bytes(chunk)) if isinstance(chunk, (bytes, bytearray, memoryview)) else chunk


async def _events(stream: ReturnedStream, item_of: Callable[[SseEvent], object]) -> AsyncIterator[object]:
    """One item for each event, as clients see them. `[DONE]` and an unfinished event at the end say nothing."""
    parser = EventParser()
    async for chunk in stream.chunks:
        for event in parser.feed(_bytes_of(chunk, stream)):
            if event.data.strip() != _DONE:
                yield item_of(event)


def _bytes_of(chunk: object, stream: ReturnedStream) -> bytes:
    if isinstance(chunk, str):
        return encode_text(chunk)
    if isinstance(chunk, (bytes, bytearray, memoryview)):
        return bytes(chunk)
    if is_event(chunk):
        return event_block(chunk).data
    raise TypeError(f"{stream.type_name} has {type(chunk).__name__} in its body, which is neither bytes nor str")


def _part_of(event: SseEvent) -> object:
    try:
        part = read_json(event.data)
    except ValueError:
        part = None
    if not isinstance(part, dict) or not isinstance(part.get("type"), str):
        raise InvalidPartError(
            "the endpoint returned server-sent events that are no parts of AI SDK's UI message stream: leave out "
            "protocol='ui-message' in @guard.stream to pass them on as they are",
            protocol="ui-message",
        )
    return part


def _text_of(event: SseEvent) -> object:
    if event.event != "message":
        raise InvalidPartError(
            f"the endpoint returned server-sent events of which one has a name, {event.event[:40]!a}, and the text of "
            "a plain stream has none: leave out protocol='plain' in @guard.stream to pass them on as they are",
            protocol="plain",
        )
    return event.data
