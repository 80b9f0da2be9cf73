"""Entries of the outbox, for commands: in pages, or found by a stream's id alone, which is what an operator has."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Final

from ..stores.records import OutboxEntry
from ..stores.roles.inspection import Inspection
from ..values import is_stream_id
from .exits import CommandError, ExitCode

__all__ = ["Listed", "all_dead", "checked_stream_id", "listed"]

PAGE: Final = 500
"""So many entries are asked for at once, at most."""
_KINDS: Final = {"dead": True, "due": False}


@dataclass(slots=True)
class Listed:
    """Some entries, and how to go on."""

    entries: list[OutboxEntry] = field(default_factory=list)
    next: str | None = None
    """What `--after` takes to go on; None if there are no more."""
    left: int = 0
    """How many there are after these, about."""


async def listed(listings: Inspection, *, dead: bool | None, after: str | None, limit: int) -> Listed:
    """At most `limit` entries, dead letters before what is still tried, from where `after` says.

    Raises:
        CommandError: such a listing never said `after`.
    """
    kinds = [name for name, kind in _KINDS.items() if dead in (None, kind)]
    place: str | None = None
    if after is not None:
        kind, _, text = after.partition(":")
        if kind not in kinds:
            raise _no_place(after)
        kinds, place = kinds[kinds.index(kind) :], text or None
    found = Listed()
    for kind in kinds:
        left = 0
        while len(found.entries) < limit:
            wanted = min(PAGE, limit - len(found.entries))
            try:
                page = await listings.outbox_page(dead=_KINDS[kind], limit=wanted, after=place)
            except ValueError:
                raise _no_place(str(after)) from None
            found.entries += page.entries
            place, left = page.next, page.left
            if place is None:
                break
        else:
            if place is None:  # entries of the kind before filled it: of these it is only told how many there are
                page = await listings.outbox_page(dead=_KINDS[kind], limit=1)
                left = len(page.entries) + page.left
            found.left += left
            if left and found.next is None:
                found.next = kind if place is None else f"{kind}:{place}"
        place = None
    return found


def _no_place(after: str) -> CommandError:
    return CommandError(ExitCode.USAGE, "usage", f"--after takes what such a listing said, and not {after!r}")


async def all_dead(listings: Inspection) -> AsyncIterator[OutboxEntry]:
    """Every dead letter, in pages of as many as are needed."""
    place: str | None = None
    while True:
        page = await listings.outbox_page(dead=True, limit=PAGE, after=place)
        for entry in page.entries:
            yield entry
        place = page.next
        if place is None:
            return


def checked_stream_id(text: str) -> str:
    """`text`, if it is a stream's id.

    Raises:
        CommandError: it is none.
    """
    if not is_stream_id(text):
        raise CommandError(ExitCode.USAGE, "usage", "a stream's id has 24 digits, 0-9 and a-f")
    return text
