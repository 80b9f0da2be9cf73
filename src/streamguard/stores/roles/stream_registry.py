"""Which streams a session has and an owner runs: how they begin, are stopped and are erased."""

from __future__ import annotations

from abc import ABC, abstractmethod

from ...values import SessionKey, StreamRef
from ..records import Erasure, NewStream, Status, StreamMeta
from ..registrations import Full, Occupied, Registered, StopReply, Withdrawn

__all__ = ["StreamRegistry"]


class StreamRegistry(ABC):
    """The registry of sessions and of owners' running streams.

    The store's clock alone says when a stream began and when a session was erased: no worker's clock is compared with
    it.
    """

    @abstractmethod
    async def register(
        self,
        new: NewStream,
        *,
        lease_seconds: float,
        ttl_seconds: float,
        limit: int | None,
        arrived_seconds: float = 0.0,
    ) -> Registered | Occupied | Full | Withdrawn:
        """Make `new` the session's active stream, and count it among its owner's running ones while its lease lasts.

        `Occupied` when the session has an unsealed stream, whatever its lease; that is looked at first, since a stream
        that may be joined or replaced takes no other slot. `Full` when `limit` others of the owner's are running; None
        allows any number. Of this session's, those that are sealed and still being closed do not count, since the new
        one takes their place, but for more than `ENDED_UNCOUNTED`. A stream that is registered already keeps what it
        has, whatever the limit.

        Writes the lease index before and the session pointers, the ordinal, the meta and the owner's slot in one step.
        The stream begins now, and so later than any erasure of its session.

        `arrived_seconds`: how long ago its request arrived. If `stop_pending_requests` stopped the session's pending
        requests after that, the stream is registered with its stop requested. If it did so before, that stop is taken
        back: a user who asks again after a stop means it.
        """

    @abstractmethod
    async def withdraw(self, ref: StreamRef, *, refuse_seconds: float) -> Status:
        """Take back a registration that was not acted on: its reply was lost, or its caller was cancelled.

        Nothing is left of the stream: its session has no active one, its last one is that of before, and its owner's
        slot is free. `register` answers `Withdrawn` for it during the next `refuse_seconds`, should the registration
        arrive only now. Subscribers get a hint.

        `OK`; `GONE` when there is no such stream: its registration is refused and its slot freed all the same;
        `FENCED` when it has events, ended, lost its log or was taken over by another worker: then nothing changes.
        """

    @abstractmethod
    async def release_slot(self, owner: str, stream_id: str) -> None:
        """Take `stream_id` out of its owner's running streams; unknown ones are ignored."""

    @abstractmethod
    async def request_stop(self, ref: StreamRef) -> StopReply:
        """Ask the stream's writer to stop: sets the flag, and hands the writer (`StreamWrites.subscribe_worker`) and
        subscribers a hint."""

    @abstractmethod
    async def stop_pending_requests(self, key: SessionKey, *, seconds: float, limit: int) -> bool:
        """Stop those answers of the session whose requests have arrived by now, and that are registered within
        `seconds`: for a stop that finds nothing to stop. See `register`.

        Of one owner's sessions, the `limit` that were marked so last stay so. False, and nothing is changed, when the
        session has an unsealed stream: the stop means that one.
        """

    @abstractmethod
    async def previous(self, ref: StreamRef, message_id: str) -> StreamMeta | None:
        """The latest earlier stream of the same session with this message id, by ordinal.

        Streams that were never registered have no ordinal: they are never the previous one, and every other is earlier
        than they are.
        """

    @abstractmethod
    async def session_streams(self, key: SessionKey, *, limit: int) -> list[StreamMeta]:
        """At most `limit` of a session's streams, as far as their records are still there: the latest first, by
        ordinal, those that were never registered at the end."""

    @abstractmethod
    async def erase(self, key: SessionKey, *, mark_seconds: float, unknown_seconds: float | None = None) -> None:
        """Delete every stream of the session, and a stop of its pending requests, and leave an erasure mark that
        refuses what began before it.

        The mark lasts `mark_seconds`; that of a session of which the store knows nothing, `unknown_seconds` if given:
        anybody can name sessions that never were.
        """

    @abstractmethod
    async def erasure(self, key: SessionKey) -> Erasure | None:
        """The session's last erasure, while it is marked.

        Asked before a late write elsewhere, such as a save: what began before the erasure must not come back.
        """
