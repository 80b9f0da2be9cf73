"""Anthropic's events as parts of AI SDK. See `protocol` for the source.

Signatures and redacted thinking are kept as AI SDK's own provider keeps them, in the metadata `anthropic`, because a
later request must hand them back.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ..partial_json import Json, Part, text_of
from ..upstream.calls import Calls
from ..upstream.fold import Translator
from ..upstream.json_events import JsonEvent, items_of, mapping_of
from ..upstream.spans import Spans, document, sources

__all__ = ["AnthropicTranslator"]

_PROVIDER_RUNS: Final = ("server_tool_use", "mcp_tool_use")


class AnthropicTranslator(Translator):
    """Translates the events of one message."""

    def __init__(self) -> None:
        self._ended = False
        self._calls = Calls()
        self._spans = Spans()
        self._signatures: dict[Json, list[str]] = {}

    @property
    def ended(self) -> bool:
        return self._ended

    def parts(self, event: JsonEvent) -> Iterator[Part]:
        kind, value = event.type, event.value
        index = value.get("index")
        place = index if isinstance(index, int) else 0
        if kind == "content_block_delta":
            yield from self._delta(place, mapping_of(value, "delta"))
        elif kind == "content_block_start":
            yield from self._start(place, mapping_of(value, "content_block"))
        elif kind == "content_block_stop":
            yield from self._calls.end(place)
            yield from self._end_span(place)
        elif kind == "message_stop":
            self._ended = True

    def _start(self, place: int, block: Part) -> Iterator[Part]:
        kind = text_of(block, "type")
        if kind == "text":
            yield from self._spans.say((place, "text"), text_of(block, "text"))
            for citation in items_of(block, "citations"):
                yield from self._cite(citation)
        elif kind == "thinking":
            yield from self._spans.say((place, "reasoning"), text_of(block, "thinking"))
        elif kind == "redacted_thinking":
            part_id = self._spans.next_id()
            metadata: Part = {"anthropic": {"redactedData": text_of(block, "data")}}
            yield {"type": "reasoning-start", "id": part_id, "providerMetadata": metadata}
            yield {"type": "reasoning-end", "id": part_id}
        elif kind == "tool_use" or kind in _PROVIDER_RUNS:
            yield from self._call(kind, place, block)
        elif kind.endswith("_tool_result"):
            yield from self._result(block)

    def _call(self, kind: str, place: int, block: Part) -> Iterator[Part]:
        call_id, name = text_of(block, "id"), text_of(block, "name")
        common: Part = {"providerExecuted": True} if kind in _PROVIDER_RUNS else {}
        given = mapping_of(block, "input")
        if given:
            yield from self._calls.whole(place, call_id, name, given, common=common)
        else:
            yield from self._calls.piece(place, call_id, name, "", common=common)

    def _result(self, block: Part) -> Iterator[Part]:
        content = block.get("content")
        call_id = text_of(block, "tool_use_id")
        code = text_of(content, "error_code") if isinstance(content, dict) else ""
        failed = bool(code) or block.get("is_error") is True
        shared: Part = {"toolCallId": call_id, "providerExecuted": True}
        if failed:
            yield {"type": "tool-output-error", **shared, "errorText": code or "The call failed."}
        else:
            yield {"type": "tool-output-available", **shared, "output": content}

    def _end_span(self, place: int) -> Iterator[Part]:
        signature = "".join(self._signatures.pop(place, ()))
        metadata: Part | None = {"anthropic": {"signature": signature}} if signature else None
        if metadata is not None and not self._spans.is_open(place):  # thinking that is not shown
            part_id = self._spans.next_id()
            yield {"type": "reasoning-start", "id": part_id, "providerMetadata": metadata}
            yield {"type": "reasoning-end", "id": part_id}
        yield from self._spans.end(place, metadata)

    def _delta(self, place: int, delta: Part) -> Iterator[Part]:
        kind = text_of(delta, "type")
        if kind == "text_delta":
            yield from self._spans.say((place, "text"), text_of(delta, "text"))
        elif kind == "thinking_delta":
            yield from self._spans.say((place, "reasoning"), text_of(delta, "thinking"))
        elif kind == "signature_delta":
            self._signatures.setdefault(place, []).append(text_of(delta, "signature"))
        elif kind == "input_json_delta" and self._calls.knows(place):
            yield from self._calls.piece(place, "", "", text_of(delta, "partial_json"))
        elif kind == "citations_delta":
            yield from self._cite(mapping_of(delta, "citation"))

    def _cite(self, citation: Part) -> Iterator[Part]:
        if text_of(citation, "url"):
            yield from sources(self._spans, citation)
        else:
            media_type = "application/pdf" if citation.get("type") == "page_location" else "text/plain"
            yield from document(self._spans, text_of(citation, "document_title"), "", media_type)
