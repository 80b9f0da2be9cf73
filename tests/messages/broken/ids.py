"""Stores that take one id for another, or ids they should refuse."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from streamguard.errors import MessageInvalidError
from streamguard.messages import Appended, Message, MessageStatus, Opened, StoredMessage, Superseded
from streamguard.messages.content import Clash, check_ids, conflict
from streamguard.values import MAX_ID_BYTES, MAX_OWNER_BYTES, SessionKey

from .bench import Bench, Rewriting, breaks


class RewritingKeys(Bench):
    """Takes one session for another."""

    def rewritten(self, key: SessionKey) -> SessionKey:
        return key

    async def open_session(self, key: SessionKey) -> Opened:
        check_ids("open_session", key)
        return await super().open_session(self.rewritten(key))

    async def append(self, key: SessionKey, message: Message) -> Appended:
        check_ids("append", key)
        return await super().append(self.rewritten(key), message)

    async def supersede(
        self, key: SessionKey, *, by: str, start: str | None, after: str | None, message: Message | None = None
    ) -> Superseded:
        check_ids("supersede", key)
        return await super().supersede(self.rewritten(key), by=by, start=start, after=after, message=message)

    async def get(self, key: SessionKey, message_id: str, *, branches: bool = False) -> StoredMessage:
        check_ids("get", key)
        return await super().get(self.rewritten(key), message_id, branches=branches)

    async def last(self, key: SessionKey) -> StoredMessage | None:
        return await super().last(self.rewritten(key))

    async def list(
        self, key: SessionKey, *, after: int = 0, limit: int = 100, branches: bool = False
    ) -> list[StoredMessage]:
        check_ids("list", key)
        return await super().list(self.rewritten(key), after=after, limit=limit, branches=branches)

    async def mark(self, key: SessionKey, message_id: str, status: MessageStatus) -> None:
        check_ids("mark", key)
        await super().mark(self.rewritten(key), message_id, status)

    async def delete_session(self, key: SessionKey) -> None:
        check_ids("delete_session", key)
        await super().delete_session(self.rewritten(key))


@breaks("test_message_ids_are_compared_exactly")
class IgnoresCaseOfMessageIds(Rewriting):
    def rewritten(self, message: Message) -> Message:
        return replace(message, message_id=message.message_id.lower())

    async def get(self, key: SessionKey, message_id: str, *, branches: bool = False) -> StoredMessage:
        return await super().get(key, message_id.lower(), branches=branches)


@breaks("test_session_ids_and_owners_are_compared_exactly")
class IgnoresCaseOfKeys(RewritingKeys):
    def rewritten(self, key: SessionKey) -> SessionKey:
        return SessionKey(key.owner.lower(), key.session_id.lower())


@breaks("test_owner_and_session_id_do_not_run_together")
class RunsOwnerAndSessionIdTogether(RewritingKeys):
    def rewritten(self, key: SessionKey) -> SessionKey:
        return SessionKey(hashlib.sha256(f"{key.owner}{key.session_id}".encode()).hexdigest(), "")


@breaks("test_stream_ids_are_compared_exactly")
class IgnoresCaseOfStreamIds(Rewriting):
    def rewritten(self, message: Message) -> Message:
        continues, stream_id = message.continues, message.stream_id
        return replace(message, stream_id=stream_id and stream_id.lower(), continues=continues and continues.lower())


@breaks("test_the_longest_ids_are_fine")
class CountsTheByteBeyond(RewritingKeys):
    def rewritten(self, key: SessionKey) -> SessionKey:
        if len(key.owner.encode()) == MAX_OWNER_BYTES:
            raise MessageInvalidError("an id is too long", operation="open_session")
        return key


@breaks("test_an_owner_or_session_id_that_is_too_long_is_invalid")
class DeletesUnderAnyId(Bench):
    async def delete_session(self, key: SessionKey) -> None:
        if self.session(key) is not None:
            await super().delete_session(key)


@breaks("test_a_message_id_that_is_too_long_is_invalid")
class LooksForAnyId(Bench):
    async def get(self, key: SessionKey, message_id: str, *, branches: bool = False) -> StoredMessage:
        return await super().get(
            key, message_id.encode(errors="surrogatepass")[:MAX_ID_BYTES].decode(errors="ignore"), branches=branches
        )


@breaks("test_a_stream_id_that_is_too_long_is_invalid")
class TakesALongStreamForAnyOther(Bench):
    async def append(self, key: SessionKey, message: Message) -> Appended:
        if len((message.continues or "").encode(errors="surrogatepass")) > MAX_ID_BYTES:
            raise conflict(Clash.TAKEN)
        return await super().append(key, message)


@breaks("test_ids_that_an_encoding_may_refuse_come_back_or_are_refused")
class DropsNulFromMessageIds(Rewriting):
    def rewritten(self, message: Message) -> Message:
        return replace(message, message_id=message.message_id.replace("\0", ""))

    async def get(self, key: SessionKey, message_id: str, *, branches: bool = False) -> StoredMessage:
        return await super().get(key, message_id.replace("\0", ""), branches=branches)


@breaks("test_session_ids_that_an_encoding_may_refuse_are_distinct_or_refused")
class DropsNulFromSessionIds(RewritingKeys):
    def rewritten(self, key: SessionKey) -> SessionKey:
        return SessionKey(key.owner, key.session_id.replace("\0", ""))


@breaks("test_owners_that_an_encoding_may_refuse_are_distinct_or_refused")
class DropsNulFromOwners(RewritingKeys):
    def rewritten(self, key: SessionKey) -> SessionKey:
        return SessionKey(key.owner.replace("\0", ""), key.session_id)
