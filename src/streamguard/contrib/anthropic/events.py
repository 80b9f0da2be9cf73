"""Streams of Anthropic's Messages API.

Source: `RawMessageStreamEvent` and `MessageStreamEvent` of the Python package `anthropic`, 0.60 to 2.14. The events
that `client.messages.stream()` adds repeat what the raw ones tell; they are passed over.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, cast

from .._model_streams import AsyncSource, EventReader, Source, broken_off, field_of, items_of, iter_items_of, text_in
from .._tool_turns import ToolCall, ToolTurn, arguments_of, is_cut
from .._ui_parts import Item, Metadata, Part, PartBuilder, UsageMeter

if TYPE_CHECKING:
    from anthropic.types import MessageParam

__all__ = ["MessageReader", "MessageTurn", "iter_message_parts", "message_parts"]

_REASONS: Final = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool-calls",
    "refusal": "content-filter",
}
_RESULT: Final = "_tool_result"
_PIECES: Final = {
    "text_delta": "text",
    "thinking_delta": "thinking",
    "signature_delta": "signature",
    "input_json_delta": "partial_json",
}
"""By type of a delta, the field with its piece of text."""


class MessageTurn(ToolTurn):
    """One call of a model in a loop with tools; see `message_parts`."""

    def __init__(self) -> None:
        super().__init__()
        self._blocks: list[dict[str, object]] = []

    @property
    def messages(self) -> list[MessageParam]:
        """The assistant's message and the results of its calls, to append to the `messages` of the next request.

        Thinking is in it with its signature, because the API wants it back with the calls that follow from it. A call
        that was not answered has an error as its result, because the API refuses a call without one.
        """
        return cast("list[MessageParam]", self.history)

    @property
    def history(self) -> list[dict[str, object]]:
        """`messages`, as plain dicts."""
        if not self._blocks:
            return []
        said: dict[str, object] = {"role": "assistant", "content": list(self._blocks)}
        results: list[dict[str, object]] = []
        for call in self.calls:
            text, failed = self._result(call)
            result: dict[str, object] = {"type": "tool_result", "tool_use_id": call.call_id, "content": text}
            results.append(result | ({"is_error": True} if failed else {}))
        return [said, {"role": "user", "content": results}] if results else [said]

    def said(self, block: dict[str, object]) -> None:
        """Take in a whole content `block`, in the form that requests have."""
        self._blocks.append(block)


def message_parts(stream: AsyncSource, turn: MessageTurn | None = None) -> AsyncIterator[Item]:
    """The UI message parts of one streamed message, and its usage.

    Closing them closes the stream, and with it the connection to the provider. What the input cost is told
    first, so that it is charged whatever comes. A stream that ends without a stop reason was broken off: it fails as
    `provider_aborted`, and does not pass for a whole answer.

    Args:
        stream: what `await client.messages.create(stream=True)` or `client.messages.stream()` of an asynchronous
            client gives.
        turn: for an endpoint that carries out the model's tool calls itself. It has the calls as soon as the parts
            end; while there are some, the answer goes on, and no `finish` part is sent.

    Raises:
        FaultError: the stream was broken off.
        Exception: what the library raises, unchanged.
    """
    return items_of(stream, MessageReader(turn))


def iter_message_parts(stream: Source, turn: MessageTurn | None = None) -> Iterator[Item]:
    """`message_parts` for the `stream` of a synchronous client, in a plain generator; `turn` as there."""
    return iter_items_of(stream, MessageReader(turn))


@dataclass(slots=True)
class _Block:
    kind: str
    fields: dict[str, object]
    pieces: dict[str, list[str]] = field(default_factory=dict)  # by the field of the deltas

    def text(self, name: str) -> str:
        return text_in(self.fields, name) + "".join(self.pieces.get(name, ()))


class MessageReader(EventReader):
    """Reads the events of one message."""

    def __init__(self, turn: MessageTurn | None) -> None:
        self._turn = turn
        self._parts = PartBuilder()
        self._usage = UsageMeter()
        self._totals: dict[str, int] = {}
        self._blocks: dict[object, _Block] = {}
        self._called: list[ToolCall] = []
        self._last: tuple[ToolCall, object] | None = None  # with its input: whole, unless a limit comes next
        self._reason: str | None = None

    def read(self, event: object) -> Iterable[Item]:
        match text_in(event, "type"):
            case "message_start":
                message = field_of(event, "message")
                self._parts.prefix = text_in(message, "id")
                return self._consumed(field_of(message, "usage"))
            case "content_block_start":
                return [*self._end_call(), *self._begun(field_of(event, "index"), field_of(event, "content_block"))]
            case "content_block_delta":
                return self._delta(field_of(event, "index"), field_of(event, "delta"))
            case "content_block_stop":
                return self._ended(self._blocks.pop(field_of(event, "index"), None))
            case "message_delta":
                self._reason = text_in(field_of(event, "delta"), "stop_reason") or self._reason
                return [*self._end_call(), *self._consumed(field_of(event, "usage"))]
        return []

    def end(self) -> Iterable[Item]:
        if self._reason is None:
            raise broken_off()
        out = [*self._end_call(), *self._end_blocks()]
        if self._turn is not None and self._called:
            self._turn.calls = self._called
            return [*out, *self._parts.finish_step()]
        reason = _REASONS.get(self._reason, "other")
        return [*out, *self._parts.finish("tool-calls" if self._called and reason != "length" else reason)]

    def _consumed(self, usage: object) -> list[Item]:
        """The usage so far. The API counts input that was written to or read from its cache apart; here it is input."""
        for name in ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "output_tokens"):
            total = field_of(usage, name)
            if type(total) is int:
                self._totals[name] = total
        thought = field_of(field_of(usage, "output_tokens_details"), "thinking_tokens")
        totals = self._totals
        cached = totals.get("cache_read_input_tokens", 0)
        input_tokens = totals.get("input_tokens", 0) + totals.get("cache_creation_input_tokens", 0) + cached
        output_tokens = totals.get("output_tokens", 0)
        return self._usage.reached(
            {
                "input_tokens": input_tokens,
                "output_tokens": output_tokens,
                "reasoning_tokens": thought,
                "cached_input_tokens": cached,
            }
        )

    def _begun(self, index: object, found: object) -> list[Part]:
        dump = getattr(found, "model_dump", None)
        fields = dump(mode="json", exclude_none=True, warnings=False) if dump is not None else found
        block = _Block(text_in(found, "type"), dict(fields) if isinstance(fields, Mapping) else {})
        self._blocks[index] = block
        match block.kind:
            case "text":
                return self._parts.text(text_in(found, "text"), of=index)
            case "thinking":
                return self._parts.reasoning(text_in(found, "thinking"), of=index)
            case "redacted_thinking":
                metadata: Metadata = {"anthropic": {"redactedData": text_in(found, "data")}}
                return self._parts.reasoning("", of=index, metadata=metadata)
            case "tool_use" | "server_tool_use":
                executed = block.kind == "server_tool_use"
                return self._parts.tool_start(text_in(found, "id"), text_in(found, "name"), provider_executed=executed)
        return []

    def _delta(self, index: object, delta: object) -> list[Part]:
        kind, block = text_in(delta, "type"), self._blocks.get(index)
        if block is None:
            return []
        if kind == "citations_delta":
            citation = field_of(delta, "citation")
            return self._parts.source(text_in(citation, "url"), text_in(citation, "title"))
        name = _PIECES.get(kind, "")
        piece = text_in(delta, name)
        block.pieces.setdefault(name, []).append(piece)
        match kind:
            case "text_delta":
                return self._parts.text(piece, of=index)
            case "thinking_delta":
                return self._parts.reasoning(piece, of=index)
            case "input_json_delta":
                return self._parts.tool_delta(text_in(block.fields, "id"), piece)
        return []

    def _ended(self, block: _Block | None) -> list[Part]:
        if block is None:
            return []
        kind, out = block.kind, self._parts.end_span() if block.kind == "text" else []
        said: dict[str, object] = {"type": kind}
        if kind == "text":
            said["text"] = block.text("text")
        elif kind == "thinking":
            thought, signature = block.text("thinking"), block.text("signature")
            said |= {"thinking": thought, "signature": signature}
            metadata: Metadata | None = {"anthropic": {"signature": signature}} if signature else None
            begin = [] if thought else self._parts.reasoning("", of=block, metadata=metadata)
            out = [*begin, *self._parts.end_span(metadata)]
        elif kind in ("tool_use", "server_tool_use"):
            call = ToolCall(text_in(block.fields, "id"), text_in(block.fields, "name"), block.text("partial_json"))
            value = arguments_of(call.arguments) if call.arguments.strip() else block.fields.get("input") or {}
            said |= {"id": call.call_id, "name": call.name, "input": value if isinstance(value, dict) else {}}
            out = self._call(call, value, executed=kind == "server_tool_use")
        else:
            said = block.fields
            out = self._result(block)
        if self._turn is not None and (kind != "text" or block.text("text").strip()):
            self._turn.said(said)
        return out

    def _call(self, call: ToolCall, value: object, *, executed: bool) -> list[Part]:
        if executed:
            return self._parts.tool_input(call.call_id, call.name, value, provider_executed=True)
        self._last = call, value
        return []

    def _end_blocks(self) -> list[Part]:
        """End the calls of the host's tools whose end the provider did not tell."""
        open_calls = [block for block in self._blocks.values() if block.kind == "tool_use"]
        self._blocks.clear()
        return [part for block in open_calls for part in self._parts.tool_cut(text_in(block.fields, "id"))]

    def _end_call(self) -> list[Part]:
        """The last call of a tool of the host's, now that it is known whether a limit cut it off."""
        if self._last is None:
            return []
        (call, value), self._last = self._last, None
        if (
            _REASONS.get(self._reason or "") == "length"
            and is_cut(call.arguments)
            and not (isinstance(value, dict) and value)
        ):
            self._called.append(replace(call, cut=True))
            return self._parts.tool_cut(call.call_id, failed=self._turn is None)
        out = self._parts.tool_input(call.call_id, call.name, value)
        self._called.append(call)
        if self._turn is None and not isinstance(value, dict):
            out += self._parts.tool_error(call.call_id, "The arguments of the call are no JSON object.")
        return out

    def _result(self, block: _Block) -> list[Part]:
        """The result of a call that Anthropic has carried out."""
        if not block.kind.endswith(_RESULT):
            return self._parts.end_span()
        call_id, content = text_in(block.fields, "tool_use_id"), block.fields.get("content")
        if text_in(content, "type").endswith("_error"):
            return self._parts.tool_error(call_id, text_in(content, "error_code"), provider_executed=True)
        return self._parts.tool_output(call_id, content, provider_executed=True)
