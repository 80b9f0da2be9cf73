"""Saving what one sealed stream said: once, equal to the fold of its log, whichever worker does it and however often.

Only the sealed content can be saved, so two workers that save the same stream write the same message. The exception is
a stream whose log is not whole: there the first content that is committed stands.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from ..errors import (
    MessageConflictError,
    MessageStoreError,
    MessageTimeoutError,
    StoreError,
)
from ..messages import Message, MessageStatus, MessageStore, Role, StoredMessage
from ..stores.log_reads import LogReads
from ..stores.records import StreamMeta
from ..stores.store import StreamStore
from ..values import Persisted, StreamRef, StreamState
from ..wire import UIMessage
from ..wire.folding import Json
from ..wire.ui_message.tool_results import with_tool_results
from .attempts import Attempts
from .folding import LogUnreadableError, PayloadSource, fold_earlier, fold_stream
from .save_result import PreviousUnsavedError, SaveResult, SaveStatus, result_of_error
from .sealed_stream import SealedStream
from .session_writer import ErasedError, SessionWriter, ui_message_of
from .user_message_writer import RESULTS_SUFFIX
from .user_messages import RefusedMessage, UserMessages

__all__ = ["StreamSave"]

ROUNDS: Final = 3
"""How often a message that others write at the same time is read again."""


class StreamSave:
    """One attempt at saving one stream. `user_messages` is what comes before its reply.

    `unlogged`: the stream's log is not whole, and the stream store may be away.
    """

    def __init__(
        self,
        store: StreamStore,
        reads: LogReads,
        writer: SessionWriter,
        sealed: SealedStream,
        source: PayloadSource,
        *,
        user_messages: UserMessages,
        attempts: Attempts,
        unlogged: bool = False,
    ) -> None:
        self._store = store
        self._reads = reads
        self._writer = writer
        self._sealed = sealed
        self._source = source
        self._user_messages = user_messages
        self.attempts = attempts
        self._unlogged = unlogged

    async def run(self) -> SaveResult:
        """Save. Never raises but for cancellation, which leaves in doubt what was written."""
        refused: list[RefusedMessage] = []
        try:
            if not self._unlogged:
                await self._writer.find_branch(self._sealed.ref, self.attempts)
            refused += await self._user_messages.complete(self.attempts)
            return SaveResult(await self._reply(), refused=tuple(refused))
        except (MessageStoreError, StoreError, ErasedError, LogUnreadableError) as exc:
            return result_of_error(exc, tuple(refused))

    async def _reply(self) -> SaveStatus:
        sealed = self._sealed
        stored, earlier = await self.attempts(self._found)
        for _ in range(ROUNDS):
            if stored is not None and sealed.ref.stream_id in stored.streams:
                return SaveStatus.SAVED if self._is_ours(stored) else SaveStatus.CONFLICT
            if stored is not None and await self._is_folded_in(stored, earlier):
                return SaveStatus.SAVED
            message = await self._message(stored, earlier)
            if message is None:
                await self._leave_unanswered()
                return SaveStatus.NOTHING
            try:
                visible = await self._writer.append(message, self.attempts, certain=not self._unlogged)
            except MessageConflictError:
                # It is there although it was not found before: an older conversation is continued, another worker was
                # faster, or a reply of the store was lost.
                found = await self._writer.get(sealed.message_id, self.attempts)
                if found is None or not found.streams or found == stored:
                    raise
                stored = found
            else:
                return SaveStatus.SAVED if visible else SaveStatus.SUPERSEDED
        raise MessageTimeoutError("append: others go on writing the same message", operation="append")

    async def _leave_unanswered(self) -> None:
        """The stream said nothing: say so of the question it was to answer, if the session ends with one.

        A later stream may be answering it by now. Its question, if it brought one, was written after its registration:
        so the messages are looked at first.
        """
        if self._unlogged:  # it is not known whether there is a later one
            return
        last = await self._writer.last(self.attempts)
        if last is None or last.message.role is not Role.USER or last.status is not MessageStatus.COMPLETE:
            return
        ref = self._sealed.ref
        record = await self.attempts(lambda: self._store.session(ref.key))
        if record.last_id == ref.stream_id:
            await self._writer.mark(last.message.message_id, MessageStatus.UNANSWERED, self.attempts)

    async def _found(self) -> tuple[StoredMessage | None, StreamMeta | None]:
        """The message as it is stored, where this stream continues one, and the stream before this one of it."""
        earlier = await self._earlier()
        if earlier is None and self._user_messages.tool_results is None:
            return None, None
        stored = await self._writer.get(self._sealed.message_id, self.attempts)
        known = () if stored is None else stored.streams
        if earlier is not None and _is_unfinished(earlier) and earlier.ref.stream_id not in known:
            raise PreviousUnsavedError("append: an earlier part of this message is not saved yet", operation="append")
        return stored, earlier

    async def _earlier(self) -> StreamMeta | None:
        """The stream before this one that wrote, or is to write, the same message."""
        sealed = self._sealed
        if not self._unlogged:
            return await self.attempts(lambda: self._store.previous(sealed.ref, sealed.message_id))
        try:
            return await self._store.previous(sealed.ref, sealed.message_id)
        except StoreError:
            return None

    def _is_ours(self, stored: StoredMessage) -> bool:
        """Whether what is stored for this stream is what it said. Of a whole log there is only one content."""
        if not self._unlogged:
            return True
        # The log was not whole: a worker that took the stream over has saved less of it, and as interrupted.
        last_is_ours = stored.streams[-1] == self._sealed.ref.stream_id
        return not last_is_ours or (len(stored.streams) > 1 and stored.message.outcome is self._sealed.seal.outcome)

    async def _is_folded_in(self, stored: StoredMessage, earlier: StreamMeta | None) -> bool:
        """Whether a later stream has saved what this one said, which continued the message after this save was given
        up."""
        ref, last = self._sealed.ref, stored.streams[-1].removesuffix(RESULTS_SUFFIX) if stored.streams else None
        if self._unlogged or last in (None, ref.stream_id, earlier and earlier.ref.stream_id):
            return False
        own = await self.attempts(lambda: self._store.meta(ref))
        writer = await self.attempts(lambda: self._store.meta(StreamRef(ref.key, str(last))))
        if own is None or writer is None or writer.ordinal <= own.ordinal:
            return False
        said = await fold_stream(self._reads, self._sealed, self._source, self.attempts)
        return _traits(said.parts) <= _traits(stored.message.parts)

    async def _message(self, stored: StoredMessage | None, earlier: StreamMeta | None) -> Message | None:
        """The message to store; None when the stream said nothing."""
        sealed = self._sealed
        base = await self._base(stored, earlier)
        said = await fold_stream(self._reads, sealed, self._source, self.attempts, previous=base)
        user_messages = () if base is None else base.parts
        if not sealed.whole and said.parts == user_messages:
            return None
        amounts = {} if stored is None else dict(stored.message.usage)
        answered = None if stored is None else stored.message.replies_to  # a continued message stays where it is
        for unit, amount in (sealed.seal.usage.amounts if sealed.seal.usage is not None else {}).items():
            amounts[unit] = amounts.get(unit, 0) + amount
        return Message(
            message_id=sealed.message_id,
            role=Role.ASSISTANT,
            parts=said.parts,
            metadata=_metadata(said.metadata),
            stream_id=sealed.ref.stream_id,
            continues=stored.streams[-1] if stored is not None and stored.streams else None,
            outcome=sealed.seal.outcome,
            usage=amounts,
            replies_to=answered or self._user_messages.replies_to,
        )

    async def _base(self, stored: StoredMessage | None, earlier: StreamMeta | None) -> UIMessage | None:
        """The message as it was before this stream."""
        base: UIMessage | None
        if stored is not None:
            # Parts in between whose saves were given up go in too, or the message would have a gap.
            base = await fold_earlier(
                self._store,
                self._reads,
                earlier,
                self.attempts,
                previous=ui_message_of(stored.message),
                wanted=lambda meta: meta.persisted is Persisted.NO and meta.ref.stream_id not in stored.streams,
            )
        elif isinstance(self._writer.messages, MessageStore):
            # What was saved and is not there any more was deleted, and stays so.
            base = await fold_earlier(self._store, self._reads, earlier, self.attempts, wanted=_was_never_saved)
        else:
            base = await fold_earlier(self._store, self._reads, earlier, self.attempts)
        results = self._user_messages.tool_results
        return base if base is None or results is None else with_tool_results(base, results.parts)


def _is_unfinished(meta: StreamMeta) -> bool:
    return meta.state is not StreamState.CLOSED or meta.persisted is Persisted.PENDING


def _traits(parts: Sequence[Mapping[str, Json]]) -> Counter[tuple[Json, Json]]:
    """What parts are told by, whatever became of a tool's state since."""
    traits = [(part.get("text"), part.get("toolCallId")) for part in parts]
    return Counter(trait for trait in traits if any(trait))


def _was_never_saved(meta: StreamMeta) -> bool:
    return meta.persisted is not Persisted.YES


def _metadata(metadata: Json) -> dict[str, Json] | None:
    """A message's metadata; AI SDK allows any JSON there, of which nothing may get lost."""
    return metadata if metadata is None or isinstance(metadata, dict) else {"value": metadata}
