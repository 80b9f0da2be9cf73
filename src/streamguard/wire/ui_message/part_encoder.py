"""Encodes one stream's parts as payloads for its client's version.

A part that the version does not take is withheld (see `withheld`), with one warning for each type. A field that it
does not take is withheld without a warning. `done`, the last part of Python producers of this protocol, is dropped:
our own `[DONE]` has its meaning.

For version 5, results of a dynamic call get the field `dynamic`. For 5.0.0, a failed tool input becomes a failed call.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ..base import LeftOut, OnLeftOut
from ..text_pieces import fitting
from ..values import Reason, Replaced, ValueTooLargeError, encode_json
from .client_versions import ClientVersion
from .parts import DELTAS, KNOWN, CheckedPart, encode_checked, encode_shown
from .withheld import withheld

__all__ = ["PartEncoder"]

_DONE: Final = "done"
_UNKNOWN_TYPES: Final = 20
"""The most types for which one stream warns that its client does not take them."""
_NAME_CHARACTERS: Final = 64


class PartEncoder:
    """Encodes parts. `UIMessageEncoder` itself encodes the text of `str` items. Not thread-safe."""

    def __init__(self, client: ClientVersion, *, max_event_bytes: int, on_left_out: OnLeftOut) -> None:
        self._client = client
        self._max_bytes = max_event_bytes
        self._on_left_out = on_left_out
        self._warned: set[str] = set()
        """The types that the client does not take and has been warned of."""
        self._calls: dict[str, bool] | None = None if client.finds_calls else {}
        """For version 5: the calls that the client knows, and whether they are dynamic."""

    def takes(self, kind: str) -> bool:
        """Whether the client takes parts of this type."""
        return self._client.takes(kind)

    def whole(self, part: CheckedPart) -> tuple[str, list[bytes]]:
        """The type and the payloads of a part that the client takes. A part over the limit is replaced by a smaller
        one, perhaps of another type."""
        if part.kind == "finish" and part.fields.get("finishReason", "other") not in self._client.finish_reasons:
            part.fields["finishReason"] = "other"
        elif self._calls is not None:
            self._note_call(part, self._calls)
        refused = self._client.refused(part.kind, part.fields)
        encoded = encode_shown(part, refused, self._max_bytes) if refused else encode_checked(part, self._max_bytes)
        kind, (payload, replaced) = encoded
        if replaced:
            self._on_left_out(LeftOut(part.kind, replaced))
        return kind, [payload]

    def pieces(self, part: CheckedPart, text: str) -> list[bytes]:
        """A part that carries the piece `text`, as one payload or several; none for an empty text."""
        id_name, name = DELTAS[part.kind]
        replaced = list(part.replaced)
        # Only the text of such a part is saved, so fields that the client does not take need not be withheld.
        refused = self._client.refused(part.kind, part.fields)
        fields = {name: value for name, value in part.fields.items() if name not in refused} if refused else part.fields

        def encode(piece: str) -> bytes:
            try:
                data, more = encode_json({**fields, name: piece}, max(self._max_bytes, 6 * len(piece)))
            except ValueTooLargeError:  # another field is too large, and the text does not need it
                data, more = encode_json({"type": part.kind, id_name: str(fields[id_name]), name: piece})
                more = [Replaced(Reason.TOO_LARGE, part.kind)]
            replaced[len(part.replaced) :] = more
            return data

        payloads = fitting(text, encode, self._max_bytes) if text else []
        if replaced:
            self._on_left_out(LeftOut(part.kind, replaced))
        return payloads

    def withheld(self, part: CheckedPart) -> list[bytes]:
        """The payloads for a part whose type the client does not take: what the client gets in its place, and the part
        itself for the saved message. None for a type that no version knows."""
        kind = part.kind
        if kind == _DONE:
            return []
        payloads: Sequence[bytes] = ()
        if kind == "tool-input-error" and self._calls is not None:
            payloads = self._failed_call(part, self._calls)
        else:
            self._warn(kind)
        if kind not in KNOWN:
            return []
        _, (data, replaced) = encode_checked(part, self._max_bytes - 1)
        if replaced:
            self._on_left_out(LeftOut(kind, replaced))
        return [*payloads, withheld(data)]

    def _warn(self, kind: str) -> None:
        name = kind[:_NAME_CHARACTERS]
        if name not in self._warned and len(self._warned) < _UNKNOWN_TYPES:
            self._warned.add(name)
            self._on_left_out(LeftOut(name, [Replaced(Reason.UNKNOWN_PART, name)]))

    def _note_call(self, part: CheckedPart, calls: dict[str, bool]) -> None:
        """Remember whether a call is dynamic, and mark its results accordingly."""
        kind, fields, _ = part
        if kind in ("tool-input-start", "tool-input-available"):
            calls[str(fields["toolCallId"])] = bool(fields.get("dynamic"))
        elif kind in ("tool-output-available", "tool-output-error") and calls.get(str(fields["toolCallId"])):
            fields["dynamic"] = True

    def _failed_call(self, part: CheckedPart, calls: dict[str, bool]) -> Sequence[bytes]:
        """The parts of a call that failed. Never `tool-input-available`, because the page would run the tool."""
        call_id = str(part.fields["toolCallId"])
        known = calls.get(call_id)
        dynamic = bool(part.fields.get("dynamic")) if known is None else known
        shared: dict[str, object] = {"toolCallId": call_id, **({"dynamic": True} if dynamic else {})}
        parts: list[CheckedPart] = []
        if known is None:
            calls[call_id] = dynamic
            begin = {"type": "tool-input-start", **shared, "toolName": part.fields["toolName"]}
            parts.append(CheckedPart("tool-input-start", begin))
        end = {"type": "tool-output-error", **shared, "errorText": part.fields["errorText"]}
        parts.append(CheckedPart("tool-output-error", end))
        return [encode_checked(one, self._max_bytes)[1].data for one in parts]
