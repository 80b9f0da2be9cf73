"""What a part holds for the saved message and not for the client: its client's version does not take it.

The payload of such a part is the whole part as JSON. A newline stands before what is withheld, which JSON allows
between any two tokens and the encoders write nowhere else. So whoever reads the payload as JSON has the whole part, the
log holds what every client of the stream gets, and serving costs a payload without a newline nothing.
"""

from __future__ import annotations

__all__ = ["shown_of", "with_withheld", "withheld"]


def withheld(part: bytes) -> bytes:
    """The payload of a part that is withheld altogether."""
    return b"\n" + part


def with_withheld(shown: bytes, more: bytes) -> bytes:
    """The payload of a part of which the object `shown` is sent, and the fields of `more` are not. Neither is empty."""
    return b"%b\n,%b" % (shown[:-1], more[1:])


def shown_of(payload: bytes) -> bytes:
    """What the client gets of a payload with a newline; empty for nothing."""
    shown = payload[: payload.index(b"\n")]
    return shown + b"}" if shown else b""
