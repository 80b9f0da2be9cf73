"""Streams of OpenAI's Responses API.

Source: `ResponseStreamEvent` of the Python package `openai`, 1.80 to 3.57. Its events `error` and `response.failed` are
data to the library, which raises nothing: here they are failures.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Final, cast

from ...errors import FaultError
from ...faults import Fault, FaultCode
from .._model_streams import (
    AsyncSource,
    EventReader,
    Source,
    broken_off,
    field_of,
    items_of,
    iter_items_of,
    plain_of,
    text_in,
)
from .._tool_turns import ToolCall, ToolTurn, arguments_of, is_cut
from .._ui_parts import Item, Metadata, Part, PartBuilder, UsageMeter
from .responses_input import CUSTOM

if TYPE_CHECKING:
    from openai.types.responses import ResponseInputItemParam

__all__ = ["ResponsesReader", "ResponsesTurn", "iter_responses_parts", "responses_parts"]

_EXECUTED: Final = {
    "web_search_call": "web_search",
    "file_search_call": "file_search",
    "code_interpreter_call": "code_interpreter",
    "mcp_call": "mcp",
}
"""Items of tools that OpenAI carries out itself, and what their calls are named; an MCP call has a name of its own."""
_NOT_IN_INPUT: Final = ("status", "parsed_arguments", "parsed")
_BUSY: Final = frozenset({"rate_limit_exceeded", "rate_limit_error", "too_many_requests"})
_RETRYABLE: Final = frozenset({"", "error", "server_error", "vector_store_timeout"})
"""Codes of failures that another attempt may not meet: the others are about the request."""


class ResponsesTurn(ToolTurn):
    """One call of a model in a loop with tools; see `responses_parts`."""

    def __init__(self) -> None:
        super().__init__()
        self._items: list[dict[str, object]] = []

    @property
    def input(self) -> list[ResponseInputItemParam]:
        """What the model put out and the results of its calls, to append to the `input` of the next request.

        A call that was not answered has an error as its result, because the API refuses a call without one.
        """
        return cast("list[ResponseInputItemParam]", self.history)

    @property
    def history(self) -> list[dict[str, object]]:
        """`input`, as plain dicts."""
        custom = {item.get("call_id") for item in self._items if item.get("type") == "custom_tool_call"}
        results: list[dict[str, object]] = [
            {
                "type": "custom_tool_call_output" if call.call_id in custom else "function_call_output",
                "call_id": call.call_id,
                "output": self._result(call)[0],
            }
            for call in self.calls
        ]
        return [*self._items, *results]

    def put_out(self, item: object) -> None:
        """Take in `item`, one of the response's output."""
        dump = getattr(item, "model_dump", None)
        fields = dump(mode="json", exclude_unset=True, warnings=False) if dump is not None else item
        if isinstance(fields, Mapping):
            self._items.append({name: value for name, value in fields.items() if name not in _NOT_IN_INPUT})


def responses_parts(stream: AsyncSource, turn: ResponsesTurn | None = None) -> AsyncIterator[Item]:
    """The UI message parts of one streamed response, and its usage.

    Closing them closes the stream, and with it the connection to the provider. A stream that ends without a
    last event was broken off: it fails as `provider_aborted`, and does not pass for a whole answer.

    Args:
        stream: what `await client.responses.create(stream=True)` or `client.responses.stream()` of an asynchronous
            client gives.
        turn: for an endpoint that carries out the model's tool calls itself. It has the calls as soon as the parts
            end; while there are some, the answer goes on, and no `finish` part is sent.

    Raises:
        FaultError: the response failed, or the stream was broken off.
        Exception: what the library raises, unchanged.
    """
    return items_of(stream, ResponsesReader(turn))


def iter_responses_parts(stream: Source, turn: ResponsesTurn | None = None) -> Iterator[Item]:
    """`responses_parts` for the `stream` of a synchronous client, in a plain generator; `turn` as there."""
    return iter_items_of(stream, ResponsesReader(turn))


