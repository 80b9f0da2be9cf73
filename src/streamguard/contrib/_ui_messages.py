"""Reads UI messages, as a client sends them or a message store keeps them, for conversion to a provider's messages.

What no provider reads is left out here: data parts, sources, metadata. Every tool call has a result afterwards, because
every provider refuses a history with a call that has none.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias, cast
from urllib.parse import unquote_to_bytes

from ..messages.records import Message, StoredMessage
from ..wire.folding import UIMessage

__all__ = [
    "Call",
    "Content",
    "File",
    "HistoryMessage",
    "Reasoning",
    "Text",
    "json_text",
    "read_history",
    "turns_of",
    "unreadable",
]

_TEXTS: Final = ("text/", "application/json", "application/xml", "application/x-yaml", "application/yaml")
_NOT_IN_IDS: Final = re.compile(r"[^a-zA-Z0-9_-]")
_UNFINISHED: Final = "The call was not carried out."
_DENIED: Final = "The user did not allow this call."

_Fields: TypeAlias = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Text:
    """A text; never blank."""

    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Reasoning:
    """What the model thought; `text` may be empty."""

    text: str = field(repr=False)
    metadata: Mapping[str, object] = field(default_factory=dict)
    """The part's `providerMetadata`."""


@dataclass(frozen=True, slots=True)
class File:
    """A file or an image."""

    url: str = field(repr=False)
    """An address, or a data URL."""
    media_type: str
    filename: str = ""

    @property
    def is_image(self) -> bool:
        """Whether it is an image."""
        return self.media_type.startswith("image/")

    @property
    def base64(self) -> str | None:
        """The content of a data URL as base64; None for an address, and for a data URL that cannot be read."""
        head, comma, data = self.url.partition(",")
        if not comma or not head.lower().startswith("data:"):
            return None
        if not head.lower().endswith(";base64"):
            return base64.b64encode(unquote_to_bytes(data)).decode()
        try:
            base64.b64decode(data, validate=True)
        except binascii.Error:
            return None
        return data

    @property
    def as_text(self) -> str | None:
        """The content of a data URL that holds text, under the file's name; None for anything else."""
        data = self.base64 if self.media_type.startswith(_TEXTS) else None
        if data is None:
            return None
        text = base64.b64decode(data).decode("utf-8", "replace")
        return f"{self.filename}:\n{text}" if self.filename else text


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call with its result."""

    call_id: str
    name: str
    input: object
    """Any JSON; an object, unless the model wrote something else."""
    output: object = None
    error: str | None = None
    """Why it has no output: the tool's own words, or ours for a call that was not carried out."""
    metadata: Mapping[str, object] = field(default_factory=dict)
    """The `callProviderMetadata`."""

    @property
    def arguments(self) -> str:
        """The input as the JSON text of an object."""
        return json_text(self.input_object)

    @property
    def input_object(self) -> Mapping[str, object]:
        """The input if it is an object; otherwise an empty one, because providers take nothing else."""
        return self.input if isinstance(self.input, Mapping) else {}

    @property
    def result(self) -> str:
        """Output or error as a text: a string as it is, everything else as JSON."""
        if self.error is not None:
            return self.error
        return self.output if isinstance(self.output, str) else json_text(self.output)


Content: TypeAlias = Text | Reasoning | File | Call


@dataclass(frozen=True, slots=True)
class HistoryMessage:
    """One message: who said it, and its contents by step. A user's message has one step."""

    role: str
    """`system`, `user` or `assistant`."""
    steps: tuple[tuple[Content, ...], ...]

    @property
    def contents(self) -> Iterator[Content]:
        """The contents of all steps."""
        return (content for step in self.steps for content in step)

    @property
    def text(self) -> str:
        """All texts, joined by line ends."""
        return "\n".join(content.text for content in self.contents if isinstance(content, Text))


def read_history(ui_messages: Iterable[object]) -> list[HistoryMessage]:
    """The messages that have content which a provider reads.

    The ids of calls are made such that every provider takes them: each only once, and of letters, digits, `_` and `-`.

    Args:
        ui_messages: dicts, pydantic models, or what a message store gives back. Parts may be pydantic models too. A
            message of an older form, with `content` instead of parts, counts as its text.

    Raises:
        ValueError: something among them is no UI message.
    """
    if isinstance(ui_messages, (str, bytes, Mapping)) or not isinstance(ui_messages, Iterable):
        raise ValueError(f"UI messages are a list of messages, not {type(ui_messages).__name__}")
    ids = _CallIds()
    return [message for found in ui_messages if (message := _message(found, ids)).steps]


