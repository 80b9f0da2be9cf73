"""The three tables of `SQLMessageStore`, on a `MetaData` that Alembic can compare.

The tables use only SQLAlchemy's own types, so a generated migration does not import streamguard.

On MySQL and MariaDB ids are bytes, because collations fold case, accents, or the spaces at an id's end, and the two
databases have different collations. Sizes there count bytes: an owner and two ids take 1,024 of the 3,072 bytes that an
InnoDB key may have (with its default pages of 16 KiB; pages of 4 KiB are too small).
"""

from __future__ import annotations

import re
from typing import Any, Final

from sqlalchemy import (
    Column,
    Double,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.mysql import DOUBLE, LONGTEXT, VARBINARY
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.sql.elements import conv
from sqlalchemy.types import TypeEngine

from ...errors import ConfigurationError
from ...values import MAX_ID_BYTES, MAX_OWNER_BYTES

__all__ = ["BYTES_FOR_IDS", "MessageTables"]

BYTES_FOR_IDS: Final = ("mysql", "mariadb")
"""The dialects on which ids are bytes."""

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,40}")
"""At most 41 characters, so that the longest constraint name fits PostgreSQL's limit of 63 bytes."""

_MYSQL: Final[dict[str, Any]] = {
    f"{dialect}_{option}": value
    for dialect in BYTES_FOR_IDS
    for option, value in (("engine", "InnoDB"), ("charset", "utf8mb4"), ("collate", "utf8mb4_bin"))
}


_ZERO: Final = text("0")
"""A server default, so that a migration can add the column to tables with rows."""


def _id(max_bytes: int = MAX_ID_BYTES) -> TypeEngine[str]:
    return String(max_bytes).with_variant(VARBINARY(max_bytes), *BYTES_FOR_IDS)


def _text() -> TypeEngine[str]:
    # MySQL's TEXT ends at 64 KiB.
    return Text().with_variant(LONGTEXT(), *BYTES_FOR_IDS)


def _time() -> TypeEngine[float]:
    # The type as the servers report it. With SQLAlchemy's own DOUBLE, Alembic reports a difference that does not exist.
    return Double().with_variant(DOUBLE(asdecimal=False), *BYTES_FOR_IDS)


