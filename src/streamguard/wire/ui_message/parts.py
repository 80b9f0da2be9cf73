"""The parts of AI SDK's UI message stream, and how an endpoint's items become parts.

Source: `uiMessageChunkSchema` of the npm package `ai`, versions 5.0.0 to 7.0.173. A missing field, a mistyped field, or
`null` in an optional field ends the stream in the client. So a missing field is refused, a mistyped one is corrected
or replaced, and a part that is too large is replaced by a smaller one. `client_versions` lists the types and fields
that only some versions take.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, cast

from pydantic import BaseModel

from ...errors import InvalidPartError
from ..adapters import ADAPTERS, adapter_for, refusal
from ..values import Encoded, Reason, Replaced, ValueTooLargeError, dumped, encode_json, normal, placeholder, valid_text
from .withheld import with_withheld

__all__ = [
    "DELTAS",
    "KNOWN",
    "PROTOCOL",
    "CheckedPart",
    "encode_checked",
    "encode_part",
    "encode_shown",
    "part_of",
    "stand_in",
]

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

KNOWN: Final = frozenset(_REQUIRED)
"""Types of parts that some version of AI SDK has, except data parts."""

# Fields not listed here hold any JSON: input, output, data, messageMetadata, and fields of later versions.
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

DELTAS: Final[Mapping[str, tuple[str, str]]] = {
    "text-delta": ("id", "delta"),
    "reasoning-delta": ("id", "delta"),
    "tool-input-delta": ("toolCallId", "inputTextDelta"),
}
"""Parts that carry a piece of a text: the field that names the text, and the field with the piece."""

_IDS: Final = frozenset({"id", "toolCallId", "approvalId"})
"""Fields that connect parts. An invalid value cannot be replaced by another one."""
_EMPTIED: Final = frozenset({"approved", "parts"})
"""Required fields that may be replaced by an empty value."""
_LEFT_OUT_WHOLE: Final = frozenset(
    {"file", "reasoning-file", "source-url", "source-document", "custom", "steering-message", "message-metadata"}
)
"""Parts that are useless without the field that makes them large."""

_KEPT_CHARACTERS: Final = 1_024
"""The longest text that stays in a part that is too large, in characters: an id, a tool's name."""


class CheckedPart(NamedTuple):
    """A part that clients accept, and what was replaced in it. Its values are still the host's own objects. A part
    whose type is not `KNOWN` has no fields here."""

    kind: str
    fields: dict[str, object]
    replaced: Sequence[Replaced] = ()


def part_of(item: object) -> CheckedPart:
    """The part for an endpoint's item: a mapping, a pydantic model (by its aliases), or a dataclass.

    Raises:
        InvalidPartError: the item is something else, or no client would accept it as a part.
    """
    if isinstance(item, Mapping):
        return _checked(dict(item))
    if adapter_for(item) not in (None, ADAPTERS["pydantic_ai.ui"]):  # whose chunks are parts
        raise _refused(item)
    if isinstance(item, BaseModel):
        try:
            fields = dumped(item)
        except Exception:  # noqa: BLE001 -- the item's own serializers may raise anything
            lost = Replaced(Reason.UNENCODABLE, type(item).__qualname__)
            return CheckedPart(*stand_in(str(getattr(item, "type", "")), lost.reason), [lost])
        return _checked(dict(fields) if isinstance(fields, Mapping) else {})
    if dataclasses.is_dataclass(item) and not isinstance(item, type):
        return _checked({field.name: getattr(item, field.name) for field in dataclasses.fields(item)})
    raise _refused(item)


def encode_part(fields: Mapping[str, object]) -> bytes:
    """One of our own parts as compact JSON on one line."""
    return encode_json(fields).data


def encode_checked(part: CheckedPart, limit_bytes: int) -> tuple[str, Encoded]:
    """The type of a part and the part as compact JSON on one line. A part over the limit is replaced by a smaller one.

    A part of a tool call stays one, so that no client waits for the call's end. So does a part that closes a stream
    or a text.
    """
    kind, fields, replaced = part
    try:
        data, more = encode_json(fields, limit_bytes)
    except ValueTooLargeError:
        replaced = [*replaced, Replaced(Reason.TOO_LARGE, kind)]
    else:
        return kind, Encoded(data, [*replaced, *more])
    try:
        data, more = encode_json(_smaller(kind, fields), limit_bytes)
    except ValueTooLargeError:
        kind, fields = stand_in(kind, Reason.TOO_LARGE)
        data, more = encode_json(fields)
    return kind, Encoded(data, replaced)


