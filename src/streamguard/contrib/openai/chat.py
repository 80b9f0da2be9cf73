"""Streams of chat completions, OpenAI's and those of everybody who speaks the same API.

Source: `ChatCompletionChunk` and `ChatCompletionStreamEvent` of the Python package `openai`, 1.80 to 3.57. Beyond it,
`reasoning_content` (DeepSeek, vLLM, LiteLLM) and `reasoning` (OpenRouter) of a delta are the model's reasoning.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, cast

from .._model_streams import AsyncSource, EventReader, Source, broken_off, field_of, items_of, iter_items_of, text_in
from .._tool_turns import ToolCall, ToolTurn, arguments_of, is_cut
from .._ui_messages import json_text
from .._ui_parts import Item, Part, PartBuilder, UsageMeter
from .chat_messages import assistant_message

if TYPE_CHECKING:
    from openai.types.chat import ChatCompletionMessageParam

__all__ = ["ChatReader", "ChatTurn", "chat_parts", "iter_chat_parts"]

_REASONS: Final = {
    "stop": "stop",
    "length": "length",
    "content_filter": "content-filter",
    "tool_calls": "tool-calls",
    "function_call": "tool-calls",
}


class ChatTurn(ToolTurn):
    """One call of a model in a loop with tools; see `chat_parts`."""

    def __init__(self) -> None:
        super().__init__()
        self.text: str = ""
        """What the model said in this turn."""
        self._more: dict[str, object] = {}

    @property
    def messages(self) -> list[ChatCompletionMessageParam]:
        """The assistant's message and the results of its calls, to append to the `messages` of the next request.

        A call that was not answered has an error as its result, because the API refuses a call without one.
        """
        return cast("list[ChatCompletionMessageParam]", self.history)

    @property
    def history(self) -> list[dict[str, object]]:
        """`messages`, as plain dicts."""
        calls = [(call.call_id, call.name, call.arguments or "{}") for call in self.calls]
        said = assistant_message(self.text, calls, self._more)
        results: list[dict[str, object]] = [
            {"role": "tool", "tool_call_id": call.call_id, "content": self._result(call)[0]} for call in self.calls
        ]
        return [said, *results]

    def keep(self, name: str, value: object) -> None:
        """Put a field that the provider wants back, `name` with `value`, into the assistant's message."""
        self._more[name] = value


def chat_parts(stream: AsyncSource, turn: ChatTurn | None = None) -> AsyncIterator[Item]:
    """The UI message parts of one streamed chat completion, and its usage.

    Closing them closes the stream, and with it the connection to the provider. A stream that ends without a
    finish reason was broken off: it fails as `provider_aborted`, and does not pass for a whole answer.

    Args:
        stream: what `await client.chat.completions.create(stream=True)` or `client.chat.completions.stream()` of an
            asynchronous client gives. Usage is told only if `stream_options={"include_usage": True}` asks for it.
        turn: for an endpoint that carries out the model's tool calls itself. It has the calls as soon as the parts
            end; while there are some, the answer goes on, and no `finish` part is sent.

    Raises:
        FaultError: the stream was broken off.
        Exception: what the library raises, unchanged.
    """
    return items_of(stream, ChatReader(turn))


def iter_chat_parts(stream: Source, turn: ChatTurn | None = None) -> Iterator[Item]:
    """`chat_parts` for the `stream` of a synchronous client, in a plain generator; `turn` as there."""
    return iter_items_of(stream, ChatReader(turn))


@dataclass(slots=True)
class _Call:
    call_id: str
    name: str = ""
    pieces: list[str] = field(default_factory=list)
    begun: bool = False


