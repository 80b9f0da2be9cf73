"""What the runtime must know of a stream of OpenAI's: its end, its usage and its failure."""

from __future__ import annotations

import re
from typing import Final

from ...faults import FaultCode
from ..partial_json import Part
from ..sse import Block
from ..upstream import BlockReader
from ..upstream.block_reader import is_done
from ..upstream.json_events import JsonEvent, failure_of, items_of, json_event, mapping_of
from .usage import usage_of

__all__ = ["OpenAIReader"]

_USAGE: Final = re.compile(rb'"usage"\s*:\s*\{')
_FINISH: Final = re.compile(rb'"finish_reason"\s*:\s*"')
_RESPONSE_ENDS: Final = re.compile(rb'"response\.(?:completed|incomplete|failed|cancelled)"')
_ENDS: Final = frozenset({"response.completed", "response.incomplete", "response.failed", "response.cancelled"})


class OpenAIReader(BlockReader):
    """Reads chat completions and Responses. Closing parts are `[DONE]`, the end of a response, and errors.

    A stream has its end with `[DONE]`, a finish reason or the end of the response.
    """

    def __init__(self) -> None:
        super().__init__()
        self._begun = False
        self._ended = False

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


def _matters(raw: bytes) -> bool:
    """Whether a block may hold usage, an end or an error. Four searches for fixed bytes cost a tenth of one for all."""
    return (
        b"error" in raw
        or (b'"usage"' in raw and _USAGE.search(raw) is not None)
        or (b'"finish_reason"' in raw and _FINISH.search(raw) is not None)
        or (b'"response.' in raw and _RESPONSE_ENDS.search(raw) is not None)
    )
