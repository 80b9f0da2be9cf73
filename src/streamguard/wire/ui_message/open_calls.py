"""Open tool calls, and the parts that end them when their answer ends first.

A history with a call that has no result is refused: by `convertToModelMessages` of AI SDK 5 (if the call's input is
incomplete), and by every provider. `ai` 5.0.0, 6 and 7 read the ends that this module makes in the same way:

1. The end is `tool-output-error`, with `dynamic` for a dynamic call, because 5.0.0 finds a dynamic call only by that.
   `tool-input-error` is never used: 5.0.0 refuses it, 6.0.0 then keeps no `input`, and 7 makes a new call of a call
   from an earlier step.
2. A call must have an input, and Anthropic accepts only an object. An incomplete input counts as far as it goes,
   because a page may be showing it. If there is no input yet, or it is not an object, the call begins again with `{}`.
   `tool-input-available` is never used, because the page would run its own tool.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from ..closed_calls import CALL_CLOSED
from .parts import encode_part

__all__ = ["OpenCalls"]

_ENDS: Final = frozenset({"tool-input-error", "tool-output-available", "tool-output-error", "tool-output-denied"})
"""Parts that give a call a result. A `preliminary` result counts too: it stays if no other follows."""


@dataclass(slots=True)
class _Call:
    name: str
    dynamic: bool
    whole: bool
    """Whether the input is complete."""
    step: int
    """The step in which the call began. Clients take a piece of an input only in that step."""
    text_input: bool = False
    """Whether the input is a text, not JSON."""
    begins_with: str = ""
    """The first character of the input that is not a space; empty before there is one."""


class OpenCalls:
    """Finds the open calls of one stream from its parts in order. It takes a few hundred bytes per open call."""

    def __init__(self) -> None:
        self._calls: dict[str, _Call] = {}
        self._step = 0

    @property
    def unfinished(self) -> bool:
        """Whether the input of a call has no end."""
        return any(not call.whole for call in self._calls.values())

    def name_of(self, call_id: str) -> str:
        """The tool of an open call; empty where that is not known."""
        call = self._calls.get(call_id)
        return "" if call is None else call.name

    def note(self, kind: str, fields: Mapping[str, object]) -> None:
        """Take in a part of type `kind` that was sent. A part that concerns no call changes nothing."""
        if kind == "start-step":
            self._step += 1
        elif kind == "reset-step":
            self._calls = {name: call for name, call in self._calls.items() if call.step != self._step}
        elif kind.startswith("tool-"):
            self._note(kind, str(fields.get("toolCallId")), fields)

    def answered(self, parts: Iterable[Mapping[str, object]]) -> None:
        """Continue a message that has these parts, as its client sent it back. This stream must act on the approvals
        that the client answered. Calls that still wait for the client go on waiting."""
        for part in parts:
            if part.get("state") == "approval-responded":
                dynamic = part.get("type") == "dynamic-tool"
                self._calls[str(part.get("toolCallId"))] = _Call("", dynamic, whole=True, step=-1)

    def ends(self) -> list[bytes]:
        """The parts that end every open call. Afterwards no call is open."""
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
        elif kind == "tool-approval-request":  # the call may come from an earlier stream of the message
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
