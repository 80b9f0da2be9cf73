"""Stores that forget too late, too early or not everything."""

from __future__ import annotations

from dataclasses import replace

from streamguard.messages import Appended, Message, MessageStatus, Opened, StoredMessage, Superseded
from streamguard.values import SessionKey

from .bench import Bench, breaks


class Shadowing(Bench):
    """Remembers every message for ever."""

    def __init__(self) -> None:
        super().__init__()
        self.shadows: dict[tuple[SessionKey, str], StoredMessage] = {}

    async def append(self, key: SessionKey, message: Message) -> Appended:
        answer = await super().append(key, message)
        if (entry := self.entry(key, message.message_id)) is not None:
            self.shadows[key, message.message_id] = entry.stored()
        return answer

    def expired(self, key: SessionKey) -> bool:
        return self.session(key) is None and key in self.known and key not in self.deleted


@breaks("test_a_session_nobody_writes_to_expires")
class ShowsWhatExpired(Shadowing):
    async def get(self, key: SessionKey, message_id: str, *, branches: bool = False) -> StoredMessage:
        if self.expired(key) and (key, message_id) in self.shadows:
            return self.shadows[key, message_id]
        return await super().get(key, message_id, branches=branches)


@breaks("test_an_expired_session_begins_anew")
class CountsOnAfterExpiry(Shadowing):
    def __init__(self) -> None:
        super().__init__()
        self.before: dict[SessionKey, int] = {}

    async def open_session(self, key: SessionKey) -> Opened:
        if self.expired(key):
            self.before[key] = len([session for session, _ in self.shadows if session == key])
        return await super().open_session(key)

    async def list(
        self, key: SessionKey, *, after: int = 0, limit: int = 100, branches: bool = False
    ) -> list[StoredMessage]:
        found = await super().list(key, after=after, limit=limit, branches=branches)
        return [replace(stored, position=stored.position + self.before.get(key, 0)) for stored in found]


class Forgetful(Bench):
    """Lets some writes pass without renewing the session."""

    def ends_at(self, key: SessionKey) -> float | None:
        session = self.session(key)
        return None if session is None else session.expires_at

    def put_back(self, key: SessionKey, ends_at: float | None) -> None:
        session = self.session(key)
        if session is not None and ends_at is not None:
            session.expires_at = ends_at


@breaks("test_an_append_renews_all_of_the_session")
class DoesNotRenewOnAppend(Forgetful):
    async def append(self, key: SessionKey, message: Message) -> Appended:
        ends_at = self.ends_at(key)
        answer = await super().append(key, message)
        if answer is Appended.CREATED:
            self.put_back(key, ends_at)
        return answer


@breaks("test_a_duplicate_renews_all_of_the_session")
class DoesNotRenewOnADuplicate(Forgetful):
    async def append(self, key: SessionKey, message: Message) -> Appended:
        ends_at = self.ends_at(key)
        answer = await super().append(key, message)
        if answer is Appended.DUPLICATE:
            self.put_back(key, ends_at)
        return answer


@breaks("test_an_opening_renews_all_of_the_session")
class DoesNotRenewOnOpening(Forgetful):
    async def open_session(self, key: SessionKey) -> Opened:
        ends_at = self.ends_at(key)
        opened = await super().open_session(key)
        self.put_back(key, ends_at)
        return opened


@breaks("test_a_superseding_renews_all_of_the_session")
class DoesNotRenewOnSuperseding(Forgetful):
    async def supersede(
        self, key: SessionKey, *, by: str, start: str | None, after: str | None, message: Message | None = None
    ) -> Superseded:
        ends_at = self.ends_at(key)
        answer = await super().supersede(key, by=by, start=start, after=after, message=message)
        self.put_back(key, ends_at)
        return answer


@breaks("test_a_mark_renews_all_of_the_session")
class DoesNotRenewOnAMark(Forgetful):
    async def mark(self, key: SessionKey, message_id: str, status: MessageStatus) -> None:
        ends_at = self.ends_at(key)
        await super().mark(key, message_id, status)
        self.put_back(key, ends_at)
