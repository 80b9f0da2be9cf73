"""Turns the chunks of a returned response into items of its endpoint's protocol.

Text that is framed as server-sent events never becomes the text of an answer: such a body is read event by event.
"""

from __future__ import annotations

import codecs
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from typing import Final, TypeVar

from ...decoding import read_json
from ...errors import FaultError, InvalidPartError, ReportedFailureError
from ...faults import Fault, FaultCode
from ...wire import EventParser, SseEvent, WireProtocol
from ...wire.recognition import SSE
from ...wire.server_sent import event_block, is_event
from ...wire.sse import BOM, encode_text
from ...wire.ui_message.open_parts import UIOpenParts
from ...wire.upstream import UpstreamProtocol
from .returned_response import ReturnedStream

__all__ = ["bytes_of", "items_of", "ui_message_parts"]

T = TypeVar("T")

_DONE: Final = "[DONE]"
_ENDS: Final = frozenset({"finish", "abort", "error"})
_FIELDS: Final = (b"data:", b"event:", b"id:", b"retry:", b": ", b":\n", b":\r")


def items_of(stream: ReturnedStream, protocol: WireProtocol) -> AsyncIterator[object]:
    """The items of the stream in `protocol`: its chunks for one that passes an upstream's blocks on, and the parts or
    the text of its events for the others. For a body without events, also if its media type says otherwise, its text.

    Raises:
        InvalidPartError: while iterating: the events are not of the protocol.
    """
    if isinstance(protocol, UpstreamProtocol):
        return stream.chunks
    item_of = _part_of if protocol.name == "ui-message" else _text_of
    if protocol.name == "ui-message" and stream.is_ui_message:
        return ui_message_parts(stream)
    return _events_or_text(stream, item_of) if stream.media_type == SSE else _text(stream)


def ui_message_parts(stream: ReturnedStream) -> AsyncGenerator[dict[str, object], None]:
    """The parts of a UI message stream.

    Raises:
        InvalidPartError: while iterating: an event is no part.
        ReportedFailureError: while iterating: the stream reports that it failed. Its text is the provider's, and no
            client's to read.
        FaultError: `provider_aborted`, after the last part: the stream broke off, in the middle of a text, a call's
            input or an event. It may leave out `finish` and `[DONE]` otherwise.
    """
    return _parts(stream)


async def _parts(stream: ReturnedStream) -> AsyncGenerator[dict[str, object], None]:
    parser, open_parts, ended = EventParser(), UIOpenParts(), False
    async for chunk in stream.chunks:
        for event in parser.feed(bytes_of(chunk, stream.type_name)):
            if event.data.strip() == _DONE:
                ended = True
                continue
            part = _part_of(event)
            ended = ended or part["type"] in _ENDS
            if not ended:
                open_parts.add(event.data.encode())
            yield part
    rest = [event.data for event in parser.feed(b"\n\n")]
    ended = ended or any(_is_end(data) for data in rest)
    if not ended and (rest or open_parts.unfinished):
        raise FaultError(Fault.of(FaultCode.PROVIDER_ABORTED))


def _is_end(data: str) -> bool:
    try:
        part = read_json(data)
    except ValueError:
        return data.strip() == _DONE
    return isinstance(part, dict) and part.get("type") in _ENDS


async def _events_or_text(stream: ReturnedStream, item_of: Callable[[SseEvent], object]) -> AsyncIterator[object]:
    """A response of `text/event-stream` may still hold bare text, which its page reads as text: the beginning of the
    body decides."""
    held: list[object] = []
    beginning = b""
    framed: bool | None = None
    while framed is None and (chunk := await anext(stream.chunks, None)) is not None:
        held.append(chunk)
        beginning += bytes_of(chunk, stream.type_name)
        framed = is_event(chunk) or _begins_framed(beginning)
    whole = stream._replace(chunks=_with_rest(held, stream.chunks))
    parts_or_text = _parts(whole) if item_of is _part_of else _events(whole, item_of)
    async with aclosing(parts_or_text if framed else _text(whole)) as items:
        async for item in items:
            yield item


def _begins_framed(body: bytes) -> bool | None:
    """Whether a body begins with an event; None while that is undecided."""
    body = body.removeprefix(BOM).lstrip(b"\r\n")
    if body.startswith(_FIELDS):
        return True
    return None if any(name.startswith(body) for name in _FIELDS) or BOM.startswith(body) else False


async def _with_rest(held: Sequence[object], rest: AsyncIterator[object]) -> AsyncIterator[object]:
    for chunk in held:
        yield chunk
    async for chunk in rest:
        yield chunk


async def _text(stream: ReturnedStream) -> AsyncGenerator[object]:
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    async for chunk in stream.chunks:
        yield decoder.decode(bytes(chunk)) if isinstance(chunk, (bytes, bytearray, memoryview)) else chunk


async def _events(stream: ReturnedStream, item_of: Callable[[SseEvent], T]) -> AsyncGenerator[T, None]:
    """One item for each event, as clients see them. `[DONE]` and an unfinished event at the end give none."""
    parser = EventParser()
    async for chunk in stream.chunks:
        for event in parser.feed(bytes_of(chunk, stream.type_name)):
            if event.data.strip() != _DONE:
                yield item_of(event)


def bytes_of(chunk: object, type_name: str) -> bytes:
    """The bytes of a chunk of a response of that type.

    Raises:
        TypeError: it is none.
    """
    if isinstance(chunk, str):
        return encode_text(chunk)
    if isinstance(chunk, (bytes, bytearray, memoryview)):
        return bytes(chunk)
    if is_event(chunk):
        return event_block(chunk).data
    raise TypeError(f"{type_name} has {type(chunk).__name__} in its body, which is neither bytes nor str")


def _part_of(event: SseEvent) -> dict[str, object]:
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
    if part["type"] == "error":
        raise ReportedFailureError(str(part.get("errorText", "")))
    return part


def _text_of(event: SseEvent) -> object:
    if event.event != "message":
        raise InvalidPartError(
            "the endpoint returned server-sent events of which one has a name, and the text of a plain stream has "
            "none: leave out protocol='plain' in @guard.stream to pass them on as they are",
            protocol="plain",
        )
    return event.data
