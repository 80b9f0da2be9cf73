"""A request that may start a stream, and what it holds until one does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from starlette.requests import Request

from ...cursor import Cursor
from ...errors import FaultError
from ...runtime import StreamRequest
from ...runtime.opening.request_key import RequestKey
from ..access.identity import Identity
from ..access.limits import Slot
from ..guard_context import GuardContext
from .endpoint_call import Items
from .threaded_iterator import SyncSlot

__all__ = ["Admitted", "Places", "take_places"]


@dataclass(frozen=True, slots=True)
class Places:
    """Places of the process that one request holds."""

    viewer: Slot
    """Of the answer, until it is sent."""
    sync: SyncSlot | None
    """Of a sync generator, until that ended."""
    stranger: Slot | None
    """Of a visitor without a cookie, until the stream is over."""

    def release(self) -> None:
        """No stream comes of it."""
        _release([self.viewer, self.sync, self.stranger])

    def keep_viewer(self) -> None:
        """No stream comes of it, but an answer all the same."""
        _release([self.sync, self.stranger])


@dataclass(frozen=True, slots=True)
class Admitted:
    """A request that may start a stream."""

    request: StreamRequest
    key: RequestKey | None
    identity: Identity
    places: Places
    items: Items
    cursor: Cursor | None = None
    """How far its client is, where it may have been sent before."""


def take_places(context: GuardContext, identity: Identity, request: Request, *, sync: bool) -> Places:
    """The places of a request, all or none.

    Raises:
        FaultError: `limit_viewers`, or `limit_streams`.
    """
    taken: list[Slot | SyncSlot] = []
    allowances = context.allowances
    try:
        stranger = allowances.stranger(identity, request)
        if stranger is not None:
            taken.append(stranger)
        viewer = allowances.viewers.take(identity)
        taken.append(viewer)
        return Places(viewer, context.sync_streams.take() if sync else None, stranger)
    except FaultError:
        _release(taken)
        raise


def _release(places: Sequence[Slot | SyncSlot | None]) -> None:
    for place in places:
        if place is not None:
            place.release()
