"""What the runtime must know of a stream of OpenAI's: its end, its usage and its failure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

from ...faults import FaultCode
from ..base import ToolNews
from ..partial_json import Part, text_of
from ..sse import Block
from ..upstream import BlockReader
from ..upstream.block_reader import DONE, is_done
from ..upstream.json_events import JsonEvent, failure_of, items_of, json_event, mapping_of
from .usage import usage_of

__all__ = ["OpenAIReader"]

_USAGE: Final = re.compile(rb'"usage"\s*:\s*\{')
_FINISH: Final = re.compile(rb'"finish_reason"\s*:\s*"')
_RESPONSE_ENDS: Final = re.compile(rb'"response\.(?:completed|incomplete|failed|cancelled)"')
CLIENT_CALLS: Final = frozenset({"function_call", "custom_tool_call"})
"""Items that the client is to run; the provider runs all others."""
_ENDS: Final = frozenset({"response.completed", "response.incomplete", "response.failed", "response.cancelled"})


class OpenAIReader(BlockReader):
    """Reads chat completions and Responses. Closing parts are `[DONE]`, the end of a response, and errors.

    A stream has its end with `[DONE]`, a finish reason or the end of the response.
    """

    def __init__(self) -> None:
        super().__init__()
        self._begun = False
        self._ended = False

    def ignores(self, raw: bytes) -> bool:
        return self._begun and DONE not in raw and not _matters(raw) and not _may_call(raw)

    def tools(self, block: Block) -> Iterable[ToolNews]:
        if not _may_call(block.raw):
            return ()
        event = json_event(block)
        return () if event is None else _tools_in(event)

    def over(self) -> None:
        if self._begun and not self._ended and self.failure is None:
            self.fail(FaultCode.PROVIDER_ABORTED)

    def closes(self, block: Block) -> bool:
        if is_done(block):
            self._ended = True
            return True
        self._begun = self._begun or b'"choices"' in block.raw or b'"response.' in block.raw
        if not _matters(block.raw):
            return False
        event = json_event(block)
        if event is None:
            return False
        self._note_usage(event.value)
        if any(choice.get("finish_reason") is not None for choice in items_of(event.value, "choices")):
            self._ended = True
        if self._fails(event):
            return True
        ends = event.type in _ENDS
        self._ended = self._ended or ends
        return ends

    def _note_usage(self, value: Part) -> None:
        for holder in (value, mapping_of(value, "x_groq"), mapping_of(value, "response")):
            self.usage.update(usage_of(mapping_of(holder, "usage")))

    def _fails(self, event: JsonEvent) -> bool:
        """Whether the upstream failed, by its own account."""
        kind, value = event.type, event.value
        if kind == "response.failed":
            error: object = mapping_of(value, "response").get("error")
        elif kind == "response.cancelled":
            self.fail(FaultCode.PROVIDER_ABORTED)
            return True
        elif kind == "error" or event.name == "error":
            error = value.get("error") or value
        elif kind:  # an event of Responses that only mentions an error, as a failed tool call does
            return False
        else:
            error = value.get("error")
            if not error:
                return False
        told = error if isinstance(error, dict) else {"type": error if isinstance(error, str) else ""}
        self.fail(failure_of(told))
        return True


def _may_call(raw: bytes) -> bool:
    """Whether a block may tell of a tool: a call's first piece (others have arguments alone), or a finished item."""
    if b"_call" not in raw:
        return False
    return (b'"tool_calls"' in raw and b'"name"' in raw) or (b'"response.output_item.done"' in raw and b'_call"' in raw)


def _tools_in(event: JsonEvent) -> Iterator[ToolNews]:
    for choice in items_of(event.value, "choices"):
        for call in items_of(mapping_of(choice, "delta"), "tool_calls"):
            if name := text_of(mapping_of(call, "function"), "name"):
                yield ToolNews.of(name, text_of(call, "id"), "called")
    item = mapping_of(event.value, "item")
    kind = text_of(item, "type")
    if event.type == "response.output_item.done" and kind.endswith("_call"):
        yield from _of_item(kind, item)


def _of_item(kind: str, item: Part) -> Iterator[ToolNews]:
    """A finished item that calls a tool: the client's to run, or one that the provider ran itself."""
    name = text_of(item, "name") or kind.removesuffix("_call")
    if kind in CLIENT_CALLS:
        yield ToolNews.of(name, text_of(item, "call_id") or text_of(item, "id"), "called")
        return
    call_id = text_of(item, "id") or text_of(item, "call_id")
    yield ToolNews.of(name, call_id, "called")
    yield ToolNews.of(name, call_id, "failed" if item.get("status") == "failed" or item.get("error") else "finished")


def _matters(raw: bytes) -> bool:
    """Whether a block may hold usage, an end or an error. Four searches for fixed bytes cost a tenth of one for all."""
    return (
        b"error" in raw
        or (b'"usage"' in raw and _USAGE.search(raw) is not None)
        or (b'"finish_reason"' in raw and _FINISH.search(raw) is not None)
        or (b'"response.' in raw and _RESPONSE_ENDS.search(raw) is not None)
    )
