"""Finding entries of the outbox by the stream's id alone, which is what an operator has."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

from ..stores.records import OutboxEntry
from ..stores.roles.inspection import Inspection
from ..values import SessionKey, StreamRef, is_stream_id
from .exits import CommandError, ExitCode

__all__ = ["checked_stream_id", "entries", "entry_of"]

_PAGE: Final = 1_000
"""How many entries a listing asks for. The store looks through the names of its whole outbox for each."""
_NOBODY: Final = SessionKey("", "")


def checked_stream_id(text: str) -> str:
    """`text`, if it is a stream's id.

    Raises:
        CommandError: it is none.
    """
    if not is_stream_id(text):
        raise CommandError(ExitCode.USAGE, "usage", "a stream's id has 24 digits, 0-9 and a-f")
    return text


async def entry_of(listings: Inspection, stream_id: str) -> OutboxEntry | None:
    """The entry of a stream, due or dead; None if nothing is owed. Reads the names of the whole outbox."""
    for dead in (True, False):
        found = await listings.outbox_entries(dead=dead, limit=1, after=_before(stream_id))
        if found and found[0].ref.stream_id == stream_id:
            return found[0]
    return None


async def entries(
    listings: Inspection, *, dead: bool, after: str | None = None, page_of: int = _PAGE
) -> AsyncIterator[OutboxEntry]:
    """All entries of a kind, by stream id, from the one after `after`; asked for in pages, of as many as are needed."""
    last = None if after is None else StreamRef(_NOBODY, after)
    while True:
        page = await listings.outbox_entries(dead=dead, limit=page_of, after=last)
        for entry in page:
            yield entry
        if len(page) < page_of:
            return
        last = page[-1].ref


def _before(stream_id: str) -> StreamRef | None:
    """What a listing has to begin after, to begin with a stream: listings are ordered by these ids alone."""
    number = int(stream_id, 16)
    return StreamRef(_NOBODY, f"{number - 1:024x}") if number else None
