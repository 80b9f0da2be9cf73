"""What broken stores are made of: the memory store, with its inside in reach and a clock to turn."""

from __future__ import annotations

from typing import Final

from streamguard.messages import Appended, MemoryMessageStore, Message, Opened
from streamguard.messages.branches import Superseding
from streamguard.messages.memory import _Entry, _Session
from streamguard.values import SessionKey

from ...harness.broken import Breaks

__all__ = ["TTL_SECONDS", "Bench", "Clock", "Rewriting", "breaks"]

TTL_SECONDS: Final = 60.0


class Clock:
    """A clock that stands until it is turned."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


class Bench(MemoryMessageStore):
    """A memory store whose inside can be looked at, and bent."""

    def __init__(self) -> None:
        self.clock = Clock()
        super().__init__(ttl_seconds=TTL_SECONDS, clock=self.clock)
        self.known: set[SessionKey] = set()
        """Every session that was ever opened."""
        self.deleted: set[SessionKey] = set()
        """Those that were deleted and not opened again."""

    async def open_session(self, key: SessionKey) -> Opened:
        opened = await super().open_session(key)
        self.known.add(key)
        self.deleted.discard(key)
        return opened

    async def delete_session(self, key: SessionKey) -> None:
        await super().delete_session(key)
        if key in self.known:
            self.deleted.add(key)

    def session(self, key: SessionKey) -> _Session | None:
        self._begin()
        return self._sessions.get(key)

    def namesakes(self, key: SessionKey) -> list[SessionKey]:
        """Sessions of other owners with the same id."""
        return [one for one in self._sessions if one.session_id == key.session_id and one.owner != key.owner]

    def siblings(self, key: SessionKey) -> list[SessionKey]:
        """Other sessions of the same owner."""
        return [one for one in self._sessions if one.owner == key.owner and one != key]

    def entries(self, key: SessionKey) -> list[_Entry]:
        session = self.session(key)
        return [] if session is None else session.entries

    def supersedings(self, key: SessionKey) -> dict[str, Superseding]:
        session = self.session(key)
        return {} if session is None else session.supersedings

    def entry(self, key: SessionKey, message_id: str) -> _Entry | None:
        session = self.session(key)
        return None if session is None else session.visible(message_id)


class Rewriting(Bench):
    """Stores something else than it is given."""

    def rewritten(self, message: Message) -> Message:
        return message

    async def append(self, key: SessionKey, message: Message) -> Appended:
        return await super().append(key, self.rewritten(message))


breaks: Final = Breaks[Bench]()
"""Registers a broken store."""
