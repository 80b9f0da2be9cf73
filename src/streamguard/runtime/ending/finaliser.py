"""The end of a stream that is produced here: which of the ways to end it takes, and when.

    its log is whole, nothing to save or charge  →  one_step_end    sealed and closed in one step
    its log is whole                             →  logged_end      sealed, saved, charged, closed
    its log is whole, but cannot be sealed now   →  late_end        shown now, written when the store is back
    its log is not the whole stream              →  unlogged_end    shown, and a tombstone written
    another worker owns it                       →  nothing: its viewers follow the new owner

Each runs once, in the runtime's own task, and each of its steps is safe to repeat. The first seal decides; everything
after it writes what was sealed. `takeover` ends the streams of workers that are gone.
"""

from __future__ import annotations

from collections.abc import Callable

from ...deadlines import LoopClock
from ...errors import StoreCorruptError
from ...saving.end_steps import NOTHING_DONE, EndSteps
from ...settings import Settings
from ...stores.breaker import Breaker
from ...stores.store import StreamStore
from ..producing.backlog import Backlog
from ..producing.last_commit import LastCommit
from ..producing.log_tally import LogTally
from ..producing.stream import LiveStream
from ..request import Ending
from .closing import Closing
from .end_events import close_open_parts, proposed_seal
from .end_reports import EndReports
from .late_end import LateEnd
from .local_steps import LocalSteps
from .logged_end import LoggedEnd
from .one_step_end import OneStepEnd
from .sealing import Sealing, SealResult, flushed
from .store_attempts import StoreAttempts
from .tombstone import Tombstone
from .unlogged_end import UnloggedEnd

__all__ = ["Finaliser"]


class Finaliser:
    """Takes a stream to its end. Holds no state of its own but its collaborators."""

    def __init__(
        self,
        store: StreamStore,
        breaker: Breaker,
        settings: Settings,
        *,
        closing: Closing,
        leave_to_end: Callable[[Backlog], LastCommit | None],
        tally: LogTally | None,
        reports: EndReports,
        end_steps: EndSteps,
        clock: LoopClock,
        given_up: Callable[[], bool],
    ) -> None:
        """`leave_to_end`: see `Writer`. `given_up` says whether retries against an unreachable store should end (the
        drain is over)."""
        self._reports = reports
        self._end_steps = end_steps
        self._steps = steps = LocalSteps(end_steps, store, breaker)
        attempts = StoreAttempts(breaker, settings, clock=clock, given_up=given_up)
        tombstone = Tombstone(store, attempts, settings, tally=tally, reports=reports)
        self._sealing = Sealing(store, attempts)
        self._one_step = OneStepEnd(store, attempts, closing, leave_to_end=leave_to_end, reports=reports)
        self._logged = LoggedEnd(attempts, self._sealing, steps, closing, tombstone, reports=reports)
        self._late = LateEnd(self._sealing, steps, self._logged, tombstone, reports=reports)
        self._unlogged = UnloggedEnd(steps, tombstone)

    async def finalise(self, stream: LiveStream, ending: Ending) -> None:
        """End a stream produced here. On return its viewers have their end; with an unreachable store it keeps
        retrying to write it until the drain ends.

        A record that cannot be read or written to costs this stream its log, and nobody else anything.

        Cancelling it leaves the stream to whoever finds its lease expired.
        """
        stream.activity.through_at = stream.activity.clock()
        try:
            close_open_parts(stream, ending)
            in_one = self._end_steps.have_nothing_to_do(stream.ref, stream.request.binding)
            if not (in_one and await self._one_step.end(stream, ending)):
                await self._end_in_steps(stream, ending)
        except StoreCorruptError:
            await self._end_unreadable(stream, ending)

    async def _end_in_steps(self, stream: LiveStream, ending: Ending) -> None:
        stream.backlog.flush()
        await flushed(stream)
        if stream.superseded:
            stream.finish()
        elif stream.degraded:
            await self._unlogged.end(stream, ending)
        else:
            await self._seal_and_end(stream, ending)

    async def _seal_and_end(self, stream: LiveStream, ending: Ending) -> None:
        proposal = proposed_seal(stream, ending)
        result, seal = await self._sealing.seal(stream, proposal)
        if result is SealResult.FENCED or not stream.owned():
            stream.supersede()
            stream.finish()
        elif result is SealResult.UNREACHABLE:
            await self._late.end(stream, proposal)
        elif seal is not None:
            await self._logged.end(stream, seal)
        else:
            stream.degrade(result.value)
            await self._unlogged.end(stream, ending)

    async def _end_unreadable(self, stream: LiveStream, ending: Ending) -> None:
        """The stream's own record came in the way of its end: end it as one without a log."""
        if stream.superseded:
            stream.finish()
            return
        if stream.feed.ended:  # its viewers have their end already; a sweep sees to the record
            stream.disown()
            self._reports.ended(stream, ending.outcome, NOTHING_DONE, ending.fault)
        else:
            stream.degrade("record_unreadable")
            await self._unlogged.end(stream, ending)
