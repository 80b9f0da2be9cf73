"""Chat completions, and the older completions, as parts of AI SDK.

Source: `ChatCompletionChunk` and `Completion` of the Python package `openai` 3.57. Fields of compatible servers:
`reasoning_content` (DeepSeek, Qwen, older vLLM), `reasoning` and `images` (OpenRouter, vLLM), content in pieces
(Mistral).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ..partial_json import Json, Part, text_of
from ..upstream.calls import Calls
from ..upstream.json_events import items_of, mapping_of
from ..upstream.spans import Spans, sources

__all__ = ["ChatTranslator"]

_REFUSAL: Final[Part] = {"openai": {"refusal": True}}


class ChatTranslator:
    """Translates the chunks of one completion."""

    def __init__(self) -> None:
        self.ended: bool = False
        self._choices: dict[int, _Choice] = {}
        self._calls = Calls()
        self._spans = Spans()

    def parts(self, value: Part) -> Iterator[Part]:
        """The parts of one chunk."""
        for choice in items_of(value, "choices"):
            index = choice.get("index")
            number = index if isinstance(index, int) else 0
            state = self._choices.get(number)
            if state is None:
                state = self._choices[number] = _Choice(number, self._calls, self._spans)
            yield from state.parts(choice)
            self.ended = self.ended or choice.get("finish_reason") is not None

    def done(self) -> Iterator[Part]:
        """The parts that complete what no finish reason completed."""
        self.ended = True
        for choice in self._choices.values():
            yield from choice.end()


class _Choice:
    def __init__(self, number: int, calls: Calls, spans: Spans) -> None:
        self._number = number
        self._calls = calls
        self._spans = spans
        self._last: tuple[int, int] | None = None
        """The call that the last piece of an input belonged to."""
        self._open: dict[tuple[int, int], None] = {}

    def parts(self, choice: Part) -> Iterator[Part]:
        delta = mapping_of(choice, "delta") or mapping_of(choice, "message")
        yield from self._spans.say((self._number, "reasoning"), _reasoning_of(delta))
        for kind, text in _content_of(delta):
            yield from self._spans.say((self._number, kind), text)
        yield from self._spans.say((self._number, "text"), text_of(choice, "text"))
        yield from self._spans.say((self._number, "text"), text_of(mapping_of(delta, "audio"), "transcript"))
        yield from self._spans.say((self._number, "text", "refusal"), text_of(delta, "refusal"), _REFUSAL)
        for call in items_of(delta, "tool_calls"):
            yield from self._call(call)
        if legacy := mapping_of(delta, "function_call"):
            yield from self._call({"index": -1, "function": legacy})
        for annotation in items_of(delta, "annotations"):
            yield from sources(self._spans, mapping_of(annotation, "url_citation") or annotation)
        for image in items_of(delta, "images"):
            yield from _file(text_of(mapping_of(image, "image_url"), "url"))
        if choice.get("finish_reason") is not None:
            yield from self.end()

    def end(self) -> Iterator[Part]:
        for key in self._open:
            yield from self._calls.end(key)
        self._open.clear()
        yield from self._spans.end(self._number)

    def _call(self, call: Part) -> Iterator[Part]:
        yield from self._spans.end(self._number)  # text after the call stands after it
        function = mapping_of(call, "function") or mapping_of(call, "custom")
        index = call.get("index")
        call_id, name = text_of(call, "id"), text_of(function, "name")
        if isinstance(index, int):
            key = (self._number, index)
        elif call_id or name or self._last is None:
            key = (self._number, 1_000_000 + len(self._open))
        else:
            key = self._last
        # Some servers give every call the index 0: another id, with a name, is another call.
        if call_id and name and not self._calls.is_named(key, call_id):
            if key in self._open:
                yield from self._calls.end(key)
            self._calls.forget(key)
        self._last = key
        self._open[key] = None
        plain = "custom" in call
        pieces = text_of(function, "arguments") or text_of(function, "input")
        if not pieces and isinstance(arguments := function.get("arguments"), dict):
            yield from self._calls.whole(key, call_id, name, arguments)
            return
        yield from self._calls.piece(key, call_id, name, pieces, text_input=plain)


def _reasoning_of(delta: Part) -> str:
    return text_of(delta, "reasoning_content") or text_of(delta, "reasoning")


def _content_of(delta: Part) -> Iterator[tuple[str, str]]:
    content: Json = delta.get("content")
    if isinstance(content, str):
        yield "text", content
    for piece in items_of(delta, "content"):
        if piece.get("type") == "thinking":
            yield "reasoning", "".join(text_of(one, "text") for one in items_of(piece, "thinking"))
        else:
            yield "text", text_of(piece, "text")


def _file(url: str) -> Iterator[Part]:
    if url:
        media_type = url[5:].split(";", 1)[0].split(",", 1)[0] if url.startswith("data:") else ""
        yield {"type": "file", "mediaType": media_type or "image/png", "url": url}
