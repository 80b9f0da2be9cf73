"""Answers that no request begins: from a job, a webhook, an agent. `StreamGuard.start` is the door to this package."""

from .started_run import StartedRun, StreamEnd
from .started_stream import StartedStream

__all__ = ["StartedRun", "StartedStream", "StreamEnd"]
