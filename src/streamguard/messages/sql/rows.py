"""How a stored message is a row."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeAlias

from sqlalchemy import RowMapping

from ...decoding import decoding, read_json
from ...errors import MessageCorruptError, MessageFormatError
from ...model import FORMAT_VERSION
from ...offloading import offloaded
from ...wire.large_json import LARGE, decode_text, encode_text
from ..base import Message, StoredMessage
from ..content import decode_content, encoded, read_status

__all__ = ["ROW_COLUMNS", "Draft", "Writers", "decode_row", "decode_rows", "decode_writers"]

Writers: TypeAlias = list[tuple[str | None, str]]
"""Every stream that wrote a message, oldest first, with the digest of what it wrote; None for no stream."""

ROW_COLUMNS: Final = (
    "message_id",
    "position",
    "status",
    "content",
    "writers",
    "format_version",
    "created_at",
    "updated_at",
)


@dataclass(frozen=True, slots=True)
class Draft:
    """A message about to be written."""

    message: Message
    content: str
    digest: str

    @classmethod
    async def of(cls, operation: str, message: Message) -> Draft:
        """Raises `MessageInvalidError` for what cannot be written."""
        content, digest = await encoded(operation, message)
        text = await offloaded(partial(decode_text, content), large=len(content) >= LARGE)
        return cls(message, text, digest)

    def columns(self, earlier: Writers, now: float) -> dict[str, str | int | float]:
        """What writing it after `earlier` sets."""
        writers = [*earlier, (self.message.stream_id, self.digest)]
        return {
            "role": self.message.role.value,
            "status": self.message.status.value,
            "content": self.content,
            "writers": json.dumps(writers, separators=(",", ":"), ensure_ascii=False),
            "format_version": FORMAT_VERSION,
            "updated_at": now,
        }


def decode_writers(operation: str, row: RowMapping) -> Writers:
    """The writers of a row.

    Raises:
        MessageFormatError: a newer version wrote it; a worker of that version can read it.
        MessageCorruptError: it is damaged.
    """
    with decoding(lambda: _damaged(operation)):
        if row["format_version"] > FORMAT_VERSION:
            raise MessageFormatError(
                f"{operation}: a newer version of streamguard wrote this message", operation=operation
            )
        return [(stream_id, digest) for stream_id, digest in read_json(row["writers"])]


async def decode_rows(operation: str, rows: Sequence[RowMapping]) -> list[StoredMessage]:
    """Rows of `ROW_COLUMNS`, large ones in a thread. Raises as `decode_writers`."""
    large = sum(len(str(row["content"])) for row in rows) >= LARGE
    return await offloaded(lambda: [decode_row(operation, row) for row in rows], large=large)


def decode_row(operation: str, row: RowMapping) -> StoredMessage:
    """A row of `ROW_COLUMNS`. Raises as `decode_writers`."""
    writers: Sequence[tuple[str | None, str]] = decode_writers(operation, row)
    with decoding(lambda: _damaged(operation)):
        message_id = row["message_id"].decode() if isinstance(row["message_id"], bytes) else row["message_id"]
        message, status = decode_content(message_id, encode_text(row["content"])), read_status(row["status"])
    return StoredMessage(
        message=message,
        position=row["position"],
        status=status,
        streams=tuple(stream_id for stream_id, _ in writers if stream_id is not None),
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )


def _damaged(operation: str) -> MessageCorruptError:
    return MessageCorruptError(f"{operation}: a stored message is damaged", operation=operation)
