"""Versions of messages, and the branches table. Every function is part of a transaction that has locked the session."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlalchemy import RowMapping, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from ...decoding import decoding
from ..branches import Row, Superseding, Version
from ..records import Appended
from .engines import ResponseIds, matching, stored_id, text_of
from .rows import check_format, damaged, decode_writers
from .tables import MessageTables

__all__ = ["Branches"]

_AT_ONCE: Final = 500
"""Rows per statement: drivers limit a statement's parameters."""

_PLACED: Final = ("message_id", "position", "branch", "superseded", "replies_to", "format_version")


class Branches:
    """The statements of one store on versions and branches.

    `ids` identify a session; `message_id` names a message in it.
    """

    def __init__(self, tables: MessageTables) -> None:
        self._messages = tables.messages
        self._branches = tables.branches

    async def versions(
        self, connection: AsyncConnection, operation: str, ids: ResponseIds, message_id: str | None
    ) -> list[Version]:
        """Every version of a message, by position; empty for None. Raises what `decode_writers` raises."""
        if message_id is None:
            return []
        messages = self._messages
        wanted: ResponseIds = {**ids, "message_id": stored_id(connection.dialect.name, message_id)}
        columns = [messages.c[name] for name in (*_PLACED, "writers")]
        query = select(*columns).where(matching(messages, wanted)).order_by(messages.c.position)
        rows = (await connection.execute(query)).mappings().all()
        return [Version(*_placed(operation, row), writers=decode_writers(operation, row)) for row in rows]

    async def visible(self, connection: AsyncConnection, operation: str, ids: ResponseIds) -> list[Row]:
        """The visible messages of a session, by position.

        Raises:
            MessageFormatError: a newer version wrote one of them. Its messages must not be hidden.
            MessageCorruptError: one of them is damaged.
        """
        messages = self._messages
        query = select(*(messages.c[name] for name in _PLACED)).where(matching(messages, ids))
        rows = await connection.execute(query.where(messages.c.superseded == 0).order_by(messages.c.position))
        return [Row(*_placed(operation, row)) for row in rows.mappings()]

    async def hide(self, connection: AsyncConnection, ids: ResponseIds, branch: int, rows: Sequence[Row]) -> None:
        """Mark messages as superseded by `branch`."""
        messages = self._messages
        for first in range(0, len(rows), _AT_ONCE):
            positions = [row.position for row in rows[first : first + _AT_ONCE]]
            chosen = matching(messages, ids) & messages.c.position.in_(positions)
            await connection.execute(update(messages).where(chosen).values(superseded=branch))

    async def by(self, connection: AsyncConnection, ids: ResponseIds, stream_id: str) -> Superseding | None:
        """The superseding that a stream made."""
        wanted: ResponseIds = {**ids, "stream_id": stored_id(connection.dialect.name, stream_id)}
        query = select(self._branches).where(matching(self._branches, wanted))
        row = (await connection.execute(query)).mappings().one_or_none()
        return None if row is None else _superseding("supersede", row)

    async def since(
        self, connection: AsyncConnection, operation: str, ids: ResponseIds, branch: int
    ) -> list[Superseding]:
        """The supersedings since `branch`, oldest first."""
        branches = self._branches
        query = select(branches).where(matching(branches, ids), branches.c.branch > branch).order_by(branches.c.branch)
        return [_superseding(operation, row) for row in (await connection.execute(query)).mappings()]

    async def add(self, connection: AsyncConnection, ids: ResponseIds, by: str, made: Superseding, now: float) -> None:
        """Record a superseding."""
        dialect = connection.dialect.name
        anchor, position = made.cut
        values = {
            "branch": made.branch,
            "stream_id": stored_id(dialect, by),
            "start_id": made.start if made.start is None else stored_id(dialect, made.start),
            "after_id": made.after if made.after is None else stored_id(dialect, made.after),
            "request": made.request,
            "cut_anchor": anchor,
            "cut_position": position,
            "hidden": made.hidden,
            "appended": None if made.appended is None else made.appended.value,
            "created_at": now,
        }
        await connection.execute(insert(self._branches).values({**ids, **values}))


def _placed(operation: str, row: RowMapping) -> tuple[str, int, int, int | None, str | None]:
    """A row's message id, its position, its branch, the branch that superseded it, and the message that it answers."""
    with decoding(lambda: damaged(operation)):
        check_format(operation, row)
        answered = row["replies_to"]
        return (
            text_of(row["message_id"]),
            row["position"],
            row["branch"],
            row["superseded"] or None,
            None if answered is None else text_of(answered),
        )


def _superseding(operation: str, row: RowMapping) -> Superseding:
    with decoding(lambda: damaged(operation)):
        start, after, appended = row["start_id"], row["after_id"], row["appended"]
        return Superseding(
            branch=row["branch"],
            start=None if start is None else text_of(start),
            after=None if after is None else text_of(after),
            request=row["request"],
            cut=(row["cut_anchor"], row["cut_position"]),
            hidden=row["hidden"],
            appended=None if appended is None else Appended(appended),
        )
