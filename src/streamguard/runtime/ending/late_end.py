"""The end of a stream whose log is whole, and that the store cannot be reached to seal."""

from __future__ import annotations

from dataclasses import replace

from ...errors import StoreCorruptError
from ...saving.end_steps import EndResult
from ...stores.records import Seal
from ...values import Persisted
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
        show_unlogged_end(stream, ending, proposal.held, _not_given_up(saved))
        try:
            await self._write(stream, proposal, ending, saved, said)
        except StoreCorruptError:  # a sweep sees to the record
            stream.disown()
            self._reports.ended(stream, proposal.outcome, _not_given_up(await saved.when_saved()), proposal.fault)

    async def _write(self, stream: LiveStream, proposal: Seal, ending: Ending, saved: EndResult, said: Size) -> None:
        """Write the end of a stream whose viewers have it, once the store is back.

        Raises:
            StoreCorruptError: its record cannot be read. Nothing was reported.
        """
        answer = await self._sealing.seal_when_back(stream, proposal)
        saved = await saved.when_saved()
        # Its lease has not been renewed since its viewers had their end: another worker may have ended it meanwhile.
        if answer.result is SealResult.FENCED or (
            answer.seal is not None and await self._sealing.lost_when_back(stream)
        ):
            stream.disown()
            self._reports.ended(stream, proposal.outcome, _not_given_up(saved), proposal.fault)
        elif answer.seal is not None:
            await self._logged.end_shown(stream, answer.seal, said)
        elif answer.result is SealResult.UNREACHABLE:
            self._reports.ended(stream, proposal.outcome, _not_given_up(saved), proposal.fault)
        else:
            await self._tombstone.write(stream, ending, saved)


def _not_given_up(saved: EndResult) -> EndResult:
    """A save that failed is made again, or owed, by whoever writes the end: the log is whole."""
    return replace(saved, persisted=Persisted.PENDING, unsaved=False) if saved.unsaved else saved