class ChatReader(EventReader):
    """Reads the chunks of one chat completion; of several choices, the first."""

    def __init__(self, turn: ChatTurn | None) -> None:
        self._turn = turn
        self._parts = PartBuilder()
        self._usage = UsageMeter()
        self._calls: dict[object, _Call] = {}
        self._last: dict[object, object] = {}  # by index: the key of the call that its pieces belong to
        self._called: list[ToolCall] = []
        self._reason: str | None = None

    def read(self, event: object) -> Iterable[Item]:
        kind = field_of(event, "type")
        chunk = field_of(event, "chunk") if kind == "chunk" else event
        choices = field_of(chunk, "choices")
        if choices is None and isinstance(kind, str) and kind.startswith("response."):
            raise TypeError(f"{type(event).__name__} is an event of the Responses API: use openai.responses_parts")
        out: list[Item] = []
        if not self._parts.prefix:
            self._parts.prefix = text_in(chunk, "id")
        for choice in choices if isinstance(choices, list) else ():
            if field_of(choice, "index") in (0, None):
                out += self._delta(field_of(choice, "delta"))
                reason = text_in(choice, "finish_reason")
                if reason:
                    self._reason = reason
                    out += self._end_calls()
        usage = field_of(chunk, "usage")
        if usage is not None:
            out += self._usage.reached(_totals(usage))
        return out

    def end(self) -> Iterable[Item]:
        if self._reason is None:
            raise broken_off()
        out: list[Item] = [*self._end_calls()]
        reason = _REASONS.get(self._reason, "other")
        if self._called and reason != "length":
            reason = "tool-calls"
        if self._turn is not None and self._called:
            self._turn.calls = self._called
            return [*out, *self._parts.finish_step()]
        return [*out, *self._parts.finish(reason)]

    def reasoning_of(self, delta: object) -> list[Part]:
        """The parts of a delta's reasoning."""
        return self._parts.reasoning(text_in(delta, "reasoning_content") or text_in(delta, "reasoning"))

    @property
    def parts(self) -> PartBuilder:
        """What makes the parts of this completion."""
        return self._parts

    def _delta(self, delta: object) -> list[Part]:
        out = self.reasoning_of(delta)
        for name in ("content", "refusal"):
            text = text_in(delta, name)
            if text and self._turn is not None:
                self._turn.text += text
            out += self._parts.text(text)
        for annotation in _list(field_of(delta, "annotations")):
            citation = field_of(annotation, "url_citation")
            out += self._parts.source(text_in(citation, "url"), text_in(citation, "title"))
        for position, call in enumerate(_list(field_of(delta, "tool_calls"))):
            index = field_of(call, "index")
            out += self._call(position if index is None else index, text_in(call, "id"), field_of(call, "function"))
        function = field_of(delta, "function_call")  # the form before tool calls
        if function is not None:
            out += self._call("function_call", "", function)
        return out

    def _call(self, index: object, call_id: str, function: object) -> list[Part]:
        key = self._last.get(index, index)
        if key in self._calls and call_id and call_id != self._calls[key].call_id:
            key = (index, call_id)  # another call under the same index, as some servers number them
        self._last[index] = key
        call = self._calls.get(key)
        if call is None:
            name = f"{self._parts.prefix or 'call'}-{len(self._calls)}"
            call = self._calls[key] = _Call(call_id or name)
        call.name = call.name or text_in(function, "name")
        arguments = field_of(function, "arguments")
        # Some servers send the whole object instead of its text.
        piece = json_text(arguments) if isinstance(arguments, Mapping) else text_in(function, "arguments")
        if piece:
            call.pieces.append(piece)
        if call.begun:
            return self._parts.tool_delta(call.call_id, piece)
        if not call.name:
            return []
        call.begun = True
        start = self._parts.tool_start(call.call_id, call.name)
        return [*start, *self._parts.tool_delta(call.call_id, "".join(call.pieces))]

    def _end_calls(self) -> list[Part]:
        out: list[Part] = []
        last = next(reversed(self._calls.values()), None) if self._reason == "length" else None
        for call in self._calls.values():
            arguments = "".join(call.pieces)
            if call is last and is_cut(arguments):
                if call.begun:
                    out += self._parts.tool_cut(call.call_id, failed=self._turn is None)
                    self._called.append(ToolCall(call.call_id, call.name, arguments, cut=True))
                continue
            value = arguments_of(arguments)
            out += self._parts.tool_input(call.call_id, call.name, value)
            called = ToolCall(call.call_id, call.name, arguments)
            self._called.append(called)
            if self._turn is None and not isinstance(value, dict):
                out += self._parts.tool_error(call.call_id, "The arguments of the call are no JSON object.")
        self._calls.clear()
        return out


def _totals(usage: object) -> Mapping[str, object]:
    return {
        "input_tokens": field_of(usage, "prompt_tokens"),
        "output_tokens": field_of(usage, "completion_tokens"),
        "total_tokens": field_of(usage, "total_tokens"),
        "reasoning_tokens": field_of(field_of(usage, "completion_tokens_details"), "reasoning_tokens"),
        "cached_input_tokens": field_of(field_of(usage, "prompt_tokens_details"), "cached_tokens")
        or field_of(usage, "prompt_cache_hit_tokens"),  # DeepSeek
    }


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []
