"""One stream's parts as payloads, as its client's version takes them.

A part that the version does not take is withheld (see `withheld`), with one warning for each type; so is a field,
without one. `done`, which Python producers of this protocol end with, is nothing: our own `[DONE]` says that.

For version 5, what comes of a dynamic call says that it is one. For 5.0.0, a tool input that failed becomes a call that
failed.
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
"""Of so many types that its client does not take, one stream warns."""
_NAME_CHARACTERS: Final = 64


class PartEncoder:
    """Not thread-safe. Text that `str` items make is no part, and has its own way."""

    def __init__(self, client: ClientVersion, *, max_event_bytes: int, on_left_out: OnLeftOut) -> None:
        self._client = client
        self._max_bytes = max_event_bytes
        self._on_left_out = on_left_out
        self._warned: set[str] = set()
        """The types that the client does not take, of which it was told."""
        self._calls: dict[str, bool] | None = None if client.finds_calls else {}
        """For version 5: the calls that it knows, and whether they are dynamic."""

    def takes(self, kind: str) -> bool:
        """Whether the client takes parts of this type."""
        return self._client.takes(kind)

    def whole(self, part: CheckedPart) -> tuple[str, list[bytes]]:
        """A part that the client takes, and its type by now: one over the limit makes room for another."""
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
        """A part that carries the piece `text`, as one payload or several; none for no text."""
        id_name, name = DELTAS[part.kind]
        replaced = list(part.replaced)
        # Nothing of such a part is saved but its text: what the client does not take need not be withheld.
        refused = self._client.refused(part.kind, part.fields)
        fields = {name: value for name, value in part.fields.items() if name not in refused} if refused else part.fields

        def encode(piece: str) -> bytes:
            try:
                data, more = encode_json({**fields, name: piece}, max(self._max_bytes, 6 * len(piece)))
            except ValueTooLargeError:  # something else in it is: nothing that a text needs
                data, more = encode_json({"type": part.kind, id_name: str(fields[id_name]), name: piece})
                more = [Replaced(Reason.TOO_LARGE, part.kind)]
            replaced[len(part.replaced) :] = more
            return data

        payloads = fitting(text, encode, self._max_bytes) if text else []
        if replaced:
            self._on_left_out(LeftOut(part.kind, replaced))
        return payloads

    def withheld(self, part: CheckedPart) -> list[bytes]:
        """A part whose type the client does not take: what it gets in its place, and the part itself for the saved
        message. Nothing of a type that no version knows."""
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
        """Have a result say whether its call is a dynamic one."""
        kind, fields, _ = part
        if kind in ("tool-input-start", "tool-input-available"):
            calls[str(fields["toolCallId"])] = bool(fields.get("dynamic"))
        elif kind in ("tool-output-available", "tool-output-error") and calls.get(str(fields["toolCallId"])):
            fields["dynamic"] = True

    def _failed_call(self, part: CheckedPart, calls: dict[str, bool]) -> Sequence[bytes]:
        """Never through `tool-input-available`: the page would run the tool."""
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
