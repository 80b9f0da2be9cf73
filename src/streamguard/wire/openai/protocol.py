"""OpenAI's streams, passed on byte for byte: `/v1/chat/completions`, `/v1/completions` and `/v1/responses`.

Read by the SDKs of OpenAI and by clients of the many compatible servers. `upstream.protocol` says what they get.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import ClassVar, Final

from ..folding import UIMessage
from ..partial_json import Part, text_of
from ..upstream import BlockReader
from ..upstream.fold import Translator, UpstreamFold, said_in
from ..upstream.json_events import JsonEvent
from ..upstream.readable import ReadableProtocol
from .chat import ChatTranslator
from .reader import OpenAIReader
from .responses import TEXT_DELTAS, ResponsesTranslator

__all__ = ["OpenAIProtocol", "OpenAITranslator"]

PROTOCOL: Final = "openai"


class OpenAITranslator(Translator):
    """Translates chat completions and Responses."""

    def __init__(self) -> None:
        self._chat = ChatTranslator()
        self._responses = ResponsesTranslator()

    @property
    def ended(self) -> bool:
        return self._chat.ended or self._responses.ended

    def parts(self, event: JsonEvent) -> Iterator[Part]:
        kind = event.type or (event.name if event.name.startswith("response.") else "")
        return self._responses.parts(kind, event.value) if kind else self._chat.parts(event.value)

    def done(self) -> Iterable[Part]:
        return self._chat.done()


class OpenAIProtocol(ReadableProtocol):
    """Chat completions and Responses."""

    name: ClassVar[str] = PROTOCOL

    def reader(self) -> BlockReader:
        return OpenAIReader()

    def said(self, event: JsonEvent) -> Iterator[str]:
        if event.type in TEXT_DELTAS:
            yield text_of(event.value, "delta")
        elif not event.type:
            yield from said_in(ChatTranslator().parts(event.value))

    def folding(self, message_id: str, previous: UIMessage | None = None) -> UpstreamFold:
        return UpstreamFold(OpenAITranslator(), message_id, previous)
