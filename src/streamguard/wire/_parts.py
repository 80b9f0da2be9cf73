"""The parts of AI SDK's UI message stream, and turning what an endpoint yields into one of them.

Source: `uiMessageChunkSchema` of the npm package `ai`, versions 5.0.0, 6.0.0 and 7.0.173. An unknown `type`, a
missing or mistyped field and a `null` where a field is optional each end the stream in the client, so they are
refused or put right here. Unknown *fields* pass: late versions ignore them, and newer ones may know them.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Final

from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from ..errors import InvalidPartError

__all__ = ["encode_part", "part_of"]

PROTOCOL: Final = "ui-message"

_REQUIRED: Final[Mapping[str, tuple[str, ...]]] = {
    "start": (),
    "text-start": ("id",),
    "text-delta": ("id", "delta"),
    "text-end": ("id",),
    "reasoning-start": ("id",),
    "reasoning-delta": ("id", "delta"),
    "reasoning-end": ("id",),
    "tool-input-start": ("toolCallId", "toolName"),
    "tool-input-delta": ("toolCallId", "inputTextDelta"),
    "tool-input-available": ("toolCallId", "toolName", "input"),
    "tool-input-error": ("toolCallId", "toolName", "input", "errorText"),
    "tool-output-available": ("toolCallId", "output"),
    "tool-output-error": ("toolCallId", "errorText"),
    "tool-output-denied": ("toolCallId",),
    "tool-approval-request": ("approvalId", "toolCallId"),
    "tool-approval-response": ("approvalId", "approved"),
    "source-url": ("sourceId", "url"),
    "source-document": ("sourceId", "mediaType", "title"),
    "file": ("url", "mediaType"),
    "reasoning-file": ("url", "mediaType"),
    "custom": ("kind",),
    "steering-message": ("id", "parts"),
    "start-step": (),
    "finish-step": (),
    "reset-step": (),
    "finish": (),
    "abort": (),
    "message-metadata": ("messageMetadata",),
    "error": ("errorText",),
}

# Fields not listed here hold any JSON: input, output, data, messageMetadata, and what later versions added.
_TYPES: Final[Mapping[str, type]] = {
    **dict.fromkeys(
        ("id", "delta", "toolCallId", "toolName", "inputTextDelta", "inputEncoding", "errorText", "approvalId", "kind"),
        str,
    ),
    **dict.fromkeys(("sourceId", "url", "mediaType", "title", "filename", "messageId", "reason", "finishReason"), str),
    **dict.fromkeys(("approved", "dynamic", "providerExecuted", "preliminary", "transient", "isAutomatic"), bool),
    **dict.fromkeys(("providerMetadata", "toolMetadata"), dict),
    **dict.fromkeys(("parts", "citations"), list),
}
_JSON_NAMES: Final[Mapping[type, str]] = {str: "a string", bool: "true or false", dict: "an object", list: "an array"}

_FINISH_REASONS: Final = frozenset({"stop", "length", "content-filter", "tool-calls", "error", "other"})

_ENCODER: Final = json.JSONEncoder(
    ensure_ascii=False, separators=(",", ":"), allow_nan=False, default=to_jsonable_python
)
_ASCII_ENCODER: Final = json.JSONEncoder(separators=(",", ":"), allow_nan=False, default=to_jsonable_python)


def part_of(item: object) -> dict[str, object]:
    """The part an endpoint's item stands for: a mapping, a pydantic model (its aliases), a dataclass.

    Raises:
        InvalidPartError: it is something else, or no part a client would accept.
    """
    if isinstance(item, Mapping):
        raw: dict[str, object] = dict(item)
    elif isinstance(item, BaseModel):
        # Not mode="json": values nested in it may be the host's own, and the JSON encoder below knows them too.
        try:
            raw = item.model_dump(by_alias=True)
        except ValueError as exc:
            raise InvalidPartError(f"this {type(item).__name__} cannot be dumped", protocol=PROTOCOL) from exc
    elif dataclasses.is_dataclass(item) and not isinstance(item, type):
        raw = {field.name: getattr(item, field.name) for field in dataclasses.fields(item)}
    else:
        raise InvalidPartError(
            f"a ui-message endpoint yields str, a dict, a pydantic model or a dataclass, not {type(item).__name__}",
            protocol=PROTOCOL,
        )
    return _checked(raw)


def encode_part(part: Mapping[str, object]) -> bytes:
    """A part as compact JSON on one line.

    Raises:
        InvalidPartError: it holds what JSON cannot (NaN, a cycle, an object of no known kind).
    """
    try:
        text = _ENCODER.encode(part)
    except (TypeError, ValueError, RecursionError) as exc:
        raise InvalidPartError(f"this {part['type']} part cannot be written as JSON", protocol=PROTOCOL) from exc
    try:
        return text.encode()
    except UnicodeEncodeError:
        # Lone surrogates stay escaped: a JavaScript client that joins deltas gets the whole character back.
        return _ASCII_ENCODER.encode(part).encode()


def _checked(raw: dict[str, object]) -> dict[str, object]:
    kind = raw.get("type")
    if not isinstance(kind, str):
        raise InvalidPartError("a part needs a type, which is a string", protocol=PROTOCOL)
    kind = str.__str__(kind)  # the value of a string enum, not its name
    required = ("data",) if kind.startswith("data-") else _REQUIRED.get(kind)
    if required is None:
        raise InvalidPartError(f"AI SDK knows no part of type {_shown(kind)}", protocol=PROTOCOL)
    part: dict[str, object] = {"type": kind}
    for name, value in raw.items():
        if name == "type":
            continue
        if value is None and not (name in required and name not in _TYPES):
            continue
        expected = _TYPES.get(name)
        if expected is not None and not isinstance(value, expected):
            raise InvalidPartError(
                f"{_shown(name)} of a {_shown(kind)} part must be {_JSON_NAMES[expected]}", protocol=PROTOCOL
            )
        part[name] = str.__str__(value) if isinstance(value, str) else value
    for name in required:
        if name not in part:
            raise InvalidPartError(f"a {_shown(kind)} part needs {name}", protocol=PROTOCOL)
    if kind == "error":
        return {"type": kind, "errorText": part["errorText"]}
    if kind == "finish" and part.get("finishReason", "other") not in _FINISH_REASONS:
        part["finishReason"] = "other"
    return part


def _shown(text: str) -> str:
    """A name from the host, short and printable enough for an error's text."""
    return ascii(text if len(text) <= 40 else text[:40] + "…")
