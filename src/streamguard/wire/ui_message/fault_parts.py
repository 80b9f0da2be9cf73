"""What a client of AI SDK is told of its stream: faults, notices, and that its message is saved."""

from __future__ import annotations

import json

from ...decoding import read_json
from .parts import encode_part

__all__ = ["error_part", "is_error_part", "notice_part", "persisted_part"]


def error_part(text: str) -> bytes:
    """The part that ends a failed stream. It has exactly these two fields: some versions refuse more."""
    return encode_part({"type": "error", "errorText": text})


def is_error_part(payload: bytes) -> bool:
    """Whether a payload is such a part."""
    return b'"errorText"' in payload and read_json(payload).get("type") == "error"


def notice_part(fault_json: bytes) -> bytes:
    """The part that carries a fault, from its JSON. Not through `Fault`: a newer worker's notice may have a code that
    this version does not know."""
    fault_id = json.dumps(read_json(fault_json)["fault_id"]).encode()
    return b'{"type":"data-streamguard-error","id":' + fault_id + b',"transient":true,"data":' + fault_json + b"}"


def persisted_part(message_id: str, *, stream_id: str, session_id: str) -> bytes:
    """The part that tells that the message is saved."""
    data = {"message_id": message_id, "stream_id": stream_id, "session_id": session_id}
    return encode_part(
        {"type": "data-streamguard-persisted", "id": f"sgp_{stream_id}", "transient": True, "data": data}
    )
