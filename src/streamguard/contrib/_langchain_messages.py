"""Turns LangChain's messages, whole or in chunks, into UI message parts. `langchain` and `langgraph` share it.

Source: `langchain_core.messages`, langchain-core 1.0.0 to 1.8.3. Messages are recognised by their `type`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from ..decoding import read_json
from ._model_streams import broken_off, field_of, text_in
from ._ui_parts import Item, Part, PartBuilder, UsageMeter

__all__ = ["MessageParts", "is_message"]

_MODELS_OWN: Final = frozenset({"ai", "AIMessageChunk"})
_RESULTS: Final = frozenset({"tool", "ToolMessageChunk"})
_MESSAGES: Final = _MODELS_OWN | _RESULTS | {"human", "HumanMessageChunk", "system", "SystemMessageChunk", "function"}
_OTHERS: Final = frozenset({"chat", "ChatMessageChunk", "FunctionMessageChunk", "remove"})
_FILES: Final = frozenset({"image", "audio", "video", "file"})
_SAYING_WHY: Final = frozenset({"openai", "azure", "anthropic"})
"""Providers whose stream has not ended before it says why."""
_REASONS: Final = ("finish_reason", "stop_reason", "status")
_NOT_YET: Final = (None, "", "in_progress", "queued")
_RUN_NAMED: Final = ("lc_run-", "run-")
"""How the ids begin that LangChain gives messages."""
_BAD_ARGUMENTS: Final = "The arguments of this call are not valid JSON."


def is_message(value: object) -> bool:
    """Whether this is a message of LangChain's, or a chunk of one."""
    return getattr(value, "type", None) in _MESSAGES | _OTHERS and hasattr(value, "additional_kwargs")


@dataclass(slots=True)
class _Call:
    call_id: str = ""
    name: str = ""
    arguments: str = ""
    announced: bool = False


@dataclass(slots=True)
class _Message:
    """One answer of a model, as far as it came."""

    builder: PartBuilder
    meter: UsageMeter = field(default_factory=UsageMeter)
    amounts: dict[str, int] = field(default_factory=dict)
    calls: dict[object, _Call] = field(default_factory=dict)
    """By the index that pieces of a call carry, or by the call's id."""
    spoke: bool = False
    """Whether it came in chunks."""
    whole: bool = False
    run_named: bool = False
    """Whether LangChain, not the provider, gave it its id."""
    silent: bool = True
    """Whether it has told nothing yet."""
    provider: object = None
    """Whose model it is, as LangChain names it."""
    ended: bool = False
    """Whether the provider said why it ended."""


