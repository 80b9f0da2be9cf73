"""The tables of `SQLMessageStore` as they were before histories could be superseded."""

from __future__ import annotations

from sqlalchemy import Column, ForeignKeyConstraint, Index, MetaData, PrimaryKeyConstraint, Table, UniqueConstraint
from sqlalchemy.sql.elements import conv

from streamguard.messages.sql import MessageTables

__all__ = ["earlier"]


def earlier(tables: MessageTables) -> tuple[Table, Table]:
    """The sessions and the messages table of an earlier version, named as `tables` are."""
    metadata = MetaData()
    name = tables.messages.name
    sessions = Table(
        tables.sessions.name,
        metadata,
        *(_copy(column) for column in tables.sessions.c if column.name != "branch"),
        PrimaryKeyConstraint("owner", "session_id"),
        **tables.sessions.dialect_kwargs,
    )
    messages = Table(
        name,
        metadata,
        *(_copy(column) for column in tables.messages.c if column.name not in ("branch", "superseded", "replies_to")),
        PrimaryKeyConstraint("owner", "session_id", "position"),
        UniqueConstraint("owner", "session_id", "message_id", name=conv(f"uq_{name}_message_id")),
        ForeignKeyConstraint(
            ["owner", "session_id"],
            [sessions.c.owner, sessions.c.session_id],
            name=conv(f"fk_{name}_session"),
            ondelete="CASCADE",
        ),
        **tables.messages.dialect_kwargs,
    )
    Index(conv(f"ix_{tables.sessions.name}_expires_at"), sessions.c.expires_at)
    return sessions, messages


def _copy(column: Column[object]) -> Column[object]:
    return Column(column.name, column.type, nullable=column.nullable, comment=column.comment)
