"""Where the chats are kept, and how saving them is made to fail.

Prompts that start with `!persist-` are about saving what they begin, by whichever process and however late:
`!persist-fail` (never works), `!persist-flaky` (works at the third attempt), `!persist-slow N` (the reply takes N ms).
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import secrets
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import anyio
from sqlalchemy.engine import URL

from streamguard.errors import MessageStoreError, MessageUnavailableError
from streamguard.messages import Appended, Message, MessageStatus, Opened, Role, StoredMessage, Superseded
from streamguard.messages.sql import SQLMessageStore
from streamguard.values import SessionKey

AWAY_SECONDS = 300
FLAKY_FAILURES = 2
SLOW_MILLISECONDS = 5000

# The scripted model repeats the question, so that the reply to a command is known by its own text.
_COMMAND = re.compile(r"(?:You said “)?!persist-(?P<what>fail|flaky|slow)(?:\s+(?P<number>\d{1,6}))?(?:”|\s*$)")


class ChatStore(SQLMessageStore):
    """The chats' tables, made at the start; fails and waits on command.

    A visitor may take the database away: then it fails every call about this visitor's chats, in every process that has
    the same directory `away`, until the visitor brings it back or five minutes have passed.
    """

    def __init__(self, url: str | URL, *, away: Path) -> None:
        super().__init__(url)
        self._away = away
        self._failures: dict[tuple[SessionKey, str], int] = {}
        """How often a flaky message has failed."""

    async def start(self) -> list[str]:
        with suppress(MessageStoreError):  # what is wrong is in the warnings
            await self.create_tables()
        return await super().start()

    async def take_away(self, owner: str, *, away: bool) -> None:
        """Take the database away from a visitor, or bring it back."""
        mark = self._mark_of(owner)
        if away:
            await mark.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            await mark.touch()
        else:
            await mark.unlink(missing_ok=True)

    async def is_away(self, owner: str) -> bool:
        """Whether the visitor's database is away."""
        try:
            return time.time() - (await self._mark_of(owner).stat()).st_mtime < AWAY_SECONDS
        except FileNotFoundError:
            return False

    async def open_session(self, key: SessionKey) -> Opened:
        await self._require("open_session", key)
        return await super().open_session(key)

    async def list(
        self, key: SessionKey, *, after: int = 0, limit: int = 100, branches: bool = False
    ) -> list[StoredMessage]:
        await self._require("list", key)
        return await super().list(key, after=after, limit=limit, branches=branches)

    async def get(self, key: SessionKey, message_id: str, *, branches: bool = False) -> StoredMessage:
        await self._require("get", key)
        return await super().get(key, message_id, branches=branches)

    async def last(self, key: SessionKey) -> StoredMessage | None:
        await self._require("last", key)
        return await super().last(key)

    async def mark(self, key: SessionKey, message_id: str, status: MessageStatus) -> None:
        await self._require("mark", key)
        await super().mark(key, message_id, status)

    async def delete_session(self, key: SessionKey) -> None:
        await self._require("delete_session", key)
        await super().delete_session(key)

    async def append(self, key: SessionKey, message: Message) -> Appended:
        await self._require("append", key)
        await self._obey(key, message)
        return await super().append(key, message)

    async def supersede(
        self, key: SessionKey, *, by: str, start: str | None, after: str | None, message: Message | None = None
    ) -> Superseded:
        await self._require("supersede", key)
        if message is not None:
            await self._obey(key, message)
        return await super().supersede(key, by=by, start=start, after=after, message=message)

    def _mark_of(self, owner: str) -> anyio.Path:
        return anyio.Path(self._away) / hashlib.sha256(owner.encode()).hexdigest()[:32]

    async def _require(self, operation: str, key: SessionKey) -> None:
        if await self.is_away(key.owner):
            raise MessageUnavailableError(f"{operation}: the visitor took the database away", operation=operation)

    async def _obey(self, key: SessionKey, message: Message) -> None:
        text = "".join(str(part.get("text", "")) for part in message.parts if part.get("type") == "text")
        if command := _COMMAND.match(text):
            await self._provoke(command["what"], int(command["number"] or SLOW_MILLISECONDS), key, message)

    async def _provoke(self, what: str, milliseconds: int, key: SessionKey, message: Message) -> None:
        if what == "slow":
            await anyio.sleep(milliseconds / 1000 if message.role is Role.ASSISTANT else 0)
            return
        if what == "flaky":
            failures = self._failures.pop((key, message.message_id), 0)
            if failures == FLAKY_FAILURES:
                return
            self._failures[key, message.message_id] = failures + 1
        raise MessageUnavailableError(f"append: !persist-{what} said so", operation="append")


def own_directory() -> Path:
    """A directory for what outlives a restart: the user's own for such things, else a temporary one."""
    wanted = os.environ.get("XDG_STATE_HOME", "")
    try:
        base = Path(wanted) if os.path.isabs(wanted) else Path.home() / ".local" / "state"
        directory = base / "streamguard-demo"
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if os.access(directory, os.W_OK):
            return directory
    except (OSError, RuntimeError):  # nothing may be written there, or there is no home
        pass
    directory = Path(tempfile.mkdtemp(prefix="streamguard-demo-"))
    logging.getLogger(__name__).warning("chats are kept in %s, by this process alone, until it ends", directory)
    return directory


def database_in(directory: Path) -> URL:
    """A SQLite file there; SQLAlchemy's own quoting, since a path may hold anything."""
    return URL.create("sqlite+aiosqlite", database=str(directory / "chats.db"))


def secret_in(directory: Path) -> str:
    """The secret kept there, made on first use: without one, nobody would find their chats after a restart."""
    path = directory / "secret"
    if not path.exists():
        draft = directory / f"secret.{secrets.token_hex(8)}"
        draft.touch(mode=0o600)
        draft.write_text(secrets.token_urlsafe(32))
        with suppress(FileExistsError):  # another worker was faster; there is one secret for all
            os.link(draft, path)
        draft.unlink()
    return path.read_text()