class MessageParts:
    """The parts of the messages of one run, in the order they come. One per run.

    A message may come in chunks, whole, or both; what it told once is not told again. Several models may answer at the
    same time: each text keeps its own id. A step ends where a model answers after a tool did.
    """

    def __init__(self) -> None:
        self._messages: dict[object, _Message] = {}
        self._unanswered: dict[str, str] = {}
        """By id, the names of calls that have no result yet."""
        self._answered: set[str] = set()
        self._in_step = False
        self._had_results = False
        self._files = 0

    def known(self, message: object) -> None:
        """Say nothing of this message: the client has it."""
        key = field_of(message, "id")
        self._messages[key] = _Message(PartBuilder(), whole=True)
        self._answered.add(text_in(message, "tool_call_id"))

    def add(self, message: object, *, key: object = None) -> Iterator[Item]:
        """The parts of a message or a chunk.

        Args:
            message: one that a model or a tool made; nothing is told of others.
            key: what the chunks of one message have in common; by default the message's own id.
        """
        kind = getattr(message, "type", None)
        if kind in _RESULTS:
            yield from self._result(message)
        elif kind in _MODELS_OWN:
            key = field_of(message, "id") if key is None else key
            found = self._messages.get(key)
            if found is None:
                run_named = str(key).startswith(_RUN_NAMED)
                found = self._begun(run_named) if kind == "AIMessageChunk" else None
                self._messages[key] = found = found or _Message(PartBuilder(str(key or "")), run_named=run_named)
            if not found.whole:
                yield from self._answer(message, found, chunk=kind == "AIMessageChunk")
            elif found.spoke and not found.amounts:  # langchain-core 1.0 sends the usage after the last chunk
                yield from self._usage(message, found, chunk=kind == "AIMessageChunk")

    def call(self, call_id: str, name: str, value: object) -> Iterator[Item]:
        """A call that no model made."""
        yield from self._step()
        yield from self._announce(PartBuilder(), call_id, name, value)

    def output(self, call_id: str, output: object) -> Iterator[Item]:
        """The result of a call."""
        if self._unanswered.pop(call_id, None) is not None:
            self._answered.add(call_id)
            self._had_results = True
            yield from PartBuilder().tool_output(call_id, output)

    def error(self, call_id: str, text: str) -> Iterator[Item]:
        """The failure of a call."""
        if self._unanswered.pop(call_id, None) is not None:
            self._answered.add(call_id)
            self._had_results = True
            yield from PartBuilder().tool_error(call_id, text)

    def awaits(self, call_id: str) -> bool:
        """Whether this call is known and has no result yet."""
        return call_id in self._unanswered

    def awaits_any(self, name: str) -> bool:
        """Whether a call of this tool has no result yet."""
        return name in self._unanswered.values()

    def text(self, text: str) -> Iterator[Item]:
        """A piece of text that belongs to no message."""
        found = self._messages.setdefault("", _Message(PartBuilder("text")))
        yield from self._parts(found.builder.text(text))

    def end(self) -> Iterator[Item]:
        """The rest of every message that is not whole."""
        for message in list(self._messages.values()):
            yield from self._finish(message)
        if self._in_step:
            self._in_step = False
            yield {"type": "finish-step"}

    def _begun(self, run_named: bool) -> _Message | None:
        """The message that a chunk with a new id goes on with, if there is one.

        The Responses API and Anthropic name the answer in their first event only, which tells nothing else. LangChain
        gives the other chunks an id of its own. The whole message has the provider's id again.
        """
        for message in self._messages.values() if run_named else ():
            if message.silent and message.spoke and not (message.whole or message.run_named):
                message.run_named = True
                return message
        return None

    def _answer(self, message: object, found: _Message, *, chunk: bool) -> Iterator[Item]:
        if not (found.spoke and not chunk):  # a whole message repeats what its chunks told
            for item in self._content(message, found.builder):
                found.silent = False
                yield item
            for piece in _list(field_of(message, "tool_call_chunks")):
                found.silent = False
                yield from self._piece_of_call(piece, found)
        metadata = field_of(message, "response_metadata")
        if isinstance(metadata, Mapping):
            found.provider = metadata.get("model_provider") or found.provider
            found.ended = found.ended or any(metadata.get(name) not in _NOT_YET for name in _REASONS)
            if found.provider != "anthropic":  # OpenAI tells the usage last
                found.ended = found.ended or field_of(message, "usage_metadata") is not None
        if chunk:
            found.spoke = True
        if not chunk or not found.calls:
            for at, call in enumerate(_list(field_of(message, "tool_calls"))):
                yield from self._whole_call(call, at, found)
        yield from self._usage(message, found, chunk=chunk)
        if not chunk or field_of(message, "chunk_position") == "last":
            yield from self._finish(found)

    def _content(self, message: object, builder: PartBuilder) -> Iterator[Item]:
        content = field_of(message, "content")
        if isinstance(content, str):
            more = field_of(message, "additional_kwargs")
            yield from self._parts(builder.reasoning(text_in(more, "reasoning_content")))
            yield from self._parts(builder.text(content))
            return
        for block in _list(getattr(message, "content_blocks", content)):
            if isinstance(block, str):
                yield from self._parts(builder.text(block))
            elif isinstance(block, Mapping):
                yield from self._block(block, builder)

    def _block(self, block: Mapping[str, object], builder: PartBuilder) -> Iterator[Item]:
        kind = block.get("type")
        value = block.get("value")
        at = block.get("index")
        call_id = text_in(block, "id")
        if kind == "non_standard" and isinstance(value, Mapping):
            kind, block = value.get("type"), value
        if kind in ("text", "refusal"):
            yield from self._parts(builder.text(text_in(block, "text") or text_in(block, "refusal"), of=at))
            for citation in _list(block.get("annotations")):
                url = text_in(citation, "url")
                yield from self._parts(builder.source(url, text_in(citation, "title") or None))
        elif kind in ("reasoning", "thinking"):
            yield from self._parts(builder.reasoning(text_in(block, "reasoning") or text_in(block, "thinking"), of=at))
        elif kind in _FILES:
            media_type = text_in(block, "mime_type") or ("image/png" if kind == "image" else "")
            data = text_in(block, "base64")
            url = f"data:{media_type};base64,{data}" if data else text_in(block, "url")
            if url and media_type:
                yield from self._parts(builder.file(url, media_type))
        elif kind == "server_tool_call":
            name, args = text_in(block, "name"), block.get("args")
            yield from self._parts(builder.tool_input(call_id, name, args, provider_executed=True))
        elif kind == "server_tool_result":
            call_id = text_in(block, "tool_call_id")
            if block.get("status") == "error":
                text = json.dumps(block.get("output"), default=str)
                yield from builder.tool_error(call_id, text, provider_executed=True)
            else:
                yield from builder.tool_output(call_id, block.get("output"), provider_executed=True)

    def _piece_of_call(self, piece: object, found: _Message) -> Iterator[Item]:
        at = field_of(piece, "index")
        call_id = text_in(piece, "id")
        key = call_id if at is None else at
        if key == "" and found.calls:  # a piece of the last one
            key = list(found.calls)[-1]
        call = found.calls.get(key)
        if call is None:
            call = found.calls[key] = _Call(call_id)
        call.call_id = call.call_id or call_id
        call.name = call.name or text_in(piece, "name")
        arguments = text_in(piece, "args")
        call.arguments += arguments
        if not call.announced:
            if not (call.call_id and call.name):
                return
            call.announced = True
            arguments = call.arguments
            yield from self._parts(found.builder.tool_start(call.call_id, call.name))
        yield from self._parts(found.builder.tool_delta(call.call_id, arguments))

    def _whole_call(self, call: object, at: int, found: _Message) -> Iterator[Item]:
        call_id = text_in(call, "id") or f"{found.builder.prefix}-call-{at}"
        for key, piece in found.calls.items():
            if piece.call_id == call_id:
                del found.calls[key]
                break
        if call_id not in self._unanswered and call_id not in self._answered:
            yield from self._step()
            yield from self._announce(found.builder, call_id, text_in(call, "name"), field_of(call, "args"))

    def _announce(self, builder: PartBuilder, call_id: str, name: str, value: object) -> Iterator[Item]:
        self._unanswered[call_id] = name
        yield from _without_steps(builder.tool_input(call_id, name, value))

    def _finish(self, found: _Message) -> Iterator[Item]:
        """What is missing of a message: the ends of its texts, and the inputs of its calls.

        Raises:
            FaultError: its stream was broken off, which LangChain takes for its end.
        """
        if found.whole:
            return
        if found.spoke and found.provider in _SAYING_WHY and not found.ended:
            raise broken_off()
        found.whole = True
        yield from found.builder.end_span()
        for at, call in enumerate(found.calls.values()):
            call_id = call.call_id or f"{found.builder.prefix}-call-{at}"
            if not call.name or call_id in self._unanswered or call_id in self._answered:
                continue
            yield from self._step()
            value, valid = _arguments(call.arguments)
            yield from self._announce(found.builder, call_id, call.name, value)
            if not valid:
                yield from self.error(call_id, _BAD_ARGUMENTS)
        found.calls.clear()

    def _result(self, message: object) -> Iterator[Item]:
        call_id = text_in(message, "tool_call_id")
        if not call_id or call_id in self._answered:
            return
        for found in self._messages.values():
            if any(call.call_id == call_id for call in found.calls.values()):
                yield from self._finish(found)
        if call_id not in self._unanswered:  # of an answer that this run did not tell
            yield from self.call(call_id, text_in(message, "name") or "tool", {})
        content = field_of(message, "content")
        if field_of(message, "status") == "error":
            yield from self.error(call_id, content if isinstance(content, str) else json.dumps(content, default=str))
        else:
            yield from self.output(call_id, content)

    def _usage(self, message: object, found: _Message, *, chunk: bool) -> Iterator[Item]:
        usage = field_of(message, "usage_metadata")
        if not isinstance(usage, Mapping):
            return
        amounts = _amounts(usage)
        if chunk:  # what each chunk tells is to be added up
            for unit, amount in amounts.items():
                found.amounts[unit] = found.amounts.get(unit, 0) + amount
            amounts = found.amounts
        yield from found.meter.reached(amounts)

    def _parts(self, parts: Sequence[Part]) -> Iterator[Item]:
        if parts:
            yield from self._step()
            yield from _without_steps(parts)

    def _step(self) -> Iterator[Item]:
        """The beginning of a step, if one begins here."""
        if self._in_step and not self._had_results:
            return
        if self._in_step:
            yield {"type": "finish-step"}
        self._in_step, self._had_results = True, False
        yield {"type": "start-step"}


def _without_steps(parts: Sequence[Part]) -> list[Part]:
    """The parts of a builder whose steps are not the message's."""
    return [part for part in parts if part["type"] != "start-step"]


def _arguments(text: str) -> tuple[object, bool]:
    """The arguments of a call, and whether they can be read."""
    try:
        value = read_json(text or "{}")
    except ValueError:
        return text, False
    return value, True


def _amounts(usage: Mapping[object, object]) -> dict[str, int]:
    found = {
        "input_tokens": usage.get("input_tokens"),
        "output_tokens": usage.get("output_tokens"),
        "total_tokens": usage.get("total_tokens"),
        "cached_input_tokens": field_of(usage.get("input_token_details"), "cache_read"),
        "reasoning_tokens": field_of(usage.get("output_token_details"), "reasoning"),
    }
    return {unit: amount for unit, amount in found.items() if type(amount) is int and amount > 0}


def _list(value: object) -> Sequence[object]:
    return value if isinstance(value, (list, tuple)) else ()
