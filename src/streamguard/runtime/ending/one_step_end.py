"""The usual end of a stream for which nothing is saved or charged: sealed and closed in one step."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from ...errors import StoreUnavailableError
from ...saving.end_steps import NOTHING_DONE, EndResult
from ...stores.appends import AppendReply
from ...stores.records import Close, Seal, Status
from ...stores.roles.stream_writes import StreamWrites
from ..producing.backlog import Backlog
from ..producing.last_commit import LastCommit
from ..producing.stream import LiveStream
from ..request import Ending
from .closing import Closing
from .end_events import proposed_seal
from .end_reports import EndReports
from .shown_end import show_close
from .store_attempts import StoreAttempts

__all__ = ["OneStepEnd"]


class OneStepEnd:
    """Ends a stream in one round trip, the one of its last append if there is one under way: the store refuses the seal
    where that append failed."""

    def __init__(
        self,
        store: StreamWrites,
        attempts: StoreAttempts,
        closing: Closing,
        *,
        leave_to_end: Callable[[Backlog], LastCommit | None],
        reports: EndReports,
    ) -> None:
        """`leave_to_end`: see `Writer`."""
        self._store = store
        self._leave_to_end = leave_to_end
        self._attempts = attempts
        self._closing = closing
        self._reports = reports

    async def end(self, stream: LiveStream, ending: Ending) -> bool:
        """Returns whether the stream ended so. Where it did not, its log is to be flushed, sealed and closed in single
        steps."""
        backlog = stream.backlog
        if backlog.unacked:
            ended = await self._with_last_events(stream, ending)
            if ended is not None:
                return ended
            await backlog.wait_until_sent()
        if stream.degraded or stream.superseded:
            return False
        seal, result = proposed_seal(stream, ending), NOTHING_DONE
        close = self._closing.close_of(stream.ref, stream.protocol, stream.epoch, stream.message_id, seal, result)
        answer = None
        stream.log.begin_sealing()
        try:
            step = partial(self._attempts.while_viewers_wait, partial(self._store.seal_and_close, close, seal))
            # Without its log it has nothing to wait for: an append that is under way may have less time than its end.
            answer = await (backlog.unless_closed(step) if backlog.unacked else step())
        finally:
            stream.log.end_sealing(answered=answer is not None)
        reply = None if answer is None else answer[2]
        if reply is not None:
            self._closing.answered(close, reply, backlog)
        if reply is None or reply.status is Status.NOT_SEALED or not stream.owned():
            if backlog.unacked:
                backlog.resubmit()  # the writer may have left the last events to this step
            return False
        self._show(stream, close, reply, seal, result)
        return True

    async def _with_last_events(self, stream: LiveStream, ending: Ending) -> bool | None:
        """As `end`, with the events that wait for their append in the same step: one attempt. None where it did not
        come about, and nothing was changed."""
        backlog = stream.backlog
        if stream.degraded or stream.superseded:
            return None
        commit = self._leave_to_end(backlog)
        if commit is None:
            return None
        seal, result = proposed_seal(stream, ending), NOTHING_DONE
        close = self._closing.close_of(stream.ref, stream.protocol, stream.epoch, stream.message_id, seal, result)
        answer, error = None, None
        stream.log.begin_sealing()
        try:
            step = partial(self._store.seal_and_close, close, seal, commit.request)
            answer = await backlog.unless_closed(step)
        except StoreUnavailableError as exc:
            error = exc
        finally:
            stream.log.end_sealing(answered=answer is not None)
            if answer is None:
                # The writer is told what became of it: the stream is sealed and closed, or it is not.
                commit.failed(error)
        if answer is None:
            return False
        reply = answer[2]
        if reply is None or reply.status not in (Status.OK, Status.DUPLICATE):
            commit.refused()
            return None
        commit.carried()
        self._closing.answered(close, reply)
        if not stream.owned():
            return False
        self._show(stream, close, reply, seal, result)
        return True

    def _show(self, stream: LiveStream, close: Close, reply: AppendReply, seal: Seal, result: EndResult) -> None:
        stream.sealed(seal)
        show_close(stream, close, reply, seal.held, result)
        if stream.owned():
            self._reports.ended(stream, seal.outcome, result, seal.fault)
