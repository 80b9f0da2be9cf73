"""One object that stands for the replies to a whole batch says what each of them would."""

from __future__ import annotations

from streamguard.stores import AllAppended, Append, AppendReply
from streamguard.stores.records import Status
from streamguard.values import EventKind, SessionKey, StreamRef

REF = StreamRef(SessionKey("ana", "chat"), "0" * 24)
EVENT = (EventKind.DATA, b"word")


def test_it_has_the_reply_to_each_append() -> None:
    batch = [Append(REF, 1, first, [EVENT] * events, False) for first, events in ((1, 1), (7, 3), (5000, 2))]
    replies = AllAppended(batch)
    each = [AppendReply(Status.OK, last, stop_requested=False) for last in (1, 9, 5001)]
    assert list(replies) == each
    assert [replies[at] for at in range(len(replies))] == each
    assert replies[1:] == each[1:]
    assert replies[-1] == each[-1]