def turns_of(message: HistoryMessage) -> Iterator[tuple[tuple[Content, ...], tuple[Call, ...]]]:
    """What the model said, as a provider's history has it: contents, then the calls they end with.

    A call's result comes between it and what the model said next. So a step with text after a call, as frameworks that
    send no steps make them, becomes several turns.
    """
    for step in message.steps:
        said: list[Content] = []
        calls: list[Call] = []
        for content in step:
            if isinstance(content, Call):
                calls.append(content)
                continue
            if calls:
                yield tuple(said), tuple(calls)
                said, calls = [], []
            said.append(content)
        if said or calls:
            yield tuple(said), tuple(calls)


def unreadable(file: File) -> str:
    """What the model is told in place of a file that its API does not take."""
    return f"[{file.filename or 'A file'} ({file.media_type or 'of unknown type'}) was attached, but cannot be read.]"


def json_text(value: object) -> str:
    """Any JSON as compact text."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)


class _CallIds:
    """The ids of one history's calls."""

    def __init__(self) -> None:
        self._used: set[str] = set()

    def next(self, call_id: str) -> str:
        wanted = unique = _NOT_IN_IDS.sub("_", call_id)
        count = 1
        while unique in self._used:
            count += 1
            unique = f"{wanted}_{count}"
        self._used.add(unique)
        return unique


def _message(found: object, ids: _CallIds) -> HistoryMessage:
    if isinstance(found, StoredMessage):
        found = found.message
    if isinstance(found, (Message, UIMessage)):
        return HistoryMessage(str(found.role), _steps(found.parts, ids))
    fields = _fields(found)
    role = None if fields is None else fields.get("role")
    if fields is None or role not in ("system", "user", "assistant"):
        raise ValueError(f"a UI message has the role system, user or assistant, and parts; {type(found).__name__} not")
    parts = fields.get("parts")
    if parts is None and isinstance(fields.get("content"), str):
        parts = [{"type": "text", "text": fields["content"]}]
    if not isinstance(parts, Sequence) or isinstance(parts, str):
        raise ValueError("a UI message has a list of parts")
    return HistoryMessage(str(role), _steps(parts, ids))


def _steps(parts: Sequence[object], ids: _CallIds) -> tuple[tuple[Content, ...], ...]:
    steps: list[list[Content]] = [[]]
    for found in parts:
        part = _fields(found)
        if part is None:
            raise ValueError(f"a part of a UI message is an object, not {type(found).__name__}")
        kind = _text(part, "type")
        if kind == "step-start":
            steps.append([])
        elif (content := _content(kind, part, ids)) is not None:
            steps[-1].append(content)
    return tuple(tuple(step) for step in steps if step)


def _content(kind: str, part: _Fields, ids: _CallIds) -> Content | None:
    if kind == "text":
        text = _text(part, "text")
        return Text(text) if text.strip() else None
    if kind == "reasoning":
        metadata = _object(part, "providerMetadata")
        text = _text(part, "text")
        return Reasoning(text, metadata) if text.strip() or metadata else None
    if kind == "file":
        url = _text(part, "url")
        return File(url, _text(part, "mediaType"), _text(part, "filename")) if url else None
    if kind.startswith("tool-") or kind == "dynamic-tool":
        return _call(kind, part, ids)
    return None


def _call(kind: str, part: _Fields, ids: _CallIds) -> Call | None:
    """The call of a part; None for one that the provider itself carried out: its result is in the provider's own form
    and in the answer's text."""
    call_id = _text(part, "toolCallId")
    name = _text(part, "toolName") if kind == "dynamic-tool" else kind.removeprefix("tool-")
    if not call_id or not name or part.get("providerExecuted") is True:
        return None
    call_id = ids.next(call_id)
    state = part.get("state")
    metadata = _object(part, "callProviderMetadata")
    value = part.get("input")
    if state == "output-available":
        return Call(call_id, name, value, part.get("output"), metadata=metadata)
    if state == "output-error":
        error = _text(part, "errorText") or "The tool failed."
        return Call(call_id, name, part.get("rawInput") if value is None else value, error=error, metadata=metadata)
    approval = part.get("approval")
    denied = state == "output-denied" or (isinstance(approval, Mapping) and approval.get("approved") is False)
    return Call(call_id, name, value, error=_DENIED if denied else _UNFINISHED, metadata=metadata)


def _fields(value: object) -> _Fields | None:
    """The fields of a mapping or a pydantic model, under their names on the wire."""
    if isinstance(value, Mapping):
        return cast("_Fields", value)
    dump = getattr(value, "model_dump", None)
    if dump is None or isinstance(value, type):
        return None
    dumped = dump(mode="json", by_alias=True, warnings=False)
    return dumped if isinstance(dumped, Mapping) else None


def _text(part: _Fields, name: str) -> str:
    value = part.get(name)
    return value if isinstance(value, str) else ""


def _object(part: _Fields, name: str) -> Mapping[str, object]:
    value = part.get(name)
    return value if isinstance(value, Mapping) else {}