class MessageTables:
    """Where sessions and messages are stored.

    `sessions`, `messages` and `branches` are SQLAlchemy tables, and `metadata` is their `MetaData`: give it to Alembic
    as a target. Unique keys, foreign keys and indexes have names made from their table's name; primary keys follow the
    naming convention of `metadata`.

    Args:
        prefix: The beginning of the tables' names.
        sessions: The whole name of the sessions table, instead of `prefix` + `sessions`.
        messages: The whole name of the messages table, instead of `prefix` + `messages`.
        branches: The whole name of the table that records how histories were superseded, instead of `prefix` +
            `branches`.
        schema: The database schema of the tables, which must exist; None for the schema of `metadata`, or else the
            connection's own.
        metadata: A host's `MetaData` to add the tables to; None makes a new one.

    Raises:
        ConfigurationError: a name is not a plain SQL name of at most 41 characters, or `metadata` already has such a
            table.
    """

    def __init__(
        self,
        *,
        prefix: str = "streamguard_",
        sessions: str | None = None,
        messages: str | None = None,
        branches: str | None = None,
        schema: str | None = None,
        metadata: MetaData | None = None,
    ) -> None:
        self.metadata: MetaData = MetaData() if metadata is None else metadata
        session_name = _checked(prefix + "sessions" if sessions is None else sessions)
        message_name = _checked(prefix + "messages" if messages is None else messages)
        branch_name = _checked(prefix + "branches" if branches is None else branches)
        try:
            self.sessions: Table = self._sessions(session_name, schema)
            self.messages: Table = self._messages(message_name, schema)
            self.branches: Table = self._branches(branch_name, schema)
        except InvalidRequestError as exc:
            raise ConfigurationError(
                f"the MetaData has a table {session_name}, {message_name} or {branch_name} already: "
                "make MessageTables once, and share"
            ) from exc

    @property
    def every(self) -> tuple[Table, ...]:
        """All tables, in the order in which they can be created."""
        return self.sessions, self.messages, self.branches

    def _sessions(self, name: str, schema: str | None) -> Table:
        return Table(
            name,
            self.metadata,
            Column("owner", _id(MAX_OWNER_BYTES), nullable=False),
            Column("session_id", _id(), nullable=False),
            Column("last_position", Integer, nullable=False, comment="of its last message; 0 without one"),
            Column("branch", Integer, nullable=False, server_default=_ZERO, comment="how often it was superseded"),
            Column("created_at", _time(), nullable=False, comment="Unix time, as all times here"),
            Column("updated_at", _time(), nullable=False),
            Column("expires_at", _time(), nullable=True, comment="null: never"),
            PrimaryKeyConstraint("owner", "session_id"),
            Index(conv(f"ix_{name}_expires_at"), "expires_at"),
            schema=schema,
            **_MYSQL,
        )

    def _messages(self, name: str, schema: str | None) -> Table:
        return Table(
            name,
            self.metadata,
            Column("owner", _id(MAX_OWNER_BYTES), nullable=False),
            Column("session_id", _id(), nullable=False),
            Column("position", Integer, nullable=False, comment="in its session, from 1"),
            Column("message_id", _id(), nullable=False),
            Column("role", String(16), nullable=False, comment="as in content: for queries"),
            Column("status", String(16), nullable=False),
            Column("content", _text(), nullable=False, comment="JSON: role, parts, metadata, outcome, usage, streams"),
            Column("writers", _text(), nullable=False, comment="JSON: streams that wrote it, and their digests"),
            Column("format_version", SmallInteger, nullable=False),
            Column("created_at", _time(), nullable=False),
            Column("updated_at", _time(), nullable=False),
            Column("branch", Integer, nullable=False, server_default=_ZERO, comment="the one it was stored in"),
            Column("superseded", Integer, nullable=False, server_default=_ZERO, comment="by which branch; 0: visible"),
            Column("replies_to", _id(), nullable=True, comment="as in content: the message it answers"),
            PrimaryKeyConstraint("owner", "session_id", "position"),
            UniqueConstraint("owner", "session_id", "message_id", "superseded", name=conv(f"uq_{name}_version")),
            self._session_key(name),
            schema=schema,
            **_MYSQL,
        )

    def _branches(self, name: str, schema: str | None) -> Table:
        return Table(
            name,
            self.metadata,
            Column("owner", _id(MAX_OWNER_BYTES), nullable=False),
            Column("session_id", _id(), nullable=False),
            Column("branch", Integer, nullable=False, comment="that the superseding made, from 1"),
            Column("stream_id", _id(), nullable=False, comment="the stream that asked for it"),
            Column("start_id", _id(), nullable=True, comment="the first message to go"),
            Column("after_id", _id(), nullable=True, comment="the message before it"),
            Column("request", String(64), nullable=False, comment="digest of what was asked"),
            Column("cut_anchor", Integer, nullable=False, comment="with the next: the place behind which all went"),
            Column("cut_position", Integer, nullable=False),
            Column("hidden", Integer, nullable=False, comment="how many messages went"),
            Column("appended", String(16), nullable=True, comment="what became of the message that came with it"),
            Column("created_at", _time(), nullable=False),
            PrimaryKeyConstraint("owner", "session_id", "branch"),
            UniqueConstraint("owner", "session_id", "stream_id", name=conv(f"uq_{name}_stream_id")),
            self._session_key(name),
            schema=schema,
            **_MYSQL,
        )

    def _session_key(self, name: str) -> ForeignKeyConstraint:
        return ForeignKeyConstraint(
            ["owner", "session_id"],
            [self.sessions.c.owner, self.sessions.c.session_id],
            name=conv(f"fk_{name}_session"),
            ondelete="CASCADE",
        )


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ConfigurationError(f"{name!r} is no table name: letters, digits and _, at most 41 of them")
    return name
