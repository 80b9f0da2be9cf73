"""What another version of streamguard left in the shared store, as this version tells clients of it.

During a rolling deployment old and new workers share a store. What one of them cannot read it leaves as it is, and says
so: 503, because another worker may well answer.
"""

from __future__ import annotations

from typing import Final

from ..errors import FaultError, StoreError, StoreFormatError, StoreUnavailableError
from ..faults import Fault, FaultCode, Phase
from ..stores.records import StreamMeta
from ..values import SessionKey
from ..wire import knows_protocol

__all__ = [
    "NEWER_FORMAT",
    "RETRY_AFTER_SECONDS",
    "UNKNOWN_PROTOCOL",
    "UNREADABLE",
    "check_protocol",
    "unavailable",
    "unreadable_reason",
]

NEWER_FORMAT: Final = "newer_format"
"""A later version wrote the session's or the stream's record."""
UNREADABLE: Final = "record_unreadable"
"""The record is damaged."""
UNKNOWN_PROTOCOL: Final = "unknown_protocol"
"""The record can be read, but not what its stream says: its protocol came with a later version."""

RETRY_AFTER_SECONDS: Final = 2


def unreadable_reason(error: StoreError) -> str | None:
    """The fault's reason when the store answered, but with something this version cannot read; None when it failed."""
    if isinstance(error, StoreUnavailableError):
        return None
    return NEWER_FORMAT if isinstance(error, StoreFormatError) else UNREADABLE


def unavailable(key: SessionKey, phase: Phase, reason: str | None = None) -> FaultError:
    """`store_unavailable` for one session: 503, to be asked again shortly."""
    return FaultError(
        Fault.of(
            FaultCode.STORE_UNAVAILABLE,
            phase=phase,
            reason=reason,
            retry_after_seconds=RETRY_AFTER_SECONDS,
            session_id=key.session_id,
        )
    )


def check_protocol(meta: StreamMeta, phase: Phase) -> None:
    """Raises `FaultError` (`store_unavailable`) for a stream whose events only a later version can frame."""
    if not knows_protocol(meta.protocol):
        raise unavailable(meta.ref.key, phase, UNKNOWN_PROTOCOL)
