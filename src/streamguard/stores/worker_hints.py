"""What a store tells a worker about the streams that this worker writes."""

from __future__ import annotations

from typing import Final, NamedTuple

__all__ = ["MISSED_HINTS", "WorkerHint"]


class WorkerHint(NamedTuple):
    """Something of one stream changed that its writer should know soon. Hints are at most once: each of them repeats
    what the stream's next heartbeat answers.
    """

    stream_id: str | None
    """The stream. None: hints may have been missed, so any stream of this worker may have changed."""
    epoch: int = 0
    """The epoch in the stream's record: another than its writer's says that another worker took the stream over. 0:
    the record is gone."""
    stop_requested: bool = False


MISSED_HINTS: Final = WorkerHint(None)
