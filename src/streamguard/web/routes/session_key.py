"""Whose session the path of a request names."""

from __future__ import annotations

from contextlib import suppress
from typing import NamedTuple

from starlette.requests import Request

from ...errors import FaultError
from ...values import SessionKey
from ..access.checked_ids import checked_session_id
from ..access.identity import Identity
from ..guard_context import GuardContext
from ..response_ids import ResponseIds
from .paths import RouteTarget, decode_segment

__all__ = ["OwnedSession", "session_of", "tell_who"]


class OwnedSession(NamedTuple):
    """The session that a request is about, and who is asking."""

    key: SessionKey
    identity: Identity

    def __repr__(self) -> str:
        return f"OwnedSession({self.key!r})"

    def __sentry_repr__(self) -> str:  # Sentry sends other tuples item by item
        return repr(self)


async def session_of(context: GuardContext, target: RouteTarget, request: Request, ids: ResponseIds) -> OwnedSession:
    """The session of a request. `ids` get its id.

    Raises:
        FaultError: `unauthenticated`, `limit_rate`, or `session_invalid`.
    """
    identity = await context.owner(request)
    ids.owner = str(identity)
    try:
        ids.session_id = checked_session_id(decode_segment(target.session))
    finally:  # it comes first, whatever the session; but its refusal names that
        context.limits.check_call(identity, request)
    return OwnedSession(SessionKey(str(identity), ids.session_id), identity)


async def tell_who(context: GuardContext, target: RouteTarget, request: Request, ids: ResponseIds) -> None:
    """Find who asks, and for which session, for a request that is refused whoever asks: operators are to be told. `ids`
    get what can be known."""
    with suppress(FaultError):
        await session_of(context, target, request, ids)
