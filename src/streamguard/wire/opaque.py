"""Any SSE stream, passed on block by block and byte for byte. No JSON is parsed.

`upstream.protocol` says what clients get. `[DONE]` and everything after it are the closing parts.
"""

from __future__ import annotations

from typing import ClassVar, Final

from .folding import UIMessage
from .text_fold import TextFold
from .upstream import UpstreamProtocol

__all__ = ["OpaqueProtocol"]

PROTOCOL: Final = "opaque"


class OpaqueProtocol(UpstreamProtocol):
    """Passes blocks through that it cannot read: a returned `StreamingResponse`, an upstream's body, or blocks made by
    the host."""

    name: ClassVar[str] = PROTOCOL

    def folding(self, message_id: str, previous: UIMessage | None = None) -> TextFold:
        """Puts the unchanged blocks into a data part. A page would show a text part as the model's words."""
        return TextFold(message_id, previous, lambda text: {"type": "data-streamguard-sse", "data": text})
