"""What an encoder of UI messages makes of items."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from streamguard.wire.ui_message import UIMessageEncoder, UIMessageProtocol

from .encoding import encoded

__all__ = ["LIMIT", "PROTOCOL", "encoder", "parsed", "sent", "types"]

PROTOCOL = UIMessageProtocol()
LIMIT = 1_048_576


def encoder(limit: int = LIMIT) -> UIMessageEncoder:
    return PROTOCOL.encoder(message_id="msg_1", max_event_bytes=limit)


def parsed(payloads: Iterable[bytes]) -> list[dict[str, object]]:
    return [json.loads(payload) for payload in payloads]


def sent(*items: object) -> tuple[list[dict[str, object]], list[dict[str, object]]]:
    """What is logged, and what is held, when a stream of these items ends by itself."""
    enc = encoder()
    out = [*enc.begin()]
    for item in items:
        out += encoded(enc, item)
    out += enc.finish()
    return parsed(out), parsed(enc.held)


def types(parts: Sequence[dict[str, object]]) -> list[str]:
    return [f"{part['type']} {part['id']}" if "id" in part else str(part["type"]) for part in parts]
