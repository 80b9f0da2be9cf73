"""How many view each stream, as the workers that serve them report it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

from ...values import StreamRef

__all__ = ["ViewerReports"]


class ViewerReports(ABC):
    """What workers tell each other, and operators, about their viewers."""

    @abstractmethod
    async def report_viewers(self, worker: str, viewers: Mapping[str, int], *, seconds: float) -> None:
        """Note how many view each stream, by its id, in `worker`: in place of its last report, for `seconds`.

        With no viewers, its last report stands no longer.
        """

    @abstractmethod
    async def viewer_counts(self) -> Mapping[str, int]:
        """How many view each stream, by its id, in all workers together, by their last reports."""

    @abstractmethod
    async def note_viewed(self, refs: Sequence[StreamRef]) -> None:
        """Note that these streams are viewed now, outside their writers' processes. Only open ones are noted.

        A writer reads it from `StreamMeta.viewed_seconds`, to end a stream that has no viewers.
        """
