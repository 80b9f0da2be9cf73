"""The scripts on messages, each with its keys, arguments and reply; see `streamguard.lua`.

The answer to each may be `newer`: a later version wrote the session.
"""

from __future__ import annotations

from typing import Final, NamedTuple, TypeVar

from ...lua import Call, Key

__all__ = [
    "CALLS",
    "Append",
    "Delete",
    "Get",
    "Last",
    "List",
    "ListAnswer",
    "Mark",
    "MessageAnswer",
    "Open",
    "OpenAnswer",
    "Record",
    "SessionCall",
    "Supersede",
    "SupersedeAnswer",
]

R = TypeVar("R")


class SessionCall(Call[R]):
    """About one session, which is one key."""

    session_key: Key


class Record(NamedTuple):
    """One message."""

    position: int
    message_id: bytes
    content: bytes
    writers: bytes
    status: bytes
    created_ms: bytes
    updated_ms: bytes
    branch: bytes | None = None
    superseded: bytes | None = None

    def __repr__(self) -> str:
        return f"Record(position={self.position})"  # without content

    def __sentry_repr__(self) -> str:  # Sentry sends other tuples item by item
        return repr(self)


class OpenAnswer(NamedTuple):
    """See `Open`."""

    answer: bytes
    branch: int = 0


class Open(SessionCall[OpenAnswer], script="open"):
    """Create a session, unless it is there."""

    ttl_ms: int
    owner: str
    session_id: str


class Append(SessionCall[bytes], script="append"):
    """Store a message, once."""

    ttl_ms: int
    id: str
    writer: str
    continues: str
    digest: str
    status: str
    content: bytes
    answers: str
    asked_branch: int | None


class SupersedeAnswer(NamedTuple):
    """See `Supersede`."""

    answer: bytes
    branch: int = 0
    hidden: int = 0
    appended: bytes = b""


class Supersede(SessionCall[SupersedeAnswer], script="supersede"):
    """Replace the end of the visible history, by a message or nothing."""

    ttl_ms: int
    by: str
    start: str
    after: str
    request: str
    named_id: str = ""
    writer: str = ""
    continues: str = ""
    digest: str = ""
    status: str = ""
    content: bytes = b""
    answers: str = ""


class MessageAnswer(NamedTuple):
    """See `Get` and `Last`."""

    answer: bytes
    message: Record | None = None


class Get(SessionCall[MessageAnswer], script="get"):
    """Read one message."""

    id: str
    branches: bool


class Last(SessionCall[MessageAnswer], script="last"):
    """Read a session's last visible message."""


class ListAnswer(NamedTuple):
    """See `List`."""

    answer: bytes
    messages: tuple[Record, ...] = ()


class List(SessionCall[ListAnswer], script="list"):
    """Read messages in order."""

    after: int
    limit: int
    branches: bool


class Mark(SessionCall[bytes], script="mark"):
    """Set a visible message's status."""

    ttl_ms: int
    id: str
    status: str


class Delete(SessionCall[bytes], script="delete"):
    """Delete a session, whatever its key holds."""


CALLS: Final = (Open, Append, Supersede, Get, Last, List, Mark, Delete)
"""One for each script."""
