"""The registry of the streams that this process produces, indexed by stream, by id, by session and by owner."""

from __future__ import annotations

from collections.abc import ValuesView

from ...values import SessionKey, StreamRef
from ..viewing.feed import Feed
from .stream import LiveStream

__all__ = ["LiveStreams"]


class LiveStreams:
    """Each lookup costs the same, however many streams there are; only `values` looks at all of them."""

    def __init__(self) -> None:
        self._all: dict[str, LiveStream] = {}
        """By their ids, which are never used twice: a `StreamRef` takes a call to be hashed."""
        self._expected: dict[str, LiveStream] = {}
        """Those that are being registered, by their ids."""
        self._by_session: dict[tuple[str, str], tuple[LiveStream, ...]] = {}
        """By owner and session: a `SessionKey` takes a call to be hashed, too. Nearly always one: a dict of it would
        take five times the memory."""
        self._by_owner: dict[str, dict[str, LiveStream]] = {}
        self.count: int = 0
        """How many there are. An attribute, since each request asks."""

    def __len__(self) -> int:
        return self.count

    def __setitem__(self, ref: StreamRef, stream: LiveStream) -> None:
        key, stream_id = ref.key, ref.stream_id
        self._all[stream_id] = stream
        self.count = len(self._all)
        session = key.owner, key.session_id
        self._by_session[session] = (*self._by_session.get(session, ()), stream)
        self._by_owner.setdefault(key.owner, {})[stream_id] = stream

    def get(self, ref: StreamRef) -> LiveStream | None:
        """The stream of that name, if this process produces it."""
        stream = self._all.get(ref.stream_id)
        return stream if stream is not None and (stream.ref is ref or stream.ref == ref) else None

    def expect(self, stream: LiveStream) -> None:
        """The stream is being registered: other workers may already want something of it."""
        self._expected[stream.ref.stream_id] = stream

    def expect_no_longer(self, stream: LiveStream) -> None:
        """Its registration is over, however it went."""
        self._expected.pop(stream.ref.stream_id, None)

    def named(self, stream_id: str) -> LiveStream | None:
        """The stream of that id, if this process produces or registers it."""
        return self._all.get(stream_id) or self._expected.get(stream_id)

    def discard(self, ref: StreamRef) -> None:
        """Forget a stream; an unknown one is ignored."""
        key, stream_id = ref.key, ref.stream_id
        if self._all.pop(stream_id, None) is None:
            return
        self.count = len(self._all)
        session = key.owner, key.session_id
        if others := tuple(stream for stream in self._by_session[session] if stream.ref.stream_id != stream_id):
            self._by_session[session] = others
        else:
            del self._by_session[session]
        of_owner = self._by_owner[key.owner]
        del of_owner[stream_id]
        if not of_owner:
            del self._by_owner[key.owner]

    def of_session(self, key: SessionKey) -> list[LiveStream]:
        """A session's streams, oldest first."""
        return list(self._by_session.get((key.owner, key.session_id), ()))

    def of_owner(self, owner: str) -> list[LiveStream]:
        """An owner's streams, oldest first."""
        return list(self._by_owner.get(owner, {}).values())

    def running_of(self, owner: str) -> int:
        """How many of an owner's streams have not finished."""
        return sum(1 for stream in self.of_owner(owner) if not stream.finished)

    def owns(self, ref: StreamRef) -> bool:
        """Whether this process is the stream's writer, as far as it knows."""
        return self.feed_of(ref) is not None

    def feed_of(self, ref: StreamRef) -> Feed | None:
        """The feed of a stream that this process writes; None for any other."""
        stream = self.get(ref)
        return None if stream is None or stream.superseded else stream.feed

    def values(self) -> ValuesView[LiveStream]:
        """All streams, oldest first."""
        return self._all.values()
