"""Responses as parts of AI SDK.

Source: `ResponseStreamEvent` of the Python package `openai` 3.57. `item_id`s and encrypted reasoning are kept as AI
SDK's own provider keeps them, in the metadata `openai`, so that a later request can refer to them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final, TypeAlias

from ..partial_json import Json, Part, text_of
from ..upstream.calls import Calls
from ..upstream.json_events import items_of, mapping_of
from ..upstream.spans import Spans, document, sources

__all__ = ["TEXT_DELTAS", "ResponsesTranslator"]

Place: TypeAlias = int | str

_DELTAS: Final[Mapping[str, str]] = {
    "response.output_text.delta": "text",
    "response.refusal.delta": "text",
    "response.reasoning_summary_text.delta": "reasoning",
    "response.reasoning_text.delta": "reasoning",
    "response.audio.transcript.delta": "text",
}
TEXT_DELTAS: Final = frozenset(kind for kind, what in _DELTAS.items() if what == "text")
_INPUTS: Final = frozenset(
    {
        "response.function_call_arguments.delta",
        "response.custom_tool_call_input.delta",
        "response.mcp_call_arguments.delta",
    }
)
_ENDS: Final = frozenset({"response.completed", "response.incomplete"})
_REFUSAL: Final[Part] = {"openai": {"refusal": True}}
_CLIENT_CALLS: Final = frozenset({"function_call", "custom_tool_call"})
_NO_INPUT: Final = frozenset({"id", "type", "status", "output", "outputs", "result", "results", "error"})


class ResponsesTranslator:
    """Translates the events of one response."""

    def __init__(self) -> None:
        self.ended: bool = False
        self._calls = Calls()
        self._spans = Spans()
        self._spoke: set[Place] = set()
        """The output items whose text came in pieces."""
        self._ways: Mapping[str, Callable[[Part], Iterator[Part]]] = {
            "response.output_item.added": self._added,
            "response.output_item.done": self._done,
            "response.output_text.annotation.added": lambda value: self._cite(mapping_of(value, "annotation")),
        }

    def parts(self, kind: str, value: Part) -> Iterator[Part]:
        """The parts of an event of this type."""
        if kind in _DELTAS:
            yield from self._say(kind, value)
        elif kind in _INPUTS:
            if self._calls.knows(_place(value)):
                yield from self._calls.piece(_place(value), "", "", text_of(value, "delta"))
        elif kind in self._ways:
            yield from self._ways[kind](value)
        elif kind in _ENDS:
            self.ended = True

    def _say(self, kind: str, value: Part) -> Iterator[Part]:
        place = _place(value)
        self._spoke.add(place)
        part = value.get("summary_index") if "summary" in kind else value.get("content_index")
        refused = kind == "response.refusal.delta"
        key = (place, _DELTAS[kind], refused, part if isinstance(part, int) else 0)
        yield from self._spans.say(key, text_of(value, "delta"), _REFUSAL if refused else None)

    def _added(self, value: Part) -> Iterator[Part]:
        item, place = mapping_of(value, "item"), _place(value)
        kind = text_of(item, "type")
        if not kind.endswith("_call"):
            return
        text = text_of(item, "arguments") or text_of(item, "input")
        yield from self._calls.piece(
            place,
            text_of(item, "call_id") or text_of(item, "id"),
            _tool_name(kind, item),
            text,
            text_input=kind == "custom_tool_call",
            common=_common(kind),
        )

    def _done(self, value: Part) -> Iterator[Part]:
        item, place = mapping_of(value, "item"), _place(value)
        kind = text_of(item, "type")
        metadata = _metadata(item)
        if kind in ("message", "reasoning"):
            if place not in self._spoke:
                yield from self._whole(kind, item, place)
            if kind == "reasoning" and not self._spans.is_open(place) and "reasoningEncryptedContent" in metadata:
                yield from self._silent(metadata)
            yield from self._spans.end(place, {"openai": metadata} if metadata else None)
        elif kind.endswith("_call"):
            if not self._calls.knows(place):
                yield from self._added(value)
            extra: Part = {"providerMetadata": {"openai": metadata}} if metadata else {}
            if kind in _CLIENT_CALLS:
                yield from self._calls.end(place, extra)
            else:
                yield from self._ran(kind, item, place)

    def _whole(self, kind: str, item: Part, place: Place) -> Iterator[Part]:
        """The text of an item that came in one piece."""
        for number, piece in enumerate([*items_of(item, "summary"), *items_of(item, "content")]):
            if kind == "reasoning":
                yield from self._spans.say((place, "reasoning", number), text_of(piece, "text"))
                continue
            yield from self._spans.say((place, "text", False, number), text_of(piece, "text"))
            yield from self._spans.say((place, "text", True, number), text_of(piece, "refusal"), _REFUSAL)
            for annotation in items_of(piece, "annotations"):
                yield from self._cite(annotation)

    def _silent(self, metadata: Part) -> Iterator[Part]:
        """Reasoning of which nothing is shown, and which a later request must hand back."""
        part_id = self._spans.next_id()
        yield {"type": "reasoning-start", "id": part_id, "providerMetadata": {"openai": metadata}}
        yield {"type": "reasoning-end", "id": part_id}

    def _ran(self, kind: str, item: Part, place: Place) -> Iterator[Part]:
        """A call that the provider made itself."""
        call_id = text_of(item, "id") or text_of(item, "call_id")
        if kind != "mcp_call":
            given: Part = {name: field for name, field in item.items() if name not in _NO_INPUT and field is not None}
            yield from self._calls.whole(place, call_id, _tool_name(kind, item), given, common=_common(kind))
        error = item.get("error")
        found = next(
            (item[name] for name in ("output", "outputs", "result", "results") if item.get(name) is not None), {}
        )
        failed = item.get("status") == "failed" or bool(error)
        yield from self._calls.result(place, found, error_text=_error_text(error) if failed else None)

    def _cite(self, annotation: Part) -> Iterator[Part]:
        if annotation.get("type") == "url_citation":
            yield from sources(self._spans, annotation)
        else:
            name = text_of(annotation, "filename") or text_of(annotation, "file_id")
            yield from document(self._spans, name, text_of(annotation, "filename"), "text/plain")


def _place(value: Part) -> Place:
    """What the events of one output item share. Some compatible servers change the item's id on the way."""
    index = value.get("output_index")
    return index if isinstance(index, int) else text_of(value, "item_id")


def _tool_name(kind: str, item: Part) -> str:
    return text_of(item, "name") or kind.removesuffix("_call")


def _common(kind: str) -> Part:
    return {} if kind in _CLIENT_CALLS else {"providerExecuted": True}


def _metadata(item: Part) -> Part:
    item_id, encrypted = text_of(item, "id"), text_of(item, "encrypted_content")
    found: Part = {"itemId": item_id} if item_id else {}
    return {**found, "reasoningEncryptedContent": encrypted} if encrypted else found


def _error_text(error: Json) -> str:
    if isinstance(error, dict):
        error = text_of(error, "message")
    return error if isinstance(error, str) and error else "The call failed."
