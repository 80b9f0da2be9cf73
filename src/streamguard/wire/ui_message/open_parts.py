"""Finds the open parts of a UI message stream from its log, for a worker that ends the stream without its encoder."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from ...decoding import DAMAGE, read_json
from ..base import OpenParts
from ..partial_json import text_of
from .last_step import LastStep
from .open_calls import OpenCalls
from .parts import encode_part

__all__ = ["UIOpenParts"]

_REASONING: Final = b'{"type":"reasoning-delta"'
_TEXT: Final = b'{"type":"text-delta"'
"""The start of the most frequent payloads. `UIMessageEncoder` lets no delta of a closed text through."""


class UIOpenParts(OpenParts):
    """Finds texts, reasonings and tool calls without an end."""

    def __init__(self) -> None:
        self._spans: dict[tuple[str, str], None] = {}  # ("text" | "reasoning", id), in the order they were opened
        self._calls = OpenCalls()
        self._step = LastStep()

    @property
    def spoke(self) -> bool:
        """Whether the present step has a text: further pieces of text change nothing."""
        return self._step.spoke

    @property
    def unfinished(self) -> bool:
        """Whether the client is still in the middle of a text, a reasoning or the input of a call."""
        return bool(self._spans) or self._calls.unfinished

    def answered(self, parts: Iterable[Mapping[str, object]]) -> None:
        self._calls.answered(parts)

    def add(self, payload: bytes) -> None:
        step = self._step
        if (step.began and payload.startswith(_REASONING)) or (step.spoke and payload.startswith(_TEXT)):
            return
        try:
            part = read_json(payload)
        except DAMAGE:  # folding this payload will report it
            return
        if not isinstance(part, dict):
            return
        kind = text_of(part, "type")
        if kind.startswith(("text-", "reasoning-")):
            what, _, place = kind.partition("-")
            if place == "start":
                self._spans[what, text_of(part, "id")] = None
            elif place == "end":
                self._spans.pop((what, text_of(part, "id")), None)
        elif kind in ("finish-step", "reset-step"):
            self._spans.clear()
        self._calls.note(kind, part)
        step.note(kind, part)

    def ends(self) -> Sequence[bytes]:
        out = self._step.ends_in(self._spans)
        out += [encode_part({"type": f"{what}-end", "id": part_id}) for what, part_id in self._spans]
        self._spans.clear()
        return [*out, *self._calls.ends(), *self._step.ends()]
