"""The end of a stream whose log is not the whole of it: shown to its viewers, and a tombstone in the log."""

from __future__ import annotations

from ...values import Outcome
from ..producing.stream import LiveStream
from ..request import Ending
from .end_events import close_open_parts, proposed_seal
from .local_steps import LocalSteps
from .shown_end import show_unlogged_end
from .tombstone import Tombstone

__all__ = ["UnloggedEnd"]


class UnloggedEnd:
    """Ends a degraded stream from what this process has of it."""

    def __init__(self, steps: LocalSteps, tombstone: Tombstone) -> None:
        self._steps = steps
        self._tombstone = tombstone

    async def end(self, stream: LiveStream, ending: Ending) -> None:
        """End it so, or as it was overruled: under `on_store_failure="fail"` it did not complete."""
        if ending.outcome is Outcome.COMPLETED and stream.early_end is not None:
            ending = stream.early_end
            if ending.fault is not None:
                stream.fail(ending.fault)
            close_open_parts(stream, ending)
        seal = proposed_seal(stream, ending)
        result = await self._steps.finish_unlogged(stream, seal)
        show_unlogged_end(stream, ending, seal.held, result)
        await self._tombstone.write(stream, ending, result)
