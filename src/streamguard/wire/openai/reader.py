"""What the runtime must know of a stream of OpenAI's: its end, its usage and its failure."""

from __future__ import annotations

import re
from typing import Final

from ...faults import FaultCode
from ..partial_json import Part
from ..sse import Block
from ..upstream import BlockReader
from ..upstream.block_reader import is_done
from ..upstream.json_events import JsonEvent, failure_of, json_event, mapping_of
from .usage import usage_of

__all__ = ["OpenAIReader"]

_MATTERS: Final = re.compile(
    rb'"usage"\s*:\s*\{|"error"\s*:(?!\s*null)|(?:\A|[\r\n])event: ?error'
    rb'|"type"\s*:\s*"(?:response\.(?:completed|incomplete|failed|cancelled)|error)"'
)
_ENDS: Final = frozenset({"response.completed", "response.incomplete", "response.failed", "response.cancelled"})


class OpenAIReader(BlockReader):
    """Reads chat completions and Responses. Closing parts are `[DONE]`, the end of a response, and errors."""

    def closes(self, block: Block) -> bool:
        if is_done(block):
            return True
        if _MATTERS.search(block.raw) is None:
            return False
        event = json_event(block)
        if event is None:
            return False
        self._note_usage(event.value)
        return self._fails(event) or event.type in _ENDS

    def _note_usage(self, value: Part) -> None:
        for holder in (value, mapping_of(value, "x_groq"), mapping_of(value, "response")):
            self.usage.update(usage_of(mapping_of(holder, "usage")))

    def _fails(self, event: JsonEvent) -> bool:
        """Whether the upstream failed, by its own account."""
        kind, value = event.type, event.value
        if kind == "response.failed":
            error: object = mapping_of(value, "response").get("error")
        elif kind == "response.cancelled":
            self.failure = FaultCode.PROVIDER_ABORTED
            return True
        elif kind == "error" or event.name == "error":
            error = value.get("error") or value
        elif kind:  # an event of Responses that only mentions an error, as a failed tool call does
            return False
        else:
            error = value.get("error")
            if not error:
                return False
        self.failure = failure_of(
            error if isinstance(error, dict) else {"type": error if isinstance(error, str) else ""}
        )
        return True
