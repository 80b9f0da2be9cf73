"""Writing what comes before one stream's reply into its session, one write at a time."""

from __future__ import annotations

from typing import Final

from ..errors import MessageStoreError, MessageSupersededError
from ..messages import Message, Role, Supersedes
from ..values import StreamRef
from ..wire.ui_message.tool_results import with_tool_results
from .attempts import Attempts
from .pending_write import PendingWrite
from .session_writer import SessionWriter, ui_message_of
from .supersession import Supersession, supersede_request_of

__all__ = ["RESULTS_SUFFIX", "UserMessageWriter"]

RESULTS_SUFFIX: Final = ".input"
"""A stream's id with this is the writer of what the client added before that stream began."""


class UserMessageWriter:
    """Makes the pending writes of one stream. Safe to repeat."""

    def __init__(self, session: SessionWriter, ref: StreamRef) -> None:
        self._session = session
        self._ref = ref

    async def write(self, write: PendingWrite, attempts: Attempts, *, certain: bool) -> None:
        """Make one write. A refusal for good is noted on the write, not raised. `certain`: see `SessionWriter.append`.

        Raises:
            ErasedError, MessageStoreError, StoreError: as `SessionWriter.append`.
        """
        try:
            done = True
            if write.supersession is not None:
                done = await self._supersede(write.supersession, write.message, attempts, certain=certain)
            elif write.message is not None and write.has_tool_results:
                await self._add_tool_results(write.message, attempts, certain=certain)
            elif write.message is not None:
                await self._session.append(write.message, attempts, certain=certain)
        except MessageStoreError as exc:
            if exc.retryable:
                raise
            write.error = exc
        else:
            write.committed, write.error = done, None

    async def _supersede(
        self, supersession: Supersession, message: Message | None, attempts: Attempts, *, certain: bool
    ) -> bool:
        """Supersede, with or without a message. Returns whether that is done."""
        if supersession.request is None:
            supersession.request = await supersede_request_of(self._session, supersession.revision, message, attempts)
        request, kept = supersession.request, supersession.revision.kept
        await self._session.mark_earlier_streams(
            self._ref.stream_id,
            None if kept is None else supersession.revision.keeps,
            attempts,
            certain=certain,
        )
        stays = message is not None and not request.with_message
        done = await self._session.supersede(
            Supersedes(self._ref.stream_id, request.start, request.after),
            None if stays else message,
            attempts,
            certain=certain,
        )
        if message is not None and stays:
            await self._session.append(message, attempts, certain=certain)
            return True
        return done

    async def _add_tool_results(self, given: Message, attempts: Attempts, *, certain: bool) -> None:
        """Add what the client brought to the stored message. Where none is stored, the reply's own save does it."""
        stored = await self._session.get(given.message_id, attempts)
        if stored is None and await self._session.get(given.message_id, attempts, branches=True) is not None:
            raise MessageSupersededError(
                "append: the message that these results are for was superseded", operation="append"
            )
        if stored is None or not stored.streams or self._ref.stream_id in stored.streams:
            return
        base = ui_message_of(stored.message)
        merged = with_tool_results(base, given.parts)
        if merged is base:
            return
        message = Message(
            message_id=given.message_id,
            role=Role.ASSISTANT,
            parts=merged.parts,
            metadata=stored.message.metadata,
            stream_id=self._ref.stream_id + RESULTS_SUFFIX,
            continues=stored.streams[-1],
            outcome=stored.message.outcome,
            usage=stored.message.usage,
            replies_to=stored.message.replies_to,
        )
        await self._session.append(message, attempts, certain=certain)
