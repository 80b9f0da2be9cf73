"""Records of streams that are over, for stores that only read them."""

from __future__ import annotations

from collections.abc import Sequence

from ..values import FORMAT_VERSION, Event, EventKind, StreamRef, StreamState
from .records import Seal, StreamMeta, Terminal

__all__ = ["ended_meta"]


def ended_meta(
    ref: StreamRef, events: Sequence[Event], *, protocol: str, created_at: float, closed_seconds: float
) -> StreamMeta:
    """The record of a stream that is over: for a store that only reads streams which others wrote.

    Args:
        ref: its name.
        events: its whole log. The last event is the terminal record.
        protocol: the name of the protocol that it was written in.
        created_at: Unix time.
        closed_seconds: how long ago it closed. Clients without a cursor are sent the whole of a stream that closed
            less than the setting `replay_after_finish_seconds` ago.

    Raises:
        ValueError: the log has no terminal record.
    """
    if not events or events[-1].kind is not EventKind.TERMINAL:
        raise ValueError("the last event of a log that is over is its terminal record")
    end, terminal = events[-1], Terminal.from_json(events[-1].data)
    return StreamMeta(
        ref=ref,
        message_id=terminal.message_id,
        protocol=protocol,
        binding="",
        fingerprint="",
        ordinal=1,
        epoch=end.epoch,
        state=StreamState.CLOSED,
        last_seq=end.seq,
        last_epoch=end.epoch,
        first_seq=events[0].seq,
        lease_seconds=0.0,
        stop_requested=False,
        taken=False,
        lost=terminal.reason is not None,
        seal=Seal(terminal.outcome, end.seq - 1, terminal.fault),
        usage=None,
        persisted=terminal.persisted,
        quota=terminal.quota,
        revised=False,
        created_at=created_at,
        age_seconds=closed_seconds,
        closed_seconds=closed_seconds,
        abandon_after_seconds=None,
        viewed_seconds=None,
        format_version=FORMAT_VERSION,
    )
