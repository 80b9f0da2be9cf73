"""A request that may start a stream, and what it holds until one starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field

from starlette.requests import Request

from ...cursor import Cursor
from ...errors import FaultError
from ...facts import facts
from ...runtime import StreamRequest
from ...runtime.opening.request_key import RequestKey
from ..access.identity import Identity
from ..access.slots import Slot
from ..access.sync_streams import SyncSlot
from ..guard_context import GuardContext
from .configuration import StreamCall

__all__ = ["AdmittedRequest", "RequestSlots", "take_slots"]


@facts
class RequestSlots:
    """What one request holds of the process's limits."""

    viewer: Slot
    """Held by the response until it has been sent."""
    sync: SyncSlot | None
    """Held by a sync generator until it ends."""
    new_visitor: Slot | None
    """Held by the stream of a visitor without a cookie until that ends."""

    def release(self) -> None:
        """The request gets neither a stream nor a view of one."""
        _release([self.viewer, self.sync, self.new_visitor])

    def keep_viewer(self) -> None:
        """The request gets no stream, but a view of one that there is."""
        _release([self.sync, self.new_visitor])


@facts
class AdmittedRequest:
    """A request that may start a stream."""

    request: StreamRequest
    key: RequestKey | None
    identity: Identity = field(repr=False)
    slots: RequestSlots
    call: StreamCall
    cursor: Cursor | None = None
    """What its client has already, if the request may be a retry."""


def take_slots(context: GuardContext, identity: Identity, owner: str, request: Request, *, sync: bool) -> RequestSlots:
    """Take the slots of a request, all or none. `owner` names the identity, and is kept with its slot.

    Raises:
        FaultError: `limit_viewers`, or `limit_streams`.
    """
    new_visitor = viewer = None
    limits = context.limits
    try:
        new_visitor = limits.take_new_visitor(identity, request)
        viewer = limits.viewers.take(owner)
        return RequestSlots(viewer, context.sync_streams.take() if sync else None, new_visitor)
    except FaultError:
        _release([new_visitor, viewer])
        raise


def _release(slots: Sequence[Slot | SyncSlot | None]) -> None:
    for slot in slots:
        if slot is not None:
            slot.release()
