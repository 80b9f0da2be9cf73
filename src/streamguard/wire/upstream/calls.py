"""Tool calls in a translated stream: their inputs arrive in pieces, several at a time."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field

from ...decoding import DAMAGE, read_json
from ..partial_json import Json, Part, joined, partial_json
from ..values import valid_text

__all__ = ["Calls"]

_UNREADABLE = "The input of this call is not valid JSON."


@dataclass(slots=True)
class _Call:
    call_id: str
    name: str
    common: Part
    text_input: bool = False
    started: bool = False
    ended: bool = False
    pieces: list[str] = field(default_factory=list)


class Calls:
    """The calls of one stream, by a key that is not shown."""

    def __init__(self) -> None:
        self._calls: dict[Hashable, _Call] = {}
        self._count = 0

    def is_named(self, key: Hashable, call_id: str) -> bool:
        """Whether a call with this key has no other id than this one."""
        call = self._calls.get(key)
        return call is None or call.call_id == valid_text(call_id)

    def knows(self, key: Hashable) -> bool:
        """Whether a call with this key has begun."""
        return key in self._calls

    def forget(self, key: Hashable) -> None:
        """Free the key for another call."""
        self._calls.pop(key, None)

    def piece(
        self, key: Hashable, call_id: str, name: str, text: str, *, text_input: bool = False, common: Part | None = None
    ) -> Iterator[Part]:
        """The parts of one more piece of a call's input. Without a name it waits for one."""
        call = self._call(key, call_id, name, text_input=text_input, common=common)
        if call.ended:
            return
        if text:
            call.pieces.append(text)
        if call.started:
            pieces = [text] if text else []
        elif call.name:
            yield from self._start(call)
            pieces = call.pieces
        else:
            return
        for one in pieces:
            yield {"type": "tool-input-delta", "toolCallId": call.call_id, "inputTextDelta": one}

    def end(self, key: Hashable, common: Part | None = None) -> Iterator[Part]:
        """The part of a call whose input is complete; none for one that has ended."""
        call = self._calls.get(key)
        if call is None or call.ended:
            return
        text = joined(call.pieces)
        if call.text_input:
            yield from self._available(call, text, common)
            return
        try:
            value = read_json(text) if text.strip() else {}
        except DAMAGE:
            call.ended = True
            found = partial_json(text)
            readable: Json = found[0] if found is not None and isinstance(found[0], dict) else {}
            shared = {"toolCallId": call.call_id, "toolName": call.name or "unknown", **call.common}
            yield {"type": "tool-input-error", **shared, "input": readable, "errorText": _UNREADABLE}
            return
        yield from self._available(call, value, common)

    def whole(
        self, key: Hashable, call_id: str, name: str, value: Json, *, common: Part | None = None
    ) -> Iterator[Part]:
        """The part of a call whose input comes at once."""
        call = self._call(key, call_id, name, text_input=False, common=common)
        if not call.ended:
            yield from self._available(call, value, None)

    def result(self, key: Hashable, output: Json, *, error_text: str | None = None) -> Iterator[Part]:
        """The result of a call that the provider itself made."""
        call = self._calls.get(key)
        if call is None:
            return
        yield from self.end(key)
        shared: Part = {"toolCallId": call.call_id, "providerExecuted": True}
        if error_text is None:
            yield {"type": "tool-output-available", **shared, "output": output}
        else:
            yield {"type": "tool-output-error", **shared, "errorText": error_text}

    def _call(self, key: Hashable, call_id: str, name: str, *, text_input: bool, common: Part | None) -> _Call:
        call = self._calls.get(key)
        if call is None:
            self._count += 1
            call_id = valid_text(call_id) or f"call_{self._count}"
            call = self._calls[key] = _Call(call_id, valid_text(name), dict(common or {}), text_input)
        elif not call.started and not call.name:
            call.name = valid_text(name)
        return call

    def _start(self, call: _Call) -> Iterator[Part]:
        call.started = True
        encoding: Part = {"inputEncoding": "text"} if call.text_input else {}
        shared: Part = {"toolCallId": call.call_id, "toolName": call.name, **call.common}
        yield {"type": "tool-input-start", **shared, **encoding}

    def _available(self, call: _Call, value: Json, common: Part | None) -> Iterator[Part]:
        call.ended = call.started = True
        shared: Part = {"toolCallId": call.call_id, "toolName": call.name or "unknown", **call.common, **(common or {})}
        yield {"type": "tool-input-available", **shared, "input": value}
