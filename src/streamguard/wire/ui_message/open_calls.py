"""Tool calls that have no end yet, and the parts that give them one when the answer ends before they do.

A history with a call that has no result is refused: by `convertToModelMessages` of AI SDK 5 (a call whose input is not
whole), and by every provider. What ends a call here is read alike by `ai` 5.0.0, 6 and 7:

1. `tool-output-error`, with `dynamic` where the call is: 5.0.0 finds a dynamic call by that alone. `tool-input-error`
   is never used: 5.0.0 refuses it, 6.0.0 keeps no `input` then, and 7 makes a new call of one from an earlier step.
2. A call must have an input, and Anthropic takes only an object. What came of an input that is not whole counts, as far
   as it goes: a page may be showing it. Where there is nothing yet, or no object, the call begins again with `{}`.
   `tool-input-available` would have the page run a tool of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from ..closed_calls import CALL_CLOSED
from .parts import encode_part

__all__ = ["OpenCalls"]

_ENDS: Final = frozenset({"tool-input-error", "tool-output-available", "tool-output-error", "tool-output-denied"})
"""Parts after which a call has a result: also one that is `preliminary`, which stays what there is of it."""


@dataclass(slots=True)
class _Call:
    name: str
    dynamic: bool
    whole: bool
    """Its input is complete."""
    step: int
    """Clients take a piece of an input only in the call's own step."""
    text_input: bool = False
    """Its input is a text, not JSON."""
    begins_with: str = ""
    """The first character of its input, spaces aside; empty before there is one."""


class OpenCalls:
    """The open calls of one stream, by their ids, from its parts in order. A few hundred bytes for each."""

    def __init__(self) -> None:
        self._calls: dict[str, _Call] = {}
        self._step = 0

    def note(self, kind: str, fields: Mapping[str, object]) -> None:
        """Take in a part of type `kind` that was said. One that concerns no call changes nothing."""
        if kind == "start-step":
            self._step += 1
        elif kind == "reset-step":
            self._calls = {name: call for name, call in self._calls.items() if call.step != self._step}
        elif kind.startswith("tool-"):
            self._note(kind, str(fields.get("toolCallId")), fields)

    def answered(self, parts: Iterable[Mapping[str, object]]) -> None:
        """The stream goes on with a message that has these parts, as its client sent it back: approvals that the client
        answered are this stream's to act on. What still waits for the client goes on waiting."""
        for part in parts:
            if part.get("state") == "approval-responded":
                dynamic = part.get("type") == "dynamic-tool"
                self._calls[str(part.get("toolCallId"))] = _Call("", dynamic, whole=True, step=-1)

    def ends(self) -> list[bytes]:
        """The parts that end every open call; none is open after that."""
        out: list[bytes] = []
        for call_id, call in self._calls.items():
            out += _end_of(call_id, call, in_step=call.step == self._step)
        self._calls.clear()
        return out

    def _note(self, kind: str, call_id: str, fields: Mapping[str, object]) -> None:
        calls = self._calls
        if kind == "tool-input-delta":
            call = calls.get(call_id)
            if call is not None and not call.begins_with:
                call.begins_with = str(fields.get("inputTextDelta", "")).lstrip()[:1]
        elif kind in ("tool-input-start", "tool-input-available"):
            calls[call_id] = _Call(
                str(fields.get("toolName")),
                dynamic=fields.get("dynamic") is True,
                whole=kind == "tool-input-available",
                step=self._step,
                text_input=fields.get("inputEncoding") == "text",
            )
        elif kind in _ENDS:
            calls.pop(call_id, None)
        elif kind == "tool-approval-request":  # perhaps of a call that an earlier stream of the message began
            calls.setdefault(call_id, _Call("", dynamic=False, whole=True, step=-1))


def _end_of(call_id: str, call: _Call, *, in_step: bool) -> list[bytes]:
    dynamic = {"dynamic": True} if call.dynamic else {}
    out = [{"type": "tool-output-error", "toolCallId": call_id, "errorText": CALL_CLOSED, **dynamic}]
    if in_step and not call.whole and (not call.begins_with if call.text_input else call.begins_with != "{"):
        empty = "" if call.text_input else "{}"
        out.insert(0, {"type": "tool-input-delta", "toolCallId": call_id, "inputTextDelta": empty})
        if call.begins_with:
            out.insert(0, {"type": "tool-input-start", "toolCallId": call_id, "toolName": call.name, **dynamic})
    return [encode_part(part) for part in out]
