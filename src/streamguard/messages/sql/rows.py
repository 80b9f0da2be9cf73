"""Converts messages to rows, and rows to stored messages."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

from sqlalchemy import RowMapping

from ...decoding import decoding, read_json
from ...errors import MessageCorruptError, MessageFormatError
from ...offloading import offloaded
from ...values import FORMAT_VERSION
from ...wire.large_json import LARGE, decode_text, encode_text
from ..branches import Writers
from ..content import decode_content, encoded, read_status
from ..records import Message, StoredMessage
from .engines import StoredId, stored_id, text_of

__all__ = ["ROW_COLUMNS", "Draft", "check_format", "damaged", "decode_row", "decode_rows", "decode_writers"]

ROW_COLUMNS: Final = (
    "message_id",
    "position",
    "status",
    "content",
    "writers",
    "format_version",
    "created_at",
    "updated_at",
    "branch",
    "superseded",
)


@dataclass(frozen=True, slots=True)
class Draft:
    """A message about to be written."""

    message: Message
    content: str = field(repr=False)
    digest: str

    @classmethod
    async def of(cls, operation: str, message: Message) -> Draft:
        """The draft of `message`. Raises `MessageInvalidError` if it cannot be written."""
        content, digest = await encoded(operation, message)
        text = await offloaded(partial(decode_text, content), large=len(content) >= LARGE)
        return cls(message, text, digest)

    def columns(self, dialect: str, earlier: Writers, now: float) -> dict[str, StoredId | int | float | None]:
        """The columns to set when the draft is written after `earlier`."""
        answered = self.message.replies_to
        writers = [*earlier, (self.message.stream_id, self.digest)]
        return {
            "role": self.message.role.value,
            "status": self.message.status.value,
            "content": self.content,
            "replies_to": None if answered is None else stored_id(dialect, answered),
            "writers": json.dumps(writers, separators=(",", ":"), ensure_ascii=False),
            "format_version": FORMAT_VERSION,
            "updated_at": now,
        }


def decode_writers(operation: str, row: RowMapping) -> Writers:
    """The writers of a row.

    Raises:
        MessageFormatError: a newer version wrote the row; a worker of that version can read it.
        MessageCorruptError: the row is damaged.
    """
    with decoding(lambda: damaged(operation)):
        check_format(operation, row)
        return [(stream_id, digest) for stream_id, digest in read_json(row["writers"])]


def check_format(operation: str, row: RowMapping) -> None:
    """Raise `MessageFormatError` if a newer version wrote the row, so that the row is not changed."""
    if row["format_version"] > FORMAT_VERSION:
        raise MessageFormatError(f"{operation}: a newer version of streamguard wrote this message", operation=operation)


async def decode_rows(operation: str, rows: Sequence[RowMapping]) -> list[StoredMessage]:
    """The messages of rows with `ROW_COLUMNS`. Large rows are read in a thread. Raises what `decode_writers` raises."""
    large = sum(len(str(row["content"])) for row in rows) >= LARGE
    return await offloaded(lambda: [decode_row(operation, row) for row in rows], large=large)


def decode_row(operation: str, row: RowMapping) -> StoredMessage:
    """The message of a row with `ROW_COLUMNS`. Raises what `decode_writers` raises."""
    writers: Sequence[tuple[str | None, str]] = decode_writers(operation, row)
    with decoding(lambda: damaged(operation)):
        message_id = text_of(row["message_id"])
        message, status = decode_content(message_id, encode_text(row["content"])), read_status(row["status"])
    return StoredMessage(
        message=replace(message, branch=row["branch"]),
        position=row["position"],
        status=status,
        streams=tuple(stream_id for stream_id, _ in writers if stream_id is not None),
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        superseded=row["superseded"] or None,
    )


def damaged(operation: str) -> MessageCorruptError:
    """The error for a row that cannot be read."""
    return MessageCorruptError(f"{operation}: a stored message is damaged", operation=operation)
