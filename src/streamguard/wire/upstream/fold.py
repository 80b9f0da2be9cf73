"""Folding an upstream's blocks into the message that a page shows after a reload."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from ...decoding import DAMAGE
from ..closed_calls import CALL_CLOSED
from ..folding import MessageFold, UIMessage
from ..partial_json import Part, text_of
from ..sse import Block
from ..ui_message.last_step import CUT_OFF
from ..values import normal
from .block_reader import is_done
from .json_events import JsonEvent, json_event

__all__ = ["Translator", "UpstreamFold", "said_in"]

_DELTAS: Final = frozenset({"text-delta", "reasoning-delta", "tool-input-delta"})


class Translator(ABC):
    """Translates one stream's events into parts of AI SDK's protocol, in order. Not thread-safe."""

    @property
    @abstractmethod
    def ended(self) -> bool:
        """Whether the upstream said that its answer is whole."""

    @abstractmethod
    def parts(self, event: JsonEvent) -> Iterable[Part]:
        """The parts that an event stands for; none for an event of an unknown type."""

    def done(self) -> Iterable[Part]:
        """The parts that `[DONE]` stands for."""
        return ()


class UpstreamFold:
    """Folds block by block. A block that cannot be read changes nothing. Not thread-safe.

    An upstream's stream that was cut off has no block that ends its open parts. So `message` ends them: texts are done,
    and calls get an error as their result, because providers refuse a history with a call that has no result.
    """

    def __init__(self, translator: Translator, message_id: str, previous: UIMessage | None) -> None:
        self._translator = translator
        self._fold = MessageFold(message_id, previous)
        self._before = 0 if previous is None else len(previous.parts)
        self._at_start = True

    def add(self, payload: bytes) -> None:
        """Take in one block."""
        block = Block(payload, self._at_start)
        self._at_start = False
        if is_done(block):
            self._add(self._translator.done)
        elif (event := json_event(block)) is not None:
            self.add_event(event)

    def add_event(self, event: JsonEvent) -> None:
        """Take in an event that was read already."""
        self._add(lambda: self._translator.parts(event))

    def _add(self, parts: Callable[[], Iterable[Part]]) -> None:
        try:
            for part in parts():
                self._add_part(part)
        except DAMAGE:  # an event in an unexpected form must not cost the message
            return

    def _add_part(self, part: Part) -> None:
        if part["type"] in _DELTAS:  # the fold itself joins the halves of surrogate pairs in them
            self._fold.add_part(part)
            return
        value = normal(part).value
        if isinstance(value, dict):
            self._fold.add_part(value)

    def message(self) -> UIMessage:
        """The message so far. Later blocks do not change it."""
        message = self._fold.message()
        ours = message.parts[self._before :]
        for part in ours:
            if part.get("state") == "streaming":
                part["state"] = "done"
            elif part.get("state") == "input-streaming" or (
                part.get("state") == "input-available" and not self._translator.ended
            ):
                _close(part)
        if ours and not self._translator.ended and not any(map(_speaks, ours)):
            cut_off: Part = {"type": "text", "text": CUT_OFF, "state": "done"}
            return UIMessage(message.id, (*message.parts, cut_off), message.metadata)
        return message


def said_in(parts: Iterable[Part]) -> Iterator[str]:
    """The pieces of text in some parts."""
    return (text_of(part, "delta") for part in parts if part.get("type") == "text-delta")


def _close(part: Part) -> None:
    """Give a call an error as its result."""
    if not isinstance(part.get("input"), dict):
        part["input"] = {}
    part.pop("rawInput", None)
    part.update({"state": "output-error", "errorText": CALL_CLOSED})


def _speaks(part: Part) -> bool:
    """Whether a model's provider accepts a message that has only this part."""
    kind = str(part.get("type"))
    return kind.startswith("tool-") or (kind == "text" and bool(str(part.get("text")).strip()))