class ResponsesReader(EventReader):
    """Reads the events of one response."""

    def __init__(self, turn: ResponsesTurn | None) -> None:
        self._turn = turn
        self._parts = PartBuilder()
        self._usage = UsageMeter()
        self._call_ids: dict[str, str] = {}  # by the id of the item
        self._open: dict[str, None] = {}  # ids of the calls that have not ended
        self._last: object = None  # the item of a call that is whole, unless a limit comes next
        self._called: list[ToolCall] = []
        self._reasoned: set[str] = set()  # items that have shown reasoning
        self._reason: str | None = None

    def read(self, event: object) -> Iterable[Item]:
        kind = text_in(event, "type")
        match kind:
            case "response.output_text.delta" | "response.refusal.delta":
                return self._parts.text(text_in(event, "delta"), of=_place(event, "content_index"))
            case "response.reasoning_summary_text.delta":
                return self._reasoning(event, _place(event, "summary_index"))
            case "response.reasoning_text.delta":
                return self._reasoning(event, _place(event, "content_index"))
            case "response.function_call_arguments.delta" | "response.custom_tool_call_input.delta":
                call_id = self._call_ids.get(text_in(event, "item_id"))
                return [] if call_id is None else self._parts.tool_delta(call_id, text_in(event, "delta"))
            case "response.output_text.annotation.added":
                return self._annotation(field_of(event, "annotation"))
            case "response.output_item.added":
                return self._begun(field_of(event, "item"))
            case "response.output_item.done":
                return self._done(field_of(event, "item"))
            case "error":
                raise _failure(field_of(event, "error") or event)
            case "":
                if field_of(event, "choices") is not None:
                    raise TypeError(f"{type(event).__name__} is of a chat completion: use openai.chat_parts")
        return self._response(kind, field_of(event, "response"))

    def end(self) -> Iterable[Item]:
        if self._reason is None:
            raise broken_off()
        out = self._end_call()
        for call_id in self._open:
            out += self._parts.tool_cut(call_id)
        if self._turn is not None and self._called:
            self._turn.calls = self._called
            return [*out, *self._parts.finish_step()]
        return [*out, *self._parts.finish("tool-calls" if self._called and self._reason != "length" else self._reason)]

    def holds(self, call_id: str) -> bool:
        """Whether this call is whole, and told of as soon as it is known that no limit cut it off."""
        return (text_in(self._last, "call_id") or text_in(self._last, "id")) == call_id

    def _response(self, kind: str, response: object) -> Iterator[Item]:
        """The items of an event about the whole response: it begins or ends."""
        if response is None:
            return
        self._parts.prefix = self._parts.prefix or text_in(response, "id")
        usage = field_of(response, "usage")
        if usage is not None:
            yield from self._usage.reached(_totals(usage))
        match kind:
            case "response.completed":
                self._reason = "stop"
                yield from self._end_call()
            case "response.incomplete":
                why = text_in(field_of(response, "incomplete_details"), "reason")
                reasons = {"max_output_tokens": "length", "content_filter": "content-filter"}
                self._reason = reasons.get(why, "other")
                yield from self._end_call()
            case "response.failed" | "response.cancelled":
                raise _failure(field_of(response, "error"))

    def _reasoning(self, event: object, place: object) -> list[Part]:
        item_id = text_in(event, "item_id")
        self._reasoned.add(item_id)
        return self._parts.reasoning(text_in(event, "delta"), of=place, metadata=_metadata(item_id))

    def _annotation(self, annotation: object) -> list[Part]:
        if text_in(annotation, "type") != "url_citation":
            return []
        return self._parts.source(text_in(annotation, "url"), text_in(annotation, "title"))

    def _begun(self, item: object) -> list[Part]:
        kind, item_id = text_in(item, "type"), text_in(item, "id")
        if kind in ("function_call", "custom_tool_call"):
            call_id = text_in(item, "call_id") or item_id
            self._call_ids[item_id] = call_id
            self._open[call_id] = None
            return [*self._end_call(), *self._parts.tool_start(call_id, text_in(item, "name"))]
        if kind in _EXECUTED:
            name = text_in(item, "name") or _EXECUTED[kind]
            return self._parts.tool_start(item_id, name, provider_executed=True)
        return []

    def _done(self, item: object) -> list[Part]:
        kind, item_id = text_in(item, "type"), text_in(item, "id")
        if self._turn is not None:
            self._turn.put_out(item)
        if kind == "reasoning":
            return self._end_reasoning(item_id, text_in(item, "encrypted_content"))
        if kind in ("function_call", "custom_tool_call"):
            out, self._last = self._end_call(), item
            self._open.pop(text_in(item, "call_id") or item_id, None)
            return out
        if kind == "image_generation_call" and text_in(item, "result"):
            media_type = f"image/{text_in(item, 'output_format') or 'png'}"
            return self._parts.file(f"data:{media_type};base64,{text_in(item, 'result')}", media_type)
        if kind in _EXECUTED:
            return self._executed(kind, item_id, item)
        return []

    def _end_reasoning(self, item_id: str, encrypted: str) -> list[Part]:
        if not encrypted:
            return self._parts.end_span() if item_id in self._reasoned else []
        metadata = _metadata(item_id, encrypted)
        begin = [] if item_id in self._reasoned else self._parts.reasoning("", of=item_id, metadata=metadata)
        return [*begin, *self._parts.end_span(metadata)]

    def _end_call(self) -> list[Part]:
        """The last call of a tool of the host's, now that it is known whether a limit cut it off."""
        item, self._last = self._last, None
        if item is None:
            return []
        is_json = text_in(item, "type") == "function_call"
        text = text_in(item, "arguments" if is_json else "input")
        value = arguments_of(text) if is_json else text
        cut = self._reason == "length" and (is_cut(text) if is_json else text_in(item, "status") == "incomplete")
        call = ToolCall(text_in(item, "call_id") or text_in(item, "id"), text_in(item, "name"), text, cut=cut)
        self._called.append(call)
        if cut:
            return self._parts.tool_cut(call.call_id, failed=self._turn is None)
        out = self._parts.tool_input(call.call_id, call.name, value, metadata=None if is_json else CUSTOM)
        if self._turn is None and is_json and not isinstance(value, dict):
            out += self._parts.tool_error(call.call_id, "The arguments of the call are no JSON object.")
        return out

    def _executed(self, kind: str, item_id: str, item: object) -> list[Part]:
        """A call that OpenAI has carried out."""
        name = text_in(item, "name") or _EXECUTED[kind]
        match kind:
            case "mcp_call":
                value, output = arguments_of(text_in(item, "arguments")), field_of(item, "output")
            case "code_interpreter_call":
                value, output = {"code": text_in(item, "code")}, field_of(item, "outputs")
            case "file_search_call":
                value, output = {"queries": field_of(item, "queries")}, field_of(item, "results")
            case _:
                value, output = field_of(item, "action"), None
        out = self._parts.tool_input(item_id, name, plain_of(value) or {}, provider_executed=True)
        error = field_of(item, "error")
        if error is not None or field_of(item, "status") == "failed":
            text = error if isinstance(error, str) else "The tool failed."
            return [*out, *self._parts.tool_error(item_id, text, provider_executed=True)]
        given = {"status": field_of(item, "status") or "completed"} if output is None else plain_of(output)
        return [*out, *self._parts.tool_output(item_id, given, provider_executed=True)]


