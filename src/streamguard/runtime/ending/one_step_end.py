"""The usual end of a stream for which nothing is saved or charged: sealed and closed in one step."""

from __future__ import annotations

from functools import partial

from ...observations import Observer
from ...saving.end_steps import EndResult
from ...stores.records import Status
from ...stores.roles.stream_writes import StreamWrites
from ..producing.stream import LiveStream
from ..request import Ending
from .closing import Closing
from .end_events import proposed_seal
from .shown_end import report_end, show_close
from .store_attempts import StoreAttempts

__all__ = ["OneStepEnd"]


class OneStepEnd:
    """Ends a stream in one round trip, the one of its last append if there is one under way: the store refuses the seal
    where that append failed."""

    def __init__(self, store: StreamWrites, attempts: StoreAttempts, closing: Closing, *, observe: Observer) -> None:
        self._store = store
        self._attempts = attempts
        self._closing = closing
        self._observe = observe

    async def end(self, stream: LiveStream, ending: Ending) -> bool:
        """Returns whether the stream ended so. Where it did not, its log is to be flushed, sealed and closed in single
        steps."""
        await stream.backlog.wait_until_sent()
        if stream.degraded or stream.superseded:
            return False
        seal, result = proposed_seal(stream, ending), EndResult()
        close = self._closing.close_of(stream.ref, stream.protocol, stream.epoch, stream.message_id, seal, result)
        answer = None
        stream.log.begin_sealing()
        try:
            step = partial(self._attempts.while_viewers_wait, partial(self._store.seal_and_close, close, seal))
            # Without its log it has nothing to wait for: an append that is under way may have less time than its end.
            answer = await (stream.backlog.unless_closed(step) if stream.backlog.unacked else step())
        finally:
            stream.log.end_sealing(answered=answer is not None)
        reply = None if answer is None else answer[2]
        if reply is not None:
            self._closing.answered(close, reply, stream.backlog)
        if reply is None or reply.status is Status.NOT_SEALED or not stream.owned():
            if stream.backlog.unacked:
                stream.backlog.resubmit()  # the writer may have left the last events to this step
            return False
        stream.sealed(seal)
        show_close(stream, close, reply, seal.held, result)
        if stream.owned():
            report_end(self._observe, stream, seal.outcome, result, seal.fault)
        return True
