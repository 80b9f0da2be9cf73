"""The items of what an endpoint returned without naming a protocol: they decide what their stream speaks.

| returned | protocol |
|---|---|
| a response with AI SDK's header `x-vercel-ai-ui-message-stream` | `ui-message`: its parts are read one by one |
| lines of JSON, by their media type | `ndjson`, unchanged |
| any other response of server-sent events | what `recognise` finds in its first block, unchanged |
| an iterator whose first item is an event, or bytes | likewise |
| any other iterator | `ui-message` |
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from typing import Final

from ...errors import ConfigurationError
from ...runtime import LiveStream
from ...runtime.producing.item_source import ItemSource
from ...values import Usage, is_id
from ...wire import protocol_named, recognise
from ...wire.recognition import LINES, MOST_BYTES, SSE
from ...wire.server_sent import is_event
from ...wire.sse import BOM
from .response_items import bytes_of, ui_message_parts
from .returned_response import ReturnedStream

__all__ = ["FirstItems", "items_of_iterator", "items_of_response"]

_LINE_END: Final = re.compile(rb"[\r\n]")
"""No block ends without one."""
_FIELDS: Final = (b"data", b"event", b"id", b"retry", b":")
"""What a line of an event stream begins with."""


def items_of_response(
    body: ReturnedStream, stream: LiveStream, source: ItemSource, *, message_id_chosen: bool
) -> AsyncIterator[object]:
    """All items of a response that says by its headers what it is; else the first, and `source` is handed the others.
    `message_id_chosen`: the endpoint names its message's id, so the response's own does not count."""
    if body.is_ui_message:
        return _parts(body, stream, message_id_chosen=message_id_chosen)
    if body.media_type in LINES:
        stream.speak(protocol_named("ndjson"))  # also before its first line, since nothing of SSE may get into it
        return aiter(body.chunks)
    return FirstItems(body.chunks, body.media_type or SSE, body.type_name, stream, source)


def items_of_iterator(items: AsyncIterator[object], name: str, stream: LiveStream) -> ItemSource:
    """The items of an iterator, which the endpoint `name` gave."""

    def first(source: ItemSource) -> AsyncIterator[object]:
        source.close_later(items)
        return FirstItems(items, "", name, stream, source)

    return ItemSource(first)


async def _parts(body: ReturnedStream, stream: LiveStream, *, message_id_chosen: bool) -> AsyncGenerator[object, None]:
    async with aclosing(ui_message_parts(body)) as parts:
        async for part in parts:
            if stream.speaking.undecided:
                named = part.get("messageId") if part["type"] == "start" and not message_id_chosen else None
                usable = isinstance(named, str) and is_id(named)
                stream.speak(protocol_named("ui-message"), str(named) if usable else None)
            yield part
    if stream.speaking.undecided:
        stream.speak(protocol_named("ui-message"))


class FirstItems(AsyncIterator[object]):
    """The items up to the one that decides what the stream speaks; `source` is handed the others.

    Hot path: no async generator, since the event loop has to register one, and its owner to close it.

    Args:
        items: all of them. Who makes this closes them.
        media_type: that of a response; empty for an iterator, which may also yield what `ui-message` takes.
        name: what gave the items, for messages.
    """

    __slots__ = ("_beginning", "_held", "_iterator", "_media_type", "_name", "_source", "_stream")

    def __init__(
        self, items: AsyncIterator[object], media_type: str, name: str, stream: LiveStream, source: ItemSource
    ) -> None:
        self._iterator: AsyncIterator[object] | None = aiter(items)
        """None once it is decided: what is held is all that is left."""
        if self._iterator is not items:
            source.close_later(self._iterator)
        self._media_type = media_type
        self._name = name
        self._stream = stream
        self._source = source
        self._held: list[object] = []
        self._beginning = b""

    async def __anext__(self) -> object:
        held, stream = self._held, self._stream
        while (iterator := self._iterator) is not None:
            try:
                item = await iterator.__anext__()
            except StopAsyncIteration:
                self._iterator = None
                if held:  # no event, or half a block
                    stream.speak(protocol_named("opaque"))
                break
            if isinstance(item, Usage):
                return item
            if not self._media_type and not held and not _is_framed(item):
                stream.speak(protocol_named("ui-message"))
                self._decided(iterator)
                return item
            held.append(item)
            piece = bytes_of(item, self._name)
            self._beginning += piece
            _check_framed(self._beginning, self._name)
            if _decides(stream, piece, self._beginning):
                self._decided(iterator)
        if not held:
            raise StopAsyncIteration
        return held.pop(0)

    def _decided(self, iterator: AsyncIterator[object]) -> None:
        self._iterator = None
        self._source.hand_over(iterator)


def _is_framed(item: object) -> bool:
    """Whether an item of an iterator is an event, or a piece of an event stream."""
    if isinstance(item, Mapping) and "type" in item:
        return False
    return is_event(item) or isinstance(item, (bytes, bytearray, memoryview))


def _check_framed(beginning: bytes, name: str) -> None:
    """Raises `ConfigurationError` for a body that cannot begin with a line of an event stream: no block would ever end
    in it, and its client would get nothing before all of it."""
    body = beginning.removeprefix(BOM).lstrip(b"\r\n")
    if BOM.startswith(body):  # nothing yet, or the first bytes of it
        return
    if not body.startswith(_FIELDS) and not any(field.startswith(body[: len(field)]) for field in _FIELDS):
        raise ConfigurationError(
            f"{name} has text in its body that is no server-sent events: name protocol='ui-message' or "
            "protocol='plain' in @guard.stream, which send text as events"
        )


def _decides(stream: LiveStream, piece: bytes, beginning: bytes) -> bool:
    """Whether the beginning of a body, of which `piece` is new, decides what its stream speaks."""
    if len(beginning) < MOST_BYTES:
        protocol = recognise(SSE, False, beginning) if _LINE_END.search(piece) else None
    else:
        protocol = protocol_named("opaque")
    if protocol is not None:
        stream.speak(protocol, protocol.message_id_in(beginning))
    return protocol is not None
