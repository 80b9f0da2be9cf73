"""Streams in the shape that providers document, as files, and what each of them means.

Each file is one response's body, byte for byte. `expected.json` has its protocol, the parts that it folds to, and what
it tells of usage and failure.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from streamguard.wire import WireProtocol, protocol_named

__all__ = ["LINES", "SSE", "TRANSCRIPTS", "Transcript", "transcript"]

SSE: Final = "text/event-stream"
LINES: Final = "application/x-ndjson"

DIRECTORY: Final = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Transcript:
    """One response of an upstream."""

    name: str
    body: bytes
    protocol_name: str
    media_type: str
    ui_message: bool
    """Whether the response has the header `x-vercel-ai-ui-message-stream`."""
    parts: Sequence[Mapping[str, object]]
    """The parts of the message that it folds to."""
    usage: Mapping[str, int]
    failure: str | None
    """The code of the failure that the upstream tells of."""

    @property
    def protocol(self) -> WireProtocol:
        return protocol_named(self.protocol_name)

    @property
    def headers(self) -> dict[str, str]:
        """The response's headers."""
        return {"content-type": self.media_type, **({"x-vercel-ai-ui-message-stream": "v1"} if self.ui_message else {})}


def transcript(name: str) -> Transcript:
    """The transcript of that name, such as `openai-chat-text`."""
    return next(one for one in TRANSCRIPTS if one.name == name)


def _all() -> list[Transcript]:
    expected = json.loads((DIRECTORY / "expected.json").read_text("utf-8"))
    found: list[Transcript] = []
    for path in sorted([*DIRECTORY.glob("*.sse"), *DIRECTORY.glob("*.ndjson")]):
        told = expected[path.stem]
        found.append(
            Transcript(
                path.stem,
                path.read_bytes(),
                told["protocol"],
                SSE if path.suffix == ".sse" else LINES,
                told["protocol"] == "ui-message-raw",
                told["parts"],
                told["usage"],
                told["failure"],
            )
        )
    return found


TRANSCRIPTS: Final = _all()
