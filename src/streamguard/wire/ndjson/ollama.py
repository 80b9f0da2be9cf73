"""Ollama's lines: `/api/chat` and `/api/generate`.

Source: the API reference of Ollama (https://github.com/ollama/ollama/blob/main/docs/api.md). A line with `done` and a
`message` or `response` is Ollama's. The last one, with `done: true`, holds the usage, and is the closing part.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from ...decoding import DAMAGE, read_json
from ...faults import FaultCode
from ..folding import UIMessage
from ..partial_json import Json, Part, text_of
from ..sse import Block
from ..text_fold import TextFold
from ..upstream import BlockReader
from ..upstream.calls import Calls
from ..upstream.fold import Translator, UpstreamFold
from ..upstream.json_events import JsonEvent, amount_of, items_of, mapping_of
from ..upstream.spans import Spans

__all__ = ["OllamaFold", "OllamaReader", "OllamaTranslator"]

_USAGE: Final[Mapping[str, str]] = {"prompt_eval_count": "input_tokens", "eval_count": "output_tokens"}


def _line_of(raw: bytes) -> Part | None:
    """The object of a line; None if it is none."""
    if not raw.lstrip().startswith(b"{"):
        return None
    try:
        value = read_json(raw)
    except DAMAGE:
        return None
    return value if isinstance(value, dict) else None


def _is_ollama(value: Mapping[str, Json]) -> bool:
    """Whether a line is one of Ollama's answers."""
    return isinstance(value.get("done"), bool) and ("message" in value or "response" in value)


class OllamaReader(BlockReader):
    """Closing parts are the line with `done: true`, and a line that holds nothing but an error."""

    def __init__(self) -> None:
        super().__init__()
        self._begun = False
        self._ended = False

    def ignores(self, raw: bytes) -> bool:
        if self._begun and b'"done":false' in raw:
            return True  # nearly always
        return b'"done"' not in raw and b'"error"' not in raw

    def closes(self, block: Block) -> bool:
        raw = block.raw
        if self.ignores(raw):
            return False
        value = _line_of(raw)
        if value is None:
            return False
        if set(value) == {"error"} and value["error"]:
            self.fail(FaultCode.PROVIDER_ERROR)
            return True
        if not _is_ollama(value):
            return False
        self._begun = True
        if value["done"] is not True:
            return False
        self._ended = True
        for theirs, ours in _USAGE.items():
            if (amount := amount_of(value, theirs)) is not None:
                self.usage[ours] = amount
        return True

    def over(self) -> None:
        if self._begun and not self._ended and self.failure is None:
            self.fail(FaultCode.PROVIDER_ABORTED)


class OllamaTranslator(Translator):
    """Translates the lines of one answer."""

    def __init__(self) -> None:
        self._ended = False
        self._calls = Calls()
        self._spans = Spans()
        self._count = 0

    @property
    def ended(self) -> bool:
        return self._ended

    def parts(self, event: JsonEvent) -> Iterator[Part]:
        value = event.value
        message = mapping_of(value, "message")
        yield from self._spans.say(("answer", "reasoning"), text_of(message, "thinking") or text_of(value, "thinking"))
        yield from self._spans.say(("answer", "text"), text_of(message, "content") or text_of(value, "response"))
        for call in items_of(message, "tool_calls"):
            yield from self._spans.end("answer")
            self._count += 1
            function = mapping_of(call, "function")
            given = mapping_of(function, "arguments")
            yield from self._calls.whole(self._count, text_of(call, "id"), text_of(function, "name"), given)
        if value.get("done") is True:
            self._ended = True
            yield from self._spans.end("answer")


class OllamaFold:
    """Folds Ollama's lines into the answer; other lines, unchanged, into one data part. Not thread-safe."""

    def __init__(self, message_id: str, previous: UIMessage | None) -> None:
        self._answer = UpstreamFold(OllamaTranslator(), message_id, previous)
        # A page would show a text part as the model's words.
        self._lines = TextFold(message_id, previous, lambda text: {"type": "data-streamguard-ndjson", "data": text})
        self._is_answer = False

    def add(self, payload: bytes) -> None:
        """Take in one line."""
        if not self._is_answer:
            self._lines.add(payload)
        value = _line_of(payload)
        if value is not None and _is_ollama(value):
            self._is_answer = True
            self._answer.add_event(JsonEvent("", value))

    def message(self) -> UIMessage:
        """The message so far."""
        return self._answer.message() if self._is_answer else self._lines.message()
