"""Turns the event objects and dicts of other libraries, when endpoints yield them, into blocks.

They are recognised by shape, not by import: the `ServerSentEvent` of FastAPI (0.135 on), sse-starlette, httpx-sse,
openai and anthropic, and the dicts that sse-starlette takes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from ..errors import InvalidPartError
from .sse import encode_block, encode_comment
from .values import Encoded, Replaced, encode_json

__all__ = ["event_block", "is_event", "is_event_class"]

_ATTRIBUTES: Final = ("data", "event", "id", "retry")
_KEYS: Final = frozenset({*_ATTRIBUTES, "comment"})


def is_event(item: object) -> bool:
    """Whether `item` is an event: an object with all four fields, or a dict with one of them or `comment`, and no keys
    of another kind. sse-starlette takes `{"comment": "ping"}` and `{"retry": 5000}` too."""
    if isinstance(item, Mapping):
        return bool(item) and _KEYS.issuperset(item)
    return not isinstance(item, type) and all(hasattr(item, name) for name in _ATTRIBUTES)


def is_event_class(annotation: object) -> bool:
    """Whether an annotation names a class of such objects."""
    return isinstance(annotation, type) and any(cls.__name__ == "ServerSentEvent" for cls in annotation.__mro__)


def event_block(item: object) -> Encoded:
    """The block of an event, with its blank line, and what was replaced in it.

    `data` that is not text becomes JSON. FastAPI's class turns text into JSON too, and has `raw_data` for text that
    must not change. sse-starlette's class encodes itself.

    Raises:
        InvalidPartError: the event's id or name holds a line end, or its `retry` is not a time.
    """
    encode = getattr(item, "encode", None)
    if callable(encode):
        return Encoded(bytes(encode()))
    fields = item if isinstance(item, Mapping) else {name: getattr(item, name, None) for name in _KEYS}
    data, replaced = _data_of(item, fields.get("data"))
    event, event_id, retry, comment = (fields.get(name) for name in ("event", "id", "retry", "comment"))
    if retry is not None and type(retry) is not int:
        raise InvalidPartError(f"retry is a time in milliseconds, not {type(retry).__name__}", protocol="sse")
    block = encode_block(
        data,
        event=str(event) if event else None,
        event_id=str(event_id) if event_id else None,  # httpx-sse has "" until the stream sets an id
        retry_ms=retry,
    )
    return Encoded(block if comment is None else encode_comment(str(comment)) + block, replaced)


def _data_of(item: object, data: object) -> tuple[str | bytes | None, Sequence[Replaced]]:
    raw = getattr(item, "raw_data", None)
    if isinstance(raw, str):
        return raw, ()
    if data is None or (isinstance(data, str) and not hasattr(item, "raw_data")):
        return data, ()
    return encode_json(data)