def encode_shown(part: CheckedPart, refused: Sequence[str], limit_bytes: int) -> tuple[str, Encoded]:
    """`encode_checked` for a client that must not get the fields `refused`: they are withheld. If they make the part
    too large, they are left out."""
    shown = {name: value for name, value in part.fields.items() if name not in refused}
    kind, (data, replaced) = encode_checked(part._replace(fields=shown), limit_bytes)
    if kind != part.kind:
        return kind, Encoded(data, replaced)
    try:
        more, also = encode_json({name: part.fields[name] for name in refused}, limit_bytes - len(data))
    except ValueTooLargeError:
        return kind, Encoded(data, [*replaced, Replaced(Reason.TOO_LARGE, kind)])
    return kind, Encoded(with_withheld(data, more), [*replaced, *also])


def stand_in(kind: str, reason: Reason) -> tuple[str, dict[str, object]]:
    """Type and fields of the part that reports a left-out part. A client keeps it in its message."""
    replaced = "data-streamguard-replaced"
    return replaced, {"type": replaced, "data": {"type": valid_text(kind[:64]), "reason": reason}}


def _smaller(kind: str, fields: Mapping[str, object]) -> dict[str, object]:
    """The part without the fields that make it large.

    Raises:
        ValueTooLargeError: without them it would no longer be a valid part.
    """
    if kind not in _REQUIRED or kind in _LEFT_OUT_WHOLE:
        raise ValueTooLargeError
    out: dict[str, object] = {}
    for name, value in fields.items():
        if isinstance(value, bool) or (isinstance(value, str) and len(value) <= _KEPT_CHARACTERS):
            out[name] = value
        elif name in ("input", "output", "errorText"):
            out[name] = placeholder(Reason.TOO_LARGE)
        elif name in _REQUIRED[kind]:
            raise ValueTooLargeError
    return out


def _checked(raw: dict[object, object]) -> CheckedPart:
    kind = raw.get("type")
    if not isinstance(kind, str):
        if adapter_for(raw) is not None:
            raise _refused(raw)
        raise InvalidPartError(
            "a part of AI SDK needs a type, which is a string; server-sent events of your own need protocol='opaque' "
            "in @guard.stream",
            protocol=PROTOCOL,
        )
    kind = str.__str__(kind)  # the value of a string enum, not its name
    required = ("data",) if kind.startswith("data-") else _REQUIRED.get(kind)
    if required is None:
        if adapter_for(raw) is not None:
            raise _refused(raw)
        return CheckedPart(valid_text(kind), {})
    part: dict[str, object] = {"type": valid_text(kind)}
    replaced: list[Replaced] = []
    piece = DELTAS.get(kind, ("", ""))[1]
    for key, value in raw.items():
        (name,) = (key,) if type(key) is str and key.isascii() else cast("dict[str, object]", normal({key: None}).value)
        if name == "type":
            continue
        if value is None and (name not in required or name in _IDS):
            continue
        expected = _TYPES.get(name)
        if expected is str and isinstance(value, str):
            # A piece of text may end in half a surrogate pair whose other half is in the next piece.
            value = str.__str__(value) if name == piece else valid_text(value)
            if name in _IDS and len(value) > _KEPT_CHARACTERS:  # every connected part repeats it
                value = value[:64] + hashlib.sha256(value.encode()).hexdigest()
        elif expected is not None and not isinstance(value, expected):
            value = _of_type(expected, name, value, replaced)
            if value is None:
                continue
        part[name] = value
    for name in required:
        if name not in part:
            raise InvalidPartError(f"a {_shown(kind)} part needs {name}", protocol=PROTOCOL)
    if kind == "error":
        part = {"type": kind, "errorText": part["errorText"]}
    return CheckedPart(kind, part, replaced)


def _refused(item: object) -> InvalidPartError:
    """The error for an item that is no part."""
    return refusal(
        item,
        PROTOCOL,
        "a ui-message endpoint yields str, a dict, a pydantic model or a dataclass",
        "; server-sent events of your own need protocol='opaque' in @guard.stream",
    )


def _of_type(expected: type, name: str, value: object, replaced: list[Replaced]) -> object:
    """The replacement for a value of the wrong type: the value converted to the right type, or else a default for the
    field; None leaves the field out."""
    found, more = normal(value)
    replaced += more
    if isinstance(found, expected):
        return found
    if expected is str and isinstance(found, (bool, int, float)):
        return encode_json(found).data.decode()
    if expected is bool and found in (0, 1):
        return bool(found)
    if name in _IDS:
        return None
    replaced.append(Replaced(Reason.UNENCODABLE, type(value).__qualname__))
    if expected is str:
        return placeholder(Reason.UNENCODABLE)
    # The default is the careful one: nothing counts as approved, provided or final unless the host said so.
    return {bool: False, list: [], dict: {}}[expected] if name in _EMPTIED else None


def _shown(text: str) -> str:
    """A name from the host, shortened and made printable for an error's text."""
    return ascii(text if len(text) <= 40 else text[:40] + "…")
