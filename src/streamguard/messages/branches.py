"""Which version of a message is meant, what a superseding hides, and where a late message belongs. Pure.

The Redis store has the same rules in its scripts: `append.lua`, `supersede.lua`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from .content import Clash, conflict
from .records import Appended, Message, Superseded

__all__ = [
    "LAST_POSITION",
    "Place",
    "Row",
    "Superseding",
    "Version",
    "Writers",
    "addressed",
    "appended_with",
    "continues",
    "cut_of",
    "places",
    "request_of",
    "superseded_late",
    "version_of",
]

LAST_POSITION: Final = 2**31 - 1
"""No position is higher."""

Place = tuple[int, int]
"""Where a message stands in conversation order: the position that its place follows from, then its own."""

Writers = list[tuple[str | None, str]]
"""Every stream that wrote a message, oldest first, with the digest of what it wrote; None for no stream."""


@dataclass(slots=True, eq=False)
class Row:
    """The part of a stored message that says where it belongs."""

    message_id: str
    position: int
    branch: int
    """The one it was stored in."""
    superseded: int | None
    replies_to: str | None


@dataclass(slots=True, eq=False)
class Version(Row):
    """One of the messages of the same id that a session has stored."""

    writers: Writers

    def is_by(self, stream_id: str | None) -> bool:
        """Whether this stream wrote it."""
        return any(writer == stream_id for writer, _ in self.writers)


V = TypeVar("V", bound=Version)
R = TypeVar("R", bound=Row)


@dataclass(frozen=True, slots=True)
class Superseding:
    """What is kept of a superseding: its answer, and what decides where late messages belong."""

    branch: int
    """The one it made."""
    start: str | None
    after: str | None
    request: str
    """A digest of what was asked: see `request_of`."""
    cut: Place
    """The messages behind this place were hidden."""
    hidden: int
    appended: Appended | None

    def answer(self, request: str) -> Superseded:
        """The answer to a repeated request.

        Raises:
            MessageConflictError: it is another request.
        """
        if request != self.request:
            raise conflict(Clash.ANOTHER, "supersede")
        return Superseded(self.branch, self.hidden, self.appended)


# -- appending --------------------------------------------------------------------------------------------------------


def addressed(versions: Iterable[R], branch: int) -> R | None:
    """Of the versions of a message, the newest that was stored in `branch` or before."""
    known = [row for row in versions if row.branch <= branch]
    return max(known, key=lambda row: (row.branch, row.position), default=None)


def version_of(message: Message, branch: int, versions: Sequence[V]) -> V | None:
    """The version that `message`, of a stream that began in `branch`, has written or is to continue. None where it is
    to be created.

    Raises:
        MessageConflictError: it continues what is not there, or what was superseded before it began.
    """
    own = [one for one in versions if message.stream_id is not None and one.is_by(message.stream_id)]
    found = own[0] if own else addressed(versions, branch)
    if found is None:
        if message.continues is not None:
            raise conflict(Clash.ABSENT)
        return None
    if found.superseded is None or found.superseded > branch or found.is_by(message.stream_id):
        return found
    if message.continues is not None:
        raise conflict(Clash.SUPERSEDED)
    return None


def continues(message: Message, digest: str, version: Version) -> bool:
    """Whether `message` continues a version; else it has been written already.

    Raises:
        MessageConflictError: neither.
    """
    if version.is_by(message.stream_id):
        if (message.stream_id, digest) not in version.writers:
            raise conflict(Clash.DIFFERS)
        return False
    if message.continues is None or message.continues != version.writers[-1][0]:
        raise conflict(Clash.TAKEN)
    return True


def superseded_late(message_id: str, branch: int, answered: Row | None, later: Iterable[Superseding]) -> int | None:
    """Which superseding hides a message that is created in `branch`; None when it is visible.

    Args:
        message_id: its id.
        branch: at most the session's.
        answered: the newest version of the message that it answers, stored in `branch` or before.
        later: the supersedings since `branch`, oldest first.
    """
    if answered is not None and answered.superseded is not None and answered.superseded <= branch:
        return answered.superseded
    for one in later:
        if message_id == one.after:
            continue
        if message_id == one.start or answered is None or answered.superseded == one.branch:
            return one.branch
        if (answered.position, LAST_POSITION) > one.cut:
            return one.branch
    return None


# -- superseding ------------------------------------------------------------------------------------------------------


def request_of(start: str | None, after: str | None, message: Message | None, digest: str | None) -> str:
    """A digest of what a superseding asks for: tells a repeated request. `digest` is that of `message`."""
    asked = [start, after, None if message is None else message.message_id, digest]
    return hashlib.sha256(json.dumps(asked).encode()).hexdigest()


def places(visible: Sequence[Row]) -> list[Place]:
    """Where each of a session's visible messages stands. See *conversation order* in `MessageStore`."""
    questions = {row.message_id: row.position for row in visible if row.replies_to is None}
    return [
        (row.position if row.replies_to is None else questions.get(row.replies_to, row.position), row.position)
        for row in visible
    ]


def cut_of(
    standing: Sequence[tuple[Place, Row]], start: str | None, after: str | None, *, known: Container[str]
) -> Place:
    """The place behind which everything is superseded.

    Args:
        standing: the visible messages and their places.
        start: the first message to go.
        after: the message before it.
        known: which of the two is stored in any version.

    Raises:
        MessageConflictError: what is to be replaced is part of an old branch already.
    """
    found = {row.message_id: place for place, row in standing}
    if start is not None and start in found:
        anchor, position = found[start]
        return anchor, position - 1
    if after is not None and after in found:
        return found[after]
    if any(one is not None and one in known for one in (start, after)):
        raise conflict(Clash.REPLACED, "supersede")
    return (0, 0) if after is None else (LAST_POSITION, LAST_POSITION)


def appended_with(message: Message, digest: str, staying: Version | None) -> Appended:
    """What becomes of the message that comes with a superseding; `staying` is the version that stays visible.

    Raises:
        MessageConflictError: it continues a message, or is visible with other content.
    """
    if message.continues is not None:
        raise conflict(Clash.ABSENT if staying is None else Clash.TAKEN, "supersede")
    if staying is None:
        return Appended.CREATED
    if (message.stream_id, digest) in staying.writers:
        return Appended.DUPLICATE
    raise conflict(Clash.DIFFERS if staying.is_by(message.stream_id) else Clash.TAKEN, "supersede")
