"""Folding the parts of a UI message stream into the message that AI SDK's own client would hold.

Source: `processUIMessageStream` and `createStreamingUIMessageState` of the npm package `ai` 7.0.173. Departures:

1. A part that refers to one that never began is left out, because a fold must save what there is. The client raises.
   (`UIMessageEncoder` lets no such text or reasoning part through.)
2. Halves of a surrogate pair in two deltas are joined, as JavaScript's strings do by themselves. A lone half becomes
   U+FFFD, because databases refuse it.
3. An incomplete tool input is parsed when the message is read, not at each delta.
4. The parts that close the calls of an answer that ended early (see `ui_message.open_calls`) do not change a call that
   has its result. A client may have sent back a call as waiting that got its result in another tab.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from ..decoding import read_json
from .partial_json import Json, Part, given, joined, text_of
from .tool_fold import ToolFold

__all__ = ["Json", "MessageFold", "UIMessage", "fold"]

# Parts that the message takes over from the stream, with the fields they keep.
_COPIED: Final[Mapping[str, tuple[str, ...]]] = {
    "file": ("mediaType", "url", "providerMetadata"),
    "reasoning-file": ("mediaType", "url", "providerMetadata"),
    "source-url": ("sourceId", "url", "title", "providerMetadata"),
    "source-document": ("sourceId", "mediaType", "title", "filename", "providerMetadata"),
    "custom": ("kind", "providerMetadata"),
    "steering-message": ("id", "parts"),
}
_UNMERGED_KEYS: Final = frozenset({"__proto__", "constructor", "prototype"})


@dataclass(frozen=True, slots=True)
class UIMessage:
    """An assistant message in AI SDK's own form. It shares no objects with a fold."""

    id: str
    parts: tuple[Part, ...] = ()
    metadata: Json = None
    """None when the message has no metadata."""
    role: str = field(default="assistant", init=False)

    def as_dict(self) -> dict[str, Json]:
        """The message as `useChat` takes it. Without metadata the key is left out."""
        out: dict[str, Json] = {"id": self.id, "role": self.role}
        if self.metadata is not None:
            out["metadata"] = self.metadata
        out["parts"] = list(self.parts)
        return out

    @classmethod
    def from_dict(cls, raw: Mapping[str, Json]) -> UIMessage:
        """Read what `as_dict` returned, or what a client sent back.

        Raises:
            ValueError: `raw` is not an assistant message.
        """
        message_id, parts = raw.get("id"), raw.get("parts")
        if raw.get("role") != "assistant" or not isinstance(message_id, str) or not isinstance(parts, list):
            raise ValueError("an assistant message has an id, the role assistant and parts")
        checked: list[Part] = []
        for part in parts:
            if not isinstance(part, dict) or not isinstance(part.get("type"), str):
                raise ValueError("each part of a message is an object with a type")
            checked.append(part)
        return cls(message_id, tuple(checked), raw.get("metadata"))


def fold(message_id: str, payloads: Iterable[bytes], previous: UIMessage | None = None) -> UIMessage:
    """The message that results from adding `payloads`, closing parts included, to `previous`. Payloads are JSON parts.

    Raises:
        ValueError: a payload is not a JSON object.
    """
    folding = MessageFold(message_id, previous)
    for payload in payloads:
        folding.add(payload)
    return folding.message()


class MessageFold:
    """Folds part by part; `message` may be called at any point. Not thread-safe."""

    def __init__(self, message_id: str, previous: UIMessage | None = None) -> None:
        self._id = message_id
        self._parts: list[Part] = [] if previous is None else [copy.deepcopy(part) for part in previous.parts]
        self._metadata: Json = None if previous is None else copy.deepcopy(previous.metadata)
        # Texts grow piece by piece. Joining at each delta would take time quadratic in the answer's length.
        self._growing: dict[tuple[str, str], tuple[Part, list[str]]] = {}
        # Complete texts that are not joined yet. Joining may be slow, so the caller of `message` chooses the thread.
        self._whole: list[tuple[Part, list[str]]] = []
        self._tools = ToolFold(self._parts)

    def add(self, payload: bytes) -> None:
        """Take in one part. A part of an unknown type changes nothing.

        Raises:
            ValueError: `payload` is not a JSON object.
        """
        part = read_json(payload)
        if not isinstance(part, dict):
            raise ValueError("a part is a JSON object")
        self.add_part(part)

    def add_part(self, part: Part) -> None:
        """Like `add`, for a part that was read already. The fold keeps its objects."""
        kind = text_of(part, "type")
        if kind in _COPIED:
            self._parts.append({"type": kind, **given(part, *_COPIED[kind])})
        elif kind.startswith("data-"):
            self._data(part)
        elif kind.startswith("tool-"):
            self._tools.add(kind, part)
        elif kind.startswith(("text-", "reasoning-")):
            self._span(kind, part)
        elif kind == "start-step":
            self._parts.append({"type": "step-start"})
        elif kind == "reset-step":
            for key in list(self._growing):  # a text that began before the step keeps its text
                self._finish_part(key)
            self._tools.reset_step()
        elif kind in ("start", "finish", "message-metadata"):
            self._id = text_of(part, "messageId") or self._id
            if part.get("messageMetadata") is not None:
                self._metadata = _merged(self._metadata, part["messageMetadata"])

    def message(self) -> UIMessage:
        """The message so far. Later parts do not change it."""
        for part, pieces in (*self._whole, *self._growing.values()):
            part["text"] = joined(pieces)
        self._whole.clear()
        self._tools.update()
        return UIMessage(self._id, tuple(copy.deepcopy(self._parts)), copy.deepcopy(self._metadata))

    def _span(self, kind: str, chunk: Part) -> None:
        """A text or reasoning part's start, delta or end."""
        what, _, step = kind.partition("-")
        key = (what, text_of(chunk, "id"))
        if step == "start":
            self._finish_part(key)
            part: Part = {"type": what, "text": "", "state": "streaming", **given(chunk, "providerMetadata")}
            if what == "reasoning":
                part["id"] = key[1]
            self._parts.append(part)
            self._growing[key] = (part, [])
        elif key in self._growing:
            part, pieces = self._growing[key]
            part.update(given(chunk, "providerMetadata"))
            if step == "delta":
                pieces.append(text_of(chunk, "delta"))
            else:
                part.update({"state": "done", **given(chunk, "citations")})
                self._finish_part(key)

    def _finish_part(self, key: tuple[str, str]) -> None:
        if key in self._growing:
            self._whole.append(self._growing.pop(key))

    def _data(self, chunk: Part) -> None:
        if chunk.get("transient"):
            return
        if chunk.get("id") is not None:
            for part in self._parts:
                if part.get("type") == chunk["type"] and part.get("id") == chunk["id"]:
                    part["data"] = chunk.get("data")
                    return
        self._parts.append(chunk)


def _merged(base: Json, over: Json) -> Json:
    """`over` merged into `base`: objects are merged deeply, key by key; everything else is replaced."""
    if not isinstance(base, dict) or not isinstance(over, dict):
        return over
    out = dict(base)
    for key, value in over.items():
        if key not in _UNMERGED_KEYS:
            out[key] = _merged(base.get(key), value)
    return out
