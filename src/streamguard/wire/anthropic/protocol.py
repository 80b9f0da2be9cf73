"""Anthropic's messages, passed on byte for byte: `/v1/messages`.

Read by the SDKs of Anthropic. `upstream.protocol` says what they get.
Source of the events: `RawMessageStreamEvent` of the Python package `anthropic` 2.14.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import ClassVar, Final

from ...faults import FaultCode
from ..base import ToolNews
from ..folding import UIMessage
from ..partial_json import text_of
from ..sse import Block
from ..upstream import BlockReader
from ..upstream.block_reader import DONE, is_done
from ..upstream.fold import UpstreamFold, said_in
from ..upstream.json_events import JsonEvent, failure_of, json_event, mapping_of
from ..upstream.readable import ReadableProtocol
from .translator import AnthropicTranslator
from .usage import AnthropicUsage

__all__ = ["AnthropicProtocol", "AnthropicReader"]

PROTOCOL: Final = "anthropic"


class AnthropicReader(BlockReader):
    """Closing parts are `message_stop` and errors."""

    def __init__(self) -> None:
        super().__init__()
        self._usage = AnthropicUsage()
        self._tools: dict[str, str] = {}
        """The names of the calls so far, by their ids."""
        self._begun = False
        self._ended = False

    def ignores(self, raw: bytes) -> bool:
        return DONE not in raw and not _matters(raw) and not _may_call(raw)

    def closes(self, block: Block) -> bool:
        if is_done(block):  # of compatible servers
            self._ended = True
            return True
        if not _matters(block.raw):
            return False
        event = json_event(block)
        if event is None:
            return False
        kind, value = event.type, event.value
        if kind == "message_start":
            self._begun = True
            self.tell_usage(self._usage.note(mapping_of(mapping_of(value, "message"), "usage")))
        elif kind == "message_delta":
            self.tell_usage(self._usage.note(mapping_of(value, "usage")))
        elif kind == "error" or event.name == "error":
            self.fail(failure_of(mapping_of(value, "error")))
            return True
        ends = kind == "message_stop"
        self._ended = self._ended or ends
        return ends

    def tools(self, block: Block) -> Iterable[ToolNews]:
        if not _may_call(block.raw):
            return ()
        return self._tools_in(block)

    def _tools_in(self, block: Block) -> Iterator[ToolNews]:
        event = json_event(block)
        said = {} if event is None else mapping_of(event.value, "content_block")
        kind = text_of(said, "type")
        if kind.endswith("tool_use"):
            self._tools[text_of(said, "id")] = name = text_of(said, "name")
            yield ToolNews.of(name, text_of(said, "id"), "called")
        elif kind.endswith("_tool_result"):
            call_id, content = text_of(said, "tool_use_id"), said.get("content")
            failed = said.get("is_error") is True or (isinstance(content, dict) and "error_code" in content)
            yield ToolNews.of(self._tools.get(call_id, ""), call_id, "failed" if failed else "finished")

    def over(self) -> None:
        if self._begun and not self._ended and self.failure is None:
            self.fail(FaultCode.PROVIDER_ABORTED)


def _matters(raw: bytes) -> bool:
    """Whether a block may hold usage, an end or an error."""
    return b'"message_' in raw or b"error" in raw


def _may_call(raw: bytes) -> bool:
    """Whether a block may tell of a tool."""
    return b"tool_" in raw and b'"content_block_start"' in raw


class AnthropicProtocol(ReadableProtocol):
    """Messages of Anthropic's."""

    name: ClassVar[str] = PROTOCOL

    def reader(self) -> BlockReader:
        return AnthropicReader()

    def said(self, event: JsonEvent) -> Iterator[str]:
        return said_in(AnthropicTranslator().parts(event))

    def folding(self, message_id: str, previous: UIMessage | None = None) -> UpstreamFold:
        return UpstreamFold(AnthropicTranslator(), message_id, previous)
