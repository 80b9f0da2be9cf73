"""Payloads that hold something for the saved message which the client does not get, because its version does not take
it.

The payload of such a part is the whole part as JSON. A newline stands before the withheld content: JSON allows one
between any two tokens, and the encoders write it nowhere else. So a reader of the JSON has the whole part, the log
holds what every client of the stream gets, and serving a payload without a newline costs nothing extra.
"""

from __future__ import annotations

__all__ = ["shown_of", "with_withheld", "withheld"]


def withheld(part: bytes) -> bytes:
    """The payload of a part that is withheld completely."""
    return b"\n" + part


def with_withheld(shown: bytes, more: bytes) -> bytes:
    """The payload of a part whose fields in `shown` are sent and whose fields in `more` are not. Neither is empty."""
    return b"%b\n,%b" % (shown[:-1], more[1:])


def shown_of(payload: bytes) -> bytes:
    """What the client gets from a payload with a newline; empty when it gets nothing."""
    shown = payload[: payload.index(b"\n")]
    return shown + b"}" if shown else b""
