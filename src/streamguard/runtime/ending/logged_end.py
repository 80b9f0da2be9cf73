"""The end of a sealed stream whose log is whole: saved, charged and closed."""

from __future__ import annotations

from functools import partial
from typing import Final

from ...errors import StoreCorruptError
from ...saving.end_steps import EndResult
from ...stores.appends import AppendReply
from ...stores.records import Close, Seal, Status
from ..producing.stream import LiveStream
from ..request import Ending
from .closing import Closing
from .end_reports import EndReports, Size
from .local_steps import LocalSteps
from .sealing import Sealing, SealResult
from .shown_end import show_close, show_unlogged_end
from .store_attempts import StoreAttempts
from .tombstone import Tombstone

__all__ = ["LoggedEnd"]

_NOT_CLOSED: Final = {SealResult.FENCED: Status.FENCED, SealResult.LOG_BEHIND: Status.NOT_SEALED}
"""What a close comes to that an older snapshot was in the way of. Everything else is `GONE`."""


class LoggedEnd:
    """Finishes and closes a stream after its seal."""

    def __init__(
        self,
        attempts: StoreAttempts,
        sealing: Sealing,
        steps: LocalSteps,
        closing: Closing,
        tombstone: Tombstone,
        *,
        reports: EndReports,
    ) -> None:
        self._attempts = attempts
        self._sealing = sealing
        self._steps = steps
        self._closing = closing
        self._tombstone = tombstone
        self._reports = reports

    async def end(self, stream: LiveStream, seal: Seal) -> None:
        """Finish and close while viewers wait; show them their end without ids if the store is away for the close, and
        close once it is back."""
        stream.sealed(seal)
        result = await self._steps.finish(stream, seal)
        if not stream.owned():
            # What was left to the new owner, such as charging, is not done here. If the store lost the takeover, a
            # close under the old epoch would pass and nobody would do it; a sweep finds the sealed stream instead.
            stream.finish()
            return
        close = self._close_of(stream, seal, result)
        reply = await self._attempts.while_viewers_wait(partial(self._closing.carry_out, close, result))
        if reply is not None and reply.status is Status.NOT_SEALED and stream.owned():
            reply = await self._close_again(stream, seal, close, result)
        if not stream.owned():  # its feed is the follower's already
            stream.finish()
        elif reply is None:
            said = Size.of(stream)
            if result.outbox_payload is not None:
                stream.feed.keep_all()  # the log may come back without them
            show_unlogged_end(stream, Ending(seal.outcome, seal.fault), seal.held, result)
            await self._close_when_back(stream, close, seal, result, said)
        else:
            show_close(stream, close, reply, seal.held, result)
            if reply.status in (Status.NOT_SEALED, Status.GONE):
                await self._end_short_log(stream, seal, result, is_gone=reply.status is Status.GONE)
            elif stream.owned():
                self._reports.ended(stream, seal.outcome, result, seal.fault)

    async def end_shown(self, stream: LiveStream, seal: Seal, said: Size) -> None:
        """Finish and close a stream whose viewers have their end already, once the store is back. `said` is what it
        was before that end."""
        stream.sealed(seal)
        result = await self._steps.finish(stream, seal)
        await self._close_when_back(stream, self._close_of(stream, seal, result), seal, result, said)

    def _close_of(self, stream: LiveStream, seal: Seal, result: EndResult) -> Close:
        return self._closing.close_of(stream.ref, stream.protocol, stream.epoch, stream.message_id, seal, result)

    async def _close_when_back(
        self, stream: LiveStream, close: Close, seal: Seal, result: EndResult, said: Size
    ) -> None:
        try:
            await self._close_then(stream, close, seal, result, said)
        except StoreCorruptError:  # a sweep sees to the record
            stream.disown()
            self._reports.ended(stream, seal.outcome, result, seal.fault)

    async def _close_then(self, stream: LiveStream, close: Close, seal: Seal, result: EndResult, said: Size) -> None:
        carry_out = partial(self._closing.carry_out, close, result)
        reply = await self._attempts.until_given_up(carry_out)
        if reply is not None and reply.status in (Status.NOT_SEALED, Status.GONE):
            # An older snapshot came back. The seal can be put back, but no events: they are not kept for so long.
            answer = await self._sealing.seal_when_back(stream, seal)
            is_gone = answer.result is SealResult.LOG_GONE
            if answer.seal == seal:
                reply = await self._attempts.until_given_up(carry_out)
                is_gone = reply is not None and reply.status is Status.GONE  # its record alone is there
            if is_gone or answer.result is SealResult.LOG_BEHIND:
                await self._end_short_log(stream, seal, result, is_gone=is_gone)
                return
        closed = reply is not None and reply.status in (Status.OK, Status.DUPLICATE)
        logged = said.closed_by(close) if closed else None
        self._reports.ended(stream, seal.outcome, result, seal.fault, logged=logged)

    async def _close_again(self, stream: LiveStream, seal: Seal, close: Close, result: EndResult) -> AppendReply | None:
        """An older snapshot came back between seal and close: put back what it lacks, and close as it was decided.
        Still `NOT_SEALED` where that is not at hand any more."""
        answer = await self._sealing.seal(stream, seal)
        if answer.result is SealResult.UNREACHABLE:
            return None
        if answer.seal == seal:
            return await self._attempts.while_viewers_wait(partial(self._closing.carry_out, close, result))
        status = _NOT_CLOSED.get(answer.result, Status.GONE)
        return AppendReply(status, 0, stop_requested=False)

    async def _end_short_log(self, stream: LiveStream, seal: Seal, result: EndResult, *, is_gone: bool) -> None:
        """End a log that lacks events which this process does not append again, or that `is_gone` altogether, and
        report the stream's end. What is owed is done from what this process has. If that is not enough, what is left of
        a log is left to whoever finds the stream, who saves it."""
        if result.outbox_payload is not None:
            result = await (await self._steps.finish_unlogged(stream, seal)).when_saved()
        if result.unsaved and not is_gone:
            self._reports.ended(stream, seal.outcome, result, seal.fault)
        else:
            await self._tombstone.write(stream, Ending(seal.outcome, seal.fault), result)
