"""The parts of AI SDK's UI message stream, and turning what an endpoint yields into one of them.

Source: `uiMessageChunkSchema` of the npm package `ai`, versions 5.0.0 to 7.0.173. A missing or mistyped field and a
`null` where a field is optional each end the stream in the client. So a missing field is refused, a mistyped one is put
right or replaced, and a part that is too large makes room for a smaller one. What only some versions take, `type`s and
fields, is for `client_versions` to say.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, cast

from pydantic import BaseModel

from ...errors import InvalidPartError
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
"""Types of parts that some version of AI SDK has, data parts aside."""

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

DELTAS: Final[Mapping[str, tuple[str, str]]] = {
    "text-delta": ("id", "delta"),
    "reasoning-delta": ("id", "delta"),
    "tool-input-delta": ("toolCallId", "inputTextDelta"),
}
"""Parts that carry a piece of a text: the field that says of which, and the field with the piece."""

_IDS: Final = frozenset({"id", "toolCallId", "approvalId"})
"""Fields that tie parts together: nothing else can stand for what is none."""
_EMPTIED: Final = frozenset({"approved", "parts"})
"""Fields that a part needs and that have an empty value."""
_LEFT_OUT_WHOLE: Final = frozenset(
    {"file", "reasoning-file", "source-url", "source-document", "custom", "steering-message", "message-metadata"}
)
"""Parts of which nothing is left without what makes them large."""

_KEPT_CHARACTERS: Final = 1_024
"""What a text of a part that is too large may have to stay in it: an id, a tool's name."""


class CheckedPart(NamedTuple):
    """A part that clients accept, its values still the host's own, and what was replaced in it; without fields where
    its type is not `KNOWN`."""

    kind: str
    fields: dict[str, object]
    replaced: Sequence[Replaced] = ()


def part_of(item: object) -> CheckedPart:
    """The part an endpoint's item stands for: a mapping, a pydantic model (its aliases), a dataclass.

    Raises:
        InvalidPartError: it is something else, or no part a client would accept.
    """
    if isinstance(item, Mapping):
        return _checked(dict(item))
    if isinstance(item, BaseModel):
        try:
            fields = dumped(item)
        except Exception:  # noqa: BLE001 -- its own serializers may raise what they like
            lost = Replaced(Reason.UNENCODABLE, type(item).__qualname__)
            return CheckedPart(*stand_in(str(getattr(item, "type", "")), lost.reason), [lost])
        return _checked(dict(fields) if isinstance(fields, Mapping) else {})
    if dataclasses.is_dataclass(item) and not isinstance(item, type):
        return _checked({field.name: getattr(item, field.name) for field in dataclasses.fields(item)})
    raise InvalidPartError(
        f"a ui-message endpoint yields str, a dict, a pydantic model or a dataclass, not {type(item).__name__}; "
        "server-sent events of your own need protocol='opaque' in @guard.stream",
        protocol=PROTOCOL,
    )


def encode_part(fields: Mapping[str, object]) -> bytes:
    """A part of our own as compact JSON on one line."""
    return encode_json(fields).data


def encode_checked(part: CheckedPart, limit_bytes: int) -> tuple[str, Encoded]:
    """A part as compact JSON on one line, and its type; where that is over the limit, of a smaller part in its place.

    A tool's call stays one, so that no client waits for its end; what closes a stream or a text does too.
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
    """`encode_checked` of a part whose client may not be sent the fields `refused`: they are withheld. Where they make
    the part too large, they are left out."""
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
    """Type and fields of the part that says which one was left out. A client keeps it in its message."""
    replaced = "data-streamguard-replaced"
    return replaced, {"type": replaced, "data": {"type": valid_text(kind[:64]), "reason": reason}}


def _smaller(kind: str, fields: Mapping[str, object]) -> dict[str, object]:
    """The part without what makes it large.

    Raises:
        ValueTooLargeError: without that it would be none.
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
        raise InvalidPartError(
            "a part of AI SDK needs a type, which is a string; server-sent events of your own need protocol='opaque' "
            "in @guard.stream",
            protocol=PROTOCOL,
        )
    kind = str.__str__(kind)  # the value of a string enum, not its name
    required = ("data",) if kind.startswith("data-") else _REQUIRED.get(kind)
    if required is None:
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
            # Of a piece of text, half a surrogate pair at its end may have its other half in the next piece.
            value = str.__str__(value) if name == piece else valid_text(value)
            if name in _IDS and len(value) > _KEPT_CHARACTERS:  # it comes with every part that it ties together
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


def _of_type(expected: type, name: str, value: object, replaced: list[Replaced]) -> object:
    """What stands for a value of the wrong type: the same in the right one, else its like in the field; None leaves the
    field out."""
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
    # The careful answer: nothing is approved, provided, or shown as final that was not said to be.
    return {bool: False, list: [], dict: {}}[expected] if name in _EMPTIED else None


def _shown(text: str) -> str:
    """A name from the host, short and printable enough for an error's text."""
    return ascii(text if len(text) <= 40 else text[:40] + "…")
