"""The end of a stream whose log is whole, and that the store cannot be reached to seal."""

from __future__ import annotations

from ...stores.records import Seal
from ..producing.stream import LiveStream
from ..request import Ending
from .end_reports import EndReports, Size
from .local_steps import LocalSteps
from .logged_end import LoggedEnd
from .sealing import Sealing, SealResult
from .shown_end import show_unlogged_end
from .tombstone import Tombstone

__all__ = ["LateEnd"]


class LateEnd:
    """Gives viewers their end at once, and writes it when the store is back."""

    def __init__(
        self, sealing: Sealing, steps: LocalSteps, logged: LoggedEnd, tombstone: Tombstone, *, reports: EndReports
    ) -> None:
        self._sealing = sealing
        self._steps = steps
        self._logged = logged
        self._tombstone = tombstone
        self._reports = reports

    async def end(self, stream: LiveStream, proposal: Seal) -> None:
        ending = Ending(proposal.outcome, proposal.fault)
        # If the store never returns, the database has the reply. What both have is the same, or the first of it stands.
        saved = await self._steps.finish_unlogged(stream, proposal)
        if not stream.owned():  # a heartbeat told meanwhile: its feed is the follower's already
            stream.finish()
            return
        said = Size.of(stream)
        show_unlogged_end(stream, ending, proposal.held, saved)
        answer = await self._sealing.seal_when_back(stream, proposal)
        saved = await saved.when_saved()
        # Its lease has not been renewed since its viewers had their end: another worker may have ended it meanwhile.
        if answer.result is SealResult.FENCED or (
            answer.seal is not None and await self._sealing.lost_when_back(stream)
        ):
            stream.disown()
            self._reports.ended(stream, proposal.outcome, saved, proposal.fault)
        elif answer.seal is not None:
            await self._logged.end_shown(stream, answer.seal, said)
        elif answer.result is SealResult.UNREACHABLE:
            self._reports.ended(stream, proposal.outcome, saved, proposal.fault)
        else:
            await self._tombstone.write(stream, ending, saved)