def _failure(error: object) -> FaultError:
    """The failure that an event tells of. Its words are the provider's, and not for clients: they become a note."""
    code = text_in(error, "code") or text_in(error, "type")
    if code in _BUSY:
        failure = FaultError(Fault.of(FaultCode.PROVIDER_RATE_LIMITED))
    else:
        failure = FaultError(Fault.of(FaultCode.PROVIDER_ERROR, retryable=code in _RETRYABLE))
    failure.add_note(f"{code}: {text_in(error, 'message')}")
    return failure


def _totals(usage: object) -> Mapping[str, object]:
    return {
        "input_tokens": field_of(usage, "input_tokens"),
        "output_tokens": field_of(usage, "output_tokens"),
        "total_tokens": field_of(usage, "total_tokens"),
        "reasoning_tokens": field_of(field_of(usage, "output_tokens_details"), "reasoning_tokens"),
        "cached_input_tokens": field_of(field_of(usage, "input_tokens_details"), "cached_tokens"),
    }


def _metadata(item_id: str, encrypted: str = "") -> Metadata:
    """What `responses_input` needs to pass a reasoning back, under the names that AI SDK uses."""
    return {"openai": {"itemId": item_id} | ({"reasoningEncryptedContent": encrypted} if encrypted else {})}


def _place(event: object, index: str) -> tuple[object, object, str]:
    """Tells the texts of one response apart."""
    return field_of(event, "item_id"), field_of(event, index), index
