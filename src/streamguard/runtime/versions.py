"""How clients are told of records that another version of streamguard wrote.

During a rolling deployment old and new workers share a store. A worker leaves a record that it cannot read as it is,
and answers 503, because another worker may be able to answer.
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
"""The record can be read, but its stream's protocol came with a later version."""

RETRY_AFTER_SECONDS: Final = 2


def unreadable_reason(error: StoreError) -> str | None:
    """Why a record could not be read, as a fault's reason; None when the store failed to answer at all."""
    if isinstance(error, StoreUnavailableError):
        return None
    return NEWER_FORMAT if isinstance(error, StoreFormatError) else UNREADABLE


def unavailable(key: SessionKey, phase: Phase, reason: str | None = None) -> FaultError:
    """The error of a request about one session: 503, to be repeated shortly."""
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
    """Refuse a stream whose events only a later version can frame.

    Raises:
        FaultError: `store_unavailable`.
    """
    if not knows_protocol(meta.protocol):
        raise unavailable(meta.ref.key, phase, UNKNOWN_PROTOCOL)
