"""Folding the tool calls of a message. See `folding` for the source and the departures."""

from __future__ import annotations

from typing import Final

from .closed_calls import is_closing
from .partial_json import Json, Part, given, joined, partial_json, text_of

__all__ = ["ENDED", "ToolFold"]

ENDED: Final = frozenset({"output-available", "output-error", "output-denied"})
"""The states of a tool call that has its result."""


class ToolFold:
    """Maintains the tool parts in a message's list of parts. It shares the list with its owner."""

    def __init__(self, parts: list[Part]) -> None:
        self._parts = parts
        # By call id: the call whose input is arriving, and the pieces of the input's text.
        self._inputs: dict[str, tuple[Part, list[str]]] = {}
        for part in parts:
            if _is_tool(part) and part.get("state") == "input-streaming":
                raw = text_of(part, "rawInput")
                self._inputs[text_of(part, "toolCallId")] = (part, [raw] if raw else [])

    def add(self, kind: str, chunk: Part) -> None:
        """Take in one `tool-…` part."""
        call_id = text_of(chunk, "toolCallId")
        if kind == "tool-input-start":
            self._update_one(call_id)
            self._inputs[call_id] = (self._begin(chunk, "input-streaming", given(chunk, "inputEncoding")), [])
        elif kind == "tool-input-delta":
            if call_id in self._inputs:
                self._inputs[call_id][1].append(text_of(chunk, "inputTextDelta"))
        elif kind == "tool-input-available":
            self._begin(chunk, "input-available", given(chunk, "input"))
        elif kind == "tool-input-error":
            begun = next((part for part in self._step() if _is_call(part, call_id)), None)
            dynamic = bool(chunk.get("dynamic")) if begun is None else begun["type"] == "dynamic-tool"
            # The client takes no new title from this part.
            untitled = {name: value for name, value in chunk.items() if name != "title"}
            self._begin({**untitled, "dynamic": dynamic}, "output-error", given(chunk, "input", "errorText"))
        elif kind == "tool-approval-response":
            self._approve(chunk)
        else:
            part = self._invocation(call_id)
            if part is not None and not (is_closing(kind, chunk) and part.get("state") in ENDED):
                self._update_one(call_id)
                _answer(kind, part, chunk)

    def reset_step(self) -> None:
        """Drop every part of the current step, not only tool parts. Calls of earlier steps do not change."""
        dropped = {id(part) for part in self._step()}
        del self._parts[len(self._parts) - len(dropped) :]
        for call_id in [name for name, (part, _) in self._inputs.items() if id(part) in dropped]:
            del self._inputs[call_id]

    def update(self) -> None:
        """Update incomplete inputs to what has arrived so far."""
        for call_id in self._inputs:
            self._update_one(call_id)

    def _update_one(self, call_id: str) -> None:
        part, pieces = self._inputs.get(call_id, ({}, []))
        if part.get("state") != "input-streaming" or not pieces:
            return
        raw = joined(pieces)
        part["rawInput"] = raw
        value = (raw,) if part.get("inputEncoding") == "text" else partial_json(raw)
        if value is None:
            part.pop("input", None)
        else:
            part["input"] = value[0]

    def _step(self) -> list[Part]:
        """The parts of the current step."""
        for index in range(len(self._parts) - 1, -1, -1):
            if self._parts[index].get("type") == "step-start":
                return self._parts[index + 1 :]
        return self._parts[:]

    def _begin(self, chunk: Part, state: str, values: Part) -> Part:
        """The part of the call that `chunk` names: the existing one of the current step, or a new one."""
        call_id, name = text_of(chunk, "toolCallId"), text_of(chunk, "toolName")
        dynamic = bool(chunk.get("dynamic"))
        new: Part = {"toolCallId": call_id}
        calls = (part for part in self._step() if _is_call(part, call_id))
        part = next((part for part in calls if (part["type"] == "dynamic-tool") is dynamic), new)
        if part is new:
            self._parts.append(new)
        part["type"] = "dynamic-tool" if dynamic else f"tool-{name}"
        if dynamic:
            part["toolName"] = name
        part.update(given(chunk, "title"))
        _update(part, state, chunk, values)
        return part

    def _invocation(self, call_id: str) -> Part | None:
        """The call in the current step, or else the last call with that id."""
        for part in (*self._step(), *reversed(self._parts)):
            if _is_call(part, call_id):
                return part
        return None

    def _approve(self, chunk: Part) -> None:
        for part in self._parts:
            approval = part.get("approval")
            if _is_tool(part) and isinstance(approval, dict) and approval.get("id") == chunk.get("approvalId"):
                part["approval"] = {**approval, **given(chunk, "approved", "reason")}
                part["state"] = "approval-responded"
                part.update(given(chunk, "providerExecuted"))
                if chunk.get("providerMetadata") is not None:
                    part["callProviderMetadata"] = chunk["providerMetadata"]
                return


def _answer(kind: str, part: Part, chunk: Part) -> None:
    if kind == "tool-output-available":
        _update(part, "output-available", chunk, given(part, "input") | given(chunk, "output", "preliminary"))
    elif kind == "tool-output-error":
        kept = ("input",) if part["type"] == "dynamic-tool" else ("input", "rawInput")
        _update(part, "output-error", chunk, given(part, *kept) | given(chunk, "errorText"))
    elif kind == "tool-output-denied":
        part["state"] = "output-denied"
    elif kind == "tool-approval-request":
        approval: dict[str, Json] = {"id": chunk.get("approvalId"), **given(chunk, "inputSchemaInput", "signature")}
        if chunk.get("approvalDescriptor") is not None:
            approval["descriptor"] = chunk["approvalDescriptor"]
        if chunk.get("reason") is not None:
            approval["requestReason"] = chunk["reason"]
        if chunk.get("isAutomatic") is True:
            approval["isAutomatic"] = True
        part.update({"state": "approval-requested", "approval": approval})


def _update(part: Part, state: str, chunk: Part, values: Part) -> None:
    """Enter `state`. Of the fields that depend on the state, keep exactly `values`."""
    for name in ("input", "output", "errorText", "rawInput", "inputEncoding", "preliminary"):
        part.pop(name, None)
    part.update(given(chunk, "toolMetadata", "providerExecuted"))
    if chunk.get("providerMetadata") is not None:
        which = "result" if state.startswith("output-") else "call"
        part[f"{which}ProviderMetadata"] = chunk["providerMetadata"]
    part.update(values)
    part["state"] = state


def _is_tool(part: Part) -> bool:
    kind = text_of(part, "type")
    return kind.startswith("tool-") or kind == "dynamic-tool"


def _is_call(part: Part, call_id: str) -> bool:
    return _is_tool(part) and part.get("toolCallId") == call_id
